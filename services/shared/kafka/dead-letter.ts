// A dead letter: the record as it was (key, value and headers untouched), with its origin and the
// reason in further headers, so that it can be understood and put back.
import { type Topic, TOPICS } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { InboundRecord, OutboundRecord } from './broker.ts'

interface DeadLetterReason {
  /** A failure code, e.g. `message/unreadable`. */
  readonly code: string
  /** One sentence for a person; no calendar data, no secrets. */
  readonly problem?: string | undefined
  readonly attempts?: number | undefined
  /** Whole µs since 1970. */
  readonly firstFailedAt?: Micros | undefined
  readonly lastFailedAt: Micros
}

const TOPIC: Topic = TOPICS.deadLetter

/**
 * The record to produce to the dead-letter topic. A key that is not UTF-8 (ours are uuids) is
 * given as its replacement text and, whole, as base64 in `dead-letter-key`; a record without
 * a key gets the empty one.
 */
export function deadLetterRecord(record: InboundRecord, reason: DeadLetterReason): OutboundRecord {
  const key = record.key?.toString('utf8') ?? ''
  const lossless = record.key !== null && Buffer.from(key, 'utf8').equals(record.key)
  return {
    topic: TOPIC,
    key,
    value: record.value,
    headers: {
      ...Object.fromEntries(record.headers),
      'dead-letter-topic': record.topic,
      'dead-letter-partition': String(record.partition),
      'dead-letter-offset': String(record.offset),
      'dead-letter-timestamp': String(record.timestampMs),
      'dead-letter-code': reason.code,
      'dead-letter-last-failed-at': String(reason.lastFailedAt),
      ...(lossless || record.key === null ? {} : { 'dead-letter-key': record.key.toString('base64') }),
      ...(reason.problem === undefined ? {} : { 'dead-letter-problem': reason.problem }),
      ...(reason.attempts === undefined ? {} : { 'dead-letter-attempts': String(reason.attempts) }),
      ...(reason.firstFailedAt === undefined
        ? {}
        : { 'dead-letter-first-failed-at': String(reason.firstFailedAt) }),
    },
  }
}
