// Message values: Avro in Confluent's wire format (magic byte 0, 4 bytes of schema id, body). Ids
// are looked up, never registered: a service that cannot find its schema refuses to start instead
// of inventing one. A record that cannot be read is a value (`unreadable`, poison); trouble with
// the registry is a Failure, because waiting cures it.
import { readFileSync } from 'node:fs'
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import avro from 'avsc'
import { type SchemaTopic, TOPIC_SCHEMAS, type TopicMessages } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import {
  agentOf,
  loginHeaders,
  NO_REGISTRY_LOGIN,
  refusalOf,
  type RegistryAccess,
  registryFailure,
} from './registry.ts'

/** What a record says. */
export type RecordReading<M> =
  | { readonly kind: 'message'; readonly message: M }
  /** Poison: these bytes will never be readable. `problem` says why, for the dead letter. */
  | { readonly kind: 'unreadable'; readonly problem: string }

type Decoded<T extends SchemaTopic> = RecordReading<TopicMessages[T]>

export interface Codec {
  /**
   * The value of a record. Throws Failure `internal/defect` when the message does not fit its
   * schema, naming the fields.
   */
  encode<T extends SchemaTopic>(topic: T, message: TopicMessages[T]): Buffer
  /**
   * Reads a value with whatever schema it was written, as our version of the message. Enum symbols
   * that we do not know come out as `unknown`. A tombstone (null) is the caller's to handle first;
   * here it is unreadable. Throws Failure `registry/unavailable` when a schema that we have not met
   * yet cannot be fetched: not poison, wait and ask again.
   */
  decode<T extends SchemaTopic>(topic: T, value: Buffer | null): Promise<Decoded<T>>
  /** Why nothing can be encoded yet; null once it can. For readiness. */
  problem(): string | null
}

export interface CodecConfig {
  /** Base of the Confluent-compatible API. */
  readonly registryUrl: string
  /** Without a login when absent. */
  readonly access?: RegistryAccess | undefined
  readonly prefix: string
  readonly topics: readonly SchemaTopic[]
}

interface TopicCodec {
  readonly type: avro.Type
  readonly header: Buffer
  /** How to read a writer's schema as ours, or why that is impossible, by writer id. */
  readonly readings: Map<number, avro.Resolver | string>
}

/** One answer of the registry; its client has no limit of its own. */
const REQUEST_TIMEOUT_MS = 3_000
/** 3 tries in ≤ 0.5 s: callers wait and ask again. */
const REQUEST_RETRY = { retries: 2, initialRetryTimeInSecs: 0.1, maxRetryTimeInSecs: 0.3 }
const HEADER_BYTES = 5

/** The registry's name for the values of a topic (TopicNameStrategy). */
export function subjectOf(prefix: string, topic: SchemaTopic): string {
  return `${prefix}${topic}-value`
}

/** The text of a topic's schema as it lies in schemas/messages. */
export function schemaOf(topic: SchemaTopic): avro.schema.RecordType {
  const file = new URL(`../../../schemas/messages/${TOPIC_SCHEMAS[topic]}.avsc`, import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8'))
}

/**
 * Looks up the ids of our schemas for these topics. Throws Failure `registry/*` when the
 * registry does not answer, refuses us, or a schema is not registered (then the message says so:
 * `calstream schemas apply` comes before any service).
 */
export async function openCodec(config: CodecConfig, signal: AbortSignal): Promise<Codec> {
  const registry = openRegistry(config)
  const ids = new Map<SchemaTopic, number>()
  await Promise.all(
    config.topics.map(async (topic) => {
      ids.set(topic, await lookUp(registry, subjectOf(config.prefix, topic), schemaOf(topic)))
      signal.throwIfAborted()
    }),
  )
  return codecWithIds(registry, ids)
}

/** The same with ids that are known. The registry is asked for foreign schemas alone. */
export function codecOfIds(config: CodecConfig, ids: ReadonlyMap<SchemaTopic, number>): Codec {
  return codecWithIds(openRegistry(config), ids)
}

function codecWithIds(registry: Registry, ids: ReadonlyMap<SchemaTopic, number>): Codec {
  const codecs = new Map([...ids].map(([topic, id]) => [topic, topicCodec(schemaOf(topic), id)]))
  const codecOf = (topic: SchemaTopic): TopicCodec => {
    const codec = codecs.get(topic)
    if (!codec) throw new Failure('internal/defect', `This service opened no codec for ${topic}.`)
    return codec
  }
  return {
    problem: () => null,
    encode: (topic, message) => encode(codecOf(topic), topic, message),
    decode: <T extends SchemaTopic>(topic: T, value: Buffer | null) =>
      decode<T>(registry, codecOf(topic), value),
  }
}

interface Registry {
  readonly client: SchemaRegistry
  /** What broke the connection last, where it is over TLS. */
  readonly broken: () => Error | null
}

function openRegistry({ registryUrl: host, access = NO_REGISTRY_LOGIN }: CodecConfig): Registry {
  const agent = agentOf(host, access)
  const client = new SchemaRegistry({
    host,
    clientId: 'calstream',
    ...(agent === undefined ? {} : { agent }),
    // A new object each time: the library writes every client's options into one shared default.
    retry: { ...REQUEST_RETRY },
    middlewares: [
      () => ({
        prepareRequest: async (next) =>
          (await next()).enhance({ timeout: REQUEST_TIMEOUT_MS, headers: loginHeaders(access) }),
      }),
    ],
  })
  return { client, broken: () => agent?.broken ?? null }
}

function topicCodec(schema: avro.schema.RecordType, id: number): TopicCodec {
  const type = avro.Type.forSchema(schema)
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32BE(id, 1)
  return { type, header, readings: new Map([[id, type.createResolver(type)]]) }
}

async function lookUp(registry: Registry, subject: string, schema: avro.schema.RecordType): Promise<number> {
  try {
    return await registry.client.getRegistryIdBySchema(subject, {
      type: SchemaType.AVRO,
      schema: JSON.stringify(schema),
    })
  } catch (error) {
    if (statusOf(error) !== 404 && !isNotRegistered(error)) throw troubleOf(registry, error)
    const text = `The schema registry does not hold our schema for ${subject}. Run \`calstream schemas apply\` first.`
    throw new Failure('registry/unavailable', text, { cause: error })
  }
}

function encode<T extends SchemaTopic>(codec: TopicCodec, topic: T, message: TopicMessages[T]): Buffer {
  try {
    return Buffer.concat([codec.header, codec.type.toBuffer(message)])
  } catch (error) {
    const paths: string[] = []
    codec.type.isValid(message, { errorHook: (path) => paths.push(path.join('.')) })
    // Names of fields only: values are people's calendars.
    throw new Failure(
      'internal/defect',
      `A message for ${topic} does not fit its schema: ${paths.join(', ')}`,
      {
        cause: error,
      },
    )
  }
}

async function decode<T extends SchemaTopic>(
  registry: Registry,
  codec: TopicCodec,
  value: Buffer | null,
): Promise<Decoded<T>> {
  if (value === null) return unreadable('the record has no value')
  if (value.length < HEADER_BYTES)
    return unreadable(`the value has ${value.length} bytes, too few for a schema id`)
  if (value[0] !== 0) return unreadable(`the first byte is ${value[0]}, not the magic byte 0`)
  const id = value.readUInt32BE(1)
  const reading = codec.readings.get(id) ?? (await readingOf(registry, codec, id))
  if (typeof reading === 'string') return unreadable(reading)
  try {
    return { kind: 'message', message: codec.type.fromBuffer(value.subarray(HEADER_BYTES), reading) }
  } catch {
    // The library's own text may quote the bytes.
    return unreadable(`the body does not fit schema ${id}, with which it claims to be written`)
  }
}

/**
 * How to read what schema `id` wrote. Kept for ever: ids are immutable, and building a resolver per
 * message costs a factor of 50 (measured: 32 000 instead of 1 570 000 messages/s). An id that the
 * registry does not know is asked again each time, since a registry may be restored.
 */
async function readingOf(registry: Registry, codec: TopicCodec, id: number): Promise<avro.Resolver | string> {
  let writer: unknown
  try {
    writer = await registry.client.getSchema(id)
  } catch (error) {
    if (statusOf(error) === 404) return `the schema registry knows no schema ${id}`
    throw troubleOf(registry, error)
  }
  const reading = resolverOf(codec.type, writer, id)
  codec.readings.set(id, reading)
  return reading
}

function resolverOf(reader: avro.Type, writer: unknown, id: number): avro.Resolver | string {
  if (!(writer instanceof avro.Type)) return `schema ${id} is not an Avro schema`
  try {
    return reader.createResolver(writer)
  } catch (error) {
    return `schema ${id} cannot be read as ${reader.name}: ${error instanceof Error ? error.message : 'incompatible'}`
  }
}

function unreadable(problem: string): { readonly kind: 'unreadable'; readonly problem: string } {
  return { kind: 'unreadable', problem }
}

function troubleOf({ broken }: Registry, error: unknown): Failure {
  return refusalOf(statusOf(error)) ?? registryFailure(broken() ?? error)
}

function statusOf(error: unknown): number | undefined {
  return error instanceof Error && 'status' in error && typeof error.status === 'number'
    ? error.status
    : undefined
}

/**
 * The library wraps the 404 of a lookup by content into an error of its own, without the status.
 */
function isNotRegistered(error: unknown): boolean {
  return error instanceof Error && error.name === 'ConfluentSchemaRegistryError'
}
