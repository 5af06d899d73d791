// The dead letter of an outbox row that Kafka refused.
// It never had a partition or offset, so both are -1.
import type { InboundRecord, OutboundRecord } from '#shared/kafka/broker.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import type { OutboxRow } from '#shared/store/relay.ts'
import { connectionOf } from './whole-pairs.ts'

/**
 * The whole record, then one without what may be too large. One that is refused twice again is a
 * fault of the topic: it waits.
 */
export const REFUSALS_MAX = 2

/**
 * What is published in place of a refused row: its dead letter;
 * after the second refusal without its bytes and headers.
 */
export function refusedRecord(row: OutboxRow, times: number): OutboundRecord {
  const whole = times < REFUSALS_MAX
  const origin: InboundRecord = {
    topic: row.topic,
    partition: -1,
    offset: -1n,
    timestampMs: Math.floor(row.createdAt / 1000),
    key: Buffer.from(connectionOf(row.key)),
    value: whole ? row.value : null,
    headers: whole ? new Map(Object.entries(row.headers)) : new Map(),
  }
  const problem = whole
    ? 'Kafka refused the record.'
    : `Kafka refused the record and its dead letter, which had about ${row.bytes} bytes; they are not kept.`
  return deadLetterRecord(origin, {
    code: 'kafka/rejected',
    problem,
    attempts: times,
    lastFailedAt: row.createdAt,
  })
}
