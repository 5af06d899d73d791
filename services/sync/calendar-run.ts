// Where a unit stands in reading one calendar. Pure. Invariants: every start of a full read takes a new generation and only
// continuing its page token keeps it; window, cursor and generation stand still over a run; a cursor that expires twice without
// having been of use rests, longer each time.
import type { CalendarId, Micros } from '#shared/domain/ids.ts'
import { grownAgain, shrunkFurther } from '#shared/domain/page-limits.ts'
import { windowAt, type Window } from '#shared/domain/window.ts'
import type { CalendarRow, Checkpoint } from '#shared/store/calendars.ts'

export interface CalendarRun {
  readonly calendar: CalendarRow
  /** null: a full read. */
  readonly cursor: string | null
  readonly pageToken: string | null
  /** Set when a full read has seen its last page: the sweep is left, and this cursor is committed with its last chunk. */
  readonly endCursor: string | null
  readonly window: Window
  readonly generation: number
  /** Database clock. */
  readonly startedAt: Micros
  readonly resyncStreak: number
  /** How far its pages are shrunk, because one was too large: a tenth of the items for each 1, back in small steps. */
  readonly shrunk: number
  /** It goes on from a checkpoint, so it may have listed before its requests rang. */
  readonly isResumed: boolean
}

const MINUTE_MS = 60_000
const DAY_MICROS = 86_400_000_000
/** The second read after a sweep that looked like a mass delete comes this much later, and a first cool-down lasts as long. */
export const REST_MS = 10 * MINUTE_MS
const REST_MAX_MS = 6 * 60 * MINUTE_MS

/** The run to begin or continue at `now` (database clock); null while the calendar has to rest before its next full read. */
export function beginRun(calendar: CalendarRow, now: Micros): CalendarRun | null {
  const { checkpoint, resyncStreak } = calendar
  if (checkpoint !== null) return { shrunk: 0, ...checkpoint, calendar, resyncStreak, isResumed: true }
  const isFull = isFullReadDue(calendar, now)
  if (isFull && isResting(calendar, now)) return null
  return isFull ? fullRun(calendar, calendar.generation, now) : changesRun(calendar, now)
}

/** Whether a unit that begins at `now` reads (or goes on reading) the whole calendar. */
export function isFullRead(calendar: CalendarRow, now: Micros): boolean {
  const run = beginRun(calendar, now)
  return run !== null && run.cursor === null
}

/** Whether a second full read is owed and not yet due. */
export function isPutOff(calendar: CalendarRow, now: Micros): boolean {
  return calendar.sweepBelow !== null && isResting(calendar, now)
}

/** Why a full read begins with this run, for counting; null when it does not begin one. */
export function fullReadReason(run: CalendarRun): 'first' | 'second-look' | 'due' | null {
  if (run.cursor !== null || run.isResumed) return null
  if (run.calendar.lastFullSync === null) return 'first'
  return run.calendar.sweepBelow === null ? 'due' : 'second-look'
}

/** The vendor discarded the cursor: a full read from the start; null when that came twice in a row. */
export function restartRun(run: CalendarRun, now: Micros): CalendarRun | null {
  if (run.resyncStreak > 0) return null
  // Of the same size from its first page on: a vendor may take a page token of another size for an expired one.
  return { ...fullRun(run.calendar, run.generation, now), resyncStreak: 1, shrunk: run.shrunk }
}

/** The same place with smaller pages, after one that was too large; null when even the smallest are. */
export function withSmallerPages(run: CalendarRun): CalendarRun | null {
  const shrunk = shrunkFurther(run.shrunk)
  return shrunk === null ? null : { ...run, shrunk }
}

/** The next page, a little larger again where pages were shrunk. */
export function nextPage(run: CalendarRun, pageToken: string): CalendarRun {
  return { ...run, pageToken, shrunk: grownAgain(run.shrunk) }
}

/** How long a calendar rests after its cursor expired `streak` + 1 times in a row. */
export function restMs(streak: number): number {
  return Math.min(REST_MAX_MS, REST_MS * 2 ** (streak - 1))
}

/** One more pass from the new cursor, after a run that was resumed: it sees what changed since that run began. */
export function followUp(run: CalendarRun, cursor: string): CalendarRun {
  return { ...run, cursor, pageToken: null, endCursor: null, isResumed: false }
}

/** What to store of a run. */
export function checkpointOf(run: CalendarRun): Checkpoint {
  const { cursor, pageToken, endCursor, window, generation, startedAt, shrunk } = run
  return { cursor, pageToken, endCursor, window, generation, startedAt, shrunk }
}

function isFullReadDue(calendar: CalendarRow, now: Micros): boolean {
  if (calendar.cursor === null || calendar.lastFullSync === null) return true
  if (calendar.sweepBelow !== null) return !isResting(calendar, now)
  return now >= calendar.lastFullSync + rollAfterMicros(calendar.calendarId)
}

function isResting(calendar: CalendarRow, now: Micros): boolean {
  return calendar.resyncAfter !== null && calendar.resyncAfter > now
}

/** 6.5 to 7.5 days, by the calendar: those that were connected together do not roll together. */
function rollAfterMicros(calendar: CalendarId): Micros {
  return Math.floor((6.5 + Number.parseInt(calendar.slice(-4), 16) / 0x10000) * DAY_MICROS)
}

function fullRun(calendar: CalendarRow, after: number, now: Micros): CalendarRun {
  return newRun(calendar, now, { cursor: null, generation: after + 1, window: windowAt(now) })
}

function changesRun(calendar: CalendarRow, now: Micros): CalendarRun {
  const { cursor, generation, lastFullSync } = calendar
  return newRun(calendar, now, { cursor, generation, window: windowAt(lastFullSync ?? now) })
}

function newRun(
  calendar: CalendarRow,
  now: Micros,
  from: Pick<CalendarRun, 'cursor' | 'generation' | 'window'>,
): CalendarRun {
  const { resyncStreak } = calendar
  return {
    ...from,
    calendar,
    resyncStreak,
    pageToken: null,
    endCursor: null,
    startedAt: now,
    shrunk: 0,
    isResumed: false,
  }
}
