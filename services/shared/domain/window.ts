// The span of time that is stored of every calendar: 30 days back, 365 days ahead. It
// stands still between two full reads, so that the parameters of a run stay equal, and
// rolls with each full read. Pure.
import type { CalendarEvent } from './event.ts'
import type { Micros } from './ids.ts'

export interface Window {
  readonly from: Micros
  readonly to: Micros
}

const DAY_MICROS = 86_400_000_000
const BACK_DAYS = 30
const AHEAD_DAYS = 365

/** The window of a full read that begins at `now`. */
export function windowAt(now: Micros): Window {
  return { from: now - BACK_DAYS * DAY_MICROS, to: now + AHEAD_DAYS * DAY_MICROS }
}

/**
 * Whether an event lies outside for certain: it ends before the window or begins after it. A date
 * has no zone, so all-day events get a day of grace on either side.
 */
export function isOutside(event: Pick<CalendarEvent, 'start' | 'end'>, window: Window): boolean {
  return (
    earliest(event.end) <= window.from - grace(event) || earliest(event.start) >= window.to + grace(event)
  )
}

function earliest(time: CalendarEvent['start']): Micros {
  return time.at ?? Date.parse(`${time.date}T00:00:00Z`) * 1000
}

function grace(event: Pick<CalendarEvent, 'start'>): Micros {
  return event.start.date === null ? 0 : DAY_MICROS
}
