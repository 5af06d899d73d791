// The rows by which processes say that they live: whose they are, what ends them, what is read.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pino } from 'pino'
import { startHeartbeat } from '#shared/boot/heartbeat.ts'
import { type InstanceFacts, NO_FACTS } from '#shared/domain/service-instances.ts'
import { Secret } from '#shared/process/secret.ts'
import { type Database, openDatabase } from '#shared/store/database.ts'
import {
  beat,
  type Beat,
  deleteOldInstances,
  readInstances,
  readServiceInstances,
} from '#shared/store/service-instances.ts'
import { eventually } from '../../support/eventually.ts'
import { freshDatabase, type TestDatabase } from '../../support/stack.ts'

const ROLES = ['ingress', 'sync', 'retry', 'relay', 'scheduler'] as const
const silent = pino({ level: 'silent' })
const TOPIC = 'calendar.sync.requested.google.v1'

let database: TestDatabase
const opened = new AsyncDisposableStack()
const pools = new Map<string, Database>()
beforeAll(async () => {
  database = opened.use(await freshDatabase('service_instances'))
  for (const role of [...ROLES, 'owner'] as const) {
    const url = new Secret(role === 'owner' ? database.url() : database.url(`calstream_${role}`))
    pools.set(role, opened.use(openDatabase({ url, applicationName: 'test', poolMax: 1 }, silent)))
  }
})
afterAll(() => opened.disposeAsync())

const pool = (role: string): Database => pools.get(role) ?? expect.unreachable(role)
const beatOf = (service: string, change: Partial<Beat> = {}): Beat => ({
  instance: crypto.randomUUID(),
  service,
  version: '1.0.0',
  host: 'here',
  pid: 1,
  uptimeMs: 0,
  isReady: true,
  problems: {},
  facts: {},
  ...change,
})
const clear = () => pool('owner').query('delete from service_instances')

describe('a role', () => {
  test.each(ROLES)('of %s writes rows of its service alone, and reads all', async (role) => {
    await clear()
    for (const service of ROLES) {
      const written = beat(pool(role), beatOf(service))
      if (service === role) await written
      else await expect(written, service).rejects.toThrow(/row-level security/)
    }
    for (const service of ROLES) if (service !== role) await beat(pool(service), beatOf(service))
    expect((await readServiceInstances(pool(role))).map(({ service }) => service).toSorted()).toEqual(
      ROLES.toSorted(),
    )
    // What it may not see to change, it leaves as it is.
    await pool(role).query(`update service_instances set version = 'changed'`)
    const changed = (await readServiceInstances(pool('owner'))).filter(({ version }) => version === 'changed')
    expect(changed.map(({ service }) => service)).toEqual([role])
  })

  test('of the scheduler forgets processes that nobody saw for a day, and no others', async () => {
    await clear()
    for (const service of ROLES) await beat(pool(service), beatOf(service))
    await pool('owner').query(
      `update service_instances set seen_at = clock_timestamp() - interval '25 hours' where service <> 'sync'`,
    )
    expect(await deleteOldInstances(pool('scheduler'), 3)).toBe(3)
    expect(await deleteOldInstances(pool('scheduler'), 3)).toBe(1)
    expect((await readServiceInstances(pool('relay'))).map(({ service }) => service)).toEqual(['sync'])
  })
})

test('what a process told is read as it was told, and what a later version tells otherwise is left out', async () => {
  await clear()
  const facts: InstanceFacts = {
    partitions: [0, 5].map((partition) => ({ topic: TOPIC, partition })),
    partitionCounts: { [TOPIC]: 24 },
    blocked: [{ topic: TOPIC, partition: 5, offset: '12', since: 3, problem: 'It cannot be taken.' }],
    breakers: [{ vendor: 'google', part: 'api', until: 9 }],
    shards: [1, 2],
    jobs: [{ name: 'sweep', lastRunAt: 4, problem: null }],
    lastProgressAt: 1_800_000_000_000_001,
  }
  const one = beatOf('sync', { facts, isReady: false, problems: { kafka: 'away' }, uptimeMs: 60_000 })
  await beat(pool('sync'), one)
  const read = async () => (await readInstances(pool('ingress'))).instances
  const [told] = await read()
  expect(told).toMatchObject({ instance: one.instance, isLive: true, isReady: false, facts })
  expect(told?.problems).toEqual({ kafka: 'away' })
  expect((told?.seenAt ?? 0) - (told?.startedAt ?? 0)).toBeGreaterThanOrEqual(60_000_000)
  await pool('owner').query(
    `update service_instances set facts = '{"shards": {"a": 1}, "lastProgressAt": 5}'`,
  )
  expect((await read())[0]?.facts).toEqual({ ...NO_FACTS, lastProgressAt: 5 })
})

test('a process lives as long as its last beat is at most four seconds old', async () => {
  await clear()
  await beat(pool('sync'), beatOf('sync'))
  const livesAfter = async (ms: number) => {
    await pool('owner').query(
      `update service_instances set seen_at = clock_timestamp() - $1 * interval '1 ms'`,
      [ms],
    )
    return (await readServiceInstances(pool('relay'))).map(({ isLive }) => isLive)
  }
  expect(await livesAfter(4_100)).toEqual([false])
  expect(await livesAfter(0)).toEqual([true])
})

describe('a heartbeat', () => {
  const config = () => ({ POSTGRES_URL: new Secret(database.url('calstream_relay')) })
  const relays = async () =>
    (await readServiceInstances(pool('owner'))).filter(({ service }) => service === 'relay')

  test('says that the process starts, then what it lacks and has, and takes its row along', async () => {
    await clear()
    let problem: string | null = null
    const heart = startHeartbeat('relay', config(), silent)
    const starting = await eventually('a first beat', async () => (await relays())[0])
    expect(starting).toMatchObject({ isReady: false, problems: { start: 'it is still starting' } })
    heart.tell(
      async () => new Map([['kafka', problem]]),
      () => ({ shards: [7] }),
    )
    const ready = await eventually('a beat that it is ready', async () =>
      (await relays()).find(({ isReady }) => isReady),
    )
    expect(ready).toMatchObject({ instance: starting.instance, problems: {}, facts: { shards: [7] } })
    problem = 'Kafka is away.'
    await eventually('a beat that it is not', async () => (await relays()).find((one) => !one.isReady))
    expect((await relays())[0]?.problems).toEqual({ kafka: problem })
    await heart[Symbol.asyncDispose]()
    expect(await relays()).toEqual([])
  })

  test('of a process that ends for a failure leaves its row', async () => {
    await clear()
    const before = process.exitCode
    const heart = startHeartbeat('relay', config(), silent)
    try {
      await eventually('a first beat', async () => (await relays())[0])
      process.exitCode = 1
      await heart[Symbol.asyncDispose]()
    } finally {
      process.exitCode = before
    }
    expect(await relays()).toHaveLength(1)
  })

  test('goes on by itself after Postgres ended its session, and keeps no stop waiting without one', async () => {
    await clear()
    const heart = startHeartbeat('relay', config(), silent)
    await eventually('a first beat', async () => (await relays())[0])
    await pool('owner').query(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'calstream-relay-heartbeat' and datname = current_database()`,
    )
    const { now } = await readInstances(pool('owner'))
    await eventually('a later beat', async () => ((await relays())[0]?.seenAt ?? 0) > now)
    await heart[Symbol.asyncDispose]()
    const nowhere = startHeartbeat(
      'relay',
      { POSTGRES_URL: new Secret('postgres://role:x@127.0.0.1:1/none') },
      silent,
    )
    await nowhere[Symbol.asyncDispose]()
  })
})
