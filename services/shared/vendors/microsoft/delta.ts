// A page of calendarView/delta: how it is asked for, where it leads, and its rows by what is to be
// done with them. Invariant: no link leaves the configured Graph. Source:
// https://learn.microsoft.com/graph/delta-query-events
import type { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import { shrunkSize } from '#shared/domain/page-limits.ts'
import type { Reading } from '#shared/domain/reading.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Clock } from '#shared/process/clock.ts'
import { boundedItems, pathSegment, readAs } from '../answer.ts'
import type { Page, PageRequest } from '../vendor.ts'
import type { Graph } from './call.ts'
import { isTokenExpired } from './errors.ts'
import { mapRow } from './map.ts'
import { mergePending, versionKey, type Details, type PendingSeries } from './page-token.ts'
import { wirePage } from './wire.ts'

const VENDOR = 'Microsoft'
/**
 * Graph names no greatest page of a delta;
 * a daily series has 395 occurrences in the window, which 1 000 hold.
 */
const EVENTS_PER_PAGE: Readonly<Record<Exclude<Reading, 'plain'>, number>> = {
  usual: 200,
  'other-pages': 1000,
  'small-pages': 50,
}
/**
 * Headers are not in the token of a link, so they go with every call. Bodies are not kept;
 * as text they are smaller.
 */
export const PREFER_EVENTS = 'outlook.timezone="UTC", IdType="ImmutableId", outlook.body-content-type="text"'
function preferDelta({ shrunk = 0, reading = 'usual' }: PageRequest): string {
  const usual = EVENTS_PER_PAGE[reading === 'plain' ? 'usual' : reading]
  return `odata.maxpagesize=${shrunkSize(usual, shrunk)}, ${PREFER_EVENTS}`
}

/** What is asked for, and where. */
export interface Asking {
  readonly graph: Graph
  readonly clock: Clock
  readonly request: PageRequest
}

type DeltaPage = z.output<typeof wirePage>

/** The page of a delta at a link; null is the first page of the run. */
export async function callDelta(
  { graph, request }: Asking,
  link: string | null,
): Promise<DeltaPage | 'expired'> {
  const token = link ?? request.cursor
  const path = token === null ? `${calendarPath(request)}/calendarView/delta` : graph.followable(token)
  // Kept from another Graph than the one that is configured now,
  // or tampered with: it is of no use here.
  if (path === null) return 'expired'
  const outcome = await graph.call({
    subject: 'calendar',
    path,
    prefer: preferDelta(request),
    ...(token === null ? { query: windowQuery(request) } : {}),
  })
  if (outcome.kind === 'ok') {
    const page = readAs(wirePage, outcome.data, { vendor: VENDOR, what: 'page of changes' })
    boundedItems(page.value)
    return page
  }
  if (token !== null && isTokenExpired(outcome.answer)) return 'expired'
  throw outcome.failure
}

/** Calendar-scoped, because `/me/events` knows the events of one's own calendars only. */
export function calendarPath({ vendorCalendarId }: Pick<PageRequest, 'vendorCalendarId'>): string {
  return `/me/calendars/${pathSegment(vendorCalendarId, VENDOR)}`
}

/** The window as Graph's list calls take it. */
export function windowQuery({ window }: PageRequest): Record<string, string> {
  const iso = (micros: number) => new Date(Math.floor(micros / 1000)).toISOString()
  return { startDateTime: iso(window.from), endDateTime: iso(window.to) }
}

/**
 * Where a page leads. Throws Failure `vendor/unreadable-answer` for a link to another
 * place, or to none, or back.
 */
export function nextOf(graph: Graph, data: DeltaPage, current: string | null): Details['onward'] {
  const next = data['@odata.nextLink']
  const link = next ?? data['@odata.deltaLink']
  if (!link) {
    // Without a link every later change would be missed in silence.
    throw new Failure('vendor/unreadable-answer', 'Microsoft ended a page of changes without any link.')
  }
  graph.linkHere(link)
  if (next && next === current) {
    throw new Failure('vendor/no-progress', 'Microsoft named the page that it just sent as the next one.')
  }
  return { kind: next ? 'more' : 'end', link }
}

export interface SortedRows {
  readonly items: readonly PageItem[]
  readonly unreadable: Page['unreadable']
  readonly series: readonly PendingSeries[]
  readonly removed: readonly string[]
}

/** The rows of a page by what follows from them; the last word on an id counts. */
export function sortRows(data: DeltaPage, seen: ReadonlySet<string>): SortedRows {
  const items: PageItem[] = []
  const unreadable: Page['unreadable'][number][] = []
  const series = new Map<string, PendingSeries>()
  const removed = new Set<string>()
  for (const raw of data.value) {
    const row = mapRow(raw)
    if (row.kind === 'unreadable') unreadable.push({ vendorEventId: row.vendorEventId, problem: row.problem })
    else if (row.kind === 'removed') removed.add(row.vendorEventId)
    else if (row.kind === 'series') {
      const { seriesId } = row
      const key = versionKey(seriesId, row.etag)
      if (key === null || !seen.has(key))
        series.set(seriesId, mergePending(series.get(seriesId), { ...row, key }))
    } else {
      items.push(row.item)
      if (row.item.kind === 'event') removed.delete(row.item.event.vendorEventId)
    }
  }
  // The reading of a series finds whether it is gone.
  for (const id of series.keys()) removed.delete(id)
  return { items, unreadable, series: [...series.values()], removed: [...removed] }
}

/** An event that is gone, and with it whatever it was the series of. */
export function removalOf(vendorEventId: string): readonly PageItem[] {
  return [{ kind: 'removed', vendorEventId, reason: 'deleted' }, noSeries(vendorEventId)]
}

/** No occurrence of this series is left. */
export function noSeries(seriesId: string): PageItem {
  return { kind: 'series', seriesId, vendorEventIds: [] }
}
