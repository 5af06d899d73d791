// What a failure that ends a unit means for it. Pure.
import type { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'

export type UnitSettlement =
  /** It is recorded, and a retry is scheduled. */
  | 'record'
  /** It is recorded; whether the connection is parked is for judge-refusal.ts. */
  | 'judge'
  /** Nothing is written: its requests are done again. */
  | 'abandon'
  /** Nothing can be written: the lane waits. */
  | 'wait'

/** What a unit does with the failure that ends it. */
export function settleUnit(failure: Failure): UnitSettlement {
  const { action } = settlementOf(failure)
  switch (action) {
    case 'retry':
    case 'retry-refused':
    case 'retry-fault':
    case 'check-list':
    case 'dead-letter':
      return 'record'
    case 'judge':
    case 'park':
      return 'judge'
    case 'abandon':
    case 'drop-shard':
      return 'abandon'
    case 'wait':
      return 'wait'
    default:
      return action satisfies never
  }
}
