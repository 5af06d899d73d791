// What a batch that Kafka did not take means for its shard. Pure.
import type { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'

/**
 * What a relay does with a failed batch. `lost`: a newer owner works on the shard. `narrow`: a
 * record of it is refused, and is looked for. `throw`: the shard is tried again.
 */
export function settleBatch(failure: Failure): 'lost' | 'narrow' | 'throw' {
  const { action } = settlementOf(failure)
  switch (action) {
    case 'drop-shard':
      return 'lost'
    case 'dead-letter':
      return 'narrow'
    case 'wait':
    case 'retry':
    case 'retry-refused':
    case 'retry-fault':
    case 'judge':
    case 'park':
    case 'check-list':
    case 'abandon':
      return 'throw'
    default:
      return action satisfies never
  }
}
