// The ends of a unit other than done: overtaken, taken away, handed over, failed.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openSyncWorld, READ, permitOf, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith, partlyWith } from '../../support/unit-ends.ts'

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync ends')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

describe('the fence', () => {
  test('refuses the late commit of a unit that was overtaken, and keeps what its successor wrote', async () => {
    const account = await world.synced()
    await world.addEvent(account, { summary: 'seen by both' })
    await world.fault({ times: 1, delayMs: 700 })
    const late = world.sync(account)
    const end = await world.slowly(late, async () => {
      expect(await world.sync(account)).toEqual(READ)
    })
    expect(end).toEqual({ kind: 'abandoned' })
    expect(await world.differences(account)).toEqual([])
    // Told once, and the successor's epoch stands.
    expect((await world.toldOn(TOPICS.eventChanged)).length).toBe(1)
    expect(await world.connection(account)).toMatchObject({ sync_epoch: '3', sync_needed: false })
  })

  test('lets an undisturbed slow unit commit', async () => {
    const account = await world.synced()
    await world.addEvent(account)
    await world.fault({ times: 1, delayMs: 300 })
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({ sync_epoch: '2' })
  })

  test('holds also for a failure, a hold and a hand-over', async () => {
    const account = await world.synced()
    await world.fault({ times: 1, delayMs: 700, respond: { status: 503 } })
    const overtake = async () => {
      await world.sql('update external_calendar_connections set sync_epoch = sync_epoch + 1 where id = $1', [
        account.connectionId,
      ])
    }
    expect(await world.slowly(world.sync(account), overtake)).toEqual({ kind: 'abandoned' })
    await world.noFaults()
    await world.fault({ times: 1, delayMs: 700 })
    const { permit, stop } = permitOf()
    const stopped = world.sync(account, [{}], permit)
    expect(
      await world.slowly(stopped, async () => {
        await overtake()
        stop.abort()
      }),
    ).toEqual({ kind: 'abandoned' })
    expect(await world.told()).toEqual([])
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, error_count: 0 })
  })
})

describe('a permit that is taken away', () => {
  test('leaves everything as it was; the same work done again succeeds', async () => {
    const account = await world.synced()
    const [id] = await world.eventIds(account)
    await world.changeEvent(account, id!)
    const before = await world.rowVersions(account)
    await world.fault({ times: 1, delayMs: 700 })
    const { permit, abort } = permitOf()
    const end = await world.slowly(world.sync(account, [{}], permit), async () => abort.abort())
    expect(end).toEqual({ kind: 'abandoned' })
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.told()).toEqual([])
    expect(await world.connection(account)).toMatchObject({ unfinished: 1 })
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
  })

  test('eight times without a page or an outcome is a defect, and is recorded as one', async () => {
    const account = await world.synced()
    await world.sql('update external_calendar_connections set unfinished = 6 where id = $1', [
      account.connectionId,
    ])
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({ unfinished: 0 })
    await world.sql('update external_calendar_connections set unfinished = 7 where id = $1', [
      account.connectionId,
    ])
    expect(await world.sync(account)).toEqual(failedWith('sync/unfinished'))
    expect(await world.connection(account)).toMatchObject({
      unfinished: 0,
      error_count: 1,
      sync_needed: true,
    })
  })
})

describe('handing over', () => {
  test('on a stop: keys are recorded, the rest is owed, and a ring goes out at once', async () => {
    const account = await world.synced()
    await world.fault({ times: 1, delayMs: 20_000 })
    const { permit, stop } = permitOf()
    const ring = world.webhook(account)
    const end = await world.slowly(world.sync(account, [ring], permit), async () => stop.abort())
    expect(end).toEqual({ kind: 'handed-over' })
    expect(await world.connection(account)).toMatchObject({ sync_needed: true, unfinished: 0 })
    const [row] = await world.toldOn(TOPICS.retry30s)
    const { reason, dueAt, requestedAt } = row!.message as {
      reason: string
      dueAt: number
      requestedAt: number
    }
    expect([reason, dueAt - requestedAt]).toEqual(['continue', 0])
    expect(await world.sync(account, [ring])).toEqual({ kind: 'done', why: 'satisfied' })
    expect(await world.sync(account, [{ reason: 'continue' }])).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })

  test('in the middle of a first sync: the next unit goes on from its page, and makes one more pass', async () => {
    const account = await world.connect({ eventsPerCalendar: 60 })
    await world.pageSize(20)
    await world.fault({ match: { hasPageToken: true }, skip: 1, times: 1, delayMs: 20_000 })
    const { permit, stop } = permitOf()
    const end = await world.slowly(world.sync(account, [{}], permit), async () => stop.abort())
    expect(end).toEqual({ kind: 'handed-over' })
    const { checkpoint } = await world.calendarRow(account)
    expect(checkpoint?.pageToken).toEqual(expect.any(String))
    await world.calls(account)
    // A change after the run began is not in its listing: the pass after it sees it.
    await world.addEvent(account, { summary: 'while it waited' })
    expect(await world.sync(account, [{ reason: 'continue' }])).toEqual(READ)
    const calls = await world.calls(account)
    expect(calls[0]?.query['pageToken']).toBe(checkpoint?.pageToken)
    expect(calls.at(-1)?.query['syncToken']).toEqual(expect.any(String))
    expect(await world.differences(account)).toEqual([])
    expect((await world.calendarRow(account)).generation).toBe('1')
  })

  test('of a lane that found no slot: nothing is read, and nothing runs twice for what is satisfied', async () => {
    const account = await world.synced()
    const ring = world.webhook(account)
    expect(await world.sync(account, [ring], { slot: 'none' })).toEqual({ kind: 'handed-over' })
    expect(await world.calls(account)).toEqual([])
    const [row] = await world.toldOn(TOPICS.retry30s)
    const { dueAt, requestedAt } = row!.message as { dueAt: number; requestedAt: number }
    expect(dueAt - requestedAt).toBeGreaterThanOrEqual(15_000_000)
    expect(await world.sync(account, [ring], { slot: 'none' })).toEqual({ kind: 'done', why: 'satisfied' })
  })
})

describe('a failure', () => {
  test('is recorded with its backoff, its keys and its ring, and forgotten by the next success', async () => {
    const account = await world.synced()
    await world.fault({ respond: { status: 503 } })
    const ring = world.webhook(account)
    const told = expect.stringContaining('503') as string
    expect(await world.sync(account, [ring])).toEqual(failedWith('vendor/unavailable', told))
    const state = await world.connection(account)
    expect(state).toMatchObject({
      sync_needed: true,
      error_count: 1,
      unfinished: 0,
      last_error: { code: 'vendor/unavailable', attempt: 1, message: expect.stringContaining('503') },
    })
    expect(state.last_error).toHaveProperty('traceId')
    expect(state.backoff_ms).toBeGreaterThan(1500)
    expect(state.backoff_ms).toBeLessThanOrEqual(5000)
    const [retry] = await world.toldOn(TOPICS.retry30s)
    expect(retry?.message).toMatchObject({
      reason: 'retry',
      attempt: 1,
      code: 'vendor/unavailable',
      epoch: 2,
    })
    expect(Math.floor(Number(retry?.message?.['dueAt']) / 1000)).toBe(state.backoff_until!.getTime())
    expect(await world.sync(account, [ring])).toEqual({ kind: 'done', why: 'satisfied' })
    expect(await world.sync(account, [{ reason: 'retry' }])).toMatchObject({ kind: 'early' })
    await world.endBackoff(account)
    expect(await world.sync(account, [{ reason: 'retry' }])).toMatchObject({ kind: 'failed' })
    expect(await world.connection(account)).toMatchObject({ error_count: 2, last_error: { attempt: 2 } })
    await world.noFaults()
    await world.endBackoff(account)
    expect(await world.sync(account, [{ reason: 'retry' }])).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({
      sync_needed: false,
      error_count: 0,
      last_error: null,
      backoff_until: null,
    })
  })

  test('by throttling does not count, and is not tried before the vendor allows it', async () => {
    const account = await world.synced()
    await world.fault({
      respond: { status: 429, reason: 'rateLimitExceeded', headers: { 'retry-after': '700' } },
    })
    expect(await world.sync(account)).toEqual(failedWith('vendor/throttled'))
    const state = await world.connection(account)
    expect(state).toMatchObject({ error_count: 0, sync_needed: true, last_error: { attempt: 1 } })
    expect(state.backoff_ms).toBeGreaterThan(698_000)
    const told = await world.told()
    expect(told.map((row) => row.topic)).toEqual([TOPICS.retry6h])
    expect(await world.sync(account, [{ reason: 'retry' }])).toEqual({ kind: 'done', why: 'backing-off' })
  })

  test('is dead-lettered once, at the twelfth, with the bytes that rang; then it is tried every hour', async () => {
    const account = await world.synced()
    await world.fault({ respond: { status: 500 } })
    await world.sql('update external_calendar_connections set error_count = 10 where id = $1', [
      account.connectionId,
    ])
    const letters: number[] = []
    for (let i = 0; i < 3; i++) {
      await world.endBackoff(account)
      expect(await world.sync(account, [{ reason: 'api', requestedAt: 77 }])).toMatchObject({
        kind: 'failed',
      })
      const told = await world.told()
      letters.push(told.filter((row) => row.topic === TOPICS.deadLetter).length)
      if (i === 0) expect(told.map((row) => row.topic)).toEqual([TOPICS.retry30s])
      if (i === 1) {
        expect(told.map((row) => row.topic)).toEqual([TOPICS.deadLetter])
        expect(told[0]!.headers).toMatchObject({
          'dead-letter-code': 'vendor/unavailable',
          'dead-letter-attempts': '12',
        })
        const bytes = world.codec.encode(
          TOPICS.requestedGoogle,
          world.request(account, { reason: 'api', requestedAt: 77 }),
        )
        expect(told[0]!.value).toEqual(bytes)
      }
    }
    expect(letters).toEqual([0, 1, 0])
    expect((await world.connection(account)).backoff_ms).toBeGreaterThan(3_590_000)
  })

  test('of one calendar does not keep the other from being read', async () => {
    const account = await world.connect({ calendars: 2, eventsPerCalendar: 10 })
    await world.fault({
      match: { path: `${encodeURIComponent(account.calendars[0]!.id)}/events$` },
      respond: { status: 500 },
    })
    const ill = partlyWith('vendor/unavailable', 1)
    expect(await world.sync(account)).toEqual(ill)
    const rows = await world.sql<{ cursor: string | null }>(
      'select cursor from external_calendars where connection_id = $1 order by created_at, id',
      [account.connectionId],
    )
    expect(rows.filter((row) => row.cursor === null)).toHaveLength(1)
    await world.noFaults()
    await world.endBackoff(account)
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
  })

  test('because access was taken away parks the connection and says so to the world', async () => {
    const account = await world.synced()
    await world.world.admin('POST', `/admin/accounts/${account.accountId}/revoke`)
    expect(await world.sync(account)).toEqual(failedWith('vendor/grant-revoked'))
    expect(await world.connection(account)).toMatchObject({
      status: 'needs_reauth',
      sync_needed: true,
      backoff_until: null,
    })
    const told = await world.told()
    expect(told.map((row) => row.message)).toMatchObject([
      { status: 'needs_reauth', previousStatus: 'active', code: 'vendor/grant-revoked' },
    ])
    expect(told[0]!.topic).toBe(TOPICS.connectionChanged)
    await world.calls(account)
    expect(await world.sync(account)).toEqual({ kind: 'done', why: 'parked' })
    expect(await world.calls(account)).toEqual([])
  })

  test('whose record Postgres refuses is recorded with the bare code', async () => {
    const account = await world.synced()
    await world.sql(
      `alter table webhook_dedupe_keys add constraint no_keys_now check (delivery_key not like 'refused%')`,
    )
    await world.fault({ respond: { status: 503 } })
    expect(await world.sync(account, [{ reason: 'webhook', deliveryKey: 'refused 1' }])).toEqual(
      failedWith('vendor/unavailable'),
    )
    expect(await world.connection(account)).toMatchObject({
      error_count: 1,
      last_error: { code: 'vendor/unavailable', message: '' },
    })
    await world.sql('alter table webhook_dedupe_keys drop constraint no_keys_now')
  })
})
