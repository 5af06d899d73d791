// calendarList: which calendars an account has, in pages, with its own sync token and `deleted` entries.
// https://developers.google.com/workspace/calendar/api/v3/reference/calendarList/list
import type { Answer } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import { etagOf } from '../world/event-doc.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'

const TOKEN = /^cl(\d+)\.(\d+)\.(c\d+)$/

/** Answers one page of calendarList.list; the page token names the position and the sequence that the run covers. */
export function listCalendars(world: World, account: Account, query: URLSearchParams): Answer {
  const since = readToken(query.get('syncToken'), account)
  if (since === 'unreadable') return googleError('fullSyncRequired')
  const page = readToken(query.get('pageToken'), account)
  if (page === 'unreadable') return googleError('invalid', { parameter: 'pageToken' })
  const asked = Number(query.get('maxResults') ?? 100)
  const size = Number.isInteger(asked) && asked > 0 ? Math.min(250, asked) : 100
  const showDeleted = since !== null || query.get('showDeleted') === 'true'
  const entries = [...account.calendars.values()].filter(
    (calendar) => calendar.listSeq > (since?.seq ?? 0) && (showDeleted || !calendar.gone),
  )
  const from = page?.index ?? 0
  const seq = page?.seq ?? world.seq
  const shown = entries.slice(from, from + size)
  const more = from + size < entries.length
  return {
    status: 200,
    body: {
      kind: 'calendar#calendarList',
      etag: etagOf({ seq }),
      items: shown.map((calendar) => showCalendar(calendar)),
      ...(more
        ? { nextPageToken: writeToken(from + size, seq, account) }
        : { nextSyncToken: writeToken(0, seq, account) }),
    },
    note: { items: shown.length },
  }
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
    selected: true,
    accessRole: calendar.accessRole,
    defaultReminders: [],
    conferenceProperties: { allowedConferenceSolutionTypes: ['hangoutsMeet'] },
    ...(calendar.primary ? { primary: true } : {}),
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

function writeToken(index: number, seq: number, account: Account): string {
  return Buffer.from(`cl${index}.${seq}.${account.id}`).toString('base64url')
}

function readToken(
  token: string | null,
  account: Account,
): { index: number; seq: number } | null | 'unreadable' {
  if (token === null) return null
  const match = TOKEN.exec(Buffer.from(token, 'base64url').toString('utf8'))
  if (!match || match[3] !== account.id) return 'unreadable'
  return { index: Number(match[1]), seq: Number(match[2]) }
}
