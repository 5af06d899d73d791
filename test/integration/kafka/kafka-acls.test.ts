// The rights of our users, given to a real broker that looks at them: each user may do what its
// service does, and nothing else. What each may is written here by hand, beside the list.
import type { Kafka } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { applyAcls, ourPrincipals, verifyAcls } from '#shared/kafka/acls.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import { createClient, type KafkaConfig } from '#shared/kafka/client.ts'
import { openCommitWatch } from '#shared/kafka/commit-watch.ts'
import { groupsWithMembers } from '#shared/kafka/members.ts'
import { groupLag, openProducer, openTransactionalProducer } from '#shared/kafka/open.ts'
import { readToEnd } from '#shared/kafka/read-to-end.ts'
import { kafkaConfigOf, kafkaEnv } from '#shared/kafka/settings.ts'
import { applyTopics, verifyTopics } from '#shared/kafka/topics.ts'
import { kafkaFailure } from '#shared/kafka/trouble.ts'
import { readEnv } from '#shared/process/settings.ts'
import { UserError } from '#shared/process/user-error.ts'
import { type IdentityBroker, startIdentityBroker } from '../../support/identity-broker.ts'
import { loggerTo, type LogLine, record, silent } from '../../support/recording-consumer.ts'
import { testStack } from '../../support/stack.ts'
import { startTokenServer, type TokenServer } from '../../support/token-server.ts'

const PASSWORD = 'the-password-of-all'
const PREFIX = 'acl-'
const SERVICES = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'reader'] as const
type Service = (typeof SERVICES)[number]
const ALL_TOPICS = Object.values(TOPICS)
const RINGS = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft]
const RETRIES = [TOPICS.retry30s, TOPICS.retry10m, TOPICS.retry6h]
const PUBLIC = [TOPICS.eventChanged, TOPICS.eventState, TOPICS.connectionChanged]

const WRITES: Record<Service, readonly string[]> = {
  ingress: RINGS,
  sync: [TOPICS.deadLetter],
  retry: [...RINGS, TOPICS.deadLetter],
  relay: ALL_TOPICS,
  scheduler: RINGS,
  reader: [],
}
const READS: Record<Service, readonly string[]> = {
  ingress: [],
  sync: RINGS,
  retry: RETRIES,
  relay: [],
  scheduler: [TOPICS.deadLetter],
  reader: PUBLIC,
}
const JOINS: Record<Service, readonly string[]> = {
  ingress: [],
  sync: [GROUPS.sync],
  retry: [GROUPS.retry],
  relay: [],
  scheduler: [GROUPS.deadLetterIndex],
  reader: ['reader-of-mine'],
}
const ALL_GROUPS = [...Object.values(GROUPS), 'reader-of-mine']

let broker: IdentityBroker
/** The broker reads its keys at the start. */
let tokens: TokenServer

beforeAll(async () => {
  const users = Object.fromEntries(ourPrincipals().map((name) => [name, PASSWORD]))
  tokens = await startTokenServer({ lifeSeconds: 3600, audience: 'kafka', subject: 'nameless' })
  broker = await startIdentityBroker({ sessionMs: 600_000, jwksUrl: tokens.jwksUrl, users })
  const report = await applyAcls(byHand(), silent())
  expect(report.problems).toEqual([])
  await applyTopics({ ...as('admin'), partitions: 1 }, silent())
  await fillByHand()
}, 240_000)
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await tokens[Symbol.asyncDispose]()
})

/** A record in each topic, and a coordinator for each group. */
async function fillByHand(): Promise<void> {
  const client = createClient(byHand(), { initialRetryTime: 100, maxRetryTime: 1_000, retries: 30 }, null)
  const producer = client.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  const messages = [{ key: 'k', value: 'v' }]
  await producer.sendBatch({
    topicMessages: ALL_TOPICS.map((topic) => ({ topic: PREFIX + topic, messages })),
  })
  await producer.disconnect()
  for (const group of ALL_GROUPS) await readOne(client, TOPICS.deadLetter, group, true)
}

/** By the listener that asks nothing. */
function byHand(): KafkaConfig {
  return { brokers: [broker.doors.open], prefix: PREFIX, clientId: 'test' }
}

function as(user: Service | 'admin'): KafkaConfig {
  const env = {
    KAFKA_BROKERS: broker.doors.scram,
    KAFKA_PREFIX: PREFIX,
    KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
    KAFKA_SSL_CA: broker.authority.ca,
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SASL_USERNAME: `calstream-${user}`,
    KAFKA_SASL_PASSWORD: PASSWORD,
  }
  return kafkaConfigOf(readEnv(z.object(kafkaEnv), env), 'test')
}

/** Which of these work; what does not must fail for want of a right. */
async function thatWork(
  names: readonly string[],
  work: (name: string) => Promise<unknown>,
): Promise<string[]> {
  const worked: string[] = []
  for (const name of names) {
    try {
      await work(name)
      worked.push(name)
    } catch (error) {
      const { code, message } = kafkaFailure(error)
      // A topic that one may not describe seems to be missing.
      expect(`${code} ${message}`).toMatch(/kafka\/right-missing|UNKNOWN_TOPIC|does not host this topic/)
    }
  }
  return worked.toSorted()
}

const clientOf = (user: Service) => createClient(as(user), { retries: 0 }, null)

/**
 * A record of the topic, read as a member of the group, which commits nothing. `isPatient`: a
 * coordinator that loads yet is asked again, as KafkaJS does of itself.
 */
async function readOne(client: Kafka, topic: string, groupId: string, isPatient = false): Promise<void> {
  const consumer = client.consumer({ groupId: PREFIX + groupId, allowAutoTopicCreation: false })
  const read = Promise.withResolvers<void>()
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!isPatient || !payload.restart) read.reject(payload.error)
  })
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [PREFIX + topic], fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async () => read.resolve() })
    await read.promise
  } finally {
    await consumer.disconnect()
  }
}

describe.each(SERVICES)('%s', (user) => {
  test('writes to its topics and to no other', async () => {
    const producer = clientOf(user).producer({ allowAutoTopicCreation: false })
    await producer.connect()
    const worked = await thatWork(ALL_TOPICS, (topic) =>
      producer.send({ topic: PREFIX + topic, messages: [{ key: 'k', value: 'v' }] }),
    )
    await producer.disconnect()
    expect(worked).toEqual(WRITES[user].toSorted())
  })

  test('reads its topics, as a member of its groups, and no other', async () => {
    const read = (topic: string, groupId: string) => readOne(clientOf(user), topic, groupId)
    const [own = GROUPS.sync] = JOINS[user]
    expect(await thatWork(ALL_TOPICS, (topic) => read(topic, own))).toEqual(READS[user].toSorted())
    const [readable] = READS[user]
    if (readable !== undefined)
      expect(await thatWork(ALL_GROUPS, (group) => read(readable, group))).toEqual(JOINS[user].toSorted())
  })

  test('opens transactions only where it relays', async () => {
    const worked = await thatWork(['relay-0', 'relay-15'], async (transactionalId) => {
      await using _producer = await openTransactionalProducer(
        { ...as(user), transactionalId, timeoutMs: 10_000 },
        silent(),
      )
    })
    expect(worked).toEqual(user === 'relay' ? ['relay-0', 'relay-15'] : [])
  })
})

test('a relay publishes in a transaction and sees that it can be read', async () => {
  await using watch = openCommitWatch(as('relay'))
  await using producer = await openTransactionalProducer(
    { ...as('relay'), transactionalId: 'relay-3', timeoutMs: 10_000, watch },
    silent(),
  )
  await producer.publish([{ topic: TOPICS.eventChanged, key: 'k', value: Buffer.from('v'), headers: {} }])
})

test.each([
  ['a group', { groupId: GROUPS.sync, topics: [TOPICS.eventChanged] }],
  ['a topic', { groupId: 'reader-of-mine', topics: [TOPICS.eventChanged, TOPICS.deadLetter] }],
])('a consumer without the right to %s says so, and with it reads', async (_what, { groupId, topics }) => {
  const lines: LogLine[] = []
  await using refused = await record(as('reader'), { groupId, topics, logger: loggerTo(lines) })
  await refused.until(() => lines.some(({ err }) => err?.code === 'kafka/right-missing'))
  const mine = { groupId: 'reader-of-mine', topics: [TOPICS.eventChanged] }
  await using reading = await record(as('reader'), mine)
  await reading.until(() => reading.records().length > 0)
})

test('the scheduler sees how far the others are behind, and a stranger does not', async () => {
  for (const [group, topics] of [
    [GROUPS.sync, RINGS],
    [GROUPS.retry, RETRIES],
  ] as const)
    expect(new Set((await groupLag(as('scheduler'), group, topics)).keys())).toEqual(new Set(topics))
  await expect(groupLag(as('reader'), GROUPS.sync, RINGS)).rejects.toMatchObject({
    code: 'kafka/right-missing',
  })
})

test('the operator may do what `calstream after-restore` does, and leaves no group behind', async () => {
  expect(await groupsWithMembers(as('admin'), Object.values(GROUPS))).toEqual([])
  const transaction = { transactionalId: 'relay-7', timeoutMs: 10_000 }
  await using _fenced = await openTransactionalProducer({ ...as('admin'), ...transaction }, silent())
  const read = new Set<string>()
  const received = async (records: readonly InboundRecord[]) => {
    for (const { topic } of records) read.add(topic)
  }
  await readToEnd(as('admin'), { topics: PUBLIC, isStill: true, received }, AbortSignal.timeout(30_000))
  expect(read).toEqual(new Set(PUBLIC))
  const admin = createClient(byHand(), { retries: 0 }, null).admin()
  await admin.connect()
  const { groups } = await admin.listGroups()
  await admin.disconnect()
  expect(groups.filter(({ groupId }) => groupId.includes('look-'))).toEqual([])
})

test.each([
  ['given', applyAcls],
  ['verified', verifyAcls],
])('at brokers that look at no rights none are %s, and it is said what to set there', async (_what, act) => {
  const open = { brokers: testStack().brokers.split(','), prefix: PREFIX, clientId: 'test' }
  await expect(act(open, silent())).rejects.toThrow(
    new UserError(
      'The brokers look at no rights: every user may do everything. Set authorizer.class.name there.',
    ),
  )
})

test('the operator verifies topics and rights, and may not publish events', async () => {
  expect((await verifyTopics({ ...as('admin'), partitions: 1 }, silent())).problems).toEqual([])
  expect((await verifyAcls(as('admin'), silent())).problems).toEqual([])
  await using producer = await openProducer(as('admin'), silent())
  const event = { topic: TOPICS.eventChanged, key: 'k', value: Buffer.from('v'), headers: {} }
  await expect(producer.send([event])).rejects.toMatchObject({ code: 'kafka/right-missing' })
  await expect(verifyAcls(as('sync'), silent())).rejects.toMatchObject({ code: 'kafka/right-missing' })
})
