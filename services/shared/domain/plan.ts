// The diff of one page against what is stored: the heart of a sync, and pure. Invariants: repeated
// ids collapse to the newest; an equal event changes nothing; nothing is removed that the vendor
// did not say or imply (an item that we cannot read is kept, not removed).
import { contentHash, HASH_VERSION } from './content-hash.ts'
import type { CalendarEvent } from './event.ts'
import { eventIdOf, type CalendarId, type EventId } from './ids.ts'
import { isOutside, type Window } from './window.ts'

/** What one page of a vendor tells. */
export type PageItem =
  | { readonly kind: 'event'; readonly event: CalendarEvent }
  | { readonly kind: 'removed'; readonly vendorEventId: string; readonly reason: 'deleted' | 'cancelled' }
  /**
   * A series as a whole: what is stored of it in the window and is not named here is gone. Its
   * occurrences are items of their own.
   */
  | { readonly kind: 'series'; readonly seriesId: string; readonly vendorEventIds: readonly string[] }

type OneEvent = Exclude<PageItem, { kind: 'series' }>

/** A row as it stands before the page. */
export interface StoredEvent {
  readonly eventId: EventId
  readonly vendorEventId: string
  readonly seriesId: string | null
  /** It ended before the window or begins after it. */
  readonly leftWindow: boolean
  readonly contentHash: Buffer
  readonly hashVersion: number
  readonly generation: number
}

interface PlanInput {
  readonly calendarId: CalendarId
  /** In the vendor's order. */
  readonly items: readonly PageItem[]
  /** Ids of items that could not be read. */
  readonly unreadable: readonly string[]
  /** The rows of `rowsToRead`; others are ignored. */
  readonly stored: readonly StoredEvent[]
  readonly window: Window
  /** The generation that rows seen by this read belong to. */
  readonly generation: number
}

type PlannedReason = 'deleted' | 'cancelled' | 'window'

export interface Plan {
  readonly upserts: readonly {
    readonly eventId: EventId
    readonly event: CalendarEvent
    readonly hash: Buffer
  }[]
  readonly removals: readonly {
    readonly eventId: EventId
    readonly vendorEventId: string
    readonly reason: PlannedReason
  }[]
  /**
   * Seen again and unchanged, but still marked with an older generation:
   * they take the new one silently.
   */
  readonly refreshed: readonly EventId[]
}

/** Names of rows: one by one, and all that belong to a series. */
export interface RowNames {
  readonly vendorEventIds: readonly string[]
  readonly seriesIds: readonly string[]
}

/** The rows that `planPage` has to see: those of the items and of the series that they name. */
export function rowsToRead(items: readonly PageItem[], unreadable: readonly string[]): RowNames {
  const ids = new Set(unreadable)
  const series = new Set<string>()
  for (const item of items) {
    ids.add(idOf(item))
    if (item.kind === 'series') series.add(item.seriesId)
    if (item.kind === 'event' && item.event.seriesId !== null) ids.add(item.event.seriesId)
  }
  return { vendorEventIds: [...ids], seriesIds: [...series] }
}

/** What one page changes. */
export function planPage(input: PlanInput): Plan {
  const stored = new Map(input.stored.map((row) => [row.vendorEventId, row]))
  const newest = collapse(input.items)
  const becameSeries = singlesThatBecameSeries(newest)
  const upserts: Plan['upserts'][number][] = []
  const removals = new Map<EventId, Plan['removals'][number]>()
  const refreshed: EventId[] = []

  function remove(vendorEventId: string, reason: PlannedReason): void {
    const row = stored.get(vendorEventId)
    if (row) removals.set(row.eventId, { eventId: row.eventId, vendorEventId, reason })
  }

  function see(event: CalendarEvent): void {
    const row = stored.get(event.vendorEventId)
    const hash = contentHash(event)
    if (!row || row.hashVersion !== HASH_VERSION || !row.contentHash.equals(hash)) {
      upserts.push({ eventId: eventIdOf(input.calendarId, event.vendorEventId), event, hash })
    } else if (row.generation < input.generation) refreshed.push(row.eventId)
  }

  for (const row of missingOfSeries(input, newest))
    remove(row.vendorEventId, row.leftWindow ? 'window' : 'deleted')
  for (const id of becameSeries) remove(id, 'deleted')
  for (const [id, item] of newest) {
    if (item.kind === 'removed') remove(id, item.reason)
    else if (isOutside(item.event, input.window)) remove(id, 'window')
    else if (!becameSeries.has(id)) see(item.event)
  }
  for (const id of input.unreadable) {
    const row = newest.has(id) ? undefined : stored.get(id)
    if (row && row.generation < input.generation && !removals.has(row.eventId)) refreshed.push(row.eventId)
  }
  return { upserts, removals: [...removals.values()], refreshed }
}

/**
 * Rows of a series that is given as a whole and does not name them. A row under the series' own id
 * was a single once, unless it is named.
 */
function missingOfSeries(
  { items, stored, unreadable }: PlanInput,
  newest: ReadonlyMap<string, OneEvent>,
): readonly StoredEvent[] {
  const named = new Map<string, ReadonlySet<string>>()
  for (const item of items) {
    if (item.kind === 'series') named.set(item.seriesId, new Set(item.vendorEventIds))
  }
  const kept = new Set(unreadable)
  return stored.filter((row) => {
    if (newest.get(row.vendorEventId)?.kind === 'event' || kept.has(row.vendorEventId)) return false
    const own = named.get(row.vendorEventId)
    if (own !== undefined) return !own.has(row.vendorEventId)
    return row.seriesId !== null && named.get(row.seriesId)?.has(row.vendorEventId) === false
  })
}

/** One item per id, in the order of first appearance. */
function collapse(items: readonly PageItem[]): ReadonlyMap<string, OneEvent> {
  const newest = new Map<string, OneEvent>()
  for (const item of items) {
    if (item.kind === 'series') continue
    const known = newest.get(idOf(item))
    if (!known || !isOlder(item, known)) newest.set(idOf(item), item)
  }
  return newest
}

/**
 * Only two times of change can prove that the later item is the older version;
 * otherwise the later item is the newer one.
 */
function isOlder(later: OneEvent, earlier: OneEvent): boolean {
  if (later.kind === 'removed' || earlier.kind === 'removed') return false
  return (later.event.updatedAt ?? Infinity) < (earlier.event.updatedAt ?? -Infinity)
}

/**
 * Ids that now name a series. A single that becomes a series leaves its id without any tombstone,
 * its occurrences come as `<id>_<start>` (github.com/webhookdb/webhookdb issue 722). A single of
 * that id in the same page is the older version, unless it changed after every occurrence.
 */
function singlesThatBecameSeries(newest: ReadonlyMap<string, OneEvent>): ReadonlySet<string> {
  const changedAt = new Map<string, number>()
  for (const item of newest.values()) {
    if (item.kind === 'removed' || item.event.seriesId === null) continue
    const known = changedAt.get(item.event.seriesId) ?? -Infinity
    changedAt.set(item.event.seriesId, Math.max(known, item.event.updatedAt ?? Infinity))
  }
  const series = new Set<string>()
  for (const [id, at] of changedAt) {
    const single = newest.get(id)
    const isNewer = single?.kind === 'event' && (single.event.updatedAt ?? -Infinity) > at
    if (single?.kind !== 'removed' && !isNewer) series.add(id)
  }
  return series
}

function idOf(item: PageItem): string {
  switch (item.kind) {
    case 'event':
      return item.event.vendorEventId
    case 'removed':
      return item.vendorEventId
    case 'series':
      return item.seriesId
    default:
      return item satisfies never
  }
}
