// How long a job of the scheduler leaves something alone after a failure of the vendor: the backoff of units, with its own streak.
import { backoffMs } from '#shared/domain/backoff.ts'
import type { Failure } from '#shared/domain/failure.ts'
import type { Clock } from '#shared/platform/clock.ts'

/** `attempts`: failures in a row, this one included. @returns milliseconds, never less than the vendor asked for. */
export function waitMsAfter(failure: Failure, attempts: number, clock: Clock): number {
  const floorMs = failure.retryAt === undefined ? 0 : Math.max(0, (failure.retryAt - clock.now()) / 1000)
  return backoffMs({ attempt: Math.max(1, attempts), floorMs, random: Math.random() })
}
