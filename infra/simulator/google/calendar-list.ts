// calendarList: which calendars an account has, in pages,
// with its own sync token and `deleted` entries.
// https://developers.google.com/workspace/calendar/api/v3/reference/calendarList/list
import { type Answer, type Call, readObject } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import { etagOf } from '../world/event-doc.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'
import type { ListDeps } from './list-events.ts'

const TOKEN = /^cl(\d+)\.(\d+)\.(\d+)\.(c\d+)$/
const ROLES = ['freeBusyReader', 'reader', 'writerWithoutPrivateAccess', 'writer', 'owner']

/**
 * Answers one page of calendarList.list;
 * the page token names the position and the sequence that the run covers.
 */
export function listCalendars(deps: ListDeps, account: Account, query: URLSearchParams): Answer {
  const { world } = deps
  const since = readToken(query.get('syncToken'), account)
  const problem = since === null ? null : refuseToken(deps, since, query)
  if (since === 'unreadable' || problem) return problem ?? googleError('fullSyncRequired')
  const page = readToken(query.get('pageToken'), account)
  if (page === 'unreadable') return googleError('invalid', { parameter: 'pageToken' })
  const asked = Number(query.get('maxResults') ?? 100)
  const size = Number.isInteger(asked) && asked > 0 ? Math.min(250, asked) : 100
  const showDeleted = since !== null || query.get('showDeleted') === 'true'
  const showHidden = since !== null || query.get('showHidden') === 'true'
  const least = ROLES.indexOf(query.get('minAccessRole') ?? '')
  const seq = page?.seq ?? world.seq
  // Positions count all calendars there ever were,
  // so that one that goes while somebody pages does not move the others.
  const left = [...account.calendars.values()]
    .map((calendar, index) => ({ calendar, index }))
    .filter(
      ({ calendar, index }) =>
        index >= (page?.index ?? 0) &&
        calendar.listSeq > (since?.seq ?? 0) &&
        (showDeleted || !calendar.gone) &&
        (showHidden || !calendar.hidden) &&
        !calendar.unlisted &&
        ROLES.indexOf(calendar.accessRole) >= least,
    )
  const shown = left.slice(0, size)
  const next = left[size]
  const at = world.now()
  return {
    status: 200,
    body: {
      kind: 'calendar#calendarList',
      etag: etagOf({ seq }),
      items: shown.map(({ calendar }) => showCalendar(calendar)),
      ...(next
        ? { nextPageToken: writeToken({ index: next.index, seq, at }, account) }
        : { nextSyncToken: writeToken({ index: 0, seq, at }, account) }),
    },
    note: { items: shown.length },
  }
}

function refuseToken(deps: ListDeps, since: Position | 'unreadable', query: URLSearchParams): Answer | null {
  if (query.has('minAccessRole')) return googleError('badRequest', { parameter: 'minAccessRole' })
  const denied = ['showDeleted', 'showHidden'].find((name) => query.get(name) === 'false')
  if (denied !== undefined) return googleError('badRequest', { parameter: denied })
  const { lifeSeconds } = deps.knobs.cursors
  const old =
    since !== 'unreadable' && lifeSeconds !== null && deps.world.now() >= since.at + lifeSeconds * 1000
  return old ? googleError('fullSyncRequired') : null
}

/**
 * PATCH …/calendarList/:calendarId: what a person may change of an entry is whether it is shown.
 */
export function patchEntry(world: World, calendar: Calendar, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  if (typeof body['hidden'] === 'boolean') world.changeCalendar(calendar, { hidden: body['hidden'] })
  return { status: 200, body: showCalendar(calendar) }
}

/** A calendarList entry. */
export function showCalendar(calendar: Calendar) {
  return {
    kind: 'calendar#calendarListEntry',
    etag: etagOf({ seq: calendar.listSeq }),
    id: calendar.id,
    summary: calendar.name,
    timeZone: calendar.timeZone,
    colorId: '14',
    backgroundColor: '#9fe1e7',
    foregroundColor: '#000000',
    selected: !calendar.hidden,
    accessRole: calendar.accessRole,
    defaultReminders: [],
    conferenceProperties: { allowedConferenceSolutionTypes: ['hangoutsMeet'] },
    ...(calendar.primary ? { primary: true } : {}),
    ...(calendar.hidden ? { hidden: true } : {}),
    ...(calendar.gone ? { deleted: true } : {}),
  }
}

/** The calendar itself, as calendars.get shows it. */
export function showCalendarResource(calendar: Calendar) {
  return {
    kind: 'calendar#calendar',
    etag: etagOf({ seq: calendar.listSeq }),
    id: calendar.id,
    summary: calendar.name,
    timeZone: calendar.timeZone,
    conferenceProperties: { allowedConferenceSolutionTypes: ['hangoutsMeet'] },
  }
}

interface Position {
  readonly index: number
  readonly seq: number
  /** When it was issued, ms epoch. */
  readonly at: number
}

function writeToken({ index, seq, at }: Position, account: Account): string {
  return Buffer.from(`cl${index}.${seq}.${Math.floor(at)}.${account.id}`).toString('base64url')
}

function readToken(token: string | null, account: Account): Position | null | 'unreadable' {
  if (token === null) return null
  const match = TOKEN.exec(Buffer.from(token, 'base64url').toString('utf8'))
  if (!match || match[4] !== account.id) return 'unreadable'
  return { index: Number(match[1]), seq: Number(match[2]), at: Number(match[3]) }
}
