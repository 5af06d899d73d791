// What a failure means for the one thing that a job of the scheduler was doing, and how long that
// waits: the backoff of units, with its own streak.
import { backoffMs, floorMs } from '#shared/domain/backoff.ts'
import type { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { Clock } from '#shared/process/clock.ts'

type JobSettlement =
  /** It passes: tried again soon. */
  | 'later'
  /** Tried again ever more rarely, or in another way. */
  | 'rarely'
  /** As `rarely`; and an answer to the question whether the account is let in. */
  | 'refused'
  /** The account lets us in no more: a unit is to find that out and record it. */
  | 'locked-out'
  /** What it was about is gone: a unit is to find that out and record it. */
  | 'gone'

/**
 * What a job does with a failure of one of its items.
 * Throws what is no fault of the item: the whole run ends, and what is left stays due.
 */
export function settleJob(failure: Failure): JobSettlement {
  const { action } = settlementOf(failure)
  switch (action) {
    case 'wait':
    case 'drop-shard':
      throw failure
    case 'retry':
      return 'later'
    case 'retry-fault':
    case 'dead-letter':
    case 'abandon':
      return 'rarely'
    case 'retry-refused':
    case 'judge':
      return 'refused'
    case 'park':
      return 'locked-out'
    case 'check-list':
      return 'gone'
    default:
      return action satisfies never
  }
}

/** @param attempts failures in a row, this one included. */
export function waitMsAfter(failure: Failure, attempts: number, clock: Clock): number {
  const { isThrottledByVendor: isThrottled } = settlementOf(failure)
  const floor = floorMs(failure, clock.now())
  return backoffMs({ attempt: attempts, floorMs: floor, random: Math.random(), isThrottled })
}
