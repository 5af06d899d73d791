// How long a job of the scheduler leaves something alone after a failure of the vendor: the backoff
// of units, with its own streak.
import { backoffMs } from '#shared/domain/backoff.ts'
import type { Failure, FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { Clock } from '#shared/process/clock.ts'
import { settleJob } from './settle-job.ts'

/**
 * `attempts`: failures in a row, this one included.
 * @returns milliseconds, never less than the vendor asked for.
 */
export function waitMsAfter(failure: Failure, attempts: number, clock: Clock): number {
  const floorMs = failure.retryAt === undefined ? 0 : Math.max(0, (failure.retryAt - clock.now()) / 1000)
  const { isThrottledByVendor: isThrottled } = settlementOf(failure)
  return backoffMs({ attempt: Math.max(1, attempts), floorMs, random: Math.random(), isThrottled })
}

/** Of our own limits: the vendor was not asked, so nothing was refused. */
const NOT_ASKED: ReadonlySet<FailureCode> = new Set([
  'vendor/budget-spent',
  'vendor/circuit-open',
  'vendor/recovering',
])
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

/**
 * How many channels in a row that makes which could not be opened or renewed.
 * A refusal counts, whatever it says.
 */
export function channelAttempts({ code }: Failure, before: number): number {
  return NOT_ASKED.has(code) ? before : before + 1
}

/**
 * How long a calendar does without a channel after a refusal: a minute, doubling to a day. It is
 * polled meanwhile, so nothing is lost but quota; a refusal in words that nobody knows was sent 298
 * times in a week. What passes by itself (an outage, a quota) comes back within the hour.
 * `attempts`: refusals in a row, this one included.
 * @returns milliseconds. Throws what `settleJob` throws.
 */
export function channelWaitMs(failure: Failure, attempts: number, clock: Clock): number {
  const waitMs = waitMsAfter(failure, attempts, clock)
  return settleJob(failure) === 'later' ? waitMs : Math.max(waitMs, growingMs(MINUTE_MS, attempts))
}

/** The same after a limit that the vendor named: an hour, doubling to a day. */
export function limitWaitMs(attempts: number): number {
  return growingMs(60 * MINUTE_MS, attempts)
}

function growingMs(first: number, attempts: number): number {
  return Math.min(DAY_MS, first * 2 ** Math.max(0, attempts - 1)) * (0.75 + 0.5 * Math.random())
}
