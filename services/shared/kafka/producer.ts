// Producers on KafkaJS 2.2.4. One batch is outstanding at a time: with two, a retry of the first
// would land behind the second. Records of one key therefore keep their order, and `send` resolves
// only for what all in-sync replicas hold.
import {
  CompressionTypes,
  type Message,
  Partitioners,
  type Producer as KafkajsClientProducer,
  type ProducerConfig,
  type RecordMetadata,
  type Transaction,
} from 'kafkajs'
import { Failure } from '#shared/domain/failure.ts'
import type { OutboundRecord, Producer, TransactionalProducer } from './broker.ts'
import type { CommitWatch, Position } from './commit-watch.ts'
import { createClient, type KafkaConfig, settledWithin } from './client.ts'
import { inSendSpan } from './spans.ts'
import { kafkaFailure } from './trouble.ts'
import type { Logger } from '#shared/process/log.ts'
import { messageBytesMax } from './topics.ts'

export interface TransactionalConfig extends KafkaConfig {
  /** Without prefix. */
  readonly transactionalId: string
  /** After this the broker aborts a transaction that its producer left open, in ms. */
  readonly timeoutMs: number
  /** Asked after each commit; without it the broker's answer is believed. */
  readonly watch?: CommitWatch
}

/** A send that has not been acknowledged by then has failed for its caller, in ms. */
const SEND_DEADLINE_MS = 10_000
/** The broker's own limit for all acknowledgements, in ms; below the client's request timeout. */
const ACK_TIMEOUT_MS = 4_000
/** A process has 10 s to end, and its owners have waited for what they sent. */
const LAST_SEND_TIMEOUT_MS = 2_000
const DISCONNECT_TIMEOUT_MS = 1_000
/** Kafka limits a batch per partition to 1 048 588 bytes. All records of a call may share one. */
const CHUNK_BYTES_MAX = 512 * 1024
const WAITING_MAX = 1_000
const RETRY = { initialRetryTime: 100, maxRetryTime: 500, retries: 4 }
/**
 * With the library's own times (300 ms and more) the usual CONCURRENT_TRANSACTIONS after a commit
 * costs 157 ms per transaction, so 11 ms.
 */
const TRANSACTION_RETRY = { initialRetryTime: 5, maxRetryTime: 50, retries: 30 }

interface Connection {
  readonly producer: KafkajsClientProducer
  /** `topic/partition` that the partitioner chose since the last reset. */
  readonly chosen: Set<string>
}

/**
 * acks=-1, not idempotent: KafkaJS 2.2.4 may lose a batch when idempotent retries interleave
 * (sequence numbers are rolled back before the retry), and our readers drop duplicates anyway. A
 * failed send drops the connection; the next makes a new one.
 */
export class PlainProducer implements Producer {
  readonly #config: KafkaConfig
  readonly #logger: Logger
  #connection: Connection | null = null
  #tail: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #closed = false

  constructor(config: KafkaConfig, logger: Logger) {
    this.#config = config
    this.#logger = logger
  }

  /** Connects ahead of the first send. A broker that is away is only logged: sends connect too. */
  async warmUp(): Promise<void> {
    const connecting = this.#enqueue(() => this.#connected())
    try {
      await settledWithin(connecting, SEND_DEADLINE_MS, 'accept a connection')
    } catch (error) {
      this.#logger.warn({ err: error }, 'Kafka cannot be reached yet; sends fail until it can')
    }
  }

  async send(records: readonly OutboundRecord[]): Promise<void> {
    if (records.length === 0) return
    if (this.#closed) throw new Failure('kafka/unavailable', 'This producer is closed.')
    if (this.#waiting >= WAITING_MAX)
      throw new Failure(
        'kafka/unavailable',
        `${WAITING_MAX} batches wait for Kafka already; this one was not taken.`,
      )
    refuseOversized(records)
    const deadline = performance.now() + SEND_DEADLINE_MS
    this.#waiting += 1
    const send = () => inSendSpan(records, () => this.#sendNow(records, deadline))
    const sending = this.#enqueue(send).finally(() => {
      this.#waiting -= 1
    })
    await settledWithin(sending, SEND_DEADLINE_MS, 'acknowledge the records')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await settledWithin(this.#tail, LAST_SEND_TIMEOUT_MS, 'take the last records').catch(() => {})
    const connection = this.#connection
    this.#connection = null
    if (connection) await disconnect(connection)
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work)
    this.#tail = result.catch(() => {})
    return result
  }

  async #sendNow(records: readonly OutboundRecord[], deadline: number): Promise<void> {
    const work = this.#sendChunks(records, deadline)
    try {
      await settledWithin(work, Math.max(0, deadline - performance.now()), 'acknowledge the records')
    } catch (error) {
      const failure = kafkaFailure(error)
      if (failure.code !== 'kafka/rejected') await this.#drop(work)
      throw failure
    }
  }

  async #sendChunks(records: readonly OutboundRecord[], deadline: number): Promise<void> {
    for (const chunk of chunksOf(records)) {
      // For its caller it has failed: sending now would only reorder.
      if (performance.now() >= deadline) throw new Failure('kafka/unavailable')
      const connection = await this.#connected()
      await sendChunk(connection.producer, connection.chosen, physical(this.#config.prefix, chunk))
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#connection) return this.#connection
    const connection = createConnection(this.#config, {}, RETRY, this.#logger)
    await connection.producer.connect()
    this.#connection = connection
    return connection
  }

  async #drop(work: Promise<unknown>): Promise<void> {
    const connection = this.#connection
    this.#connection = null
    if (connection) await disconnectAround(connection, work)
  }
}

/**
 * One owner of a transactional id. Once anything went wrong on the way to the broker it refuses all
 * further work: KafkaJS rolls its sequence numbers back even where the broker had stored the
 * records, so the broker would take the next transaction's records for duplicates and drop them
 * without a word. Only a new producer (with a new epoch) is safe, and opening one fences the
 * owner of the id, so the caller has to decide about it.
 */
export class ShardProducer implements TransactionalProducer {
  readonly #prefix: string
  readonly #watch: CommitWatch | null
  readonly #connection: Connection
  #tail: Promise<unknown> = Promise.resolve()
  #dead: string | null = null

  private constructor({ prefix, watch }: TransactionalConfig, connection: Connection) {
    this.#prefix = prefix
    this.#watch = watch ?? null
    this.#connection = connection
  }

  static async open(config: TransactionalConfig, logger: Logger): Promise<ShardProducer> {
    const connection = createConnection(
      config,
      {
        transactionalId: `${config.prefix}${config.transactionalId}`,
        transactionTimeout: config.timeoutMs,
        idempotent: true,
        maxInFlightRequests: 1,
      },
      TRANSACTION_RETRY,
      logger,
    )
    try {
      await settledWithin(
        initialise(connection.producer),
        SEND_DEADLINE_MS,
        'open the transactional producer',
      )
    } catch (error) {
      await disconnect(connection)
      throw kafkaFailure(error)
    }
    return new ShardProducer(config, connection)
  }

  async publish(records: readonly OutboundRecord[]): Promise<void> {
    if (records.length === 0) return
    const publish = () => inSendSpan(records, () => this.#publishNow(records))
    const published = this.#tail.then(publish)
    this.#tail = published.catch(() => {})
    await published
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#dead ??= 'closed'
    await settledWithin(this.#tail, LAST_SEND_TIMEOUT_MS, 'end the transaction').catch(() => {})
    await disconnect(this.#connection)
  }

  async #publishNow(records: readonly OutboundRecord[]): Promise<void> {
    if (this.#dead !== null)
      throw new Failure('kafka/unavailable', `This producer must be opened again: ${this.#dead}`)
    // Before anything is sent, so that the producer stays good.
    refuseOversized(records)
    const work = this.#transact(records)
    try {
      await settledWithin(work, SEND_DEADLINE_MS, 'commit the transaction')
    } catch (error) {
      const failure = kafkaFailure(error)
      this.#dead ??= failure.message
      await disconnectAround(this.#connection, work)
      throw failure
    }
  }

  async #transact(records: readonly OutboundRecord[]): Promise<void> {
    const { producer, chosen } = this.#connection
    const transaction = await producer.transaction()
    const written: Position[] = []
    try {
      for (const chunk of chunksOf(records))
        written.push(...(await sendChunk(transaction, chosen, physical(this.#prefix, chunk))))
      // Given up meanwhile: the caller may hold a successor already.
      if (this.#dead !== null) throw new Failure('kafka/unavailable', this.#dead)
    } catch (error) {
      await abortQuietly(transaction)
      throw error
    }
    await transaction.commit()
    await this.#watch?.visible(written)
  }
}

/**
 * Splits so that no chunk's bytes exceed what a partition takes at once;
 * a record above that stands alone. Keeps the order.
 */
export function chunksOf(records: readonly OutboundRecord[]): readonly (readonly OutboundRecord[])[] {
  const chunks: OutboundRecord[][] = []
  let current: OutboundRecord[] = []
  let bytes = 0
  for (const record of records) {
    const size = recordBytes(record)
    if (current.length > 0 && bytes + size > CHUNK_BYTES_MAX) {
      chunks.push(current)
      current = []
      bytes = 0
    }
    current.push(record)
    bytes += size
  }
  if (current.length > 0) chunks.push(current)
  return chunks
}

/**
 * The chosen partitions that no acknowledgement names. KafkaJS remembers per broker, not per
 * partition, what it has sent: when a leader moves to a broker that has answered already, the retry
 * leaves that partition's records out and reports success.
 */
export function unacknowledged(
  chosen: ReadonlySet<string>,
  answers: readonly RecordMetadata[],
): readonly string[] {
  const acknowledged = new Set(answers.map(({ topicName, partition }) => `${topicName}/${partition}`))
  return [...chosen].filter((partition) => !acknowledged.has(partition))
}

/** An upper bound of a record's bytes on the wire. Numbers vary in length: each counts as 5. */
export function recordBytes(record: OutboundRecord): number {
  let bytes = 40 + Buffer.byteLength(record.key) + (record.value?.length ?? 0)
  for (const [name, value] of Object.entries(record.headers))
    bytes += 10 + Buffer.byteLength(name) + Buffer.byteLength(value)
  return bytes
}

/** The head of a record batch, https://kafka.apache.org/documentation/#recordbatch. */
const BATCH_HEAD_BYTES = 61

function refuseOversized(records: readonly OutboundRecord[]): void {
  for (const record of records) {
    const bytes = recordBytes(record) + BATCH_HEAD_BYTES
    const max = messageBytesMax(record.topic)
    if (bytes > max)
      throw new Failure(
        'kafka/rejected',
        `A record of ${bytes} bytes for ${record.topic} exceeds its limit of ${max}.`,
      )
  }
}

function createConnection(
  config: KafkaConfig,
  options: ProducerConfig,
  retry: typeof RETRY,
  logger: Logger,
): Connection {
  const chosen = new Set<string>()
  const producer = createClient(config, retry, logger).producer({
    ...options,
    retry: { ...retry },
    allowAutoTopicCreation: false,
    // Named although it is the default: another partitioner would split a connection over two
    // partitions. murmur2, as in Java.
    createPartitioner: () => {
      const partitionOf = Partitioners.DefaultPartitioner()
      return (choice) => {
        const partition = partitionOf(choice)
        chosen.add(`${choice.topic}/${partition}`)
        return partition
      }
    },
  })
  return { producer, chosen }
}

/** KafkaJS asks for the producer id, which fences the last, only at the first transaction. */
async function initialise(producer: KafkajsClientProducer): Promise<void> {
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.abort()
}

async function sendChunk(
  sender: Pick<KafkajsClientProducer, 'sendBatch'> | Pick<Transaction, 'sendBatch'>,
  chosen: Set<string>,
  topicMessages: { topic: string; messages: Message[] }[],
): Promise<readonly Position[]> {
  chosen.clear()
  const answers = await sender.sendBatch({
    acks: -1,
    timeout: ACK_TIMEOUT_MS,
    compression: CompressionTypes.None,
    topicMessages,
  })
  const missing = unacknowledged(chosen, answers)
  if (missing.length > 0)
    throw new Failure(
      'kafka/unavailable',
      `Kafka acknowledged only a part of the records; not: ${missing.join(', ')}.`,
    )
  return answers.map(({ topicName, partition, baseOffset }) => ({
    topic: topicName,
    partition,
    offset: BigInt(baseOffset ?? 0),
  }))
}

function physical(
  prefix: string,
  records: readonly OutboundRecord[],
): { topic: string; messages: Message[] }[] {
  const byTopic = new Map<string, Message[]>()
  for (const { topic, key, value, headers } of records) {
    const messages = byTopic.get(topic) ?? []
    messages.push({ key, value, headers: { ...headers } })
    byTopic.set(topic, messages)
  }
  return [...byTopic].map(([topic, messages]) => ({ topic: `${prefix}${topic}`, messages }))
}

async function abortQuietly(transaction: Transaction): Promise<void> {
  try {
    await transaction.abort()
  } catch {
    // The broker aborts it when the next owner opens, or after the transaction timeout.
  }
}

/**
 * Cuts the library off from retrying what we gave up; it may connect once more, so the
 * end of that work is cut off too.
 */
async function disconnectAround(connection: Connection, work: Promise<unknown>): Promise<void> {
  await disconnect(connection)
  void work.then(noop, noop).then(() => disconnect(connection))
}

function noop(): void {}

async function disconnect({ producer }: Connection): Promise<void> {
  await settledWithin(producer.disconnect(), DISCONNECT_TIMEOUT_MS, 'close the connection').catch(() => {})
}
