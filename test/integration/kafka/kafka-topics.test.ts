// Topics that turn bad under a running consumer: one that holds a batch which the library cannot
// read, and one that is deleted and made again. The first ends the library's consumer for good
// (CRASH without a restart), so ours is built anew; what comes after is read.
import { Producer as OtherProducer, stringSerializers } from '@platformatic/kafka'
import kafkajs from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { TopicPartition } from '#shared/kafka/broker.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { applyTopics, brokerProblems, brokerSettings, verifyTopics } from '#shared/kafka/topics.ts'
import { eventually } from '../../support/eventually.ts'
import { withAdmin } from '../../support/offsets.ts'
import { type LogLine, loggerTo, record, type Recording, silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const TOPIC = TOPICS.requestedGoogle

async function place(): Promise<KafkaConfig & { readonly on: { brokers: string; prefix: string } }> {
  const { brokers } = testStack()
  const prefix = freshPrefix()
  const config = { brokers: brokers.split(','), prefix, clientId: 'test' }
  await applyTopics({ ...config, partitions: 1 }, silent())
  return { ...config, on: { brokers, prefix } }
}

const rings = (...values: readonly number[]) =>
  values.map((value) => ({ topic: TOPIC, key: 'key', value: Buffer.from(String(value)), headers: {} }))

/** A batch in a compression that KafkaJS does not know. */
async function sendUnreadable({ brokers, prefix }: KafkaConfig): Promise<void> {
  const producer = new OtherProducer({
    clientId: 'other',
    bootstrapBrokers: [...brokers],
    serializers: stringSerializers,
    compression: 'lz4',
  })
  try {
    await producer.send({ messages: [{ topic: prefix + TOPIC, key: 'key', value: 'x'.repeat(200) }] })
  } finally {
    await producer.close()
  }
}

describe('a batch that the library cannot read', () => {
  test('ends its consumer for good; ours is built anew until an operator has removed it, and goes on behind it', async () => {
    const config = await place()
    const lines: LogLine[] = []
    await using producer = await openProducer(config, silent())
    await producer.send(rings(1, 2, 3))
    await using reader = await record(config, { groupId: 'sync', topics: [TOPIC], logger: loggerTo(lines) })
    await reader.until(() => reader.records().length === 3)
    await reader.consumer.commit([{ topic: TOPIC, partition: 0, next: 3n }])
    await sendUnreadable(config)
    await producer.send(rings(4, 5))
    const rebuilt = () => lines.filter(({ msg }) => msg === 'The consumer failed and is built anew').length
    await eventually('several lives to have ended at it', () => rebuilt() >= 2)
    expect(new Set(reader.values())).toEqual(new Set(['1', '2', '3']))

    await withAdmin(config.on, async (admin) => {
      const topic = config.prefix + TOPIC
      // Makes the client look the topic up, which deleting alone does not.
      await admin.fetchTopicOffsets(topic)
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    })
    await reader.until(() => reader.values().includes('5'))
    expect(reader.values().slice(-2)).toEqual(['4', '5'])
    expect(reader.crashes).toEqual([])
  })
})

test('a broker tells the settings that decide whether its own topics can be made', async () => {
  const { on } = await place()
  const told = await withAdmin(on, (admin) => brokerSettings(admin))
  expect(brokerProblems(1, new Set(), told)).toEqual([])
  const tooMany = brokerProblems(0, new Set(), told)
  expect(tooMany.map((problem) => problem.split(' ')[0])).toEqual([
    '__consumer_offsets',
    '__transaction_state',
  ])
  expect(brokerProblems(0, new Set(['__consumer_offsets', '__transaction_state']), told)).toEqual([])
})

describe('a topic of an older version', () => {
  const LAG = 'max.compaction.lag.ms'

  test('is told what it was never told, and keeps what an operator told it', async () => {
    const config = await place()
    const name = config.prefix + TOPICS.eventState
    const tell = (entries: Record<string, string>) =>
      withAdmin(config.on, async (admin) => {
        const configEntries = Object.entries(entries).map(([key, value]) => ({ name: key, value }))
        const at = { type: kafkajs.ConfigResourceTypes.TOPIC, name }
        await admin.alterConfigs({ validateOnly: false, resources: [{ ...at, configEntries }] })
        // The broker applies it a moment after the controller took it.
        await eventually('the broker has all of it', async () => {
          const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [at] })
          const now = new Map(resources[0]?.configEntries.map((one) => [one.configName, one.configValue]))
          return configEntries.every(({ name: key, value }) => now.get(key) === value)
        })
      })
    const states = async () => {
      const { topics, problems } = await applyTopics({ ...config, partitions: 1 }, silent())
      return { state: topics.find((topic) => topic.name === name)?.state, problems }
    }
    expect(await states()).toEqual({ state: 'unchanged', problems: [] })

    const old = { 'cleanup.policy': 'compact', 'max.message.bytes': '1048588', 'retention.ms': '1234567' }
    await tell({ ...old, 'delete.retention.ms': '604800000' })
    const before = await verifyTopics({ ...config, partitions: 1 }, silent())
    expect(before.problems).toEqual([expect.stringContaining('dirty.ratio'), expect.stringContaining(LAG)])
    expect(await states()).toEqual({ state: 'changed', problems: [] })
    expect(await states()).toEqual({ state: 'unchanged', problems: [] })

    await tell({ ...old, [LAG]: '7777777' })
    const { state, problems } = await states()
    expect(state).toBe('changed')
    expect(problems).toEqual([expect.stringContaining(`${LAG}=7777777 instead of`)])
  })
})

describe('a topic that is deleted and made again', () => {
  test.each(['at once', 'after it was missed for a while'])(
    '%s is read from its new beginning: its partitions were lost in between, so nothing there counts as seen',
    async (when) => {
      const config = await place()
      const lines: LogLine[] = []
      await using producer = await openProducer(config, silent())
      const ledger = createOffsetLedger()
      const fresh: string[] = []
      await using reader = await record(config, {
        groupId: 'sync',
        topics: [TOPIC],
        logger: loggerTo(lines),
        onAssigned: ({ lost }) => {
          for (const at of lost) ledger.drop(at)
        },
        // As the services do: what was delivered before in this holding is left alone.
        onBatch: ({ records }) => {
          for (const one of records)
            if (ledger.add(one, one.offset, one.timestampMs)) fresh.push(one.value?.toString('utf8') ?? '')
        },
      })
      await producer.send(rings(1, 2, 3))
      await eventually('all to be read', () => fresh.length === 3)
      const topics = [config.prefix + TOPIC]
      await withAdmin(config.on, (admin) => admin.deleteTopics({ topics }))
      if (when !== 'at once') {
        await eventually('a life to have ended', () =>
          lines.some(({ msg }) => msg === 'The consumer lost Kafka and joins again'),
        )
      }
      await eventually('it to be made again', async () => {
        await applyTopics({ ...config, partitions: 1 }, silent())
        return true
      })
      await eventually('a send', async () => {
        await producer.send(rings(4))
        return true
      })
      await eventually('the new record to be read', () => fresh.includes('4'), 60_000).catch(
        (error: unknown) => {
          const told = { read: reader.values(), joins: reader.joins, said: lines.map(({ msg }) => msg) }
          throw new Error(JSON.stringify(told), { cause: error })
        },
      )
      await producer.send(rings(5, 6))
      await eventually('and those after it', () => fresh.includes('6'))
      expect(fresh).toEqual(['1', '2', '3', '4', '5', '6'])
      expect(reader.crashes).toEqual([])
      expect(lines.filter(({ level }) => level === 'error')).toEqual([])
      expectJoinsToFit(reader)
    },
    120_000,
  )
})

/**
 * What is told as lost and kept is the difference to what was owned before,
 * also where nobody joined.
 */
function expectJoinsToFit(reader: Recording): void {
  let before: readonly TopicPartition[] = []
  reader.joins.forEach(({ assignment, owned, lost, kept }, index) => {
    expect(assignment).toBe(index + 1)
    expect([...lost, ...kept]).toHaveLength(before.length)
    before = owned
  })
}
