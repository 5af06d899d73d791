// What the work on repairs shares.
import type { KafkaConfig } from '#shared/kafka/client.ts'
import type { JobDeps } from '../deps.ts'

export type RepairDeps = JobDeps & { readonly kafka: KafkaConfig }

/**
 * What a batch came to: `paced` when the rate allows no more now, `more` when there may be, `over`
 * when the repair has ended or another scheduler has it.
 */
export type BatchEnd = 'paced' | 'more' | 'over'
