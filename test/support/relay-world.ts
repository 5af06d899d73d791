// A database and topics of one test's own, for tests of the relay.
import { Kafka, logLevel } from 'kafkajs'
import type pg from 'pg'
import { applyTopics } from '#shared/kafka/topics.ts'
import { eventually } from './eventually.ts'
import { openSession, quiet } from './outbox.ts'
import { freshDatabase, freshPrefix, type TestDatabase, testStack } from './stack.ts'

export interface RelayWorld extends AsyncDisposable {
  readonly database: TestDatabase
  /** A session as the superuser. */
  readonly db: pg.Client
  readonly kafka: { readonly brokers: string; readonly prefix: string }
  /** What services/relay needs of it. */
  readonly env: Record<string, string>
}

/** @param brokers of a broker of the test's own; the shared one when absent. */
export async function openRelayWorld(label: string, brokers = testStack().brokers): Promise<RelayWorld> {
  await using opened = new AsyncDisposableStack()
  const prefix = freshPrefix()
  const database = opened.use(await freshDatabase(label))
  const db = opened.use(await openSession(database.url()))
  const { topics } = await applyTopics(
    { brokers: brokers.split(','), prefix, clientId: 'test', partitions: 4 },
    quiet,
  )
  await untilLed(
    brokers,
    topics.map((topic) => topic.name),
  )
  const all = opened.move()
  return {
    database,
    db,
    kafka: { brokers, prefix },
    env: { KAFKA_BROKERS: brokers, KAFKA_PREFIX: prefix, POSTGRES_URL: database.url('calstream_relay') },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/**
 * On a loaded machine a broker may answer for a while that it does not lead
 * what it has just created.
 */
async function untilLed(brokers: string, topics: readonly string[]): Promise<void> {
  const admin = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    for (const topic of topics) await eventually(`${topic} is led`, () => admin.fetchTopicOffsets(topic))
  } finally {
    await admin.disconnect()
  }
}
