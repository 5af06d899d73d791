// One life of a KafkaJS consumer, from connecting to its end; it is never restarted, its
// supervisor makes a new one. Invariants: `joined` is called before any record of that join is
// delivered, no record fetched before a join is delivered after it, and nothing at all is
// delivered once the life has ended.
import kafkajs, {
  type Consumer as KafkajsClientConsumer,
  type ConsumerEndBatchProcessEvent,
  type EachBatchPayload,
  type KafkaMessage,
} from 'kafkajs'
import { Failure } from '#shared/domain/failure.ts'
import type { ConsumerOptions, InboundRecord, NextOffset, TopicPartition } from './broker.ts'
import { createClient, type KafkaConfig, settledWithin } from './client.ts'
import type { Logger } from '#shared/process/log.ts'

export interface MembershipEvents {
  joined(owned: readonly TopicPartition[]): void
  /**
   * No records where nothing but markers of transactions lay. `next`: where reading continues,
   * past such markers; `end`: where the log ends, as its broker says.
   */
  received(
    partition: TopicPartition,
    batch: { readonly records: readonly InboundRecord[]; readonly next: bigint; readonly end: bigint },
  ): void
  /**
   * performance.now() at the sending of a request that the coordinator then
   * acknowledged as from a member.
   */
  acknowledged(at: number): void
}

type CommitNow = EachBatchPayload['commitOffsetsIfNecessary']
type BatchEnd = ConsumerEndBatchProcessEvent['payload']

/**
 * A stalled process loses its partitions after 8 s; the library sends heartbeats from its fetch
 * loop, so at least every 2.25 s.
 */
const SESSION_TIMEOUT_MS = 8_000
const HEARTBEAT_INTERVAL_MS = 2_000
const REBALANCE_TIMEOUT_MS = 10_000
/**
 * Longer than a session: while the leader of a group is dead, the broker keeps the answer to
 * SyncGroup back until that session is over. Who gives up sooner cannot leave either (the broker
 * takes one request of a connection at a time) and is the next dead member, for 8 s more: a sync
 * that died every 11 s never got a partition.
 */
const ANSWER_TIMEOUT_MS = SESSION_TIMEOUT_MS + 2_000
/**
 * Also how long a resumed partition waits while all are paused:
 * 4.7 s with the default of 5 s, 0.2 s with this.
 */
const MAX_WAIT_MS = 250
/** Bounds what a fetch brings at once: 24 partitions × 256 KiB. */
const PARTITION_BYTES_MAX = 256 * 1024
/** The handler only hands over, so each fetched partition may have its own worker. */
const WORKERS = 48
/** Few and quick: a life that has trouble ends, and the supervisor begins a new one. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 3 }
const LEAVE_TIMEOUT_MS = 2_000
/**
 * No acknowledgement for so long means that the library is stuck, whatever it waits for.
 * A join takes up to 10 s.
 */
const SILENCE_MAX_MS = 30_000
const SILENCE_CHECK_MS = 1_000

export class Membership {
  /** Resolves with the reason once this life is over; never rejects. */
  readonly ended: Promise<unknown>
  readonly #end: (reason: unknown) => void
  readonly #prefix: string
  readonly #options: ConsumerOptions
  readonly #events: MembershipEvents
  readonly #consumer: KafkajsClientConsumer
  /** Nodes that owe an answer to a fetch. */
  readonly #fetching = new Set<string>()
  readonly #watchdog: NodeJS.Timeout
  #over = false
  #joined = false
  #commitNow: CommitNow | null = null
  #heartbeatSentAt = 0
  #lastSignAt = performance.now()

  constructor(config: KafkaConfig, options: ConsumerOptions, events: MembershipEvents, logger: Logger) {
    const { promise, resolve } = Promise.withResolvers<unknown>()
    this.ended = promise
    this.#end = (reason) => {
      this.#over = true
      clearInterval(this.#watchdog)
      resolve(reason)
    }
    this.#prefix = config.prefix
    this.#options = options
    this.#events = events
    this.#consumer = createClient(config, RETRY, logger, ANSWER_TIMEOUT_MS).consumer({
      groupId: `${config.prefix}${options.groupId}`,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      maxWaitTimeInMs: MAX_WAIT_MS,
      maxBytesPerPartition: PARTITION_BYTES_MAX,
      readUncommitted: options.isolation === 'read-uncommitted',
      allowAutoTopicCreation: false,
      // It would restart what it calls retriable and stay dead after the rest:
      // the supervisor decides for both.
      retry: { ...RETRY, restartOnFailure: async () => false },
    })
    this.#listen()
    this.#watchdog = setInterval(() => this.#checkSilence(), SILENCE_CHECK_MS)
    void this.#run()
  }

  /**
   * One request, no retry; the broker refuses it when a newer generation has formed. Before the
   * first records of this life there is nothing to commit.
   */
  async commit(offsets: readonly NextOffset[]): Promise<void> {
    if (this.#over || this.#commitNow === null) return
    const topics = new Map<string, { partition: number; offset: string }[]>()
    for (const { topic, partition, next } of offsets) {
      const partitions = topics.get(topic) ?? []
      partitions.push({ partition, offset: next.toString() })
      topics.set(topic, partitions)
    }
    await this.#commitNow({
      topics: [...topics].map(([topic, partitions]) => ({ topic: `${this.#prefix}${topic}`, partitions })),
    })
  }

  pause(partitions: readonly TopicPartition[]): void {
    if (this.#joined && !this.#over && partitions.length > 0) this.#consumer.pause(this.#physical(partitions))
  }

  resume(partitions: readonly TopicPartition[]): void {
    if (this.#joined && !this.#over && partitions.length > 0)
      this.#consumer.resume(this.#physical(partitions))
  }

  /** Ends this life and leaves the group, within 2 s. */
  async leave(): Promise<void> {
    this.#end(null)
    await this.#disconnect()
  }

  async #run(): Promise<void> {
    try {
      await this.#consumer.connect()
      await this.#consumer.subscribe({
        topics: this.#options.topics.map((topic) => `${this.#prefix}${topic}`),
        // Also what the library commits when an offset is out of range:
        // from the end would be a silent loss.
        fromBeginning: true,
      })
      await this.#consumer.run({
        autoCommit: false,
        // Only moves the position of the next fetch; with autoCommit off it commits nothing.
        eachBatchAutoResolve: true,
        partitionsConsumedConcurrently: WORKERS,
        eachBatch: async (payload) => this.#eachBatch(payload),
      })
    } catch (error) {
      this.#end(error)
    }
    // Given up while it was connecting: what connected after that is closed here.
    if (this.#over) await this.#disconnect()
  }

  #eachBatch(payload: EachBatchPayload): void {
    const { batch } = payload
    const { topic, partition } = batch
    // Not a plain return: that would move the position past records that were not delivered.
    if (this.#over) throw new kafkajs.KafkaJSNonRetriableError('This consumer has ended')
    this.#commitNow = (offsets) => payload.commitOffsetsIfNecessary(offsets)
    this.#sign()
    const at = { topic: topic.slice(this.#prefix.length), partition }
    const records = batch.messages.map((message) => inboundRecord(at, message))
    const place = { next: BigInt(batch.lastOffset()) + 1n, end: BigInt(batch.highWatermark) }
    try {
      this.#events.received(at, { records, ...place })
    } catch (error) {
      // The library would retry some errors by fetching again and stay dead after
      // others; ours all end this life.
      this.#end(error)
      throw new kafkajs.KafkaJSNonRetriableError('The handler of received records failed')
    }
  }

  async #disconnect(): Promise<void> {
    const left = this.#consumer.disconnect()
    await settledWithin(left, LEAVE_TIMEOUT_MS, 'let us leave the group').catch(() => {})
  }

  #listen(): void {
    const consumer = this.#consumer
    const { CRASH, END_BATCH_PROCESS, FETCH, FETCH_START, GROUP_JOIN, HEARTBEAT, REBALANCING, REQUEST } =
      consumer.events
    consumer.on(END_BATCH_PROCESS, ({ payload }) => this.#onMarkers(payload))
    consumer.on(GROUP_JOIN, ({ payload }) => this.#onJoin(payload.memberAssignment))
    consumer.on(CRASH, ({ payload }) => this.#end(payload.error))
    consumer.on(FETCH_START, ({ payload }) => void this.#fetching.add(String(payload.nodeId)))
    consumer.on(FETCH, ({ payload }) => void this.#fetching.delete(String(payload.nodeId)))
    // Comes after all fetchers have ended.
    consumer.on(REBALANCING, () => this.#fetching.clear())
    consumer.on(REQUEST, ({ payload }) => {
      if (payload.apiName === 'Heartbeat') this.#heartbeatSentAt = monotonic(payload.sentAt)
    })
    // A fetch is no sign of membership:
    // the broker serves any client, and the library reports one even when it failed.
    consumer.on(HEARTBEAT, () => {
      this.#sign()
      this.#events.acknowledged(this.#heartbeatSentAt)
    })
  }

  /**
   * Markers alone: no handler of the library sees them, and a group that does not commit past them
   * seems to be behind for ever. Before the first records of this life nothing can be committed.
   */
  #onMarkers({ batchSize, topic, partition, lastOffset, highWatermark }: BatchEnd): void {
    if (batchSize > 0 || this.#over || this.#commitNow === null) return
    const at = { topic: topic.slice(this.#prefix.length), partition }
    const place = { next: BigInt(lastOffset) + 1n, end: BigInt(highWatermark) }
    this.#events.received(at, { records: [], ...place })
  }

  #onJoin(assignment: Record<string, number[]>): void {
    // Thrown through the library's join: a life that was given up while joining would stay in the
    // group and hold partitions.
    if (this.#over) throw new kafkajs.KafkaJSNonRetriableError('This consumer has ended')
    // A join from within one broker's fetch (stale metadata) does not wait for the fetches of the
    // other brokers. What they bring belongs to the assignment before, but the library would
    // deliver it now and move the new position past records that were never delivered. Rare (a
    // leader moved): begin anew.
    if (this.#fetching.size > 1) {
      const reason = new Failure(
        'kafka/unavailable',
        'The group was joined while other brokers were being read.',
      )
      this.#end(reason)
      throw new kafkajs.KafkaJSNonRetriableError(reason.message)
    }
    this.#joined = true
    this.#sign()
    this.#events.acknowledged(performance.now())
    const owned = Object.entries(assignment).flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic: topic.slice(this.#prefix.length), partition })),
    )
    try {
      this.#events.joined(owned)
    } catch (error) {
      this.#end(error)
      throw new kafkajs.KafkaJSNonRetriableError('The handler of assignments failed')
    }
  }

  #sign(): void {
    this.#lastSignAt = performance.now()
  }

  #checkSilence(): void {
    const silence = performance.now() - this.#lastSignAt
    if (silence > SILENCE_MAX_MS)
      this.#end(new Failure('kafka/unavailable', `The group was silent for ${Math.round(silence / 1000)} s.`))
  }

  #physical(partitions: readonly TopicPartition[]): { topic: string; partitions: number[] }[] {
    return partitions.map(({ topic, partition }) => ({
      topic: `${this.#prefix}${topic}`,
      partitions: [partition],
    }))
  }
}

/**
 * A time of Date.now() on the scale of performance.now().
 * Never in the future, whatever the wall clock did.
 */
function monotonic(wallMs: number): number {
  return performance.now() - Math.max(0, Date.now() - wallMs)
}

/** A message as the port shows it. */
export function inboundRecord({ topic, partition }: TopicPartition, message: KafkaMessage): InboundRecord {
  const headers = new Map<string, string>()
  for (const [name, value] of Object.entries(message.headers ?? {})) {
    const last = Array.isArray(value) ? value.at(-1) : value
    if (last !== undefined) headers.set(name, last.toString())
  }
  return {
    topic,
    partition,
    offset: BigInt(message.offset),
    timestampMs: Number(message.timestamp),
    key: message.key,
    value: message.value,
    headers,
  }
}
