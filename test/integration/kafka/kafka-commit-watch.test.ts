// The watch over commits on the real broker: nothing counts as published before readers of
// committed records get past it.
import { Kafka, logLevel } from 'kafkajs'
import { beforeAll, expect, test } from 'vitest'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { openCommitWatch, openTransactionalProducer, type CommitWatch } from '#shared/kafka/open.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { record, silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const EVENTS = 'calendar.event.changed.v1'
let config: KafkaConfig

beforeAll(async () => {
  config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test' }
  await applyTopics({ ...config, partitions: 1 }, silent())
})

function open(transactionalId: string, watch: CommitWatch) {
  return openTransactionalProducer({ ...config, transactionalId, timeoutMs: 15_000, watch }, silent())
}

function event(value: string) {
  return { topic: EVENTS, key: 'k', value: Buffer.from(value), headers: {} }
}

/**
 * A transaction that has written into the partition and stays open:
 * what comes after it cannot be read.
 */
async function openTransaction() {
  const kafka = new Kafka({ brokers: [...config.brokers], logLevel: logLevel.NOTHING })
  const producer = kafka.producer({
    transactionalId: `${config.prefix}other`,
    maxInFlightRequests: 1,
    idempotent: true,
  })
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.send({ topic: `${config.prefix}${EVENTS}`, messages: [{ key: 'k', value: 'open' }] })
  return { abort: () => transaction.abort(), [Symbol.asyncDispose]: () => producer.disconnect() }
}

async function readable(count: number): Promise<readonly string[]> {
  await using reader = await record(config, {
    groupId: `r-${crypto.randomUUID()}`,
    topics: [EVENTS],
    isolation: 'read-committed',
  })
  await reader.until(() => reader.records().length >= count)
  return reader.records().map(({ value }) => value?.toString() ?? '')
}

test('a batch counts as published when it can be read, and what no reader can see is published again', async () => {
  await using patient = openCommitWatch(config)
  await using hasty = openCommitWatch(config, 300)
  await using first = await open('mine', patient)
  await first.publish([event('one'), event('two')])
  expect(await readable(2)).toEqual(['one', 'two'])

  await using other = await openTransaction()
  await using second = await open('mine', hasty)
  await expect(second.publish([event('three')])).rejects.toMatchObject({
    code: 'kafka/unavailable',
    message: expect.stringContaining('no reader can see'),
  })
  await expect(second.publish([event('four')])).rejects.toMatchObject({ code: 'kafka/unavailable' })

  await using third = await open('mine', patient)
  let isDone = false
  const again = third.publish([event('three'), event('four')]).finally(() => (isDone = true))
  await expect.poll(() => committedAhead(), { timeout: 10_000 }).toBe(true)
  expect(isDone).toBe(false)
  await other.abort()
  await again
  expect(await readable(5)).toEqual(['one', 'two', 'three', 'three', 'four'])
})

/**
 * Whether the third batch lies in the partition:
 * 2 records, a marker, the open one, 1 record and its marker, 2 more.
 */
async function committedAhead(): Promise<boolean> {
  await using reader = await record(config, {
    groupId: `u-${crypto.randomUUID()}`,
    topics: [EVENTS],
    isolation: 'read-uncommitted',
  })
  await reader.until(() => reader.records().length >= 6)
  return true
}

test('a broker that is away fails those who wait, soon, and a closed watch lets nobody wait', async () => {
  const position = { topic: `${config.prefix}${EVENTS}`, partition: 0, offset: 0n }
  const watch = openCommitWatch({ ...config, brokers: ['127.0.0.1:1'] })
  await expect(watch.visible([position])).rejects.toMatchObject({ code: 'kafka/unavailable' })

  const closing = openCommitWatch(config, 60_000)
  const never = closing.visible([{ ...position, offset: 1_000_000n }])
  const refused = expect(never).rejects.toMatchObject({ code: 'kafka/unavailable' })
  await closing[Symbol.asyncDispose]()
  await refused
  await watch[Symbol.asyncDispose]()
})
