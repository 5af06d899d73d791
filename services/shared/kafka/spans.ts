// Spans of messages. Invariant: messages are linked, never parents and children. One unit answers
// many notifications and one transaction publishes what many units wrote, so none of them is the
// one that caused it. A link carries where its message lay.
// opentelemetry.io/docs/specs/semconv/messaging/messaging-spans
import type { Attributes } from '@opentelemetry/api'
import {
  BATCH_COUNT,
  CONSUMER_GROUP,
  CREATE,
  DESTINATION,
  KAFKA,
  MESSAGE_ID,
  MESSAGE_KEY,
  MESSAGING_SYSTEM,
  OFFSET,
  OPERATION_NAME,
  OPERATION_TYPE,
  PARTITION,
  PROCESS,
  SEND,
} from '#shared/process/semantic-names.ts'
import { inSpan, type SpanLink, type SpanOptions } from '#shared/process/telemetry.ts'
import type { InboundRecord, OutboundRecord } from './broker.ts'

/** A trace backend has limits. The rest of a batch is found by the traces of its messages. */
export const LINKS_MAX = 32

/**
 * Runs what makes messages of something else, and so begins their traces: `links` are the
 * traceparents of what they stand for.
 * @param topics logical names, as all names of topics and groups in spans.
 */
export function inCreateSpan<T>(
  topics: ReadonlySet<string> | readonly string[],
  links: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const { name, options } = producing(CREATE, topics)
  return inSpan(name, { ...options, links: links.slice(-LINKS_MAX).map(linkTo) }, work)
}

/** Runs the sending of these records. It is linked to the traces that they carry. */
export function inSendSpan<T>(records: readonly OutboundRecord[], work: () => Promise<T>): Promise<T> {
  const traces = new Set(records.flatMap(({ headers }) => headers['traceparent'] ?? []))
  const about = { [BATCH_COUNT]: records.length }
  const { name, options } = producing(SEND, new Set(records.map(({ topic }) => topic)), about)
  return inSpan(name, { ...options, links: [...traces].slice(0, LINKS_MAX).map(linkTo) }, work)
}

/** A span has one destination or names none. */
function producing(
  operation: string,
  topics: ReadonlySet<string> | readonly string[],
  about: Attributes = {},
) {
  const [topic, ...others] = topics
  const isOne = topic !== undefined && others.length === 0
  const attributes = { ...(isOne && { [DESTINATION]: topic }), ...about }
  return {
    name: isOne ? `${operation} ${topic}` : operation,
    options: spanOf(operation, 'producer', attributes),
  }
}

/** Runs what is done about records that a group was given, the newest of them linked. */
export function inProcessSpan<T>(
  {
    group,
    records,
    attributes,
  }: {
    readonly group: string
    readonly records: readonly [InboundRecord, ...InboundRecord[]]
    readonly attributes: Attributes
  },
  work: () => Promise<T>,
): Promise<T> {
  const { topic } = records[0]
  const about = { [DESTINATION]: topic, [CONSUMER_GROUP]: group, ...attributes }
  const [only, ...others] = records
  const place = others.length === 0 ? placeOf(only) : { [BATCH_COUNT]: records.length }
  const links = records.slice(-LINKS_MAX).flatMap((record) => {
    const traceparent = record.headers.get('traceparent')
    return traceparent === undefined ? [] : { traceparent, attributes: placeOf(record) }
  })
  const options = spanOf(PROCESS, 'consumer', { ...about, ...place })
  return inSpan(`${PROCESS} ${topic}`, { ...options, links }, work)
}

function spanOf(operation: string, kind: 'producer' | 'consumer', attributes: Attributes): SpanOptions {
  const names = { [MESSAGING_SYSTEM]: KAFKA, [OPERATION_NAME]: operation, [OPERATION_TYPE]: operation }
  return { kind, attributes: { ...names, ...attributes } }
}

function placeOf({ partition, offset, key, headers }: InboundRecord): Attributes {
  const id = headers.get('ce_id')
  return {
    [PARTITION]: String(partition),
    [OFFSET]: Number(offset),
    ...(key !== null && { [MESSAGE_KEY]: key.toString() }),
    ...(id !== undefined && { [MESSAGE_ID]: id }),
  }
}

function linkTo(traceparent: string): SpanLink {
  return { traceparent }
}
