// The service as a whole, in this process:
// doorbells on a real topic become units, and units become committed offsets.
import { Kafka, logLevel } from 'kafkajs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { PAGE_SHRINKS_MAX, shrunkSize } from '#shared/domain/page-limits.ts'
import type { Producer } from '#shared/kafka/broker.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { loadConfig } from '../../../services/sync/config.ts'
import { startSync, type Sync } from '../../../services/sync/service.ts'
import { eventually } from '../../support/eventually.ts'
import { openSyncWorld, type SyncWorld } from '../../support/sync-world.ts'
import { testStack } from '../../support/stack.ts'
import type { Account } from '../../support/world.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const NEVER = new AbortController().signal

let world: SyncWorld
let producer: Producer
const running: Sync[] = []

beforeEach(async () => {
  world = await openSyncWorld('sync service')
  producer = await openProducer(
    { brokers: testStack().brokers.split(','), prefix: world.world.prefix, clientId: 'test' },
    world.deps.logger,
  )
})
afterEach(async () => {
  for (const sync of running.splice(0)) await sync[Symbol.asyncDispose]()
  await producer[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
})

async function start(): Promise<Sync> {
  const { env } = world.world
  const own = { ...env, POSTGRES_URL: env['POSTGRES_URL_SYNC'], ADMIN_PORT: '0', LOG_LEVEL: 'silent' }
  const sync = await startSync(loadConfig(own), NEVER, { gates: world.deps.gates })
  running.push(sync)
  return sync
}

async function stop(sync: Sync): Promise<number> {
  running.splice(running.indexOf(sync), 1)
  const before = performance.now()
  await sync[Symbol.asyncDispose]()
  return performance.now() - before
}

async function ring(account: Account, ...requests: readonly Partial<SyncRequested>[]): Promise<void> {
  await producer.send(
    requests.map((request) => ({
      topic: REQUESTED_TOPIC.google,
      key: account.connectionId,
      value: world.codec.encode(REQUESTED_TOPIC.google, world.request(account, request)),
      headers: { traceparent: `00-${TRACE}-b7ad6b7169203331-01` },
    })),
  )
}

/** Records of the topic that the group has not committed. */
async function lag(): Promise<number> {
  const kafka = new Kafka({ brokers: testStack().brokers.split(','), logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  try {
    const topic = world.world.prefix + REQUESTED_TOPIC.google
    const ends = await admin.fetchTopicOffsets(topic)
    const [committed] = await admin.fetchOffsets({
      groupId: `${world.world.prefix}calstream-sync`,
      topics: [topic],
    })
    const next = new Map(
      committed?.partitions.map(({ partition, offset }) => [partition, Math.max(0, Number(offset))]),
    )
    return ends.reduce((sum, { partition, high }) => sum + Number(high) - (next.get(partition) ?? 0), 0)
  } finally {
    await admin.disconnect()
  }
}

/**
 * Who is in the group: another id is another member, which came because the one before was dropped.
 */
async function members(): Promise<string[]> {
  const kafka = new Kafka({ brokers: testStack().brokers.split(','), logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  try {
    const { groups } = await admin.describeGroups([`${world.world.prefix}calstream-sync`])
    return groups.flatMap((group) => group.members.map(({ memberId }) => memberId))
  } finally {
    await admin.disconnect()
  }
}

const caughtUp = () => eventually('every doorbell to be committed', async () => (await lag()) === 0)

describe('the sync service', () => {
  test('turns doorbells into rows, carries the trace, and commits what is done', async () => {
    const account = await world.connect({ calendars: 2, eventsPerCalendar: 30 })
    await ring(account, { reason: 'connected' })
    await eventually('the control: one doorbell that is not committed', async () => (await lag()) === 1)
    await start()
    await caughtUp()
    expect(await world.differences(account)).toEqual([])
    const told = await world.told()
    expect(told.length).toBeGreaterThan(100)
    expect(new Set(told.map((row) => row.headers['traceparent']?.slice(0, 3)))).toEqual(new Set(['00-']))
  })

  test('makes one unit of what arrives during a unit, and never two at a time', async () => {
    const account = await world.synced()
    await start()
    await world.fault({ times: 1, delayMs: 1500 })
    await ring(account, world.webhook(account))
    await world.slowly(
      ring(account, ...Array.from({ length: 50 }, () => world.webhook(account))),
      async () => undefined,
    )
    await caughtUp()
    expect(await world.calls()).toHaveLength(2)
    const keys = await world.sql('select from webhook_dedupe_keys where connection_id = $1', [
      account.connectionId,
    ])
    expect(keys).toHaveLength(51)
  })

  test('stops within ten seconds while the vendor takes its time: handed over, committed, not done again', async () => {
    const account = await world.synced()
    const sync = await start()
    await world.fault({ times: 1, delayMs: 60_000 })
    await ring(account, world.webhook(account))
    const took = await world.slowly(Promise.resolve(0), async () => undefined).then(() => stop(sync))
    expect(took).toBeLessThan(10_000)
    expect(await lag()).toBe(0)
    expect(await world.connection(account)).toMatchObject({ sync_needed: true, sync_epoch: '2' })
    expect((await world.told()).map((row) => row.message)).toMatchObject([{ reason: 'continue' }])
    await world.calls()
    await start()
    await ring(account, { reason: 'continue' })
    await caughtUp()
    expect(await world.calls()).toHaveLength(1)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, sync_epoch: '3' })
  })

  test('does the work of an overtaken unit again, once it knows that it is a member still', async () => {
    const account = await world.synced()
    const added = await world.addEvent(account)
    await start()
    await world.fault({ times: 1, delayMs: 1000 })
    const ringing = world.slowly(ring(account, world.webhook(account)), async () => {
      await world.sql('update external_calendar_connections set sync_epoch = sync_epoch + 1 where id = $1', [
        account.connectionId,
      ])
    })
    await ringing
    await caughtUp()
    expect(await world.eventIds(account)).toContain(added.id)
    expect(await world.connection(account)).toMatchObject({ sync_epoch: '4', unfinished: 0 })
  })

  test('holds what meets a closed gate, and commits it', async () => {
    const account = await world.synced()
    world.isGateOpen = false
    await start()
    await ring(account, world.webhook(account))
    await caughtUp()
    expect(await world.calls()).toEqual([])
    expect(await world.sql('select gate from held_requests')).toEqual([{ gate: 'CALENDAR_SYNC_ENABLED' }])
  })

  test('keeps its place in the group and its neighbours going while a calendar sends pages of 300 000 rows', async () => {
    const huge = await world.connect({ eventsPerCalendar: 30 })
    const neighbours = [await world.connect(), await world.connect(), await world.connect()]
    await world.fault({ match: { accountId: huge.accountId }, swell: { copies: 10_000 } })
    await start()
    await ring(neighbours[0]!, { reason: 'connected' })
    await caughtUp()
    const before = await members()
    expect(before).toHaveLength(1)
    await world.calls()
    for (const account of [huge, ...neighbours]) await ring(account, { reason: 'connected' })
    await caughtUp()
    for (const account of neighbours) expect(await world.differences(account)).toEqual([])
    expect(await world.connection(huge)).toMatchObject({
      status: 'active',
      last_error: { code: 'vendor/answer-too-large' },
    })
    const sizes = (await world.calls(huge)).map(({ query }) => Number(query['maxResults']))
    expect(sizes).toEqual(Array.from({ length: PAGE_SHRINKS_MAX + 1 }, (_, i) => shrunkSize(2500, i)))
    expect(await members()).toEqual(before)

    // Control: the pages alone kept it back.
    await world.noFaults()
    await world.endBackoff(huge)
    await ring(huge, { reason: 'connected' })
    await caughtUp()
    expect(await world.differences(huge)).toEqual([])
  })

  test('waits with a ring that came before its time, and does not call before it', async () => {
    const account = await world.synced()
    await world.sql(
      `update external_calendar_connections set sync_needed = true, backoff_until = calstream_now() + interval '2 seconds'
        where id = $1`,
      [account.connectionId],
    )
    await start()
    await ring(account, { reason: 'retry' })
    await caughtUp()
    const [state] = await world.sql<{ waited: boolean }>(
      `select last_synced_at >= $2 as waited from external_calendar_connections where id = $1`,
      [account.connectionId, new Date(0)],
    )
    expect(state?.waited).toBe(true)
    expect(await world.calls()).toHaveLength(1)
  })
})
