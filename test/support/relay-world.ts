// A database and topics of one test's own, for tests of the relay.
import type pg from 'pg'
import { applyTopics } from '#shared/platform/topics.ts'
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
  await applyTopics({ brokers: brokers.split(','), prefix, clientId: 'test', partitions: 4 }, quiet)
  const all = opened.move()
  return {
    database,
    db,
    kafka: { brokers, prefix },
    env: { KAFKA_BROKERS: brokers, KAFKA_PREFIX: prefix, POSTGRES_URL: database.url('calstream_relay') },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}
