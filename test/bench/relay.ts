// The relay: how fast it empties an outbox, and how soon a single row is read by others, with
// nothing else to do and while a large outbox of other connections is drained.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { TOPICS } from '#schemas/topics.ts'
import { connectionId, shardOf } from '#shared/domain/ids.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import { peakMemory } from '../../infra/demo/report.ts'
import { openStreamReader, type StreamReader } from '../../infra/oracle/stream-reader.ts'
import { percentile } from '../../infra/oracle/verify.ts'
import type { TestStack } from '../support/test-stack.ts'
import { cpuSeconds } from './cpu.ts'
import { quantiles, type BenchResult } from './report.ts'
import { openBenchSystem } from './stack.ts'

const BACKLOG_ROWS = 20_000
const BACKLOG_ROUNDS = 4
const VALUE_BYTES = 400
const PROBES = 150
const PROBE_EVERY_MS = 60
/** Twice what one sync process reads on two cores. */
const PAGE_ROWS = 500
const PAGE_EVERY_MS = 100
const LIMIT_MS = 60_000
const POLL_MS = 10

interface Row {
  readonly key: string
  readonly sequence: number
}

interface Setting {
  readonly db: pg.Client
  readonly stream: StreamReader
  readonly topic: string
  readonly probe: string
}

/** Runs for about a minute. */
export async function benchRelay(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'relay', signal)
  await using db = await openSession(system.databaseUrl)
  // Of its own: a large insert must not keep single rows waiting on the client's side.
  await using filler = await openSession(system.databaseUrl)
  const topic = system.env['KAFKA_PREFIX'] + TOPICS.eventChanged
  const probe = randomUUID()
  await using stream = await openStreamReader({
    brokers: stack.brokers.split(','),
    registryUrl: stack.registryUrl,
    topics: [topic],
    wants: (key) => key === probe,
  })
  await system.start('relay')
  const setting: Setting = { db, stream, topic, probe }
  await probes(setting, 0, 10, signal)

  const rates: number[] = []
  const cpuBefore = cpuSeconds(system.pids())['relay'] ?? 0
  for (let round = 0; round < BACKLOG_ROUNDS; round += 1) rates.push(await drain(filler, signal))
  const cpu = (cpuSeconds(system.pids())['relay'] ?? 0) - cpuBefore
  say(`drains ${Math.round(Math.max(...rates))} rows/s`)
  const idle = await probes(setting, 100, PROBES, signal)
  say(`idle: ${quantiles(idle).join(', ')}`)
  let isDone = false
  const pages = (async () => {
    while (!isDone) await Promise.all([putPage(filler), delay(PAGE_EVERY_MS, undefined, { signal })])
  })()
  const busy = await probes(setting, 1000, PROBES, signal)
  isDone = true
  await pages
  say(`under load: ${quantiles(busy).join(', ')}`)
  const p95 = (samples: readonly number[]) => percentile(samples, 0.95) ?? Number.NaN
  const median = percentile(rates, 0.5) ?? 0
  return {
    name: 'relay',
    title: 'The relay',
    what: `An outbox of ${BACKLOG_ROWS} rows of ${VALUE_BYTES} bytes over all 16 shards is drained by one process, ${BACKLOG_ROUNDS} times; then single rows are committed every ${PROBE_EVERY_MS} ms, first with an empty outbox, then while ${PAGE_ROWS} rows of another connection are committed every ${PAGE_EVERY_MS} ms, as a backfill does. Measured from COMMIT until a second Kafka client has read the record, committed.`,
    columns: ['single rows', 'p50', 'p95', 'p99'],
    rows: [
      ['empty outbox', ...quantiles(idle)],
      [`while ${PAGE_ROWS * (1000 / PAGE_EVERY_MS)} rows/s are written`, ...quantiles(busy)],
    ],
    verdicts: [
      `Drain rate: ${Math.round(median)} rows/s in the middle, ${Math.round(Math.min(...rates))} the slowest round.`,
      `Processor time of the relay: ${((cpu / (BACKLOG_ROUNDS * BACKLOG_ROWS)) * 100_000).toFixed(1)} s for 100 000 rows. Its peak memory: ${Math.round((peakMemory(system.pids())['relay'] ?? 0) / 2 ** 20)} MB.`,
      `p95 of a single row beside that load is **${(p95(busy) / p95(idle)).toFixed(2)} ×** the one with an empty outbox.`,
    ],
  }
}

async function openSession(connectionString: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString, query_timeout: LIMIT_MS })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

/** Fills the outbox and waits until it is empty. @returns rows per second from COMMIT to empty. */
async function drain(db: pg.Client, signal: AbortSignal): Promise<number> {
  const ids = Array.from(
    { length: 256 },
    (_, i) => randomUUID().slice(0, -2) + i.toString(16).padStart(2, '0'),
  )
  const rows = Array.from({ length: BACKLOG_ROWS }, (_, i) => ({ key: ids[i % 256]!, sequence: i }))
  await put(db, rows)
  const began = performance.now()
  const deadline = began + LIMIT_MS
  for (;;) {
    const { rowCount } = await db.query('select 1 from outbox where key = any($1) limit 1', [ids])
    if (rowCount === 0) return BACKLOG_ROWS / ((performance.now() - began) / 1000)
    if (performance.now() > deadline) throw new Error('the outbox did not become empty')
    await delay(POLL_MS, undefined, { signal })
  }
}

/** A page of one connection, in one transaction. */
async function putPage(db: pg.Client): Promise<void> {
  const key = randomUUID()
  await put(
    db,
    Array.from({ length: PAGE_ROWS }, (_, sequence) => ({ key, sequence })),
  )
}

/** Commits single rows, one after the other, and waits for each. */
async function probes(
  { db, stream, topic, probe }: Setting,
  first: number,
  count: number,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const committedAt = new Map<string, number>()
  for (let i = 0; i < count; i += 1) {
    const sequence = first + i
    await put(db, [{ key: probe, sequence }])
    committedAt.set(String(sequence), Date.now())
    await delay(PROBE_EVERY_MS, undefined, { signal })
  }
  const deadline = Date.now() + LIMIT_MS
  for (;;) {
    const seen = new Map(
      stream
        .records(topic)
        .toReversed()
        .map(({ headers, receivedAtMs }) => [headers.get('ce_sequence') ?? '', receivedAtMs]),
    )
    const samples = [...committedAt].flatMap(([sequence, at]) => {
      const receivedAt = seen.get(sequence)
      return receivedAt === undefined ? [] : [receivedAt - at]
    })
    if (samples.length === count) return samples
    if (Date.now() > deadline) throw new Error(`${count - samples.length} of ${count} rows were never read`)
    await delay(POLL_MS, undefined, { signal })
  }
}

async function put(db: pg.Client, rows: readonly Row[]): Promise<void> {
  const value = Buffer.alloc(VALUE_BYTES, 'x')
  await db.query(
    `insert into outbox (shard, topic, key, value, headers)
     select shard, $1, key, $2, headers from unnest($3::smallint[], $4::text[], $5::jsonb[]) as row (shard, key, headers)`,
    [
      TOPICS.eventChanged,
      value,
      rows.map(({ key }) => shardOf(connectionId(key))),
      rows.map(({ key }) => key),
      rows.map(({ key, sequence }) =>
        JSON.stringify(
          eventHeaders({ type: 'bench.v1', source: '/bench', key, sequence, at: Date.now() * 1000 }),
        ),
      ),
    ],
  )
}
