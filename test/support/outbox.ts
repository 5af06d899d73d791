// The outbox from both ends: rows put in by a test, and what a reader of the topics sees.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import pg from 'pg'
import { TOPICS } from '#schemas/topics.ts'
import { connectionId, shardOf } from '#shared/domain/ids.ts'
import type { Consumer, InboundRecord } from '#shared/kafka/broker.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import { openConsumer } from '#shared/kafka/open.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { Child } from '../../infra/stack/child.ts'
import { childEnv } from '../../infra/stack/infrastructure.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { COMPILED } from './compiled.ts'
import { testStack } from './stack.ts'

export const quiet: Logger = createLogger({ service: 'test', level: 'silent' })

export interface Put {
  readonly topic: string
  readonly key: string
  readonly value: Buffer | null
  readonly headers: Record<string, string>
}

/**
 * A change of a connection and its state record, as sync writes them:
 * next to each other, with one sequence.
 */
export function changeOf(connection: string, sequence: number, bytes = 200): readonly [Put, Put] {
  const value = Buffer.alloc(bytes, `${connection}:${sequence};`)
  const headers = () =>
    eventHeaders({ type: 'test.v1', source: '/test', key: connection, sequence, at: Date.now() * 1000 })
  return [
    { topic: TOPICS.eventChanged, key: connection, value, headers: headers() },
    { topic: TOPICS.eventState, key: `${connection}/c/e`, value, headers: headers() },
  ]
}

/** Connections whose last digits put them into the shards one after the other. */
export function connections(count: number): readonly string[] {
  return Array.from(
    { length: count },
    (_, index) => randomUUID().slice(0, -2) + (index % 256).toString(16).padStart(2, '0'),
  )
}

/** Inserts rows in order, in one transaction. */
export async function putOutbox(db: pg.Client, rows: readonly Put[]): Promise<void> {
  await db.query(
    `insert into outbox (shard, topic, key, value, headers)
     select shard, topic, key, value, headers from unnest($1::smallint[], $2::text[], $3::text[], $4::bytea[], $5::jsonb[])
       with ordinality as row (shard, topic, key, value, headers, place) order by place`,
    [
      rows.map((row) => shardOf(connectionId(row.key.split('/', 1)[0]!))),
      rows.map((row) => row.topic),
      rows.map((row) => row.key),
      rows.map((row) => row.value),
      rows.map((row) => JSON.stringify(row.headers)),
    ],
  )
}

export async function outboxCount(db: pg.Client): Promise<number> {
  const { rows } = await db.query<{ count: string }>('select count(*) from outbox')
  return Number(rows[0]!.count)
}

/** A session as the superuser, ended with the test. */
export async function openSession(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

/** Everything that a reader has received so far, in the order of arrival. */
export interface Reader extends AsyncDisposable {
  readonly records: readonly (InboundRecord & { readonly receivedAt: number })[]
  of(topic: string): readonly InboundRecord[]
}

export async function openReader(
  kafka: { readonly brokers: string; readonly prefix: string },
  topics: readonly string[],
  isolation: 'read-committed' | 'read-uncommitted' = 'read-committed',
): Promise<Reader> {
  const records: (InboundRecord & { readonly receivedAt: number })[] = []
  const joined = Promise.withResolvers<void>()
  const consumer: Consumer = openConsumer(
    { brokers: kafka.brokers.split(','), prefix: kafka.prefix, clientId: 'test-reader' },
    {
      groupId: `reader-${randomUUID()}`,
      topics,
      isolation,
      handlers: {
        assigned: () => joined.resolve(),
        received: (batch) =>
          records.push(...batch.records.map((record) => ({ ...record, receivedAt: performance.now() }))),
        crashed: (error) => joined.reject(error),
      },
    },
    quiet,
  )
  await joined.promise
  return {
    records,
    of: (topic) => records.filter((record) => record.topic === topic),
    [Symbol.asyncDispose]: () => consumer[Symbol.asyncDispose](),
  }
}

/** What makes two records the same for a reader. */
export function ceId(record: { readonly headers: ReadonlyMap<string, string> }): string {
  return record.headers.get('ce_id') ?? ''
}

/** The sequences of a connection in the order in which they were first seen. */
export function firstSequences(records: readonly InboundRecord[], connection: string): readonly number[] {
  const seen = new Set<string>()
  return records
    .filter(
      (record) =>
        record.key?.toString().startsWith(connection) && !seen.has(ceId(record)) && seen.add(ceId(record)),
    )
    .map((record) => Number(record.headers.get('ce_sequence')))
}

/** Starts services/<name>/main.ts as a real process with this environment. */
export async function startServiceProcess(
  name: string,
  label: string,
  env: Record<string, string>,
): Promise<Child & AsyncDisposable> {
  const { folder } = testStack()
  const child = await Child.start(
    {
      name: label,
      command: process.execPath,
      args: [path.resolve(import.meta.dirname, `../../services/${name}/main.ts`)],
      env: { ...childEnv(process.env), ...COMPILED, ADMIN_PORT: '0', LOG_LEVEL: 'info', ...env },
      cwd: folder,
      logFile: path.join(folder, 'logs', `${label}.log`),
      stopWithinMs: 12_000,
    },
    new ProcessLedger(folder),
  )
  return Object.assign(child, { [Symbol.asyncDispose]: () => child.kill() })
}
