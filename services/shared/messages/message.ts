// What all messages have in common: who sends them, and the record that carries them. Invariant: a
// message is built here and in its own file of this folder, and nowhere else; what it says comes
// from its facts alone, except for the fresh id.
import type { SchemaTopic, TopicMessages } from '#schemas/topics.ts'
import { connectionId, shardOf, type Micros, type VendorName } from '#shared/domain/ids.ts'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { eventHeaders } from './envelope.ts'
import { currentTraceparent } from '#shared/process/telemetry.ts'

/** The CloudEvents source of each part of the system that sends. */
const SOURCES = {
  api: '/calstream/api',
  cli: '/calstream/cli',
  connect: '/calstream/connect',
  ingress: '/calstream/ingress',
  retry: '/calstream/retry',
  scheduler: '/calstream/scheduler',
  sync: '/calstream/sync',
} as const

export type Sender = keyof typeof SOURCES

/** Who sends a message, and in which trace. */
export interface Origin {
  readonly codec: Pick<Codec, 'encode'>
  readonly sender: Sender
  readonly traceparent: string | undefined
}

/** The connection that a message is about. */
export interface Connection {
  readonly connectionId: string
  readonly providerId: string
  readonly vendor: VendorName
}

/** For `Producer.send` as it is, and for the outbox with the shard of its connection. */
export interface OutboxMessage extends OutboundRecord {
  readonly shard: number
}

/** What the headers of a message are made of, besides its origin. */
interface About {
  readonly type: string
  readonly key: string
  /** When it happened. */
  readonly at: Micros
  readonly subject?: string | undefined
  readonly sequence?: number
}

/** Who sends now, in the trace of the active span. */
export function sentBy(sender: Sender, codec: Pick<Codec, 'encode'>): Origin {
  return { codec, sender, traceparent: currentTraceparent() }
}

/** The headers of one record of a message, with a fresh id. */
export function headersOf(about: About, { sender, traceparent }: Origin): Record<string, string> {
  return eventHeaders({ ...about, source: SOURCES[sender], traceparent })
}

/** One message keyed by its connection. */
export function connectionMessage<T extends SchemaTopic>(
  topic: T,
  message: TopicMessages[T] & { readonly connectionId: string },
  about: Omit<About, 'key'>,
  origin: Origin,
): OutboxMessage {
  const key = message.connectionId
  return {
    shard: shardOf(connectionId(key)),
    topic,
    key,
    value: origin.codec.encode(topic, message),
    headers: headersOf({ ...about, key }, origin),
  }
}
