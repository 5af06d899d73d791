// Records as they come, for a person who watches, not for work. A group of its own that commits
// nothing and is deleted afterwards, so no position moves. Only what was committed is shown:
// what a transaction aborted never was.
import { randomUUID } from 'node:crypto'
import type { InboundRecord } from './broker.ts'
import { createClient, type KafkaConfig } from './client.ts'
import { kafkaFailure } from './trouble.ts'
import { inboundRecord } from './membership.ts'

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }
const SESSION_MS = 10_000
const MAX_WAIT_MS = 250

export interface Followed {
  /** Logical name. */
  readonly topic: string
  readonly fromBeginning: boolean
  /** Called once, when records that are made from now on will be shown. */
  readonly joined: () => void
  /** One batch at a time, in the order of its partition. */
  readonly received: (records: readonly InboundRecord[]) => Promise<void>
}

/**
 * Follows a topic until the signal is aborted. Throws Failure `kafka/unavailable` when the client
 * gives up, and what `received` throws.
 */
export async function followRecords(
  config: KafkaConfig,
  { topic, fromBeginning, joined, received }: Followed,
  signal: AbortSignal,
): Promise<void> {
  const kafka = createClient(config, RETRY, null, SESSION_MS)
  const groupId = `${config.prefix}calstream-tail-${randomUUID()}`
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: SESSION_MS,
    maxWaitTimeInMs: MAX_WAIT_MS,
    readUncommitted: false,
  })
  const ended = Promise.withResolvers<void>()
  const stop = (): void => ended.resolve()
  signal.addEventListener('abort', stop, { once: true })
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) ended.reject(payload.error)
  })
  consumer.on(consumer.events.GROUP_JOIN, () => joined())
  try {
    signal.throwIfAborted()
    await consumer.connect()
    await consumer.subscribe({ topics: [config.prefix + topic], fromBeginning })
    await consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        const place = { topic, partition: batch.partition }
        try {
          await received(batch.messages.map((message) => inboundRecord(place, message)))
        } catch (error) {
          ended.reject(error)
        }
      },
    })
    await ended.promise
  } catch (error) {
    if (!signal.aborted)
      throw error instanceof Error && error.name.startsWith('KafkaJS') ? kafkaFailure(error) : error
  } finally {
    signal.removeEventListener('abort', stop)
    await consumer.disconnect().catch(() => {})
    const admin = kafka.admin()
    await admin
      .connect()
      .then(() => admin.deleteGroups([groupId]))
      .catch(() => {})
    await admin.disconnect().catch(() => {})
  }
}
