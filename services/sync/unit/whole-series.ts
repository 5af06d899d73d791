// Series that pages touch are read whole, in the same run: a vendor that tells a change of a series
// in part would leave ghosts behind. Invariants: no page waits for a series, it is stored first;
// series are read after the last page of the run, for what they answer is newer than what its pages
// tell, which would go back behind it (drill GD-5, 2026-11-30); until each was read they stand in
// the page token, so they are not lost when the unit ends, and the cursor moves after them.
import { z } from 'zod'
import { PAGE_ITEMS_MAX } from '#shared/domain/page-limits.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import { witnessesOf } from '#shared/store/series.ts'
import type { Page, SeriesAnswer, SeriesRequest, SeriesTouch } from '#shared/vendors/vendor.ts'
import { seriesToldInTwoWays } from './moments.ts'
import type { CalendarRun } from './read-run.ts'
import type { Interruption, UnitDeps } from './unit.ts'

/** Of one step, each with one call as a rule: about two seconds at a slow vendor. */
export const SERIES_PER_STEP = 8
/**
 * Ids that are kept of what pages told, 250 kB.
 * Beyond them a series counts, as a rule the newer answer.
 */
export const TOLD_MAX = 5_000
/** No vendor's token begins like this. */
const PREFIX = 'calstream-series:'

const openSchema = z.object({
  seriesId: z.string(),
  isLive: z.boolean(),
  isEnded: z.boolean(),
  /** A page shows a single event under its id. */
  isSingle: z.boolean().default(false),
})
type Open = z.output<typeof openSchema>

const placeSchema = z.object({
  open: z.array(openSchema).min(1),
  /**
   * Ids of which pages told the state. A place of before 30 Nov 2026 has none: its page was stored
   * together with its first series.
   */
  told: z.array(z.string()).default([]),
  /** Ids that pages named and that could not be read. */
  unread: z.array(z.string()).default([]),
  next: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('more'), pageToken: z.string() }),
    z.object({ kind: z.literal('end'), cursor: z.string() }),
  ]),
})

/** Series that the stored pages of a run touched, and where the last of these pages leads. */
export type SeriesPlace = z.output<typeof placeSchema>

/** One call of the vendor behind the gates. */
type ReadSeries = (request: SeriesRequest) => Promise<SeriesAnswer | Interruption>

type Deps = Pick<UnitDeps, 'db' | 'logger'>
type At = Pick<CalendarRun, 'pageToken'>

/**
 * The series that are left to be read when the vendor has no more pages of the run; null otherwise.
 */
export function seriesToRead(run: At): SeriesPlace | null {
  const place = placeAt(run)
  return place?.next.kind === 'end' ? place : null
}

/** The vendor's page token at the place of a run; null where the run begins. */
export function vendorsPageToken(run: At): string | null {
  const place = placeAt(run)
  if (place === null) return run.pageToken
  return place.next.kind === 'more' ? place.next.pageToken : null
}

function placeAt({ pageToken }: At): SeriesPlace | null {
  if (!pageToken?.startsWith(PREFIX)) return null
  try {
    return placeSchema.safeParse(JSON.parse(pageToken.slice(PREFIX.length))).data ?? null
  } catch {
    return null
  }
}

/**
 * Where a run continues after a page that is not stored yet: where the page leads, with the series
 * that this page and those before it touch. A series that is not alive and of which nothing is
 * stored costs no call. Throws Failure `store/*`.
 */
export async function nextWithSeries(
  { db }: Pick<Deps, 'db'>,
  run: CalendarRun,
  { items, unreadable, touched = [], completes = false, next }: Page,
): Promise<Page['next']> {
  const before = completes ? null : placeAt(run)
  if (touched.length === 0 && before === null) return next
  const stored = await witnessesOf(db, run.calendar.calendarId, {
    seriesIds: touched.map(({ seriesId }) => seriesId),
    except: items.flatMap((item) => (item.kind === 'removed' ? item.vendorEventId : [])),
  })
  const open = opened(
    before?.open ?? [],
    touched.filter(({ seriesId, isLive }) => isLive || stored.has(seriesId)),
    new Set(items.flatMap((item) => (item.kind === 'event' ? item.event.vendorEventId : []))),
  )
  const told = [...(before?.told ?? []), ...toldOf(open, items)].slice(-TOLD_MAX)
  const unread = [...(before?.unread ?? []), ...unreadable.flatMap(idOfUnreadable)]
  return pageTokenOf({ open, told, unread, next })
}

/**
 * The later page knows better whether an id is a single event's; what any page shows alive is not
 * gone by the word of another.
 */
function opened(
  before: readonly Open[],
  touched: readonly SeriesTouch[],
  events: ReadonlySet<string>,
): Open[] {
  const open = new Map(before.map((one) => [one.seriesId, one]))
  for (const { seriesId, isLive, isEnded } of touched) {
    const known = open.get(seriesId)
    open.set(seriesId, {
      seriesId,
      isLive: isLive || known?.isLive === true,
      isEnded: isEnded || known?.isEnded === true,
      isSingle: events.has(seriesId),
    })
  }
  return [...open.values()]
}

/** A page of the next of the series that the pages of a run touched. Throws Failure. */
export async function nextSeries(
  deps: Deps,
  { calendar, window }: CalendarRun,
  place: SeriesPlace,
  read: ReadSeries,
): Promise<Page | Interruption> {
  const { calendarId, vendorCalendarId } = calendar
  const witnesses = await witnessesOf(deps.db, calendarId, {
    seriesIds: place.open.map(({ seriesId }) => seriesId),
    except: [],
  })
  const open = place.open.filter(({ seriesId, isLive }) => isLive || witnesses.has(seriesId))
  const items: PageItem[] = []
  const unreadable: Page['unreadable'][number][] = []
  let done = 0
  for (const { seriesId, isLive, isSingle, isEnded } of open.slice(0, SERIES_PER_STEP)) {
    if (items.length > PAGE_ITEMS_MAX) break
    const found = await read({
      vendorCalendarId,
      seriesId,
      window,
      isEnded: isEnded && !isLive,
      // A series of which a page shows something is not gone:
      // an answer that does not know it ends nothing.
      witness: isLive ? null : (witnesses.get(seriesId) ?? null),
    })
    if (found.kind === 'held' || found.kind === 'handed-over') return found
    done += 1
    if (found.kind === 'unsure') {
      seriesToldInTwoWays(deps, calendarId)
      continue
    }
    // Where a page shows a single event under the series' id there are no occurrences any more.
    const known = isSingle ? { items: [], unreadable: [] } : found
    items.push(...beyondPages(place, known.items), wholeOf(seriesId, place, known, isSingle))
    unreadable.push(...known.unreadable)
  }
  const next = pageTokenOf({ ...place, open: open.slice(done) })
  return { kind: 'page', items, unreadable, completes: true, next }
}

/** What pages told stays as they told it: of whatever came after them their cursor tells. */
function beyondPages({ told }: SeriesPlace, items: readonly PageItem[]): readonly PageItem[] {
  const isTold = new Set(told)
  return items.filter((item) => item.kind !== 'event' || !isTold.has(item.event.vendorEventId))
}

function wholeOf(
  seriesId: string,
  { told, unread }: SeriesPlace,
  found: Pick<Page, 'items' | 'unreadable'>,
  isSingle: boolean,
): PageItem {
  const named = found.items.flatMap((item) => (item.kind === 'event' ? item.event.vendorEventId : []))
  const unreadable = found.unreadable.flatMap(idOfUnreadable)
  const single = isSingle ? [seriesId] : []
  return {
    kind: 'series',
    seriesId,
    vendorEventIds: [...named, ...unreadable, ...told, ...unread, ...single],
  }
}

/**
 * The ids of a page that could be of these series:
 * of what it removed no more than the id is known.
 */
function toldOf(open: readonly Open[], items: readonly PageItem[]): readonly string[] {
  const ids = new Set(open.map(({ seriesId }) => seriesId))
  return items.flatMap((item) => {
    if (item.kind === 'series') return []
    if (item.kind === 'removed') return item.vendorEventId
    const { vendorEventId, seriesId } = item.event
    return ids.has(vendorEventId) || (seriesId !== null && ids.has(seriesId)) ? vendorEventId : []
  })
}

function pageTokenOf(place: SeriesPlace): Page['next'] {
  if (place.open.length === 0) return place.next
  return { kind: 'more', pageToken: `${PREFIX}${JSON.stringify(place)}` }
}

function idOfUnreadable({ vendorEventId }: Page['unreadable'][number]): readonly string[] {
  return vendorEventId === null ? [] : [vendorEventId]
}
