// Reads the published topics as a downstream service would: with another client than the one that
// wrote them, committed records only, values decoded by the schema that the registry names. It
// shares no code with the relay or the codec, so a fault of theirs cannot hide itself here.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Message } from '@platformatic/kafka'
import avro from 'avsc'
import type { EventChanged } from '#schemas/messages.gen.ts'
import { loginHeaders, NO_REGISTRY_LOGIN } from '#shared/kafka/registry.ts'
import { clientOptions } from '../stack/kafka-operator.ts'
import type { ReaderAccess } from '../stack/secured.ts'
import { CommittedConsumer } from './committed-consumer.ts'
import type { StreamRecord } from './verify.ts'

export interface StreamReaderOptions {
  readonly brokers: readonly string[]
  readonly registryUrl: string
  /** How a secured stack lets the reader in. */
  readonly access?: ReaderAccess
  /** Full names on the wire, prefix included. */
  readonly topics: readonly string[]
  /** Default: from the first record that the topics hold. */
  readonly from?: 'earliest' | 'latest'
  /** Records kept per topic, the newest; default all. For readers that run for days. */
  readonly keepMax?: number
  /** Keys that are of interest; others are not even decoded. Default all. */
  readonly wants?: (key: string) => boolean
}

export interface StreamReader extends AsyncDisposable {
  /** Everything read so far from one topic, each partition in its order. */
  records(topic: string): readonly StreamRecord[]
  /** Why reading ended before it was stopped; null while it runs. */
  failure(): unknown
}

const REGISTRY_TIMEOUT_MS = 5_000
const REGISTRY_PATIENCE_MS = 60_000
const REGISTRY_AGAIN_MS = 200
const HEADER_BYTES = 5

/** Starts reading; resolves when the reader has joined. */
export async function openStreamReader(options: StreamReaderOptions): Promise<StreamReader> {
  const consumer = new CommittedConsumer({
    clientId: 'calstream-verify',
    groupId: `calstream-verify-${randomUUID()}`,
    bootstrapBrokers: [...options.brokers],
    ...(options.access ? clientOptions(options.access) : {}),
    autocommit: false,
    maxWaitTime: 50,
    minBytes: 1,
    retries: 5,
  })
  const stream = await consumer.consume({ topics: [...options.topics], mode: options.from ?? 'earliest' })
  const decode = openDecoder(options.registryUrl, loginHeaders(options.access?.registry ?? NO_REGISTRY_LOGIN))
  const read = new Map<string, StreamRecord[]>(options.topics.map((topic) => [topic, []]))
  const keepMax = options.keepMax ?? Infinity
  const wants = options.wants ?? (() => true)
  let failed: unknown = null
  const reading = (async () => {
    for await (const message of stream) {
      if (!wants(message.key?.toString('utf8') ?? '')) continue
      keep(read.get(message.topic), await toRecord(message, decode), keepMax)
    }
  })().catch((error: unknown) => {
    failed = error
  })
  return {
    records: (topic) => read.get(topic) ?? [],
    failure: () => failed,
    async [Symbol.asyncDispose]() {
      await consumer.close(true)
      await reading
    },
  }
}

/** Cutting by a tenth at a time makes an append cheap on average. */
function keep(records: StreamRecord[] | undefined, record: StreamRecord, max: number): void {
  records?.push(record)
  if (records && records.length > max) records.splice(0, Math.ceil(max / 10))
}

type Headers = Readonly<Record<string, string>>
type Decode = (value: Buffer) => Promise<EventChanged>

async function toRecord(message: Message, decode: Decode): Promise<StreamRecord> {
  // Taken before decoding, which may ask the registry.
  const receivedAtMs = Date.now()
  const value: Buffer | null = message.value ?? null
  const record = {
    topic: message.topic,
    partition: message.partition,
    offset: message.offset,
    key: message.key?.toString('utf8') ?? '',
    value,
    headers: new Map(
      [...message.headers].map(([name, text]) => [name.toString('utf8'), text.toString('utf8')]),
    ),
    receivedAtMs,
  }
  if (value === null || value.length === 0) return { ...record, value: null, message: null, problem: null }
  try {
    return { ...record, message: await decode(value), problem: null }
  } catch (error) {
    return { ...record, message: null, problem: error instanceof Error ? error.message : String(error) }
  }
}

/** Reads Confluent's wire format with the writer's own schema: no version of ours comes into it. */
function openDecoder(registryUrl: string, headers: Headers): Decode {
  const types = new Map<number, Promise<avro.Type>>()
  return async (value) => {
    if (value.length < HEADER_BYTES || value[0] !== 0)
      throw new Error('the value is not in Confluent wire format')
    const id = value.readUInt32BE(1)
    const type = types.get(id) ?? fetchType(registryUrl, id, headers)
    types.set(id, type)
    return toMessage((await type).fromBuffer(value.subarray(HEADER_BYTES)))
  }
}

async function fetchType(registryUrl: string, id: number, headers: Headers): Promise<avro.Type> {
  const { status, text } = await askPatiently(`${registryUrl.replace(/\/$/, '')}/schemas/ids/${id}`, headers)
  if (status !== 200) throw new Error(`the registry answered ${status} to schema ${id}`)
  const { schema } = JSON.parse(text) as { schema: string }
  return avro.Type.forSchema(JSON.parse(schema) as avro.Schema, { wrapUnions: false })
}

/**
 * A registry that is busy, or is started again, answers in the end;
 * until then no record may count as unreadable.
 */
async function askPatiently(url: string, headers: Headers): Promise<{ status: number; text: string }> {
  const deadline = Date.now() + REGISTRY_PATIENCE_MS
  for (;;) {
    try {
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(REGISTRY_TIMEOUT_MS) })
      const answer = { status: response.status, text: await response.text() }
      if (answer.status < 500 || Date.now() > deadline) return answer
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
    await delay(REGISTRY_AGAIN_MS)
  }
}

/**
 * A plain object: avsc gives instances of its own classes, which do not compare equal to literals.
 */
function toMessage(decoded: unknown): EventChanged {
  return structuredClone({ ...(decoded as EventChanged) })
}
