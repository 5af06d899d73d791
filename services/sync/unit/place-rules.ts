// When a place is dead, and where a calendar continues instead. Pure. A place is where a run
// stands: a page token, a cursor, or the start. A vendor that fails everywhere says nothing about a
// place, so nothing is dropped by counting alone: other places are asked in the same unit, right
// after the one that failed again, and only one that answers takes its place. In an outage none
// answers, and a fleet keeps its cursors.
import type { Failure, FailureCode } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { readingFromStart, type Reading } from '#shared/domain/reading.ts'
import { atMostWhatItCosts, backToCursor, fromTheStart, type CalendarRun } from './read-run.ts'

/** One failure may be chance; the third in a row, each after a backoff, is not. */
export const PLACE_FAILURES = 3
/**
 * What a vendor recovers from (5xx, no answer, a broken one) has to last as well: where one call in
 * three fails, three in a row come within seconds (drill GD-S, 2026-11-30).
 */
export const PLACE_LASTS_MS = 150_000
/** Where failures are rare, because tries are, fewer are enough when they lie so far apart. */
export const PLACE_AGE_MS = 60 * 60 * 1000
const PLACE_FAILURES_OLD = 2
/**
 * After each read from the start the next one waits twice as long: six in the first day, then four
 * a day, unless it costs a few pages only.
 */
const FRESH_COOL_DOWN_MS = 60 * 60 * 1000
const FRESH_COOL_DOWN_MAX_MS = 6 * 60 * 60 * 1000
/** A look at other places that none of them answered costs a call to each. */
export const LOOK_AGAIN_MS = 60 * 60 * 1000

/**
 * What a vendor says of one call. Other codes are about the account, our limits,
 * or a change that is a moment old.
 */
const OF_A_PLACE: ReadonlySet<FailureCode> = new Set([
  'vendor/unavailable',
  'vendor/timeout',
  'vendor/unreadable-answer',
  'vendor/answer-too-large',
  'vendor/rejected',
  'vendor/call-refused',
  'vendor/calendar-gone',
])

/** Whether a failed call for a page counts against the place that it asked for. */
export function tellsOfPlace({ code }: Failure): boolean {
  return OF_A_PLACE.has(code) || code === THROTTLED
}

/**
 * What a vendor in trouble says of any place.
 * A page that is too large, or a refusal, is no such trouble.
 */
const PASSING: ReadonlySet<FailureCode> = new Set([
  'vendor/unavailable',
  'vendor/timeout',
  'vendor/unreadable-answer',
])

/** It is about the mailbox as a rule, and only what lasts may be about one place. */
const THROTTLED: FailureCode = 'vendor/throttled'

/** What a place is called in metrics and logs. */
export type PlaceKind = 'page' | 'cursor' | 'start'

export function placeOf({ pageToken, cursor }: CalendarRun): PlaceKind {
  if (pageToken !== null) return 'page'
  return cursor === null ? 'start' : 'cursor'
}

/**
 * Where to look instead, after one more failure at the place of `run`: nowhere while it is too
 * early to tell; else its cursor, then the start with another way of listing and at last plainly,
 * unless the last such look is too near or a full read is not allowed yet. What is listed plainly
 * is late, so trouble that may pass has to last an hour before.
 * @param failure what its place answered; @param now database clock.
 */
export function otherPlaces(
  run: CalendarRun,
  { code }: Pick<Failure, 'code'>,
  now: Micros,
): readonly CalendarRun[] {
  const { placeFailures, placeFailingSince, freshAfter, freshStarts, resyncAfter } = run.calendar
  const failures = placeFailures + 1
  const failingMs = (now - (placeFailingSince ?? now)) / 1000
  const isOld = failingMs >= PLACE_AGE_MS
  const isPassing = PASSING.has(code)
  if (failures < (isOld ? PLACE_FAILURES_OLD : PLACE_FAILURES)) return []
  if (isPassing && failingMs < PLACE_LASTS_MS) return []
  if (code === THROTTLED && !isOld) return []
  if (now < Math.max(freshAfter ?? 0, resyncAfter ?? 0)) return []
  // Half of the minute of a unit is over; the start is the surer place.
  const cursor = code === 'vendor/timeout' ? null : backToCursor(run)
  const first = readingFromStart(freshStarts, run.reading)
  const isPlainToo = first !== 'plain' && run.reading !== 'plain' && (isOld || !isPassing)
  const readings: readonly Reading[] = isPlainToo ? [first, 'plain'] : [first]
  const starts = readings.map((reading) => fromTheStart(run, reading, now))
  return cursor === null ? starts : [cursor, ...starts]
}

/**
 * How long the next read from the start waits after the `nth` (from 1) in a row.
 * `pages`: see pagesToHere.
 */
export function freshCoolDownMs(nth: number, pages: number | null): number {
  return atMostWhatItCosts(Math.min(FRESH_COOL_DOWN_MAX_MS, FRESH_COOL_DOWN_MS * 2 ** (nth - 1)), pages)
}
