// Whole topics, from what they keep to their ends: for a command that has to know what readers were
// told. A group of its own that commits nothing and is deleted afterwards, so no position moves.
// Invariant: it returns only when every committed record up to the ends has been handed over.
import { randomUUID } from 'node:crypto'
import { Failure } from '#shared/domain/failure.ts'
import type { InboundRecord } from './broker.ts'
import { createClient, type KafkaConfig } from './client.ts'
import { kafkaFailure } from './trouble.ts'
import { inboundRecord } from './membership.ts'

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }
const SESSION_MS = 30_000
const MAX_WAIT_MS = 250
/** Without a record or a marker for so long it is given up: something holds the readers up. */
const SILENT_MAX_MS = 30_000
const LOOK_EVERY_MS = 1_000

export interface WholeTopics {
  /** Logical names. */
  readonly topics: readonly string[]
  /** Nothing writes there: what comes beyond the ends is an error, and so is what is hidden. */
  readonly isStill: boolean
  /** One batch at a time, in the order of its partition. What it throws ends the reading. */
  readonly received: (records: readonly InboundRecord[]) => Promise<void>
  /** Told now and then: offsets that were read, of all that are to be read. */
  readonly progress?: ((read: number, all: number) => void) | undefined
}

/**
 * Reads topics as readers of committed records do, up to the ends that they have at the beginning.
 * Throws Failure `kafka/unavailable` when a topic is missing, when nothing comes for 30 s, or, if
 * the topics are to be still, when one grows or an open transaction hides records; and what
 * `received` throws.
 */
export async function readToEnd(
  config: KafkaConfig,
  { topics, isStill, received, progress = () => {} }: WholeTopics,
  signal: AbortSignal,
): Promise<void> {
  const kafka = createClient(config, RETRY, null, SESSION_MS)
  const groupId = `${config.prefix}calstream-look-${randomUUID()}`
  const admin = kafka.admin()
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: SESSION_MS,
    maxWaitTimeInMs: MAX_WAIT_MS,
    readUncommitted: false,
  })
  try {
    await admin.connect()
    const { ends, offsets } = await endsOf(admin, config.prefix, topics)
    const reading = trackReading(ends, isStill)
    let read = 0
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) reading.fail(payload.error)
    })
    // Told also for batches in which nothing but markers lay, which no handler sees.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
      read += Math.max(0, Number(payload.lastOffset) - Number(payload.firstOffset) + 1)
      progress(Math.min(read, offsets), offsets)
      reading.passed(payload)
    })
    if (ends.size > 0) {
      await consumer.connect()
      await consumer.subscribe({ topics: topics.map((topic) => config.prefix + topic), fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          const place = { topic: batch.topic.slice(config.prefix.length), partition: batch.partition }
          // KafkaJS would run the same batch again.
          await received(batch.messages.map((message) => inboundRecord(place, message))).catch(reading.fail)
        },
      })
      await reading.finished(signal)
    }
  } catch (error) {
    throw error instanceof Error && error.name.startsWith('KafkaJS') ? kafkaFailure(error) : error
  } finally {
    await consumer.disconnect().catch(() => {})
    await admin.deleteGroups([groupId]).catch(() => {})
    await admin.disconnect().catch(() => {})
  }
}

type Admin = ReturnType<ReturnType<typeof createClient>['admin']>

/**
 * `topic/partition` (with prefix) → the offset after its last readable record; empty ones not. And
 * how many offsets there are.
 */
async function endsOf(admin: Admin, prefix: string, topics: readonly string[]) {
  const ends = new Map<string, bigint>()
  let offsets = 0
  for (const topic of topics)
    for (const { partition, low, high } of await admin.fetchTopicOffsets(prefix + topic)) {
      if (BigInt(high) > BigInt(low)) ends.set(`${prefix}${topic}/${partition}`, BigInt(high))
      offsets += Number(BigInt(high) - BigInt(low))
    }
  return { ends, offsets }
}

interface Passed {
  readonly topic: string
  readonly partition: number
  readonly lastOffset: string
  readonly highWatermark: string
}

function trackReading(ends: ReadonlyMap<string, bigint>, isStill: boolean) {
  const left = new Map(ends)
  const all = Promise.withResolvers<void>()
  // It may fail before anything waits for it.
  all.promise.catch(() => undefined)
  let lastAt = performance.now()
  const fail = (error: unknown): void => all.reject(error)
  return {
    fail,
    passed({ topic, partition, lastOffset, highWatermark }: Passed): void {
      lastAt = performance.now()
      const place = `${topic}/${partition}`
      const end = left.get(place)
      if (end === undefined || BigInt(lastOffset) < end - 1n) return
      left.delete(place)
      if (isStill && BigInt(highWatermark) > end) fail(hidden(place))
      else if (left.size === 0) all.resolve()
    },
    async finished(signal: AbortSignal): Promise<void> {
      const look = setInterval(() => {
        if (performance.now() - lastAt > SILENT_MAX_MS) fail(silent([...left.keys()]))
      }, LOOK_EVERY_MS)
      const stop = (): void => fail(signal.reason)
      signal.addEventListener('abort', stop, { once: true })
      try {
        signal.throwIfAborted()
        await all.promise
      } finally {
        clearInterval(look)
        signal.removeEventListener('abort', stop)
      }
    },
  }
}

function hidden(place: string): Failure {
  return new Failure(
    'kafka/unavailable',
    `${place} grew while it was read, or an open transaction hides what comes last. Stop whatever writes there, wait a minute and try again.`,
  )
}

function silent(places: readonly string[]): Failure {
  return new Failure(
    'kafka/unavailable',
    `Nothing came for ${SILENT_MAX_MS / 1000} s from ${places.slice(0, 3).join(', ')}. Look at the brokers, then try again.`,
  )
}
