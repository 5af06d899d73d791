// Series that a page touches are read whole, in the same unit: a vendor that tells a change of a series in part would leave ghosts
// behind. Invariants: a page and its first few series are one transaction; what is left travels in the page token, so it is not
// lost when the unit ends there; the cursor moves after the last of them.
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

/** The series that are left to be read at the place of a run; null when the vendor's next page is. */
export function openSeries({ pageToken }: Pick<CalendarRun, 'pageToken'>): SeriesPlace | null {
  if (!pageToken?.startsWith(PREFIX)) return null
  try {
    return placeSchema.safeParse(JSON.parse(pageToken.slice(PREFIX.length))).data ?? null
  } catch {
    return null
  }
}

/** The page with the first of the series that it touches. Throws Failure. */
export async function withSeries(
  deps: Deps,
  run: CalendarRun,
  page: Page,
  read: ReadSeries,
): Promise<Page | Interruption> {
  const open = page.touched ?? []
  return open.length === 0 ? page : readSome(deps, run, { page, open }, read)
}

/** A page of the next of the series that a stored page left open. Throws Failure. */
export async function nextSeries(
  deps: Deps,
  run: CalendarRun,
  { open, next }: SeriesPlace,
  read: ReadSeries,
): Promise<Page | Interruption> {
  return readSome(
    deps,
    run,
    { page: { kind: 'page', items: [], unreadable: [], completes: true, next }, open },
    read,
  )
}

async function readSome(
  deps: Deps,
  run: CalendarRun,
  { page, open }: { readonly page: Page; readonly open: readonly SeriesTouch[] },
  read: ReadSeries,
): Promise<Page | Interruption> {
  const { calendarId, vendorCalendarId } = run.calendar
  const witnesses = await witnessesOf(deps.db, calendarId, {
    seriesIds: open.map(({ seriesId }) => seriesId),
    except: page.items.flatMap((item) => (item.kind === 'removed' ? item.vendorEventId : [])),
  })
  const wanted = open.filter(({ seriesId, isLive }) => isLive || witnesses.has(seriesId))
  const items: PageItem[] = [...page.items]
  const unreadable = [...page.unreadable]
  let done = 0
  for (const { seriesId, isLive, isEnded } of wanted.slice(0, SERIES_PER_STEP)) {
    if (done > 0 && items.length > PAGE_ITEMS_MAX) break
    // A series of which the page shows something is not gone: then an answer that does not know it ends nothing.
    const witness = isLive ? null : (witnesses.get(seriesId) ?? null)
    const found = await read({
      vendorCalendarId,
      seriesId,
      window: run.window,
      isEnded: isEnded && !isLive,
      witness,
    })
    if (found.kind === 'held' || found.kind === 'handed-over') return found
    done += 1
    if (found.kind === 'unsure') reportUnsure(deps, run)
    else {
      items.push(...found.items, wholeOf(seriesId, found))
      unreadable.push(...found.unreadable)
    }
  }
  const { kind, named, completes = false } = page
  const next = placeAfter(wanted.slice(done), page.next)
  return { kind, items, unreadable, completes, next, ...(named && { named }) }
}

function wholeOf(seriesId: string, found: Extract<SeriesAnswer, { kind: 'whole' }>): PageItem {
  const named = found.items.flatMap((item) => (item.kind === 'event' ? item.event.vendorEventId : []))
  const unread = found.unreadable.flatMap(({ vendorEventId }) => vendorEventId ?? [])
  return { kind: 'series', seriesId, vendorEventIds: [...named, ...unread] }
}

function placeAfter(open: readonly SeriesTouch[], next: Page['next']): Page['next'] {
  if (open.length === 0) return next
  return { kind: 'more', pageToken: `${PREFIX}${JSON.stringify({ open, next })}` }
}

function reportUnsure({ logger }: Deps, { calendar }: CalendarRun): void {
  logger.info(
    { calendarId: calendar.calendarId },
    'a vendor tells of a series in two ways; only what its page names is changed',
  )
}
