// Series that a page touches are read whole, in the same unit: a vendor that tells a change of a
// series in part would leave ghosts behind. Invariants: the page is stored before its series are
// read, for nobody should wait for them; they stand in the page token until each was read, so they
// are not lost when the unit ends there; the cursor moves after the last of them; of what page and
// series tell differently the page counts, until the next increment.
import { z } from 'zod'
import { PAGE_ITEMS_MAX } from '#shared/domain/page-limits.ts'
import { witnessesOf } from '#shared/store/series.ts'
import type { Page, PageItem, SeriesAnswer, SeriesRequest, SeriesTouch } from '#shared/vendors/vendor.ts'
import type { CalendarRun } from './calendar-run.ts'
import type { Interruption, UnitDeps } from './unit.ts'

/** Of one step, each with one call as a rule: about two seconds at a slow vendor. */
export const SERIES_PER_STEP = 8
/** No vendor's token begins like this. */
const PREFIX = 'calstream-series:'

const placeSchema = z.object({
  open: z.array(z.object({ seriesId: z.string(), isLive: z.boolean(), isEnded: z.boolean() })).min(1),
  /**
   * Ids of which the page told the state.
   * A place of before 30 Nov 2026 was stored together with its first series.
   */
  told: z.array(z.string()).default([]),
  /** Ids that the page named and that could not be read. */
  unread: z.array(z.string()).default([]),
  next: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('more'), pageToken: z.string() }),
    z.object({ kind: z.literal('end'), cursor: z.string() }),
  ]),
})

/** Series of a page that is stored, and where that page leads. */
export type SeriesPlace = z.output<typeof placeSchema>

/** One call of the vendor behind the gates. */
export type ReadSeries = (request: SeriesRequest) => Promise<SeriesAnswer | Interruption>

type Deps = Pick<UnitDeps, 'db' | 'logger'>

/**
 * The series that are left to be read at the place of a run; null when the vendor's next page is.
 */
export function openSeries({ pageToken }: Pick<CalendarRun, 'pageToken'>): SeriesPlace | null {
  if (!pageToken?.startsWith(PREFIX)) return null
  try {
    return placeSchema.safeParse(JSON.parse(pageToken.slice(PREFIX.length))).data ?? null
  } catch {
    return null
  }
}

/**
 * Where a run goes on after a page that is not stored yet: with the series that the page touches,
 * else where the page leads. A series that is not alive and of which nothing is held costs no call.
 * Throws Failure `store/*`.
 */
export async function placeAfter(
  { db }: Pick<Deps, 'db'>,
  { calendar }: CalendarRun,
  { items, unreadable, touched = [], next }: Page,
): Promise<Page['next']> {
  if (touched.length === 0) return next
  const held = await witnessesOf(db, calendar.calendarId, {
    seriesIds: touched.map(({ seriesId }) => seriesId),
    except: items.flatMap((item) => (item.kind === 'removed' ? item.vendorEventId : [])),
  })
  const open = touched.filter(({ seriesId, isLive }) => isLive || held.has(seriesId))
  return placeOf({ open, ...namedOf(open, items), unread: unreadable.flatMap(idOfUnreadable), next })
}

/** What the next of the series that a stored page left open add to it. Throws Failure. */
export async function nextSeries(
  { db, logger }: Deps,
  { calendar, window }: CalendarRun,
  place: SeriesPlace,
  read: ReadSeries,
): Promise<Page | Interruption> {
  const { calendarId, vendorCalendarId } = calendar
  const witnesses = await witnessesOf(db, calendarId, {
    seriesIds: place.open.map(({ seriesId }) => seriesId),
    except: [],
  })
  const open = place.open.filter(({ seriesId, isLive }) => isLive || witnesses.has(seriesId))
  const items: PageItem[] = []
  const unreadable: Page['unreadable'][number][] = []
  let done = 0
  for (const { seriesId, isLive, isEnded: hasEnded } of open.slice(0, SERIES_PER_STEP)) {
    if (items.length > PAGE_ITEMS_MAX) break
    // A series of which the page shows something is not gone:
    // then an answer that does not know it ends nothing.
    const witness = isLive ? null : (witnesses.get(seriesId) ?? null)
    const isEnded = hasEnded && !isLive
    const found = await read({ vendorCalendarId, seriesId, window, isEnded, witness })
    if (found.kind === 'held' || found.kind === 'handed-over') return found
    done += 1
    if (found.kind === 'unsure') {
      logger.info(
        { calendarId },
        'a vendor tells of a series in two ways; only what its page names is changed',
      )
      continue
    }
    // Where the page shows a single event under the series' id there are no occurrences any more.
    const isSingle = !hasEnded && place.told.includes(seriesId)
    const known = isSingle ? { items: [], unreadable: [] } : found
    items.push(...beyondPage(place, known.items), wholeOf(seriesId, place, known))
    unreadable.push(...known.unreadable)
  }
  return {
    kind: 'page',
    items,
    unreadable,
    completes: true,
    next: placeOf({ ...place, open: open.slice(done) }),
  }
}

/**
 * What the page told stays as the page told it: its answer may be the newer one, and is the one
 * that the cursor stands for.
 */
function beyondPage({ told }: SeriesPlace, items: readonly PageItem[]): readonly PageItem[] {
  const isTold = new Set(told)
  return items.filter((item) => item.kind !== 'event' || !isTold.has(item.event.vendorEventId))
}

function wholeOf(
  seriesId: string,
  { told, unread }: SeriesPlace,
  found: Pick<Page, 'items' | 'unreadable'>,
): PageItem {
  const named = found.items.flatMap((item) => (item.kind === 'event' ? item.event.vendorEventId : []))
  const unreadable = found.unreadable.flatMap(idOfUnreadable)
  return { kind: 'series', seriesId, vendorEventIds: [...named, ...unreadable, ...told, ...unread] }
}

/**
 * Of what a page tells, the ids that could be of these series:
 * of what it removed nobody knows more than the id.
 */
function namedOf(open: readonly SeriesTouch[], items: readonly PageItem[]): Pick<SeriesPlace, 'told'> {
  const ids = new Set(open.map(({ seriesId }) => seriesId))
  const told = items.flatMap((item) => {
    if (item.kind === 'series') return []
    if (item.kind === 'removed') return item.vendorEventId
    const { vendorEventId, seriesId } = item.event
    return ids.has(vendorEventId) || (seriesId !== null && ids.has(seriesId)) ? vendorEventId : []
  })
  return { told }
}

function placeOf(place: SeriesPlace): Page['next'] {
  if (place.open.length === 0) return place.next
  return { kind: 'more', pageToken: `${PREFIX}${JSON.stringify(place)}` }
}

function idOfUnreadable({ vendorEventId }: Page['unreadable'][number]): readonly string[] {
  return vendorEventId === null ? [] : [vendorEventId]
}
