// The dead letter of an outbox row that Kafka refused. It never had a partition or offset, so both are -1.
import type { InboundRecord, OutboundRecord } from '#shared/platform/broker.ts'
import { deadLetterRecord } from '#shared/platform/dead-letter.ts'
import type { OutboxRow } from '#shared/store/relay.ts'
import { connectionOf } from './whole-pairs.ts'

/** @returns the dead letter with the original bytes, and one without them for when those bytes are what Kafka refuses. */
export function refusedRecords(row: OutboxRow): readonly [OutboundRecord, OutboundRecord] {
  const origin: InboundRecord = {
    topic: row.topic,
    partition: -1,
    offset: -1n,
    timestampMs: Math.floor(row.createdAt / 1000),
    key: Buffer.from(connectionOf(row.key)),
    value: row.value,
    headers: new Map(Object.entries(row.headers)),
  }
  const letter = deadLetterRecord(origin, {
    code: 'kafka/rejected',
    attempts: 1,
    lastFailedAt: row.createdAt,
  })
  return [letter, { ...letter, value: null }]
}
