// One page of a calendar's changes as the port wants it: a page of the delta, or the details that
// such a page left open. Invariant: events come whole or not at all. A series is read as a whole
// from its instances, because its occurrences come bare and a change of the series may come without
// them. Loaded when first used, with the SDK, the zones and all.
// Source: https://learn.microsoft.com/graph/delta-query-events and …/graph/api/event-list-instances
import type { PageItem } from '#shared/domain/plan.ts'
import type { CursorExpired, Page } from '../vendor.ts'
import { callDelta, nextOf, noSeries, removalOf, sortRows, type Asking, type SortedRows } from './delta.ts'
import { readDetails } from './details.ts'
import { readPlainly } from './plain.ts'
import { nextFromPlace, readPlace, type Details, type Place } from './page-token.ts'
import { wireEvent } from './wire.ts'

/**
 * More removals than this in one page are a clearing up: they are believed without a look at each.
 */
const REMOVALS_LOOKED_AT_MAX = 40

/** The port's `fetchPage`. */
export async function fetchPage(asking: Asking): Promise<Page | CursorExpired> {
  const { pageToken, reading } = asking.request
  if (reading === 'plain') return readPlainly(asking)
  const place = pageToken === null ? START : readPlace(pageToken)
  if (place === null) return { kind: 'cursor-expired' }
  if (place.details === null) return readDelta(asking, place)
  const page = await readDetails(asking, { ...place, details: place.details })
  return page === 'expired' ? { kind: 'cursor-expired' } : page
}

const START: Place = { link: null, details: null, seen: [] }

async function readDelta(asking: Asking, place: Place): Promise<Page | CursorExpired> {
  const data = await callDelta(asking, place.link)
  if (data === 'expired') return { kind: 'cursor-expired' }
  const onward = nextOf(asking.graph, data, place.link ?? asking.request.cursor)
  const sorted = sortRows(data, new Set(place.seen))
  const details = detailsOf(asking, { ...sorted, page: place.link, onward })
  return {
    kind: 'page',
    items: [...sorted.items, ...details.items],
    unreadable: sorted.unreadable,
    named: namedIn(data.value),
    next: nextFromPlace({ link: null, details: details.open, seen: place.seen }, onward),
  }
}

/** The rows of a page as they came: of a series that was read before they bring no items. */
function namedIn(rows: readonly unknown[]): NonNullable<Page['named']> {
  return rows.flatMap((raw) => {
    const wire = wireEvent.safeParse(raw).data
    if (wire === undefined) return []
    const isRemoved = wire['@removed'] !== undefined && wire['@removed'] !== null
    return [{ id: wire.id, version: isRemoved ? 'removed' : (wire['@odata.etag'] ?? null) }]
  })
}

/** What is left open by a page, and what can be said at once. */
function detailsOf(
  { clock, request }: Asking,
  page: Pick<SortedRows, 'items' | 'series' | 'removed'> & Pick<Details, 'page' | 'onward'>,
): { readonly items: readonly PageItem[]; readonly open: Details | null } {
  const isClearing = page.removed.length > REMOVALS_LOOKED_AT_MAX
  const items = isClearing ? page.removed.flatMap((id) => removalOf(id)) : []
  // What is a single now may have been a series: its occurrences need not be named as removed.
  const singles =
    request.cursor === null
      ? []
      : page.items.flatMap((item) => (item.kind === 'event' ? [noSeries(item.event.vendorEventId)] : []))
  const removed = isClearing ? [] : page.removed
  const isOpen = page.series.length > 0 || removed.length > 0
  const { series, onward } = page
  return {
    items: [...items, ...singles],
    open: isOpen
      ? { page: page.page, readAt: clock.now(), series: [...series], removed: [...removed], onward }
      : null,
  }
}
