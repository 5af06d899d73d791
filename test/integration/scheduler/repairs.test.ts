// Repairs as the scheduler works them off: whom they are about, what they do to each, at what rate,
// and that nothing is done twice.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import type { RepairFilter, RepairKind } from '#shared/domain/repair.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { upsertConnection } from '#shared/store/connect.ts'
import { fence } from '#shared/store/connections.ts'
import { indexDeadLetters } from '#shared/store/dead-letters.ts'
import { endConnection } from '#shared/store/disconnect.ts'
import { unpark } from '#shared/store/refusals.ts'
import { countMatches } from '#shared/store/repair-matches.ts'
import { abortRepair, readRepair, readRepairs, startRepair, type Repair } from '#shared/store/repairs.ts'
import type { RepairDeps } from '../../../services/scheduler/repairs/parts.ts'
import { workRepairs } from '../../../services/scheduler/repairs/work.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { withAdmin } from '../../support/offsets.ts'
import { openSession, quiet } from '../../support/outbox.ts'
import { openSchedulerWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const OPEN = { sync: 'on', providers: null, connections: null } as const

let world: SchedulerWorld
let deps: RepairDeps
/** Whose rights every service's statements are within. */
let owner: Database

beforeAll(async () => {
  world = await openSchedulerWorld('repairs')
  const { brokers, prefix } = world.kafka
  deps = { ...world.deps, kafka: { brokers: brokers.split(','), prefix, clientId: 'repairs' } }
  const url = new Secret(world.database.url())
  owner = openDatabase({ url, applicationName: 'repairs', poolMax: 1 }, quiet)
})
afterAll(async () => {
  await owner?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  world.closed.clear()
  await world.db.query('truncate repairs, outbox, dead_letters, external_calendar_connections cascade')
})

async function ask(kind: RepairKind, filter: RepairFilter, ratePerS = 1000): Promise<Repair> {
  const start = await startRepair(world.deps.db, { kind, filter, by: 'night', ratePerS }, OPEN)
  if (start.kind !== 'started') throw new Error(`not started: ${start.kind}`)
  return start.repair
}

const now = async (repair: Repair) => (await readRepair(world.deps.db, repair.id))!

/** Runs until it has ended, moving the clock on as it waits for its rate. */
async function workOff(repair: Repair): Promise<Repair> {
  for (let run = 0; run < 200; run += 1) {
    await workRepairs(deps, NEVER)
    const after = await now(repair)
    if (after.state !== 'running') return after
    await world.advance(1000)
  }
  throw new Error('it does not end')
}

async function rowsOf<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
  return (await world.db.query<R & Record<string, unknown>>(sql, [...values])).rows
}

/** The database clock stands still, so many ms after a moment of its own. */
async function stopClock(ms: number): Promise<void> {
  await world.db.query(
    `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
       as $$ select timestamptz '2026-05-04 09:00:00Z' + interval '${ms} milliseconds' $$`,
  )
}

/** `<topic> <key>` of what waits for the relay. */
const outbox = async () =>
  (await rowsOf<{ line: string }>(`select topic || ' ' || key as line from outbox order by id`)).map(
    ({ line }) => line,
  )

async function many(count: number, columns: Record<string, string> = {}): Promise<readonly string[]> {
  const given = { provider_id: 'gen_random_uuid()', vendor: `'google'`, ...columns }
  const rows = await rowsOf<{ id: string }>(
    `insert into external_calendar_connections (vendor_account_id, ${Object.keys(given).join()})
     select gen_random_uuid()::text, ${Object.values(given).join()} from generate_series(1, ${count}) returning id`,
  )
  return rows.map(({ id }) => id)
}

const statuses = async () =>
  Object.fromEntries(
    (
      await rowsOf<{ status: string; n: number }>(
        'select status, count(*)::int as n from external_calendar_connections group by 1',
      )
    ).map(({ status, n }) => [status, n]),
  )

describe('a pause', () => {
  test('of 250 is told of each once, and its end too; a unit of before writes nothing after it', async () => {
    const ids = await many(250)
    const claimed = { connectionId: connectionId(ids[0]!), epoch: 0 }
    await fence(world.deps.db, claimed, 0)
    const paused = await workOff(await ask('pause', { all: true }))
    expect(paused).toMatchObject({ state: 'done', total: 250, done: 250, failed: 0, by: 'night' })
    expect(await statuses()).toEqual({ disabled: 250 })
    const told = ids.map((id) => `${TOPICS.connectionChanged} ${id}`)
    expect((await outbox()).toSorted()).toEqual(told.toSorted())
    await expect(fence(world.deps.db, claimed, 0)).rejects.toMatchObject({ code: 'store/fence-lost' })
    await world.db.query('truncate outbox')

    const resumed = await workOff(await ask('resume', { all: true }))
    expect(resumed).toMatchObject({ state: 'done', done: 250 })
    expect(await statuses()).toEqual({ active: 250 })
    const rung = ids.map((id) => `${TOPICS.requestedGoogle} ${id}`)
    expect((await outbox()).toSorted()).toEqual([...told, ...rung].toSorted())
    const owed = await rowsOf(
      'select from external_calendar_connections where sync_needed and paused_at is null',
    )
    expect(owed).toHaveLength(250)
  })

  test('outlasts that its person connects it again and that the vendor lets it in, and ends with the connection', async () => {
    const provider = randomUUID()
    const account = {
      providerId: providerId(provider),
      vendor: 'google',
      address: null,
      label: null,
    } as const
    const accounts = ['a', 'b', 'c'].map((vendorAccountId) => ({ ...account, vendorAccountId }))
    for (const one of accounts) await upsertConnection(owner, one)
    await world.db.query(
      `update external_calendar_connections set status = 'needs_reauth', parked_at = now() where vendor_account_id = 'b'`,
    )
    await workOff(await ask('pause', { provider }))
    expect(await statuses()).toEqual({ disabled: 2, needs_reauth: 1 })
    expect(await upsertConnection(owner, accounts[0]!)).toMatchObject({
      previousStatus: 'disabled',
      status: 'disabled',
    })
    const [parked] = await rowsOf<{ id: ConnectionId }>(
      `select id from external_calendar_connections where status = 'needs_reauth'`,
    )
    expect(await unpark(owner, parked!.id)).toMatchObject({ status: 'disabled' })
    const [third] = await rowsOf<{ id: ConnectionId }>(
      `select id from external_calendar_connections where vendor_account_id = 'c'`,
    )
    await endConnection(owner, third!.id, 0)
    expect(await upsertConnection(owner, accounts[2]!)).toMatchObject({ status: 'active' })
    // What nobody paused is let in as before (control).
    await workOff(await ask('resume', { provider }))
    await world.db.query(`update external_calendar_connections set status = 'needs_reauth'`)
    expect(await unpark(owner, parked!.id)).toMatchObject({ status: 'active' })
    expect(await upsertConnection(owner, accounts[0]!)).toMatchObject({ status: 'active' })
  })
})

describe('what a repair does', () => {
  test('a sync now ends the backoff of the account and of its calendars, and rings', async () => {
    const [id] = await world.connect({
      backoff_until: `calstream_now() + interval '1 hour'`,
      last_error: `'{"code": "vendor/timeout", "message": "Late."}'`,
    })
    const [calendar] = await world.addCalendars(id!, 'ill')
    await world.db.query(
      `update external_calendars set failures = 2, read_needed = true, backoff_until = calstream_now() + interval '1 hour'`,
    )
    await workOff(await ask('sync_now', { state: 'retrying' }))
    expect(await outbox()).toEqual([`${TOPICS.requestedGoogle} ${id}`])
    const left = `select id from external_calendars where backoff_until is not null union all
      select id from external_calendar_connections where backoff_until is not null or not sync_needed`
    expect([calendar, await rowsOf(left)]).toEqual([calendar, []])
  })

  test('a full read takes every place away, and leaves a doubted sweep the time of its second look', async () => {
    const [id] = await world.connect({})
    const [plain, doubted] = await world.addCalendars(id!, 'plain', 'doubted')
    await world.db.query(
      `update external_calendars set cursor = 'c', checkpoint = '{}', resync_after = calstream_now() + interval '1 hour',
              sweep_below = case when id = $1 then 3 end`,
      [doubted],
    )
    await fence(world.deps.db, { connectionId: id!, epoch: 0 }, 0)
    await workOff(await ask('full_read', { connection: id! }))
    const rows = await rowsOf<{ id: string; waits: boolean }>(
      `select id, resync_after is not null as waits from external_calendars
        where cursor is null and checkpoint is null and read_needed`,
    )
    expect(new Map(rows.map((row) => [row.id, row.waits]))).toEqual(
      new Map([
        [plain, false],
        [doubted, true],
      ]),
    )
    await expect(fence(world.deps.db, { connectionId: id!, epoch: 0 }, 0)).rejects.toMatchObject({
      code: 'store/fence-lost',
    })
    expect(await outbox()).toEqual([`${TOPICS.requestedGoogle} ${id}`])
  })

  test('a probe makes every parked one due, also one whose grant was called gone', async () => {
    const parked = { status: `'needs_reauth'`, parked_at: 'calstream_now()' }
    await world.connect(parked, { ...parked, probe_at: `calstream_now() + interval '1 hour'` }, {})
    expect(await workOff(await ask('probe', { all: true }))).toMatchObject({ total: 2, done: 2 })
    expect(
      await rowsOf('select from external_calendar_connections where probe_at <= calstream_now()'),
    ).toHaveLength(2)
    expect(await outbox()).toEqual([])
  })
})

describe('a filter', () => {
  test('picks by state, vendor, provider and since; what is counted before is what is done', async () => {
    const provider = randomUUID()
    const hourAgo = `calstream_now() - interval '1 hour'`
    const failing = { last_error: `'{}'`, error_count: '1', last_synced_at: 'calstream_now()' }
    await many(3, { ...failing, failing_since: hourAgo })
    await many(2, { ...failing, failing_since: 'calstream_now()', provider_id: `'${provider}'` })
    await many(4, { vendor: `'microsoft'`, last_synced_at: 'calstream_now()' })
    await many(1, { status: `'needs_reauth'`, parked_at: 'calstream_now()' })
    const since = (Date.now() - 30 * 60_000) * 1000
    const shift = (
      await rowsOf<{ ms: number }>(
        `select (extract(epoch from calstream_now() - clock_timestamp()) * 1000)::float8 as ms`,
      )
    )[0]!.ms
    const cases: [RepairKind, RepairFilter, number][] = [
      ['sync_now', { all: true }, 9],
      ['sync_now', { state: 'retrying' }, 5],
      ['sync_now', { state: 'in_sync' }, 4],
      ['sync_now', { vendor: 'microsoft' }, 4],
      ['sync_now', { provider }, 2],
      ['sync_now', { state: 'retrying', since: since + Math.round(shift) * 1000 }, 2],
      ['sync_now', { provider, vendor: 'microsoft' }, 0],
      ['probe', { all: true }, 1],
      ['resume', { all: true }, 0],
    ]
    for (const [kind, filter, expected] of cases)
      expect([kind, filter, await countMatches(world.deps.db, kind, filter, OPEN)]).toEqual([
        kind,
        filter,
        expected,
      ])
    // Done last: afterwards they catch up and are in that state no more.
    const done = await workOff(await ask('sync_now', { state: 'retrying' }))
    expect(done).toMatchObject({ total: 5, done: 5, state: 'done' })
    expect(
      await startRepair(world.deps.db, { kind: 'resume', filter: { all: true }, by: 'x', ratePerS: 1 }, OPEN),
    ).toEqual({
      kind: 'nothing',
    })
  })

  test('by a state leaves out whom a gate keeps out', async () => {
    await many(3, { last_error: `'{}'` })
    const repair = await ask('sync_now', { state: 'retrying' })
    world.closed.add('CALENDAR_SYNC_ENABLED')
    expect(await workOff(repair)).toMatchObject({ state: 'done', done: 0 })
    world.closed.clear()
    expect(await workOff(await ask('sync_now', { state: 'retrying' }))).toMatchObject({ done: 3 })
  })
})

describe('the work', () => {
  test('goes at its rate, also after a long wait, and 0.5 a second is one in two seconds', async () => {
    await many(100)
    await stopClock(0)
    const repair = await ask('sync_now', { all: true }, 10)
    const doneAt = async (one: Repair, ms: number) => {
      await stopClock(ms)
      await workRepairs(deps, NEVER)
      return (await now(one)).done
    }
    // Two seconds' worth at once, and no more however long nobody looked.
    expect(await doneAt(repair, 0)).toBe(20)
    expect(await doneAt(repair, 0)).toBe(20)
    expect(await doneAt(repair, 1000)).toBe(30)
    expect(await doneAt(repair, 3_600_000)).toBe(50)
    // A clock that went back stops nothing.
    expect(await doneAt(repair, 0)).toBe(70)
    expect(await doneAt(repair, 1000)).toBe(80)
    await abortRepair(world.deps.db, repair.id, 'night')
    const slow = await ask('sync_now', { all: true }, 0.5)
    expect(await doneAt(slow, 5000)).toBe(1)
    expect(await doneAt(slow, 6000)).toBe(1)
    expect(await doneAt(slow, 7000)).toBe(2)
    await world.advance(0)
  })

  test('of two schedulers at once is done once', async () => {
    await many(600)
    const repair = await ask('pause', { all: true })
    await Promise.all([1, 2, 3].map(() => workRepairs(deps, NEVER)))
    expect(await workOff(repair)).toMatchObject({ done: 600 })
    const lines = await outbox()
    expect([lines.length, new Set(lines).size]).toEqual([600, 600])
  })

  test('does not wait for the others behind one that a unit holds, and comes to it', async () => {
    const ids = (await many(5)).toSorted()
    const session = await openSession(world.database.url())
    try {
      await session.query('begin')
      await session.query('select from external_calendar_connections where id = $1 for update', [ids[2]])
      const repair = await ask('pause', { all: true })
      await workRepairs(deps, NEVER).catch(() => undefined)
      expect((await now(repair)).done).toBe(2)
      await session.query('rollback')
      expect(await workOff(repair)).toMatchObject({ done: 5 })
    } finally {
      await session[Symbol.asyncDispose]()
    }
  })

  test('is ended by an operator where it is, is one for who asks twice, and stays as the audit', async () => {
    await many(100)
    await stopClock(0)
    const repair = await ask('pause', { all: true }, 10)
    await workRepairs(deps, NEVER)
    const again = { kind: 'pause', filter: { all: true }, by: 'day', ratePerS: 5 } as const
    expect(await startRepair(world.deps.db, again, OPEN)).toMatchObject({
      kind: 'running',
      repair: { id: repair.id, by: 'night' },
    })
    expect(await abortRepair(world.deps.db, repair.id, 'day')).toMatchObject({
      state: 'aborted',
      done: 20,
      endedBy: 'day',
    })
    await world.advance(10_000)
    await workRepairs(deps, NEVER)
    expect(await statuses()).toEqual({ active: 80, disabled: 20 })
    // What has ended is not ended again.
    expect(await abortRepair(world.deps.db, repair.id, 'noon')).toMatchObject({ endedBy: 'day' })
    expect(await abortRepair(world.deps.db, randomUUID(), 'noon')).toBeNull()
    expect(await readRepairs(world.deps.db, { limit: 5 })).toHaveLength(1)
  })

  test('waits while the jobs are switched off and says so; a pause does not wait', async () => {
    await many(5)
    world.closed.add('CALENDAR_JOBS_ENABLED')
    const read = await ask('full_read', { all: true })
    await workRepairs(deps, NEVER)
    expect(await now(read)).toMatchObject({
      done: 0,
      waitsFor: expect.stringContaining('CALENDAR_JOBS_ENABLED'),
    })
    const pause = await ask('pause', { vendor: 'google' })
    expect(await workOff(pause)).toMatchObject({ state: 'done', done: 5 })
    world.closed.clear()
    await abortRepair(world.deps.db, read.id, 'night')
    await workOff(await ask('resume', { all: true }))
    expect(await workOff(await ask('full_read', { all: true }))).toMatchObject({ done: 5, waitsFor: null })
  })

  test('that nobody can do ends as failed with the reason, and keeps no other back', async () => {
    await many(2)
    const [broken] = await rowsOf<Repair>(
      `insert into repairs (kind, filter, asked_by, rate_per_s, total) values ('pause', '{}', 'x', 1, 2) returning id`,
    )
    const good = await ask('pause', { all: true })
    expect(await workOff(good)).toMatchObject({ done: 2 })
    expect(await now(broken!)).toMatchObject({
      state: 'failed',
      lastError: expect.stringMatching(/^Say which/),
    })
  })
})

describe('dead letters', () => {
  const key = randomUUID()

  async function give(...letters: readonly { topic: string; code: string; value: string }[]): Promise<void> {
    const records = letters.map(({ topic, code, value }) =>
      deadLetterRecord(
        {
          topic,
          partition: 0,
          offset: 7n,
          timestampMs: Date.now(),
          key: Buffer.from(key),
          value: Buffer.from(value),
          headers: new Map([['ce_id', value]]),
        },
        { code, lastFailedAt: Date.now() * 1000 },
      ),
    )
    await world.deps.producer.send(records)
    // They have one key, so they lie in one partition, which was empty.
    const topic = world.kafka.prefix + TOPICS.deadLetter
    const ends = await withAdmin(world.kafka, (admin) => admin.fetchTopicOffsets(topic))
    const partition = ends.find(({ high }) => high === String(letters.length))!.partition
    await indexDeadLetters(
      world.deps.db,
      letters.map(({ topic, code }, index) => ({
        partition,
        offset: BigInt(index),
        connectionId: connectionId(key),
        vendor: 'google',
        code,
        attempts: 12,
        firstFailedAt: null,
        lastFailedAt: Date.now() * 1000,
        originTopic: topic,
        originPartition: 0,
        originOffset: 7n,
      })),
    )
  }

  test('come back once with their own bytes; one whose bytes are gone is counted and told', async () => {
    const request = { topic: TOPICS.requestedGoogle, code: 'sync/gave-up' }
    await give(
      { ...request, value: 'one' },
      { ...request, value: 'two' },
      { topic: TOPICS.requestedGoogle, code: 'message/unreadable', value: 'poison' },
      { topic: TOPICS.eventChanged, code: 'kafka/rejected', value: 'of a stream' },
    )
    await world.db.query(
      `insert into dead_letters (partition, topic_offset, code, attempts, last_failed_at, origin_topic, vendor)
       values (3, 999999, 'sync/gave-up', 1, calstream_now(), $1, 'google')`,
      [TOPICS.requestedGoogle],
    )
    const done = await workOff(await ask('replay_dead_letters', { vendor: 'google' }))
    expect(done).toMatchObject({ total: 3, done: 2, failed: 1, state: 'done' })
    expect(done.lastError).toMatch(/3\/999999 was not replayed: its bytes are older/)
    const sent = await rowsOf<{ topic: string; key: string; value: Buffer; headers: object }>(
      'select topic, key, value, headers from outbox order by id',
    )
    expect(sent.map((row) => [row.topic, row.key, row.value.toString()])).toEqual([
      [TOPICS.requestedGoogle, key, 'one'],
      [TOPICS.requestedGoogle, key, 'two'],
    ])
    expect(sent[0]?.headers).toEqual({ ce_id: 'one', 'replayed-dead-letter': expect.any(String) })
    // A second time none of them comes back.
    await workOff(await ask('replay_dead_letters', { all: true }))
    expect(await outbox()).toHaveLength(2)
    // What no reader understood comes back only when that is meant.
    expect(
      await workOff(await ask('replay_dead_letters', { code: 'message/unreadable', anyway: true })),
    ).toMatchObject({
      done: 1,
    })
    expect(await outbox()).toHaveLength(3)
  })
})
