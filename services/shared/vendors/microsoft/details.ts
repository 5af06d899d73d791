// What a page of changes left open, a few calls at a time: series are read from their instances,
// and a removed event is looked for, because Graph says "removed" of an event that merely left the
// window too, and of a series once for all its occurrences. Graph's delta and its other answers
// need not agree at the same moment: while a difference is young, the page is tried again later.
import { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { PAGE_ITEMS_MAX, shrunkSize } from '#shared/domain/page-limits.ts'
import { isOutside } from '#shared/domain/window.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import { pathSegment, readAs, type Refused } from '../answer.ts'
import { mapAll, standsThere } from '../storable.ts'
import type { LookUpRequest, Page, PageRequest, Vendor } from '../vendor.ts'
import { odataSelect } from '../wire-fields.ts'
import type { Graph } from './call.ts'
import {
  calendarPath,
  callDelta,
  PREFER_EVENTS,
  removalOf,
  sortRows,
  windowQuery,
  type Asking,
} from './delta.ts'
import { isNotFound } from './errors.ts'
import { mapEvent, mapRow } from './map.ts'
import { nextFromPlace, versionKey, type Details, type PendingSeries, type Place } from './page-token.ts'
import { wireEvent, wirePage } from './wire.ts'

const VENDOR = 'Microsoft'
/**
 * Bounds how much stands behind one call of the port, which is one alone where that was too large;
 * how many calls run at a time is for the caller to say.
 */
const AT_ONCE = 3
/**
 * How long two places of Graph may differ about a change before that is taken for the truth.
 */
const LAG_MICROS = 60_000_000
/** A daily series has 395 occurrences in the window, and Outlook has no shorter step. */
const INSTANCES_PER_PAGE = 500
/** Nothing large is asked of them, and a series has to end within its pages. */
const INSTANCES_PER_PAGE_MIN = 50
const INSTANCE_PAGES_MAX = 64
/** In a row, with no occurrence that was not named before. */
const IDLE_PAGES_MAX = 3
const FIELDS = odataSelect(wireEvent)
const NO_END_OF_SERIES = 'Microsoft keeps listing a series with no occurrence that it had not named before.'

interface Found {
  readonly items: readonly PageItem[]
  readonly unreadable: Page['unreadable']
  /** Versions of series that need not be read again in this run. */
  readonly keys: readonly string[]
  /** It is not in this calendar any more, and lives in the mailbox. */
  readonly hasMoved?: boolean
}

/**
 * Reads up to four of the details. 'expired' when the page that named them has to be
 * asked again and is gone.
 */
export async function readDetails(
  asking: Asking,
  place: Place & { readonly details: Details },
): Promise<Page | 'expired'> {
  const { details } = place
  const atOnce = asking.request.shrunk ? 1 : AT_ONCE
  const removed = details.removed.slice(0, atOnce)
  const series = details.series.slice(0, atOnce - removed.length)
  const found = await Promise.all([
    ...removed.map((id) => lookFor(asking, id, details)),
    ...series.map((one) => readSeries(asking, one)),
  ])
  const missing = series.filter((_one, i) => found[removed.length + i] === 'missing')
  const gone = missing.length > 0 ? await areGone(asking, details, missing) : []
  if (gone === 'expired') return 'expired'
  const read = found.filter((one) => one !== 'missing')
  const open = {
    ...details,
    removed: details.removed.slice(removed.length),
    series: details.series.slice(series.length),
  }
  const isDone = open.removed.length === 0 && open.series.length === 0
  const seen = [...place.seen, ...read.flatMap(({ keys }) => keys), ...missing.flatMap(({ keys }) => keys)]
  return {
    kind: 'page',
    items: [...read.flatMap(({ items }) => items), ...gone],
    unreadable: read.flatMap(({ unreadable }) => unreadable),
    hasMoved: read.some((one) => one.hasMoved === true),
    completes: true,
    next: nextFromPlace(
      { link: null, details: isDone ? null : open, seen: [...new Set(seen)] },
      details.onward,
    ),
  }
}

/** A series by its instances in the window. 'missing' when Graph does not know it. */
async function readSeries(asking: Asking, series: PendingSeries): Promise<Found | 'missing'> {
  const rows = await readFresh(asking, series)
  if (rows === 'missing') return 'missing'
  const { items, unreadable } = mapAll(rows, mapEvent)
  const keys = new Set(series.keys)
  for (const raw of rows) {
    const row = mapRow(raw)
    const key = row.kind === 'series' ? versionKey(series.id, row.etag) : null
    if (key !== null) keys.add(key)
  }
  const named = items.flatMap((item) => (item.kind === 'event' ? [item.event.vendorEventId] : []))
  const unread = unreadable.flatMap(({ vendorEventId }) => vendorEventId ?? [])
  const whole: PageItem = { kind: 'series', seriesId: series.id, vendorEventIds: [...named, ...unread] }
  return { items: [...items, whole], unreadable, keys: [...keys] }
}

/**
 * The instances of a series, in no older state than the delta named. Only a change of the last
 * minute is doubted, and only when no plain occurrence has its time of change.
 */
async function readFresh(
  asking: Asking,
  { id, changedAt }: PendingSeries,
): Promise<readonly unknown[] | 'missing'> {
  const rows = await readInstances(asking, id)
  if (rows === 'missing' || changedAt === null || !isRecent(asking, changedAt)) return rows
  if (rows.some((raw) => (plainChangedAt(raw) ?? -Infinity) >= changedAt)) return rows
  const data = await readOne(asking.graph, asking.request, id)
  if (data === 'missing') return 'missing'
  const master = mapRow(data)
  if (master.kind === 'series' && (master.changedAt ?? Infinity) < changedAt) throw notYet()
  return readInstances(asking, id)
}

/** Exceptions have times of change of their own. */
function plainChangedAt(raw: unknown): Micros | null {
  const mapped = mapEvent(raw)
  const isPlain = wireEvent.safeParse(raw).data?.type === 'occurrence'
  return isPlain && mapped.kind === 'item' && mapped.item.kind === 'event'
    ? mapped.item.event.updatedAt
    : null
}

/**
 * The port's `lookUp`. An id that names a series now is no event any more: its occurrences have ids
 * of their own.
 */
export async function lookUp(graph: Graph, asked: LookUpRequest): ReturnType<Vendor['lookUp']> {
  const data = await readOne(graph, asked, asked.vendorEventId)
  if (data === 'missing') return 'gone'
  const row = mapRow(data)
  if (row.kind === 'series' && row.seriesId === asked.vendorEventId) return 'gone'
  return standsThere(mapEvent(data), asked.window) ? 'there' : 'gone'
}

function readOne(
  graph: Graph,
  calendar: Pick<PageRequest, 'vendorCalendarId'>,
  id: string,
): Promise<unknown> {
  return readAt(graph, `${calendarPath(calendar)}/events/${pathSegment(id, VENDOR)}`)
}

async function readAt(graph: Graph, path: string): Promise<unknown> {
  const query = { $select: FIELDS }
  const outcome = await graph.call({ subject: 'calendar', path, query, prefer: PREFER_EVENTS })
  return outcome.kind === 'ok' ? outcome.data : orMissing(outcome)
}

async function readInstances(
  { graph, request }: Asking,
  seriesId: string,
): Promise<readonly unknown[] | 'missing'> {
  const pages: (readonly unknown[])[] = []
  const seen = new Set<string>()
  let [rows, idle] = [0, 0]
  let path = `${calendarPath(request)}/events/${pathSegment(seriesId, VENDOR)}/instances`
  let query: Record<string, string> = {
    ...windowQuery(request),
    $select: FIELDS,
    $top: String(Math.max(INSTANCES_PER_PAGE_MIN, shrunkSize(INSTANCES_PER_PAGE, request.shrunk ?? 0))),
  }
  for (let page = 0; page < INSTANCE_PAGES_MAX; page += 1) {
    const outcome = await graph.call({ subject: 'calendar', path, query, prefer: PREFER_EVENTS })
    if (outcome.kind === 'refused') return orMissing(outcome)
    const data = readAs(wirePage, outcome.data, { vendor: VENDOR, what: 'list of occurrences' })
    pages.push(data.value)
    rows += data.value.length
    if (rows > PAGE_ITEMS_MAX) throw new Failure('vendor/answer-too-large')
    const next = data['@odata.nextLink']
    if (!next) return pages.flat()
    const before = seen.size
    for (const raw of data.value) seen.add(wireEvent.safeParse(raw).data?.id ?? '')
    idle = seen.size === before ? idle + 1 : 0
    if (idle === IDLE_PAGES_MAX) throw new Failure('vendor/no-progress', NO_END_OF_SERIES)
    path = graph.linkHere(next)
    query = {}
  }
  throw new Failure('vendor/unreadable-answer', `A series did not end after ${INSTANCE_PAGES_MAX} pages.`)
}

/** What became of an event that the delta says is removed. */
async function lookFor(asking: Asking, id: string, { readAt }: Details): Promise<Found> {
  const data = await readOne(asking.graph, asking.request, id)
  const gone = { items: removalOf(id), unreadable: [], keys: [] }
  if (data === 'missing') return { ...gone, hasMoved: await isElsewhere(asking, id) }
  const row = mapRow(data)
  const isSeries = row.kind === 'series' && row.seriesId === id
  const found = isSeries
    ? await readSeries(asking, { id, createdAt: null, changedAt: null, keys: [] })
    : eventIn(data)
  if (found === 'missing') return gone
  const isThere = found.items.some(
    (item) => item.kind === 'event' && !isOutside(item.event, asking.request.window),
  )
  if (isThere && isRecent(asking, readAt)) throw notYet()
  return found
}

/**
 * Whether an event that this calendar does not have lives in the mailbox: an immutable id stays
 * when its event is moved (learn.microsoft.com/graph/outlook-immutable-id, read 2026-11-29).
 * Whether it finds what lies among the deleted items too is not documented; then the account's
 * other calendars are read once in vain.
 */
async function isElsewhere({ graph, request }: Asking, id: string): Promise<boolean> {
  const data = await readAt(graph, `/me/events/${pathSegment(id, VENDOR)}`)
  if (data === 'missing') return false
  const row = mapRow(data)
  if (row.kind === 'series') return true
  return row.kind === 'item' && row.item.kind === 'event' && !isOutside(row.item.event, request.window)
}

function eventIn(data: unknown): Found | 'missing' {
  const mapped = mapEvent(data)
  return mapped.kind === 'item' ? { items: [mapped.item], unreadable: [], keys: [] } : 'missing'
}

/**
 * Removals of series that Graph does not know. One that was made a moment ago may not be readable
 * yet: so it is while the delta still names it.
 */
async function areGone(
  asking: Asking,
  details: Details,
  missing: readonly PendingSeries[],
): Promise<readonly PageItem[] | 'expired'> {
  const young = missing.filter(({ createdAt }) => isRecent(asking, createdAt))
  if (young.length > 0 && isRecent(asking, details.readAt)) {
    const again = await callDelta(asking, details.page)
    if (again === 'expired') return 'expired'
    const named = new Set(sortRows(again, new Set()).series.map(({ id }) => id))
    if (young.some(({ id }) => named.has(id))) throw notYet()
  }
  return missing.flatMap(({ id }) => removalOf(id))
}

function orMissing({ answer, failure }: Refused): 'missing' {
  if (isNotFound(answer)) return 'missing'
  throw failure
}

function isRecent({ clock }: Asking, at: Micros | null): boolean {
  return at !== null && Math.abs(clock.now() - at) < LAG_MICROS
}

function notYet(): Failure {
  return new Failure('vendor/not-yet-readable')
}
