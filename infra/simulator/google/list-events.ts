// events.list: parameters, runs, pages and sync tokens, as in
// https://developers.google.com/workspace/calendar/api/guides/sync and
// …/v3/reference/events/list. A run is one listing from its first page to its last; nextSyncToken
// comes on the last page only and covers the run's start, so that a change made while somebody
// pages appears in the next increment.
import type { Answer } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import type { Calendar } from '../world/calendar.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'
import { hasProperties } from './extended-properties.ts'
import { indexAfter, listAll, listChanges, type ListItem } from './list-items.ts'
import { planPage } from './page-plan.ts'
import { shownTo } from './shown-event.ts'
import type { PageClaims, SyncClaims, TokenMint } from './tokens.ts'
import { etagOf } from '../world/event-doc.ts'
import { digest } from '../random.ts'

export interface ListDeps {
  readonly world: World
  readonly tokens: TokenMint
  readonly knobs: Knobs
  readonly seed: string
  /** Runs that somebody is still paging through, oldest first. */
  readonly runs: Map<string, readonly ListItem[]>
}

const FORBIDDEN_WITH_SYNC_TOKEN = [
  'iCalUID',
  'orderBy',
  'privateExtendedProperty',
  'q',
  'sharedExtendedProperty',
  'timeMin',
  'timeMax',
  'updatedMin',
]
/** Filters that leave no complete picture: Google gives such a listing no sync token. */
const WITHOUT_SYNC_TOKEN = [
  'iCalUID',
  'orderBy',
  'q',
  'updatedMin',
  'privateExtendedProperty',
  'sharedExtendedProperty',
]
const UPDATED_MIN_DAYS_MAX = 30
/** Beyond this the oldest run is forgotten and continued from its key, which costs one listing. */
const RUNS_MAX = 200
const RUN_ITEMS_MAX = 300_000

interface Run {
  readonly key: string
  readonly selection: {
    singleEvents: boolean
    showDeleted: boolean
    timeMin: number | null
    timeMax: number | null
  }
  readonly since: number | null
  readonly query: URLSearchParams
  readonly params: string
}

/** Answers one page of events.list. */
export function listEvents(deps: ListDeps, calendar: Calendar, query: URLSearchParams): Answer {
  const run = openRun(deps, calendar, query)
  if ('status' in run) return run
  const pageToken = query.get('pageToken')
  const page = pageToken === null ? firstPage(deps, calendar, run.since) : deps.tokens.readPage(pageToken)
  if (!page || (pageToken !== null && page.runKey !== run.key)) {
    return googleError('invalid', { parameter: 'pageToken', message: 'Invalid page token value.' })
  }
  const { items, index } = itemsOf(deps, calendar, run, page)
  const size = planPage(deps.seed, deps.knobs.paging, {
    runKey: `${run.key}/${page.asOf}`,
    page: page.page,
    remaining: items.length - index,
    maxResults: maxResultsOf(query),
  })
  const end = index + size.items
  const shown = items.slice(index, end)
  const more = end < items.length || size.trailing
  const last = shown.at(-1) ?? page.last
  const next = more
    ? { nextPageToken: deps.tokens.mint('page', nextClaims(run, page, end, last)) }
    : closeRun(deps, calendar, run, page)
  return {
    status: 200,
    body: {
      ...headOf(calendar),
      items: shown.map((item) => shownTo(calendar, query, item.render())),
      ...next,
    },
    note: { items: shown.length, ...('nextSyncToken' in next ? { syncTokenOut: next.nextSyncToken } : {}) },
  }
}

function openRun(deps: ListDeps, calendar: Calendar, query: URLSearchParams): Run | Answer {
  const syncToken = query.get('syncToken')
  const singleEvents = query.get('singleEvents') === 'true'
  const params = `single=${singleEvents}`
  const base = { key: runKeyOf(calendar, query), query, params }
  if (syncToken !== null) {
    const claims = checkSyncToken(deps, calendar, query, syncToken)
    if ('status' in claims) return claims
    if (claims.params !== params) {
      const message = 'Request parameters do not match those of the initial sync.'
      return googleError('invalid', { parameter: 'syncToken', message })
    }
    const [timeMin, timeMax] = deps.knobs.cursors.keepsWindow ? claims.window : [null, null]
    return { ...base, selection: { singleEvents, showDeleted: true, timeMin, timeMax }, since: claims.seq }
  }
  const timeMin = timeParameter(query, 'timeMin')
  const timeMax = timeParameter(query, 'timeMax')
  if (timeMin === 'unreadable') return googleError('badRequest', { parameter: 'timeMin' })
  if (timeMax === 'unreadable') return googleError('badRequest', { parameter: 'timeMax' })
  if (timeMin !== null && timeMax !== null && timeMin >= timeMax) return googleError('timeRangeEmpty')
  if (query.get('orderBy') === 'startTime' && !singleEvents) {
    const message = 'The requested ordering is not available for the particular query.'
    return googleError('badRequest', { parameter: 'orderBy', message })
  }
  const updatedMin = timeParameter(query, 'updatedMin')
  if (updatedMin === 'unreadable') return googleError('badRequest', { parameter: 'updatedMin' })
  if (updatedMin !== null && updatedMin < deps.world.now() - UPDATED_MIN_DAYS_MAX * 86_400_000) {
    return googleError('updatedMinTooLongAgo')
  }
  const showDeleted = query.get('showDeleted') === 'true' || updatedMin !== null
  return { ...base, selection: { singleEvents, showDeleted, timeMin, timeMax }, since: null }
}

function checkSyncToken(
  deps: ListDeps,
  calendar: Calendar,
  query: URLSearchParams,
  token: string,
): SyncClaims | Answer {
  const forbidden = FORBIDDEN_WITH_SYNC_TOKEN.find((name) => query.has(name))
  if (forbidden !== undefined) {
    const message = `${forbidden} cannot be specified together with syncToken.`
    return googleError('badRequest', { parameter: forbidden, message })
  }
  if (query.get('showDeleted') === 'false') {
    const message = 'showDeleted cannot be false together with syncToken.'
    return googleError('badRequest', { parameter: 'showDeleted', message })
  }
  const claims = deps.tokens.readSync(token)
  if (!claims) return googleError('invalid', { parameter: 'syncToken', message: 'Invalid sync token value.' })
  const mine = claims.accountId === calendar.accountId && claims.calendarId === calendar.id
  const { lifeSeconds } = deps.knobs.cursors
  const old = lifeSeconds !== null && deps.world.now() >= claims.issuedAt + lifeSeconds * 1000
  const valid =
    mine && !old && claims.cursorEpoch === calendar.cursorEpoch && claims.seq >= calendar.purgedSeq
  return valid ? claims : googleError('fullSyncRequired')
}

function itemsOf(
  deps: ListDeps,
  calendar: Calendar,
  run: Run,
  page: PageClaims,
): { readonly items: readonly ListItem[]; readonly index: number } {
  const ordered = run.query.has('orderBy')
  const kept = page.page > 0 ? deps.runs.get(`${run.key}/${page.asOf}`) : undefined
  if (kept) return { items: kept, index: page.index }
  const listed =
    run.since === null
      ? filterItems(listAll(calendar, run.selection), run.query)
      : listChanges(calendar, run.selection, {
          since: run.since,
          until: page.asOf,
          told: deps.knobs.series,
        })
  keepRun(deps.runs, `${run.key}/${page.asOf}`, listed)
  return { items: listed, index: ordered ? page.index : indexAfter(listed, page.last) }
}

function keepRun(runs: Map<string, readonly ListItem[]>, key: string, items: readonly ListItem[]): void {
  runs.set(key, items)
  let total = 0
  for (const run of runs.values()) total += run.length
  for (const [oldest, run] of runs) {
    if (runs.size <= RUNS_MAX && total <= RUN_ITEMS_MAX) break
    total -= run.length
    runs.delete(oldest)
  }
}

function firstPage(deps: ListDeps, calendar: Calendar, since: number | null): PageClaims {
  const seen = deps.knobs.cursors.lagMs === 0 ? deps.world.seq : readableSeq(deps, calendar)
  return { runKey: '', asOf: Math.max(since ?? 0, seen), page: 0, index: 0, last: null }
}

/** The position before the first change that is too young to be in an increment. */
function readableSeq({ world, knobs }: ListDeps, calendar: Calendar): number {
  const youngest = world.now() - knobs.cursors.lagMs
  let seq = world.seq
  for (const entry of calendar.log.toReversed()) {
    const doc = calendar.docs.get(entry.docId)
    if (doc?.seq === entry.seq && doc.at <= youngest) break
    seq = Math.min(seq, entry.seq - 1)
  }
  return seq
}

function nextClaims(run: Run, page: PageClaims, index: number, last: PageClaims['last']): PageClaims {
  const key = last ? { ord: last.ord, at: last.at, id: last.id } : null
  return { runKey: run.key, asOf: page.asOf, page: page.page + 1, index, last: key }
}

/**
 * The run stays cached until others push it out:
 * the last page may be asked for again when its answer was lost.
 */
function closeRun(
  deps: ListDeps,
  calendar: Calendar,
  run: Run,
  page: PageClaims,
): { nextSyncToken?: string } {
  if (page.page === 0) deps.runs.delete(`${run.key}/${page.asOf}`)
  if (WITHOUT_SYNC_TOKEN.some((name) => run.query.has(name))) return {}
  const { timeMin, timeMax } = run.selection
  const claims: SyncClaims = {
    accountId: calendar.accountId,
    calendarId: calendar.id,
    seq: page.asOf,
    cursorEpoch: calendar.cursorEpoch,
    issuedAt: deps.world.now(),
    params: run.params,
    window: [timeMin, timeMax],
  }
  return { nextSyncToken: deps.tokens.mint('sync', claims) }
}

function filterItems(items: ListItem[], query: URLSearchParams): readonly ListItem[] {
  const iCalUid = query.get('iCalUID')
  const words = query.get('q')?.toLowerCase() ?? null
  const updatedMin = query.get('updatedMin')
  const orderBy = query.get('orderBy')
  const own = query.getAll('privateExtendedProperty')
  const shared = query.getAll('sharedExtendedProperty')
  const plain = own.length + shared.length === 0
  if (plain && iCalUid === null && words === null && updatedMin === null && orderBy === null) return items
  const shown = items.map((item) => ({ item, event: item.render() }))
  const text = (event: Readonly<Record<string, unknown>>) =>
    `${String(event['summary'])} ${String(event['description'])} ${String(event['location'])}`.toLowerCase()
  const kept = shown.filter(
    ({ event }) =>
      hasProperties(event, 'private', own) &&
      hasProperties(event, 'shared', shared) &&
      (iCalUid === null || event['iCalUID'] === iCalUid) &&
      (words === null || text(event).includes(words)) &&
      (updatedMin === null || Date.parse(String(event['updated'])) >= Date.parse(updatedMin)),
  )
  if (orderBy === 'updated')
    kept.sort((a, b) => compare(String(a.event['updated']), String(b.event['updated'])))
  if (orderBy === 'startTime') kept.sort((a, b) => startOf(a.event) - startOf(b.event))
  return kept.map(({ item }) => item)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function startOf(event: Readonly<Record<string, unknown>>): number {
  const start = event['start'] as { date?: string; dateTime?: string } | undefined
  return Date.parse(start?.dateTime ?? start?.date ?? '')
}

export type Head = ReturnType<typeof headOf>

/** What every listing of a calendar's events says of the calendar. */
export function headOf(calendar: Calendar) {
  return {
    kind: 'calendar#events',
    etag: etagOf({ seq: calendar.log.at(-1)?.seq ?? calendar.listSeq }),
    summary: calendar.name,
    description: '',
    updated: new Date(calendar.updatedAt).toISOString(),
    timeZone: calendar.timeZone,
    accessRole: calendar.accessRole,
    defaultReminders: [],
  }
}

function maxResultsOf(query: URLSearchParams): number {
  const asked = Number(query.get('maxResults') ?? 250)
  return Number.isInteger(asked) && asked > 0 ? Math.min(2500, asked) : 250
}

/** Pages of a run must repeat its parameters; only the size of a page may differ. */
function runKeyOf(calendar: Calendar, query: URLSearchParams): string {
  const parameters = [...query]
    .filter(([name]) => !['pageToken', 'maxResults', 'fields', 'alt', 'prettyPrint', 'key'].includes(name))
    .map(([name, value]) => `${name}=${value}`)
    .toSorted(compare)
  return digest(`${calendar.accountId}/${calendar.id}?${parameters.join('&')}`, 24)
}

function timeParameter(query: URLSearchParams, name: string): number | null | 'unreadable' {
  const text = query.get(name)
  if (text === null) return null
  // RFC 3339 with a mandatory offset, as the reference demands.
  const at = /T.*(Z|[+-]\d\d:\d\d)$/i.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? 'unreadable' : at
}
