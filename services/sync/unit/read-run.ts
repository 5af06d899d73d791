// Where a unit stands in reading one calendar. Pure. Invariants: every start of a full read takes a
// new generation and only continuing its page token keeps it; window, cursor, generation and way of
// listing stand still over a run; a cursor that expires twice without having been of use cools
// down, longer each time; a page token that expires takes its run back to the cursor, once.
import { BACKOFF_CAP_MS } from '#shared/domain/backoff.ts'
import type { FailureCode } from '#shared/domain/failure.ts'
import type { CalendarId, Micros } from '#shared/domain/ids.ts'
import { grownAgain, PAGE_SHRINKS_MAX, shrunkFurther } from '#shared/domain/page-limits.ts'
import {
  PLAIN_COOL_DOWN_PER_PAGE_MS,
  coolDownAfterPlainMs,
  usualAfterPlainMs,
  type Reading,
} from '#shared/domain/reading.ts'
import { windowAt, type Window } from '#shared/domain/window.ts'
import type { CalendarRow, Checkpoint } from '#shared/store/calendars.ts'
import { keptProgress, NO_PROGRESS_YET, progressOf, type Progress } from './run-progress.ts'

export interface CalendarRun {
  readonly calendar: CalendarRow
  /** null: a full read. */
  readonly cursor: string | null
  readonly pageToken: string | null
  /**
   * Set when a full read has seen its last page:
   * the sweep is left, and this cursor is committed with its last chunk.
   */
  readonly endCursor: string | null
  readonly window: Window
  readonly generation: number
  /** Database clock. */
  readonly startedAt: Micros
  readonly resyncStreak: number
  /**
   * How far its pages are shrunk, because one was too large:
   * a tenth of the items for each 1, back in small steps.
   */
  readonly shrunk: number
  readonly reading: Reading
  /** Its page token expired once, and it began again at its cursor. */
  readonly wentBack: boolean
  /** Pages that it has stored; of a plain listing, also those of the try that it continues. */
  readonly pages: number
  readonly progress: Progress
  /**
   * The rules by which all its pages are judged:
   * those of its begin, also when another release continues it.
   */
  readonly rules?: string
  /** It continues from a checkpoint, so it may have listed before its requests rang. */
  readonly isResumed: boolean
}

const MINUTE_MS = 60_000
const DAY_MICROS = 86_400_000_000
/**
 * The second read after a sweep that looked like a mass delete comes this much later, and a first
 * cool-down lasts as long.
 */
export const COOL_DOWN_MS = 10 * MINUTE_MS
const COOL_DOWN_MAX_MS = 6 * 60 * MINUTE_MS

const BEGINNING = {
  shrunk: 0,
  reading: 'usual',
  wentBack: false,
  pages: 0,
  progress: NO_PROGRESS_YET,
} satisfies Partial<CalendarRun>

/**
 * The run to begin or continue at `now` (database clock); null while the calendar cools down
 * before its next full read.
 */
export function beginRun(calendar: CalendarRow, now: Micros): CalendarRun | null {
  const { checkpoint, resyncStreak } = calendar
  if (checkpoint !== null) {
    const progress = progressOf(checkpoint.progress)
    const shrunk = Math.max(checkpoint.shrunk ?? 0, shrunkOf(calendar))
    return { ...BEGINNING, ...checkpoint, calendar, resyncStreak, progress, shrunk, isResumed: true }
  }
  const isFull = isFullReadDue(calendar, now)
  if (isFull && coolsDown(calendar, now)) return null
  return isFull ? fullRun(calendar, calendar.generation, now) : changesRun(calendar, now)
}

/** Whether a unit that begins at `now` reads (or continues to read) the whole calendar. */
export function isFullRead(calendar: CalendarRow, now: Micros): boolean {
  const run = beginRun(calendar, now)
  return run !== null && run.cursor === null
}

/** Whether a second full read is owed and not yet due. */
export function isPutOff(calendar: CalendarRow, now: Micros): boolean {
  return calendar.sweepBelow !== null && coolsDown(calendar, now)
}

/** Why a full read begins with this run, for counting; null when it does not begin one. */
export function fullReadReason(run: CalendarRun): 'first' | 'second-look' | 'plain' | 'due' | null {
  if (run.cursor !== null || run.isResumed) return null
  if (run.calendar.lastFullSync === null) return 'first'
  if (run.calendar.sweepBelow !== null) return 'second-look'
  return run.reading === 'plain' ? 'plain' : 'due'
}

/**
 * The vendor discarded what it was sent. A page token of changes: back to the cursor, which it need
 * not have meant. Else a full read from the start; null when that came twice in a row.
 */
export function restartRun(run: CalendarRun, now: Micros): CalendarRun | null {
  const back = backToCursor(run)
  if (back !== null) return back
  if (run.resyncStreak > 0) return null
  // Of the same size from its first page on:
  // a vendor may take a page token of another size for an expired one.
  const { shrunk, reading } = run
  return { ...fullRun(run.calendar, run.generation, now), resyncStreak: 1, shrunk, reading }
}

/** The run from its cursor again; null when it stands there, has none, or did so before. */
export function backToCursor(run: CalendarRun): CalendarRun | null {
  if (run.cursor === null || run.pageToken === null || run.wentBack) return null
  return { ...run, pageToken: null, wentBack: true, progress: NO_PROGRESS_YET }
}

/** A full read from the start in another way, because the place of `run` is dead. */
export function fromTheStart(run: CalendarRun, reading: Reading, now: Micros): CalendarRun {
  return { ...fullRun(run.calendar, run.generation, now), resyncStreak: run.resyncStreak, reading }
}

/** Whether it tries if what could only be listed plainly can be read in the usual way again. */
export function isTry({ calendar, reading, cursor }: CalendarRun): boolean {
  return calendar.reading === 'plain' && reading !== 'plain' && cursor === null
}

/**
 * The plain listing that continues where a try led nowhere. It counts the pages of the try as its
 * own: both cost calls, and its cool-down is for both. `usualFrom`: when the next try may be made.
 */
export function backToPlain(run: CalendarRun, usualFrom: Micros, now: Micros): CalendarRun {
  const calendar = { ...run.calendar, usualFrom, placeFailures: 0, placeFailingSince: null }
  const plain = fullRun(calendar, run.generation, now)
  return { ...plain, resyncStreak: run.resyncStreak, reading: 'plain', pages: run.pages + 1 }
}

/**
 * What comes after a plain listing that has ended: its cool-down, and until the usual way may be
 * tried.
 */
export function afterPlain(
  { calendar, startedAt, pages }: CalendarRun,
  now: Micros,
): { readonly usualInMs: number; readonly coolDownMs: number } {
  const isKnown = calendar.reading === 'plain' && calendar.usualFrom !== null
  const usualFrom = isKnown ? calendar.usualFrom : startedAt + usualAfterPlainMs(1) * 1000
  const usualInMs = Math.max(0, (usualFrom - now) / 1000)
  // Runs that led nowhere a moment ago cost many calls: its cool-down is for them as well.
  const isCostly = calendar.lastCode === 'vendor/no-progress'
  return { usualInMs, coolDownMs: coolDownAfterPlainMs(isCostly ? Infinity : pages + 1, usualInMs) }
}

/**
 * The same place with smaller pages, after one that was too large; null when even the smallest are.
 */
export function withSmallerPages(run: CalendarRun): CalendarRun | null {
  const shrunk = shrunkFurther(run.shrunk)
  return shrunk === null ? null : { ...run, shrunk }
}

/** The next page, a little larger again where pages were shrunk. */
export function nextPage(run: CalendarRun, pageToken: string): CalendarRun {
  return { ...run, pageToken, shrunk: grownAgain(run.shrunk), pages: run.pages + 1 }
}

/**
 * How long a calendar cools down after its cursor expired `streak` + 1 times in a row.
 * `pages`: see pagesToHere.
 */
export function coolDownMs(streak: number, pages: number | null): number {
  return atMostWhatItCosts(Math.min(COOL_DOWN_MAX_MS, COOL_DOWN_MS * 2 ** (streak - 1)), pages)
}

/**
 * What a read from the start costs until it stands where `run` does, in pages; null where that
 * is not known: a dead cursor is left for all pages that there are.
 */
export function pagesToHere({ cursor, pageToken, pages }: CalendarRun): number | null {
  return cursor === null && pageToken !== null ? pages + 1 : null
}

/**
 * A cool-down spares the vendor the pages of a read that may be in vain. Where they are few it is
 * no longer than any calendar's backoff: what healed meanwhile would wait for nothing.
 */
export function atMostWhatItCosts(waitMs: number, pages: number | null): number {
  if (pages === null) return waitMs
  return Math.min(waitMs, Math.max(BACKOFF_CAP_MS, pages * PLAIN_COOL_DOWN_PER_PAGE_MS))
}

/**
 * One more pass from the new cursor, after a run that was resumed:
 * it sees what changed since that run began.
 */
export function followUp(run: CalendarRun, cursor: string): CalendarRun {
  return {
    ...run,
    ...BEGINNING,
    reading: run.reading,
    cursor,
    pageToken: null,
    endCursor: null,
    isResumed: false,
  }
}

/** What to store of a run. */
export function checkpointOf(run: CalendarRun): Checkpoint {
  const { cursor, pageToken, endCursor, window, generation, startedAt, shrunk, reading, wentBack, pages } =
    run
  const place = { cursor, pageToken, endCursor, window, generation, startedAt }
  const rules = run.rules === undefined ? {} : { rules: run.rules }
  return { ...place, ...rules, shrunk, reading, wentBack, pages, progress: keptProgress(run.progress) }
}

function isFullReadDue(calendar: CalendarRow, now: Micros): boolean {
  if (calendar.cursor === null || calendar.lastFullSync === null || calendar.reading === 'plain') return true
  if (calendar.sweepBelow !== null) return !coolsDown(calendar, now)
  if (calendar.isRereadDue) return true
  return now >= calendar.lastFullSync + rollAfterMicros(calendar.calendarId)
}

function coolsDown(calendar: CalendarRow, now: Micros): boolean {
  return calendar.resyncAfter !== null && calendar.resyncAfter > now
}

/** 6.5 to 7.5 days, by the calendar: those that were connected together do not roll together. */
function rollAfterMicros(calendar: CalendarId): Micros {
  return Math.floor((6.5 + Number.parseInt(calendar.slice(-4), 16) / 0x10000) * DAY_MICROS)
}

function fullRun(calendar: CalendarRow, after: number, now: Micros): CalendarRun {
  const isUsualDue = calendar.usualFrom !== null && calendar.usualFrom <= now
  const reading = isUsualDue ? 'usual' : calendar.reading
  return newRun(calendar, now, { cursor: null, generation: after + 1, window: windowAt(now), reading })
}

function changesRun(calendar: CalendarRow, now: Micros): CalendarRun {
  const { cursor, generation, lastFullSync, reading } = calendar
  return newRun(calendar, now, { cursor, generation, window: windowAt(lastFullSync ?? now), reading })
}

/**
 * Where even the smallest pages were too large the last time, larger ones are not asked for before.
 */
function shrunkOf({ lastCode }: CalendarRow): number {
  return lastCode === ('vendor/answer-too-large' satisfies FailureCode) ? PAGE_SHRINKS_MAX : 0
}

function newRun(
  calendar: CalendarRow,
  now: Micros,
  from: Pick<CalendarRun, 'cursor' | 'generation' | 'window' | 'reading'>,
): CalendarRun {
  const { resyncStreak } = calendar
  return {
    ...BEGINNING,
    shrunk: shrunkOf(calendar),
    ...from,
    ...(calendar.rules === undefined ? {} : { rules: calendar.rules }),
    calendar,
    resyncStreak,
    pageToken: null,
    endCursor: null,
    startedAt: now,
    isResumed: false,
  }
}
