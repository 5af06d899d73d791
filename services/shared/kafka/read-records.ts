// Records by their place: for a person who looks at single records, not for work. A group of its
// own that commits nothing and is deleted afterwards, so no position moves.
import { randomUUID } from 'node:crypto'
import type { InboundRecord, TopicPartition } from './broker.ts'
import { createClient, type KafkaConfig } from './client.ts'
import { kafkaFailure } from './trouble.ts'
import { inboundRecord } from './membership.ts'

interface RecordPlace extends TopicPartition {
  readonly offset: bigint
}

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }
const WITHIN_MS = 20_000
const SESSION_MS = 10_000

/**
 * Reads the records at these places of one topic (logical name). A place that retention has emptied
 * is left out. Throws Failure `kafka/unavailable` when they were not read within 20 s.
 */
export async function readRecords(
  config: KafkaConfig,
  places: readonly RecordPlace[],
): Promise<readonly InboundRecord[]> {
  const [first] = places
  if (!first) return []
  const kafka = createClient(config, RETRY, null)
  const groupId = `${config.prefix}calstream-look-${randomUUID()}`
  const consumer = kafka.consumer({ groupId, sessionTimeout: SESSION_MS, readUncommitted: false })
  const admin = kafka.admin()
  const name = config.prefix + first.topic
  const found = new Map<string, InboundRecord>()
  try {
    await admin.connect()
    const wanted = within(places, await admin.fetchTopicOffsets(name))
    const all = Promise.withResolvers<void>()
    if (wanted.size === 0) all.resolve()
    const timer = setTimeout(() => all.reject(new Error(`no answer within ${WITHIN_MS / 1000} s`)), WITHIN_MS)
    try {
      await consumer.connect()
      await consumer.subscribe({ topics: [name], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          for (const message of batch.messages) {
            const key = `${batch.partition}/${message.offset}`
            if (wanted.has(key))
              found.set(key, inboundRecord({ topic: first.topic, partition: batch.partition }, message))
          }
          passed(wanted, batch.partition, BigInt(batch.lastOffset()))
          if (wanted.size === 0) all.resolve()
        },
      })
      for (const [partition, offset] of starts(places))
        consumer.seek({ topic: name, partition, offset: String(offset) })
      await all.promise
    } finally {
      clearTimeout(timer)
    }
    return [...found.values()]
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    await consumer.disconnect().catch(() => {})
    await admin.deleteGroups([groupId]).catch(() => {})
    await admin.disconnect().catch(() => {})
  }
}

/** The places that the topic still holds, by `partition/offset`. */
function within(
  places: readonly RecordPlace[],
  offsets: readonly { partition: number; low: string; high: string }[],
): Map<string, RecordPlace> {
  const range = new Map(
    offsets.map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]),
  )
  return new Map(
    places
      .filter(({ partition, offset }) => {
        const kept = range.get(partition)
        return kept !== undefined && offset >= kept.low && offset < kept.high
      })
      .map((place) => [`${place.partition}/${place.offset}`, place]),
  )
}

/**
 * What lies at or before an offset that was read has come or never will (a gap of a
 * transaction, a compacted record).
 */
function passed(wanted: Map<string, RecordPlace>, partition: number, upTo: bigint): void {
  for (const [key, place] of wanted) {
    if (place.partition === partition && place.offset <= upTo) wanted.delete(key)
  }
}

function starts(places: readonly RecordPlace[]): ReadonlyMap<number, bigint> {
  const least = new Map<number, bigint>()
  for (const { partition, offset } of places) {
    const known = least.get(partition)
    if (known === undefined || offset < known) least.set(partition, offset)
  }
  return least
}
