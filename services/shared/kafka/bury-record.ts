// A record that cannot be read leaves the way of its neighbours: a copy of it goes to the
// dead-letter topic. Invariant: no record keeps those behind it waiting for ever, also one
// whose copy Kafka refuses.
import { Failure } from '#shared/domain/failure.ts'
import type { InboundRecord, Producer } from './broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import { deadLetterRecord } from './dead-letter.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'

interface Deps {
  readonly producer: Pick<Producer, 'send'>
  readonly clock: Clock
  readonly logger: Logger
}

const CODE = 'message/unreadable'

/**
 * Copies the record to the dead-letter topic. Once it returns, its offset is done: the copy
 * is durable, or Kafka refuses it for good (a compressed record may unpack to more than a
 * topic takes) and it stays where it is. A new owner of the partition may copy it
 * once more. `problem`: one sentence, without the record's content. Throws Failure
 * `kafka/unavailable`; then nothing is done.
 */
export async function buryRecord(
  { producer, clock, logger }: Deps,
  record: InboundRecord,
  problem: string,
): Promise<void> {
  const { topic, partition, offset } = record
  const at = { topic, partition, offset: String(offset) }
  logger.warn({ ...at, problem }, 'an unreadable record goes to the dead-letter topic')
  try {
    await producer.send([deadLetterRecord(record, { code: CODE, problem, lastFailedAt: clock.now() })])
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'kafka/rejected') throw error
    logger.error(
      { err: error, ...at },
      'Kafka refuses an unreadable record for the dead-letter topic; it is left where it is',
    )
  }
  metrics.deadLetters.add(1, { topic, code: CODE })
}
