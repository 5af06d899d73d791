// calendarView/delta: rounds, pages and links, as in learn.microsoft.com/graph/delta-query-events.
// The window is fixed by the first request of a round and travels in the token. What left the
// window is "removed" although it lives; occurrences come bare; pages may be short or empty; a
// round covers what changed until it began.
import type { Answer, Call } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { planPage } from '../google/page-plan.ts'
import { createRandom } from '../random.ts'
import { type Calendar, changedSince, plainOccurrences } from '../world/calendar.ts'
import { bounds, type EventDoc, isSeries } from '../world/event-doc.ts'
import type { World } from '../world/world.ts'
import { graphError } from './errors.ts'
import { bareOccurrence, type GraphEvent, type Preferences, removal, showEvent } from './event-shape.ts'
import type { DeltaClaims, Signed } from './signed.ts'

export interface DeltaDeps {
  readonly world: World
  readonly signed: Signed
  readonly knobs: Knobs
  readonly seed: string
  readonly origin: () => string
  /** Rounds that somebody is still paging through, oldest first. */
  readonly rounds: Map<string, readonly Row[]>
}

export interface Row {
  readonly ord: number
  readonly at: number
  readonly id: string
  readonly show: (prefer: Preferences) => GraphEvent
}

type Window = DeltaClaims['window']

/** Not stated by Graph; a page without the preference is small. */
const PAGE_DEFAULT = 10
const PAGE_MAX = 1000
const ROUNDS_MAX = 200
const REFUSED = ['$select', '$filter', '$orderby', '$expand', '$search', '$top']

/** GET …/calendarView/delta of one calendar. */
export function listDelta(deps: DeltaDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const { query } = call
  const refused = REFUSED.find((name) => query.has(name))
  if (refused !== undefined)
    return graphError('ErrorInvalidUrlQuery', {
      message: `The query parameter '${refused}' is not supported with change tracking over the 'CalendarView' resource.`,
    })
  const claims = claimsOf(deps, calendar, query)
  if ('status' in claims) return claims
  if (endsNever(calendar.docs.values(), claims.window, deps.knobs.microsoft))
    return graphError('UnknownError', { status: 504 })
  const key = [calendar.accountId, calendar.id, claims.since ?? 'full', claims.asOf, ...claims.window].join(
    '/',
  )
  const rows = rowsOf(deps, calendar, claims, key)
  const index = claims.index > rows.length ? rows.length : claims.index
  const size = planPage(deps.seed, deps.knobs.paging, {
    runKey: key,
    page: claims.page,
    remaining: rows.length - index,
    maxResults: Math.min(prefer.pageSize ?? PAGE_DEFAULT, PAGE_MAX),
  })
  const shown = rows.slice(index, index + size.items)
  const next = index + size.items
  const link =
    next < rows.length || size.trailing
      ? skipLink(deps, calendar, { ...claims, page: claims.page + 1, index: next })
      : deltaLink(deps, calendar, claims)
  const value = shown.map((row) => row.show(prefer))
  return {
    status: 200,
    headers: { 'preference-applied': prefer.applied.join(', ') },
    body: {
      '@odata.context': `${deps.origin()}/v1.0/$metadata#Collection(event)`,
      ...link,
      value: [...value, ...repeated(deps, key, claims.page, value)],
    },
    note: {
      items: value.length,
      ...(link['@odata.deltaLink'] ? { syncTokenOut: link['@odata.deltaLink'] } : {}),
    },
  }
}

function claimsOf(deps: DeltaDeps, calendar: Calendar, query: URLSearchParams): DeltaClaims | Answer {
  const skip = query.get('$skiptoken')
  const delta = query.get('$deltatoken')
  const token = skip ?? delta
  if (token === null || token === '') {
    const window = [readTime(query, 'startDateTime'), readTime(query, 'endDateTime')] as const
    const [from, to] = window
    if (from === null || to === null || to <= from)
      return graphError('ErrorInvalidParameter', {
        message: 'startDateTime and endDateTime are required, and the end comes after the start.',
      })
    return roundFrom(deps, calendar, { since: null, window: [from, to] })
  }
  const claims = deps.signed.readDelta(skip === null ? 'delta' : 'skip', token)
  const mine = claims?.accountId === calendar.accountId && claims.calendarId === calendar.id
  const seen = claims?.since ?? claims?.asOf ?? 0
  if (!claims || !mine || claims.cursorEpoch !== calendar.cursorEpoch || seen < calendar.purgedSeq)
    return expired(deps, calendar)
  return skip === null ? roundFrom(deps, calendar, { since: claims.asOf, window: claims.window }) : claims
}

function roundFrom(
  deps: DeltaDeps,
  calendar: Calendar,
  { since, window }: Pick<DeltaClaims, 'since' | 'window'>,
): DeltaClaims {
  return {
    accountId: calendar.accountId,
    calendarId: calendar.id,
    cursorEpoch: calendar.cursorEpoch,
    window,
    since,
    asOf: visibleUpTo(deps, calendar, since ?? 0),
    page: 0,
    index: 0,
    last: null,
  }
}

/** With a lag, changes of the last moments are in the mailbox and not yet in the delta. */
function visibleUpTo({ world, knobs }: DeltaDeps, calendar: Calendar, least: number): number {
  const { deltaLagMs } = knobs.microsoft
  if (deltaLagMs === 0) return world.seq
  const cutoff = world.now() - deltaLagMs
  const hidden = calendar.log.find(
    ({ docId, seq }) => seq > least && (calendar.docs.get(docId)?.at ?? 0) > cutoff,
  )
  return hidden ? hidden.seq - 1 : world.seq
}

function expired({ knobs, origin }: DeltaDeps, calendar: Calendar): Answer {
  switch (knobs.microsoft.expiredDelta) {
    case 'resyncRequired':
      return graphError('resyncRequired', {
        headers: { location: `${origin()}${deltaPath(calendar)}?$deltatoken=` },
      })
    case 'bad-request':
      return graphError('SyncStateInvalid')
    case 'not-found':
      return graphError('SyncStateNotFound', { status: 404 })
    case 'SyncStateNotFound':
    case 'syncStateNotFound':
      return graphError(knobs.microsoft.expiredDelta)
    default:
      return knobs.microsoft.expiredDelta satisfies never
  }
}

function rowsOf(deps: DeltaDeps, calendar: Calendar, claims: DeltaClaims, key: string): readonly Row[] {
  const kept = claims.page > 0 ? deps.rounds.get(key) : undefined
  if (kept) return kept
  const rows =
    claims.since === null
      ? fullRows(calendar, claims.window)
      : changedRows(deps, calendar, { ...claims, since: claims.since })
  deps.rounds.delete(key)
  deps.rounds.set(key, rows)
  for (const oldest of deps.rounds.keys()) {
    if (deps.rounds.size <= ROUNDS_MAX) break
    deps.rounds.delete(oldest)
  }
  return rows
}

function fullRows(calendar: Calendar, window: Window): Row[] {
  const rows: Row[] = []
  for (const doc of calendar.docs.values()) {
    if (doc.deleted) continue
    if (isSeries(doc)) rows.push(...seriesRows(calendar, doc, window))
    else if (isInside(calendar, doc, window)) rows.push(whole(calendar, doc))
  }
  return rows.toSorted(byKey)
}

function changedRows(
  deps: DeltaDeps,
  calendar: Calendar,
  { since, asOf, window }: DeltaClaims & { since: number },
): Row[] {
  const rows = new Map<string, Row>()
  const put = (row: Row) => rows.set(row.id, row)
  for (const doc of changedSince(calendar, since)) {
    if (doc.seq > asOf) continue
    for (const ghost of calendar.ghosts.get(doc.id)?.values() ?? []) {
      // Once a series is gone its own tombstone may stand for all of it.
      const sparse = doc.deleted && deps.knobs.microsoft.sparseTombstones
      if (ghost.seq > since && !sparse) put(gone(calendar, doc, ghost.id))
    }
    if (doc.masterId !== null && doc.deleted) {
      // A cancelled occurrence shows as a change of its series.
      const master = calendar.docs.get(doc.masterId)
      if (deps.knobs.microsoft.cancelledOccurrences !== 'series') put(gone(calendar, doc, doc.id))
      if (deps.knobs.microsoft.cancelledOccurrences !== 'removed' && master && isSeries(master))
        for (const row of seriesRows(calendar, master, window)) put(row)
    } else if (doc.deleted) put(gone(calendar, doc, doc.id))
    else if (isSeries(doc)) for (const row of seriesRows(calendar, doc, window)) put(row)
    else put(isInside(calendar, doc, window) ? whole(calendar, doc) : gone(calendar, doc, doc.id))
  }
  return [...rows.values()].toSorted(byKey)
}

/**
 * The series itself (with its first occurrence's times, wherever they lie) and its
 * occurrences in the window, bare.
 */
function seriesRows(calendar: Calendar, doc: EventDoc, window: Window): Row[] {
  const { times } = doc
  if (!times) return []
  const within = plainOccurrences(calendar, doc).filter(({ start }) =>
    overlaps(bounds(times, calendar, start), window),
  )
  const exceptions = [...(calendar.exceptions.get(doc.id) ?? [])].some((id) => {
    const exception = calendar.docs.get(id)
    return exception && !exception.deleted && isInside(calendar, exception, window)
  })
  if (within.length === 0 && !exceptions) return [gone(calendar, doc, doc.id)]
  return [
    whole(calendar, doc),
    ...within.map(({ id, start }) => ({
      ord: doc.ord,
      at: start,
      id,
      show: (prefer: Preferences) => bareOccurrence(doc, calendar, prefer, start),
    })),
  ]
}

function whole(calendar: Calendar, doc: EventDoc): Row {
  return {
    ord: doc.ord,
    at: 0,
    id: doc.id,
    show: (prefer) => ({ '@odata.type': '#microsoft.graph.event', ...showEvent(doc, calendar, prefer) }),
  }
}

function gone(calendar: Calendar, doc: EventDoc, id: string): Row {
  return { ord: doc.ord, at: 0, id, show: (prefer) => removal(id, calendar, prefer.immutableIds) }
}

function isInside(calendar: Calendar, doc: EventDoc, window: Window): boolean {
  return doc.times !== null && overlaps(bounds(doc.times, calendar), window)
}

function overlaps(span: { readonly start: number; readonly end: number }, [from, to]: Window): boolean {
  return span.end > from && span.start < to
}

function byKey(a: Row, b: Row): number {
  return a.ord - b.ord || a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

/** The same item twice is expected of a delta. */
function repeated(
  deps: DeltaDeps,
  key: string,
  page: number,
  value: readonly GraphEvent[],
): readonly GraphEvent[] {
  const random = createRandom(`${deps.seed}/${key}/${page}/repeated`)
  return value.filter(() => random.chance(deps.knobs.microsoft.repeatedItems))
}

function skipLink(deps: DeltaDeps, calendar: Calendar, claims: DeltaClaims): Record<string, string> {
  const token = encodeURIComponent(deps.signed.mint('skip', claims))
  return { '@odata.nextLink': `${deps.origin()}${deltaPath(calendar)}?$skiptoken=${token}` }
}

function deltaLink(deps: DeltaDeps, calendar: Calendar, claims: DeltaClaims): Record<string, string> {
  const token = encodeURIComponent(deps.signed.mint('delta', { ...claims, page: 0, index: 0 }))
  return { '@odata.deltaLink': `${deps.origin()}${deltaPath(calendar)}?$deltatoken=${token}` }
}

function deltaPath(calendar: Calendar): string {
  return `/v1.0/me/calendars/${encodeURIComponent(calendar.id)}/calendarView/delta`
}

/**
 * Whether a series without an end would have to be expanded over a longer window
 * than the service manages.
 */
export function endsNever(
  docs: Iterable<EventDoc>,
  [from, to]: Window,
  { endlessDaysMax }: Knobs['microsoft'],
): boolean {
  if (endlessDaysMax === null || to - from <= endlessDaysMax * 86_400_000) return false
  for (const doc of docs) {
    const lines = isSeries(doc) ? (doc.fields['recurrence'] as readonly string[]) : []
    if (lines.some((line) => line.startsWith('RRULE:') && !/;(?:COUNT|UNTIL)=/.test(line))) return true
  }
  return false
}

/** UTC where no offset is given. */
export function readTime(query: URLSearchParams, name: string): number | null {
  const text = query.get(name)
  if (text === null) return null
  const at = Date.parse(/(?:Z|[+-]\d\d:\d\d)$/i.test(text) ? text : `${text}Z`)
  return Number.isNaN(at) ? null : at
}
