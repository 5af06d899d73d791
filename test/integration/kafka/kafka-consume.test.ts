// The consumer of the port on the real broker: what it tells about joins and in which order, what a
// commit means, what a pause survives, and that a handler that throws does not leave it dead.
import { beforeAll, describe, expect, test } from 'vitest'
import type { OutboundRecord, Producer, TopicPartition } from '#shared/kafka/broker.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { openProducer, openTransactionalProducer } from '#shared/kafka/open.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { eventually } from '../../support/eventually.ts'
import { type LogLine, loggerTo, record, type Recording, silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
const OTHER = 'calendar.sync.requested.microsoft.v1'
const PARTITIONS = 4

/** A prefix and so topics of its own for each test: they count what they read. */
async function world(): Promise<KafkaConfig> {
  const config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test' }
  await applyTopics({ ...config, partitions: PARTITIONS }, silent())
  return config
}

function rings(count: number, from = 0, topic = TOPIC): OutboundRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    topic,
    key: `key-${index}`,
    value: Buffer.from(String(from + index)),
    headers: {},
  }))
}

function numbers(recording: Recording): readonly number[] {
  return recording.values().map(Number)
}

const nameOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`

/**
 * All joins told to one consumer fit together: numbers grow, and lost and kept are exactly the
 * difference to the join before.
 */
function expectJoinsToFit(recording: Recording): void {
  let before: readonly string[] = []
  recording.joins.forEach((join, index) => {
    const owned = join.owned.map(nameOf)
    expect(join.assignment).toBe(index + 1)
    expect(join.lost.map(nameOf).toSorted()).toEqual(
      before.filter((name) => !owned.includes(name)).toSorted(),
    )
    expect(join.kept.map(nameOf).toSorted()).toEqual(before.filter((name) => owned.includes(name)).toSorted())
    before = owned
  })
  for (const { batch, joinsBefore } of recording.batches) {
    const join = recording.joins[joinsBefore - 1]
    expect(batch.assignment).toBe(join?.assignment)
    expect(join?.owned.map(nameOf)).toContain(nameOf(batch))
  }
}

/**
 * Commits after the last record of every partition, as somebody does who has finished everything.
 */
async function commitAll(recording: Recording): Promise<void> {
  const next = new Map<string, TopicPartition & { next: bigint }>()
  for (const { topic, partition, offset } of recording.records())
    next.set(nameOf({ topic, partition }), { topic, partition, next: offset + 1n })
  await recording.consumer.commit([...next.values()])
}

describe('joins', () => {
  test('two consumers share the partitions; every record comes after its join, and none is left out', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    const options = { groupId: 'sync', topics: [TOPIC, OTHER] }
    await using first = await record(config, options)
    await producer.send([...rings(50), ...rings(50, 50, OTHER)])
    await first.until(() => first.records().length === 100)
    await commitAll(first)

    const second = await record(config, options)
    await eventually(
      'both hold half',
      () => first.consumer.owned().length + second.consumer.owned().length === 8 && second.joins.length > 0,
    )
    await producer.send([...rings(50, 100), ...rings(50, 150, OTHER)])
    await first.until(() => new Set([...numbers(first), ...numbers(second)]).size === 200)
    expect(second.consumer.owned()).toHaveLength(4)
    // What was committed is not delivered again, not even over the join.
    expect(numbers(second).every((number) => number >= 100)).toBe(true)
    expect(first.joins.at(-1)?.lost).toHaveLength(4)
    expect(first.joins.at(-1)?.kept).toHaveLength(4)

    await second[Symbol.asyncDispose]()
    // It has left, so the first need not wait for its session to end (8 s).
    await eventually('the first holds all', () => first.consumer.owned().length === 8, 6_000)
    expect(second.consumer.owned()).toEqual([])
    expectJoinsToFit(first)
    expectJoinsToFit(second)
  })

  test('what was not committed is delivered again over a join, also of kept partitions', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    await using first = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await producer.send(rings(40))
    await first.until(() => first.records().length === 40)
    const kept = first.joins[0]?.owned ?? []
    expect(kept).toHaveLength(PARTITIONS)

    await using second = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await first.until(() => new Set([...numbers(second), ...afterJoin(first, 2)]).size === 40)
    expectJoinsToFit(first)
  })

  test('heartbeats are acknowledged again and again without any record', async () => {
    const config = await world()
    await using reader = await record(config, { groupId: 'sync', topics: [TOPIC] })
    expect(reader.consumer.lastAcknowledgedAt()).toBe(0)
    await reader.until(() => reader.consumer.lastAcknowledgedAt() > 0)
    for (let beat = 0; beat < 3; beat += 1) {
      const before = reader.consumer.lastAcknowledgedAt()
      await reader.until(() => reader.consumer.lastAcknowledgedAt() > before, 6_000)
      expect(reader.consumer.lastAcknowledgedAt()).toBeLessThanOrEqual(performance.now())
    }
  })
})

/** What was received under the join with this number or a later one. */
function afterJoin(recording: Recording, assignment: number): readonly number[] {
  return recording.batches
    .filter(({ batch }) => batch.assignment >= assignment)
    .flatMap(({ batch }) => batch.records.map(({ value }) => Number(value?.toString())))
}

describe('commit', () => {
  test('is where the next member begins; a partition that is not owned is left out', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    const reader = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await producer.send(rings(40))
    await reader.until(() => reader.records().length === 40)
    const [done] = reader.records()
    if (!done) throw new Error('nothing was read')
    const finished = reader.records().filter(({ partition }) => partition === done.partition)
    const next = (finished.at(-1)?.offset ?? 0n) + 1n
    await reader.consumer.commit([
      { topic: TOPIC, partition: done.partition, next },
      { topic: OTHER, partition: 0, next: 999n },
      { topic: TOPIC, partition: 77, next: 999n },
    ])
    await reader[Symbol.asyncDispose]()
    // After its end a commit is dropped without a word.
    await reader.consumer.commit([{ topic: TOPIC, partition: (done.partition + 1) % PARTITIONS, next: 999n }])

    await using after = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await after.until(() => after.records().length === 40 - finished.length)
    const again = new Set(numbers(after))
    expect(finished.filter(({ value }) => again.has(Number(value?.toString())))).toEqual([])
  })

  test('of a member that the group has given up is no failure, and moves nothing', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    await producer.send(rings(40))
    await using first = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await first.until(() => first.records().length === 40)
    // The generation that this reader's offsets belong to ends with the join of another.
    await using second = await record(config, { groupId: 'sync', topics: [TOPIC] })
    const commits: Promise<void>[] = []
    await eventually('the second has joined', () => {
      if (commits.length < 50) commits.push(commitAll(first))
      return second.joins.length > 0
    })
    await Promise.all(commits)
  })
})

describe('pause', () => {
  test('holds one partition back while the others go on, and resume brings it without waiting for more', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    await using reader = await record(config, { groupId: 'sync', topics: [TOPIC] })
    await reader.until(() => reader.joins.length > 0)
    const paused = await busiestPartition(config, producer, reader)
    reader.consumer.pause([paused])
    const seen = reader.records().length
    await producer.send(rings(40, 1_000))
    const others = rings(40, 1_000).length
    await reader.until(() => reader.records().length > seen)
    await eventually(
      'all but the paused partition is read',
      () => reader.records().length >= seen + others - countIn(reader, paused),
    )
    const before = countIn(reader, paused)
    reader.consumer.resume([paused])
    await reader.until(() => reader.records().length === seen + others)
    expect(countIn(reader, paused)).toBeGreaterThan(before)
  })

  test('survives a join for what is kept, is forgotten for what is lost, and is free again when that comes back', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    const options = { groupId: 'sync', topics: [TOPIC] }
    await using first = await record(config, options)
    await first.until(() => first.joins.length > 0)
    first.consumer.pause(first.consumer.owned())
    const second = await record(config, options)
    await eventually(
      'two members',
      () => first.consumer.owned().length === 2 && second.consumer.owned().length === 2,
    )
    await producer.send(rings(40))
    const freeRecords = second.consumer.owned().map(nameOf)
    await eventually('the second reads its half', () => second.records().length > 0)
    await second[Symbol.asyncDispose]()

    await eventually('the first reads what it lost and got back', () => first.records().length > 0)
    await eventually('and all of it', () => new Set(first.records().map((item) => nameOf(item))).size === 2)
    expect([...new Set(first.records().map((item) => nameOf(item)))].toSorted()).toEqual(
      freeRecords.toSorted(),
    )
    // Its own half is still paused: only now it comes.
    first.consumer.resume(first.consumer.owned())
    await first.until(() => new Set(numbers(first)).size === 40)
  })

  test('called within `assigned` holds back the very first record', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    await producer.send(rings(40))
    await using reader = await record(config, {
      groupId: 'sync',
      topics: [TOPIC, OTHER],
      onAssigned: ({ owned }, consumer) => consumer.pause(owned.filter(({ topic }) => topic === TOPIC)),
    })
    await producer.send(rings(10, 500, OTHER))
    await reader.until(() => reader.records().length === 10)
    expect(numbers(reader).every((number) => number >= 500)).toBe(true)
    reader.consumer.resume(reader.consumer.owned())
    await reader.until(() => reader.records().length === 50)
  })
})

async function busiestPartition(
  config: KafkaConfig,
  producer: Producer,
  reader: Recording,
): Promise<TopicPartition> {
  await producer.send(rings(40))
  await reader.until(() => reader.records().length === 40)
  const [any] = reader.records()
  if (!any) throw new Error(`nothing was read of ${config.prefix}`)
  return { topic: any.topic, partition: any.partition }
}

function countIn(reader: Recording, partition: TopicPartition): number {
  return reader.records().filter((item) => nameOf(item) === nameOf(partition)).length
}

describe('a handler that throws', () => {
  test.each([
    ['a TypeError', new TypeError('x of undefined')],
    ['an Error', new Error('something else')],
  ])('%s ends one life of the consumer; the next begins where it had committed', async (_what, error) => {
    const config = await world()
    const lines: LogLine[] = []
    await using producer = await openProducer(config, silent())
    await producer.send(rings(40))
    let throws = 2
    await using reader = await record(config, {
      groupId: 'sync',
      topics: [TOPIC],
      logger: loggerTo(lines),
      onBatch: () => {
        if (throws-- > 0) throw error
      },
    })
    await reader.until(() => reader.joins.length >= 3 && new Set(afterJoin(reader, 3)).size === 40)
    expect(reader.crashes).toEqual([])
    expect(lines.filter(({ level }) => level === 'error').map(({ msg }) => msg)).toEqual([
      'The consumer failed and is built anew',
      'The consumer failed and is built anew',
    ])
    expectJoinsToFit(reader)
    await commitAll(reader)
  })
})

describe('isolation', () => {
  test('a doorbell behind an open transaction is read uncommitted at once, and committed only after its end', async () => {
    const config = await world()
    await using producer = await openProducer(config, silent())
    const key = 'key-0'
    const open = await openTransactional(config)
    await open.sendOnly([{ topic: TOPIC, key, value: Buffer.from('1'), headers: {} }])
    await producer.send([{ topic: TOPIC, key, value: Buffer.from('2'), headers: {} }])

    await using doorbells = await record(config, {
      groupId: 'u',
      topics: [TOPIC],
      isolation: 'read-uncommitted',
    })
    await using strict = await record(config, { groupId: 'c', topics: [TOPIC], isolation: 'read-committed' })
    await doorbells.until(() => doorbells.records().length === 2)
    await strict.until(() => strict.consumer.lastAcknowledgedAt() > 0)
    expect(strict.records()).toHaveLength(0)
    // Its successor makes the broker abort it.
    await using successor = await openTransactionalProducer(
      { ...config, transactionalId: 'open', timeoutMs: 15_000 },
      silent(),
    )
    expect(successor).toBeDefined()
    await strict.until(() => strict.records().length > 0)
    expect(strict.values()).toEqual(['2'])
    await open.close()
  })
})

/**
 * A transaction that was begun and is not ended, as a killed relay leaves it: the port cannot do
 * this, so the library is used directly.
 */
async function openTransactional(config: KafkaConfig) {
  const { Kafka, logLevel, Partitioners } = await import('kafkajs')
  const client = new Kafka({ brokers: [...config.brokers], logLevel: logLevel.NOTHING })
  const producer = client.producer({
    transactionalId: `${config.prefix}open`,
    idempotent: true,
    maxInFlightRequests: 1,
    transactionTimeout: 60_000,
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const transaction = await producer.transaction()
  return {
    sendOnly: async (records: readonly OutboundRecord[]) => {
      for (const { topic, key, value } of records)
        await transaction.send({ topic: `${config.prefix}${topic}`, messages: [{ key, value }] })
    },
    close: () => producer.disconnect(),
  }
}

describe('a consumer whose topic does not exist yet', () => {
  let config: KafkaConfig
  beforeAll(() => {
    config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test' }
  })

  test('waits for it without crashing, and reads it once it is there', async () => {
    const lines: LogLine[] = []
    await using reader = await record(config, { groupId: 'sync', topics: [TOPIC], logger: loggerTo(lines) })
    await eventually('it has said so', () => lines.some(({ level }) => level === 'warn'))
    await applyTopics({ ...config, partitions: PARTITIONS }, silent())
    await using producer = await openProducer(config, silent())
    await producer.send(rings(4))
    await reader.until(() => reader.records().length === 4)
    expect(reader.crashes).toEqual([])
    expect(lines.filter(({ level }) => level === 'error')).toEqual([])
  })
})
