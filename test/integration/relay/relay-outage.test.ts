// The relay while what it stands on is away, how fast it is while nothing is, and how it ends.
import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { Secret } from '#shared/process/secret.ts'
import { migrate } from '#shared/store/migrate.ts'
import { loadConfig } from '../../../services/relay/config.ts'
import { startRelay } from '../../../services/relay/service.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import {
  ceId,
  changeOf,
  connections,
  openReader,
  openSession,
  outboxCount,
  putOutbox,
  startServiceProcess,
} from '../../support/outbox.ts'
import { openRelayWorld } from '../../support/relay-world.ts'
import { startOwnKafka, startOwnPostgres, testStack } from '../../support/stack.ts'

const NEVER = new AbortController().signal
const ROWS = 20_000
const OUTAGE_MS = 6000

/** Lets an outage last: nothing can be waited for while nothing happens. */
async function last(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

test('drains a backlog and then publishes single rows at once', async () => {
  await using world = await openRelayWorld('relay speed')
  const ids = connections(128)
  const rows = Array.from({ length: ROWS / 2 / ids.length + 1 }, (_, index) => index + 1)
    .flatMap((sequence) => ids.flatMap((id) => changeOf(id, sequence, 300)))
    .slice(0, ROWS)
  for (let from = 0; from < rows.length; from += 5000)
    await putOutbox(world.db, rows.slice(from, from + 5000))
  const config = loadConfig({ ...world.env, ADMIN_PORT: '0', LOG_LEVEL: 'silent' })
  const started = performance.now()
  await using _relay = await startRelay(config, NEVER)
  let seen = ROWS
  let first = 0
  await eventually('the backlog is drained', async () => {
    seen = await outboxCount(world.db)
    if (seen < ROWS && first === 0) first = performance.now()
    return seen === 0
  })
  const seconds = (performance.now() - first) / 1000
  measured(
    `${ROWS} rows in ${seconds.toFixed(2)} s after the first was gone: ${Math.round(ROWS / seconds)} rows/s;` +
      ` ${((performance.now() - started) / 1000).toFixed(2)} s with taking the shards`,
  )

  await using reader = await openReader(world.kafka, [TOPICS.eventChanged])
  await eventually('the backlog is read', () => reader.records.length >= ROWS / 2)
  const delays: number[] = []
  for (let round = 0; round < 40; round++) {
    await last(round % 2 === 0 ? 700 : 60)
    const [change, state] = changeOf(ids[round]!, 1_000_000)
    await putOutbox(world.db, [change, state])
    const committed = performance.now()
    const record = await eventually('it is visible', () =>
      reader.records.find((one) => ceId(one) === change.headers['ce_id']),
    )
    delays.push(record.receivedAt - committed)
  }
  delays.sort((a, b) => a - b)
  const at = (part: number) => Math.round(delays[Math.floor(part * (delays.length - 1))]!)
  measured(
    `commit to visible, idle: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms (${delays.length} rows)`,
  )
  await eventually('what is published is deleted', async () => (await outboxCount(world.db)) === 0)
})

describe('an outage', () => {
  test.each(['stopped', 'frozen'] as const)(
    'of Kafka (%s) loses nothing, and the same process goes on by itself',
    async (how) => {
      await using kafka = await startOwnKafka()
      await using world = await openRelayWorld('relay kafka away', kafka.brokers)
      await using relay = await startServiceProcess('relay', `relay-kafka-${how}`, world.env)
      const ids = connections(32)
      await putOutbox(
        world.db,
        ids.flatMap((id) => changeOf(id, 1)),
      )
      await eventually('it publishes', async () => (await outboxCount(world.db)) === 0)

      if (how === 'stopped') await kafka.stop()
      else await kafka.pause()
      await putOutbox(
        world.db,
        ids.flatMap((id) => changeOf(id, 2)),
      )
      await last(OUTAGE_MS)
      expect(await outboxCount(world.db)).toBe(2 * ids.length)
      if (how === 'stopped') await kafka.restart(AbortSignal.timeout(60_000))
      else await kafka.resume()
      const back = performance.now()
      await eventually('it publishes again', async () => (await outboxCount(world.db)) === 0)
      measured(
        `Kafka ${how}: everything published ${Math.round(performance.now() - back)} ms after it was back`,
      )
      expect(relay.running).toBe(true)
      await using reader = await openReader(world.kafka, [TOPICS.eventChanged])
      await eventually('all are read', () => new Set(reader.records.map(ceId)).size === 2 * ids.length)
    },
  )

  test('of Postgres loses nothing, and the same process goes on by itself', async () => {
    await using postgres = await startOwnPostgres(['calstream'])
    await migrate({
      url: new Secret(postgres.url('calstream')),
      rolePasswords: { ...testStack().rolePasswords },
    })
    await using world = await openRelayWorld('relay postgres away')
    const role = { name: 'calstream_relay', password: testStack().rolePasswords['calstream_relay']! }
    const env = { ...world.env, POSTGRES_URL: postgres.url('calstream', role) }
    await using relay = await startServiceProcess('relay', 'relay-postgres-away', env)
    const ids = connections(32)
    const put = async (sequence: number): Promise<void> => {
      await using db = await openSession(postgres.url('calstream'))
      await putOutbox(
        db as pg.Client,
        ids.flatMap((id) => changeOf(id, sequence)),
      )
    }
    const empty = async (): Promise<boolean> => {
      await using db = await openSession(postgres.url('calstream'))
      return (await outboxCount(db as pg.Client)) === 0
    }
    await put(1)
    await eventually('it publishes', empty)
    await put(2)
    await postgres.kill()
    await last(OUTAGE_MS)
    await postgres.restart(AbortSignal.timeout(60_000))
    const back = performance.now()
    await put(3)
    await eventually('it publishes again', empty)
    measured(`Postgres: everything published ${Math.round(performance.now() - back)} ms after it was back`)
    expect(relay.running).toBe(true)
    await using reader = await openReader(world.kafka, [TOPICS.eventChanged])
    await eventually('all are read', () => new Set(reader.records.map(ceId)).size === 3 * ids.length)
  })
})

test('a relay that is asked to stop finishes its batch, gives its shards back and leaves nothing half-done', async () => {
  await using world = await openRelayWorld('relay stop')
  await using relay = await startServiceProcess('relay', `relay-stop-${world.kafka.prefix}`, world.env)
  const ids = connections(64)
  for (let sequence = 1; sequence <= 30; sequence++)
    await putOutbox(
      world.db,
      ids.flatMap((id) => changeOf(id, sequence)),
    )
  await eventually('it is at work', async () => (await outboxCount(world.db)) < 30 * 2 * ids.length)
  const asked = performance.now()
  await relay.stop()
  measured(`stopped in ${Math.round(performance.now() - asked)} ms`)
  expect(await relay.exited).toEqual({ code: 0, signal: null })
  const left = await outboxCount(world.db)
  const { rows } = await world.db.query(
    'select 1 from relay_shards where owner is not null union all select 1 from relay_members',
  )
  expect(rows).toEqual([])
  await using reader = await openReader(world.kafka, [TOPICS.eventChanged, TOPICS.eventState])
  await eventually('what left the outbox is read', () => reader.records.length >= 30 * 2 * ids.length - left)
  // Nothing is published and still in the outbox: no batch was torn between publish and delete.
  expect(new Set(reader.records.map(ceId)).size).toBe(30 * 2 * ids.length - left)
})
