// How long a failed connection waits. Pure: randomness is an argument. Invariant: never shorter
// than the vendor asked for, never shorter than half of the exponential step (equal jitter: half
// fixed, half random), so that a fleet that failed together neither hammers nor returns together.
import type { Failure } from './failure.ts'
import type { Micros } from './ids.ts'

export const BACKOFF_BASE_MS = 5_000
export const BACKOFF_CAP_MS = 3_600_000

/**
 * Those whom a vendor throttled together come back over this time, so that fewer than a
 * fifth of them do in any one second: over one base, the fifth was the mean (drill
 * THROTTLE: 7 of 30, 2026-11-30).
 */
export const THROTTLED_SPREAD_MS = 15_000

/**
 * The steps of a calendar that is ill while its siblings are well, in ms. At half a step, the
 * least, it is read six times in its first hour and twice in any later one: with the list that
 * confirms and a channel that is tried, fewer than ten calls an hour.
 */
const CALENDAR_STEPS_MS = [BACKOFF_BASE_MS, 30_000, 300_000, 900_000, BACKOFF_CAP_MS] as const

interface BackoffInput {
  /** Failures in a row, 1-based, throttled ones included. */
  readonly attempt: number
  /** Milliseconds that the vendor asked for (Retry-After); 0 if it did not. */
  readonly floorMs: number
  /** 0 ≤ random < 1. */
  readonly random: number
  /** The vendor refused the call because there were too many; others are refused with it. */
  readonly isThrottled?: boolean
}

/**
 * Milliseconds to wait for a connection. A floor of the vendor gets up to one base of jitter on
 * top, and what it throttled more: all of them got the same second.
 */
export function backoffMs(input: BackoffInput): number {
  const { attempt } = input
  return jittered(Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.max(0, attempt - 1)), input)
}

/**
 * Milliseconds to wait for one ill calendar: its second failure in a row is no blip any more, and
 * no other calendar waits with it.
 */
export function calendarBackoffMs(input: BackoffInput): number {
  return jittered(CALENDAR_STEPS_MS[Math.max(0, input.attempt - 1)] ?? BACKOFF_CAP_MS, input)
}

/**
 * Milliseconds from `now` until the vendor wants to be asked again; 0 when it named no time.
 * `retryAt` is by our clock, a backoff by the database's: what counts is how far it is ahead.
 */
export function floorMs({ retryAt }: Pick<Failure, 'retryAt'>, now: Micros): number {
  return retryAt === undefined ? 0 : Math.max(0, Math.ceil((retryAt - now) / 1000))
}

function jittered(step: number, { floorMs, random, isThrottled = false }: BackoffInput): number {
  const spreadMs = isThrottled ? THROTTLED_SPREAD_MS : 0
  const waitMs = step / 2 + Math.max(step / 2, spreadMs) * random
  const floored = floorMs > 0 ? floorMs + Math.max(BACKOFF_BASE_MS, spreadMs) * random : 0
  return Math.ceil(Math.max(waitMs, floored))
}
