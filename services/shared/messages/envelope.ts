// The headers of our records: CloudEvents 1.0, Kafka binary mode (every attribute is a header
// `ce_<name>`, the data's content type is `content-type`), plus W3C trace context. The id is made
// here once and stored with the outbox row, so that a repeated publication keeps it and readers
// can drop what they know.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md#32-binary-content-mode
import { v7 } from 'uuid'
import type { Micros } from '#shared/domain/ids.ts'

interface Envelope {
  /** What happened, e.g. `calendar.event.changed.v1`. */
  readonly type: string
  /** The part of the system where it happened, a URI reference, e.g. `/calstream/sync`. */
  readonly source: string
  readonly subject?: string | undefined
  /** The record's key: what the order is kept for. */
  readonly key: string
  /** The connection's version; readers drop what they have passed. */
  readonly sequence?: number | undefined
  /** When it happened, whole µs since 1970. */
  readonly at: Micros
  readonly traceparent?: string | undefined
}

/** Values are Avro with the 5 bytes of Confluent's framing before them. */
const CONTENT_TYPE = 'application/vnd.confluent.avro'

/**
 * Headers of one record, with a fresh id (UUIDv7: sorts by time).
 * Attributes that do not apply are left out.
 */
export function eventHeaders(envelope: Envelope): Record<string, string> {
  return {
    ce_specversion: '1.0',
    ce_id: v7(),
    ce_type: envelope.type,
    ce_source: envelope.source,
    ce_time: timestampOf(envelope.at),
    ce_partitionkey: envelope.key,
    ...(envelope.subject === undefined ? {} : { ce_subject: envelope.subject }),
    ...(envelope.sequence === undefined ? {} : { ce_sequence: String(envelope.sequence) }),
    ...(envelope.traceparent === undefined ? {} : { traceparent: envelope.traceparent }),
    'content-type': CONTENT_TYPE,
  }
}

/** RFC 3339 in UTC with all six digits: a Date alone would cut to milliseconds. */
function timestampOf(at: Micros): string {
  const seconds = Math.floor(at / 1_000_000)
  const fraction = String(at - seconds * 1_000_000).padStart(6, '0')
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`
}
