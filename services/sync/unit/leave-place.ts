// A page, or a better place. Invariants: a place is left only for one that has answered in
// the same unit; failures at a place are counted in the calendar's row, and the first page
// that is stored forgets them; a run that gets nowhere loses its place and is begun again
// in another way of listing.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import {
  readingAfterNoProgress,
  USUAL_AGAIN_MS,
  usualAfterPlainMs,
  type Reading,
} from '#shared/domain/reading.ts'
import { giveUpRun, saveFreshStart, savePlaceFailure } from '#shared/store/calendars.ts'
import type { CursorExpired, Page } from '#shared/vendors/vendor.ts'
import { placeLeft, runBrokenOff, usualWayFailed } from './moments.ts'
import { backToPlain, isTry, pagesToHere, type CalendarRun } from './read-run.ts'
import { pageOfRun, type TooLarge } from './page-of-run.ts'
import type { Permit } from '../lanes.ts'
import { freshCoolDownMs, LOOK_AGAIN_MS, otherPlaces, placeOf, tellsOfPlace } from './place-rules.ts'
import { leadsNowhere, weighPage, type Told } from './run-progress.ts'
import { writeFenced, type Interruption, type Unit, type UnitDeps } from './unit.ts'

type Fetched = Page | CursorExpired | Interruption | TooLarge

/** An answer, and the run that it belongs to. */
export interface At {
  readonly run: CalendarRun
  readonly page: Fetched
}

/**
 * Where not even a plain listing gets anywhere, the calendar is tried once an hour: in the usual
 * way, then plainly.
 */
const NOWHERE_AT_ALL_MICROS = 3_600_000_000

/**
 * The page at which a run stands, or at the place that the run is taken to because its own is dead.
 * Throws what `pageOfRun` throws; Failure `vendor/no-progress` when the run leads nowhere.
 */
export async function fetchOrLeave(
  deps: UnitDeps,
  unit: Unit,
  run: CalendarRun,
  permit: Permit,
): Promise<At> {
  try {
    const at = progressed(run, await pageOfRun(deps, unit, run, permit))
    if (at.page.kind === 'cursor-expired' && isTry(run))
      return await endTry(deps, unit, { run, code: 'expired' }, permit)
    return at
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const { code } = error
    if (isTry(run) && leadsTryNowhere(error)) return endTry(deps, unit, { run, code }, permit)
    if (code === 'vendor/no-progress') await begunAnew(deps, unit, run, error)
    if (!tellsOfPlace(error)) throw error
    return leave(deps, unit, { run, failure: error }, permit)
  }
}

/** Being throttled says nothing of a way of listing. */
function leadsTryNowhere(failure: Failure): boolean {
  return failure.kind !== 'throttled' && (failure.code === 'vendor/no-progress' || tellsOfPlace(failure))
}

/** That is no failure: a plain listing was due as well, and continues in the same unit. */
async function endTry(
  deps: UnitDeps,
  unit: Unit,
  { run, code }: { readonly run: CalendarRun; readonly code: string },
  permit: Permit,
): Promise<At> {
  const { now } = unit.connection
  const { calendarId } = run.calendar
  const usualAgainMs = usualAfterPlainMs(run.pages + 1)
  await writeFenced(deps, unit, 0, ({ tx }) =>
    giveUpRun(tx, calendarId, { keepsCursor: false, reading: 'plain', usualAgainMs }),
  )
  usualWayFailed(deps, unit, run, code)
  return fetchOrLeave(deps, unit, backToPlain(run, now + usualAgainMs * 1000, now), permit)
}

/**
 * Asks the other places, the nearest first.
 * Throws the failure of the own one when none of them answers.
 */
async function leave(
  deps: UnitDeps,
  unit: Unit,
  { run, failure }: { readonly run: CalendarRun; readonly failure: Failure },
  permit: Permit,
): Promise<At> {
  const { calendarId, freshStarts } = run.calendar
  const others = otherPlaces(run, failure, unit.connection.now)
  const coolDownMs = freshCoolDownMs(freshStarts + 1, pagesToHere(run))
  for (const place of others) {
    const other = asLeft(place, unit.connection.now + coolDownMs * 1000)
    const page = await answerOf(() => pageOfRun(deps, unit, other, permit))
    if (page === 'busy') break
    if (page === null) continue
    // The minute of the unit is over: handed over now, it would come back to this place at once.
    if (page.kind === 'handed-over' && !permit.stopping.aborted) break
    if (page.kind === 'page' || page.kind === 'too-large') {
      if (other.cursor === null)
        await writeFenced(deps, unit, 0, ({ tx }) => saveFreshStart(tx, calendarId, coolDownMs))
      const to = { next: placeOf(other), by: other.reading }
      placeLeft(deps, unit, run, { place: placeOf(run), code: failure.code, ...to })
      return progressed(other, page)
    }
    return { run: other, page }
  }
  const restOfLook = others.length === 0 ? null : LOOK_AGAIN_MS
  await writeFenced(deps, unit, 0, ({ tx }) => savePlaceFailure(tx, calendarId, restOfLook))
  throw failure
}

/**
 * The run at another place, with what its row says once that place has answered: its failures are
 * forgotten and the next look at the start has to wait. Without it a run whose second page always
 * fails begins again and again in the same unit.
 */
function asLeft(run: CalendarRun, freshAfter: Micros): CalendarRun {
  const { calendar } = run
  const isFresh = run.cursor === null
  return {
    ...run,
    calendar: {
      ...calendar,
      placeFailures: 0,
      placeFailingSince: null,
      ...(isFresh ? { freshStarts: calendar.freshStarts + 1, freshAfter } : {}),
    },
  }
}

/**
 * null: this place does not answer either. A cursor that has expired is one that does not. 'busy':
 * nothing may be asked now.
 */
async function answerOf(call: () => Promise<Fetched>): Promise<Fetched | null | 'busy'> {
  try {
    const answer = await call()
    return answer.kind === 'cursor-expired' ? null : answer
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (error.kind === 'throttled') return 'busy'
    if (tellsOfPlace(error)) return null
    throw error
  }
}

/**
 * What the page adds to the progress of its run. One that completes pages before it adds nothing:
 * the occurrences of a series that was read whole stand in the vendor's next pages as well, and
 * these would seem to repeat themselves. Throws Failure `vendor/no-progress`.
 */
function progressed(run: CalendarRun, page: Fetched): At {
  if (page.kind !== 'page' || page.completes === true) return { run, page }
  const listing = { reading: run.reading, isAgain: isAgain(run) }
  const progress = weighPage(run.progress, toldBy(page), listing)
  if (page.next.kind === 'more' && leadsNowhere(progress)) throw new Failure('vendor/no-progress')
  return { run: { ...run, progress }, page }
}

/**
 * Its calendar got nowhere before, in this way of listing or another: little is enough to see it
 * again.
 */
function isAgain(run: CalendarRun): boolean {
  return isTry(run) || run.calendar.lastCode === ('vendor/no-progress' satisfies FailureCode)
}

function toldBy(page: Page): readonly Told[] {
  const items = page.items.map((item): Told => {
    switch (item.kind) {
      case 'event':
        return { id: item.event.vendorEventId, version: item.event.etag }
      case 'removed':
        return { id: item.vendorEventId, version: item.reason }
      case 'series':
        return { id: `series ${item.seriesId}`, version: item.vendorEventIds.join('\n') }
      default:
        return item satisfies never
    }
  })
  const unreadable = page.unreadable.flatMap(({ vendorEventId: id }) =>
    id === null ? [] : [{ id, version: null }],
  )
  return page.named ?? [...items, ...unreadable]
}

/** Gives the place of a run up that leads nowhere, and throws the failure. */
async function begunAnew(deps: UnitDeps, unit: Unit, run: CalendarRun, failure: Failure): Promise<never> {
  const { calendarId, reading: known } = run.calendar
  const reading = readingAfterNoProgress(run.reading, known)
  await writeFenced(deps, unit, 0, ({ tx }) =>
    giveUpRun(tx, calendarId, {
      // The changes since it are asked for once more, in other pages; a plain listing needs none.
      keepsCursor: run.cursor !== null && reading !== 'plain',
      reading,
      usualAgainMs: usualAgainMs(run, reading),
    }),
  )
  runBrokenOff(deps, unit, run, { code: failure.code, next: reading })
  if (run.reading !== 'plain') throw failure
  throw new Failure(failure.code, failure.message, { retryAt: deps.clock.now() + NOWHERE_AT_ALL_MICROS })
}

/** After a plain listing that led nowhere the usual way and a plain one are tried in one unit. */
function usualAgainMs(run: CalendarRun, next: Reading): number {
  if (run.reading === 'plain') return 0
  return next === 'plain' ? usualAfterPlainMs(run.pages + 1) : USUAL_AGAIN_MS
}
