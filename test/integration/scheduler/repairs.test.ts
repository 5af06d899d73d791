// Repairs as the scheduler works them off: whom they are about, what they do to each, at what rate,
// and that nothing is done twice.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { connectionId, providerId, type ConnectionId } from '#shared/domain/ids.ts'
import type { RepairFilter, RepairKind } from '#shared/domain/repair.ts'
import { upsertConnection } from '#shared/store/connect.ts'
import { fence } from '#shared/store/connections.ts'
import { endConnection } from '#shared/store/disconnect.ts'
import { unpark } from '#shared/store/refusals.ts'
import { countMatches } from '#shared/store/repair-matches.ts'
import { abortRepair, readRepairs, startRepair, type Repair } from '#shared/store/repairs.ts'
import { measured } from '../../support/measured.ts'
import { openSession } from '../../support/outbox.ts'
import { OPEN, openRepairWorld, type RepairWorld } from '../../support/repair-world.ts'

let w: RepairWorld

beforeAll(async () => {
  w = await openRepairWorld('repairs')
})
afterAll(() => w?.[Symbol.asyncDispose]())
beforeEach(() => w.clear())

describe('a pause', () => {
  test('of 250 is told of each once, and its end too; a unit of before writes nothing after it', async () => {
    const ids = await w.many(250)
    const claimed = { connectionId: connectionId(ids[0]!), epoch: 0 }
    await fence(w.deps.db, claimed, 0)
    const paused = await w.workOff(await w.ask('pause', { all: true }))
    expect(paused).toMatchObject({ state: 'done', total: 250, done: 250, failed: 0, by: 'night' })
    expect(await w.statuses()).toEqual({ disabled: 250 })
    const told = ids.map((id) => `${TOPICS.connectionChanged} ${id}`)
    expect((await w.outbox()).toSorted()).toEqual(told.toSorted())
    await expect(fence(w.deps.db, claimed, 0)).rejects.toMatchObject({ code: 'store/fence-lost' })
    await w.db.query('truncate outbox')

    const resumed = await w.workOff(await w.ask('resume', { all: true }))
    expect(resumed).toMatchObject({ state: 'done', done: 250 })
    expect(await w.statuses()).toEqual({ active: 250 })
    const rung = ids.map((id) => `${TOPICS.requestedGoogle} ${id}`)
    expect((await w.outbox()).toSorted()).toEqual([...told, ...rung].toSorted())
    const owed = await w.rowsOf(
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
    for (const one of accounts) await upsertConnection(w.owner, one)
    await w.db.query(
      `update external_calendar_connections set status = 'needs_reauth', parked_at = calstream_now() where vendor_account_id = 'b'`,
    )
    await w.workOff(await w.ask('pause', { provider }))
    expect(await w.statuses()).toEqual({ disabled: 2, needs_reauth: 1 })
    expect(await upsertConnection(w.owner, accounts[0]!)).toMatchObject({
      previousStatus: 'disabled',
      status: 'disabled',
    })
    const [parked] = await w.rowsOf<{ id: ConnectionId }>(
      `select id from external_calendar_connections where status = 'needs_reauth'`,
    )
    expect(await unpark(w.owner, parked!.id)).toMatchObject({ status: 'disabled' })
    const [third] = await w.rowsOf<{ id: ConnectionId }>(
      `select id from external_calendar_connections where vendor_account_id = 'c'`,
    )
    await endConnection(w.owner, third!.id, 0)
    expect(await upsertConnection(w.owner, accounts[2]!)).toMatchObject({ status: 'active' })
    // What nobody paused is let in as before (control).
    await w.workOff(await w.ask('resume', { provider }))
    await w.db.query(`update external_calendar_connections set status = 'needs_reauth'`)
    expect(await unpark(w.owner, parked!.id)).toMatchObject({ status: 'active' })
    expect(await upsertConnection(w.owner, accounts[0]!)).toMatchObject({ status: 'active' })
  })
})

describe('what a repair does', () => {
  test('a sync now ends the backoff of the account and of its calendars, and rings', async () => {
    const [id] = await w.connect({
      backoff_until: `calstream_now() + interval '1 hour'`,
      last_error: `'{"code": "vendor/timeout", "message": "Late."}'`,
    })
    const [calendar] = await w.addCalendars(id!, 'ill')
    await w.db.query(
      `update external_calendars set failures = 2, read_needed = true, backoff_until = calstream_now() + interval '1 hour'`,
    )
    await w.workOff(await w.ask('sync_now', { state: 'retrying' }))
    expect(await w.outbox()).toEqual([`${TOPICS.requestedGoogle} ${id}`])
    const left = `select id from external_calendars where backoff_until is not null union all
      select id from external_calendar_connections where backoff_until is not null or not sync_needed`
    expect([calendar, await w.rowsOf(left)]).toEqual([calendar, []])
  })

  test('a full read takes every place away, and leaves a doubted sweep the time of its second look', async () => {
    const [id] = await w.connect({})
    const [plain, doubted] = await w.addCalendars(id!, 'plain', 'doubted')
    await w.db.query(
      `update external_calendars set cursor = 'c', checkpoint = '{}', resync_after = calstream_now() + interval '1 hour',
              sweep_below = case when id = $1 then 3 end`,
      [doubted],
    )
    await fence(w.deps.db, { connectionId: id!, epoch: 0 }, 0)
    await w.workOff(await w.ask('full_read', { connection: id! }))
    const rows = await w.rowsOf<{ id: string; waits: boolean }>(
      `select id, resync_after is not null as waits from external_calendars
        where cursor is null and checkpoint is null and read_needed`,
    )
    expect(new Map(rows.map((row) => [row.id, row.waits]))).toEqual(
      new Map([
        [plain, false],
        [doubted, true],
      ]),
    )
    await expect(fence(w.deps.db, { connectionId: id!, epoch: 0 }, 0)).rejects.toMatchObject({
      code: 'store/fence-lost',
    })
    expect(await w.outbox()).toEqual([`${TOPICS.requestedGoogle} ${id}`])
  })

  test('a probe makes every parked one due, also one whose grant was called gone', async () => {
    const parked = { status: `'needs_reauth'`, parked_at: 'calstream_now()' }
    await w.connect(parked, { ...parked, probe_at: `calstream_now() + interval '1 hour'` }, {})
    expect(await w.workOff(await w.ask('probe', { all: true }))).toMatchObject({ total: 2, done: 2 })
    expect(
      await w.rowsOf('select from external_calendar_connections where probe_at <= calstream_now()'),
    ).toHaveLength(2)
    expect(await w.outbox()).toEqual([])
  })
})

describe('a filter', () => {
  test('picks by state, vendor, provider and since; what is counted before is what is done', async () => {
    const provider = randomUUID()
    const hourAgo = `calstream_now() - interval '1 hour'`
    const failing = { last_error: `'{}'`, error_count: '1', last_synced_at: 'calstream_now()' }
    await w.many(3, { ...failing, failing_since: hourAgo })
    await w.many(2, { ...failing, failing_since: 'calstream_now()', provider_id: `'${provider}'` })
    await w.many(4, { vendor: `'microsoft'`, last_synced_at: 'calstream_now()' })
    await w.many(1, { status: `'needs_reauth'`, parked_at: 'calstream_now()' })
    const since = (Date.now() - 30 * 60_000) * 1000
    const shift = (
      await w.rowsOf<{ ms: number }>(
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
      expect([kind, filter, await countMatches(w.deps.db, kind, filter, OPEN)]).toEqual([
        kind,
        filter,
        expected,
      ])
    // Done last: afterwards they catch up and are in that state no more.
    const done = await w.workOff(await w.ask('sync_now', { state: 'retrying' }))
    expect(done).toMatchObject({ total: 5, done: 5, state: 'done' })
    expect(
      await startRepair(w.deps.db, { kind: 'resume', filter: { all: true }, by: 'x', ratePerS: 1 }, OPEN),
    ).toEqual({
      kind: 'nothing',
    })
  })

  test('by a cause picks those that have it, page by page, and what is counted before is done', async () => {
    const provider = randomUUID()
    const failing = { last_error: `'{"code": "vendor/timeout"}'`, last_synced_at: 'calstream_now()' }
    const ids = await w.many(250, failing)
    await w.many(3, { ...failing, provider_id: `'${provider}'` })
    await w.many(4, { last_synced_at: 'calstream_now()' })
    await w.many(2, { status: `'needs_reauth'`, parked_at: 'calstream_now()' })
    const count = (kind: RepairKind, filter: RepairFilter) => countMatches(w.deps.db, kind, filter, OPEN)
    expect(await count('sync_now', { cause: 'backing_off' })).toBe(253)
    expect(await count('sync_now', { cause: 'backing_off', provider })).toBe(3)
    expect(await count('sync_now', { cause: 'grant_revoked' })).toBe(0)
    expect(await count('probe', { cause: 'grant_revoked' })).toBe(2)
    expect(await count('pause', { cause: 'grant_revoked', provider })).toBe(0)
    const done = await w.workOff(await w.ask('full_read', { cause: 'backing_off' }, 20))
    expect(done).toMatchObject({ total: 253, done: 253, state: 'done' })
    const rung = await w.outbox()
    expect([rung.length, new Set(rung).size]).toEqual([253, 253])
    expect(rung).toContain(`${TOPICS.requestedGoogle} ${ids[0]}`)
  })

  test('by a state leaves out whom a gate keeps out', async () => {
    await w.many(3, { last_error: `'{}'` })
    const repair = await w.ask('sync_now', { state: 'retrying' })
    w.closed.add('CALENDAR_SYNC_ENABLED')
    expect(await w.workOff(repair)).toMatchObject({ state: 'done', done: 0 })
    w.closed.clear()
    expect(await w.workOff(await w.ask('sync_now', { state: 'retrying' }))).toMatchObject({ done: 3 })
  })
})

describe('the work', () => {
  test('goes at its rate, also after a long wait, and 0.5 a second is one in two seconds', async () => {
    await w.many(100)
    await w.stopClock(0)
    const repair = await w.ask('sync_now', { all: true }, 10)
    const doneAt = async (one: Repair, ms: number) => {
      await w.stopClock(ms)
      await w.work()
      return (await w.now(one)).done
    }
    // Two seconds' worth at once, and no more however long nobody looked.
    expect(await doneAt(repair, 0)).toBe(20)
    expect(await doneAt(repair, 0)).toBe(20)
    expect(await doneAt(repair, 1000)).toBe(30)
    expect(await doneAt(repair, 3_600_000)).toBe(50)
    // A clock that went back stops nothing.
    expect(await doneAt(repair, 0)).toBe(70)
    expect(await doneAt(repair, 1000)).toBe(80)
    await abortRepair(w.deps.db, repair.id, 'night')
    const slow = await w.ask('sync_now', { all: true }, 0.5)
    expect(await doneAt(slow, 5000)).toBe(1)
    expect(await doneAt(slow, 6000)).toBe(1)
    expect(await doneAt(slow, 7000)).toBe(2)
    await w.advance(0)
  })

  test('of two schedulers at once is done once', async () => {
    await w.many(600)
    const repair = await w.ask('sync_now', { all: true })
    await Promise.all([1, 2, 3].map(() => w.work()))
    expect(await w.workOff(repair)).toMatchObject({ done: 600 })
    const lines = await w.outbox()
    expect([lines.length, new Set(lines).size]).toEqual([600, 600])
  })

  test('on 10 000 is many short transactions', async () => {
    await w.many(10_000)
    const began = performance.now()
    const counted = await countMatches(w.deps.db, 'pause', { all: true }, OPEN)
    const countMs = Math.round(performance.now() - began)
    expect(await w.workOff(await w.ask('pause', { all: true }))).toMatchObject({
      total: counted,
      done: 10_000,
    })
    measured(`10 000 counted in ${countMs} ms, and paused in ${Math.round(performance.now() - began)} ms`)
    const transactions = await w.rowsOf<{ rows: number }>(
      'select count(*)::int as rows from outbox group by xmin::text order by 1',
    )
    expect(transactions.reduce((sum, { rows }) => sum + rows, 0)).toBe(10_000)
    // Fewer where the rate allows no more yet, which a fast machine meets.
    expect(transactions.at(-1)?.rows).toBe(100)
  })

  test('does not wait for the others behind one that a unit holds, and comes to it', async () => {
    const ids = (await w.many(5)).toSorted()
    const session = await openSession(w.database.url())
    try {
      await session.query('begin')
      await session.query('select from external_calendar_connections where id = $1 for update', [ids[2]])
      const repair = await w.ask('pause', { all: true })
      await w.work().catch(() => undefined)
      expect((await w.now(repair)).done).toBe(2)
      await session.query('rollback')
      expect(await w.workOff(repair)).toMatchObject({ done: 5 })
    } finally {
      await session[Symbol.asyncDispose]()
    }
  })

  test('is ended by an operator where it is, is one for who asks twice, and stays as the audit', async () => {
    await w.many(100)
    await w.stopClock(0)
    const repair = await w.ask('pause', { all: true }, 10)
    await w.work()
    const again = { kind: 'pause', filter: { all: true }, by: 'day', ratePerS: 5 } as const
    expect(await startRepair(w.deps.db, again, OPEN)).toMatchObject({
      kind: 'running',
      repair: { id: repair.id, by: 'night' },
    })
    expect(await abortRepair(w.deps.db, repair.id, 'day')).toMatchObject({
      state: 'aborted',
      done: 20,
      endedBy: 'day',
    })
    await w.advance(10_000)
    await w.work()
    expect(await w.statuses()).toEqual({ active: 80, disabled: 20 })
    // What has ended is not ended again.
    expect(await abortRepair(w.deps.db, repair.id, 'noon')).toMatchObject({ endedBy: 'day' })
    expect(await abortRepair(w.deps.db, randomUUID(), 'noon')).toBeNull()
    expect(await readRepairs(w.deps.db, { limit: 5 })).toHaveLength(1)
  })

  test('waits while the jobs are switched off and says so; a pause does not wait', async () => {
    await w.many(5)
    w.closed.add('CALENDAR_JOBS_ENABLED')
    const read = await w.ask('full_read', { all: true })
    await w.work()
    expect(await w.now(read)).toMatchObject({
      done: 0,
      waitsFor: expect.stringContaining('CALENDAR_JOBS_ENABLED'),
    })
    const pause = await w.ask('pause', { vendor: 'google' })
    expect(await w.workOff(pause)).toMatchObject({ state: 'done', done: 5 })
    w.closed.clear()
    await abortRepair(w.deps.db, read.id, 'night')
    await w.workOff(await w.ask('resume', { all: true }))
    expect(await w.workOff(await w.ask('full_read', { all: true }))).toMatchObject({
      done: 5,
      waitsFor: null,
    })
  })

  test('that nobody can do ends as failed with the reason, and keeps no other back', async () => {
    await w.many(2)
    const [broken] = await w.rowsOf<Repair>(
      `insert into repairs (kind, filter, asked_by, rate_per_s, total) values ('pause', '{}', 'x', 1, 2) returning id`,
    )
    const good = await w.ask('pause', { all: true })
    expect(await w.workOff(good)).toMatchObject({ done: 2 })
    expect(await w.now(broken!)).toMatchObject({
      state: 'failed',
      lastError: expect.stringMatching(/^Say which/),
    })
  })
})
