// A calendar that cannot be read beside others that can:
// what it owes, when it is tried, and that nobody else notices.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { eventually } from '../../support/eventually.ts'
import { openSyncWorld, READ, permitOf, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith, partlyWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync ill')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

interface Row {
  readonly id: string
  readonly vendorId: string
  readonly readNeeded: boolean
  readonly failures: number
  readonly errors: number
  readonly code: string | null
  readonly message: string | null
  /** Milliseconds until its backoff ends. */
  readonly waitMs: number | null
}

/** The calendars of an account, in the order in which it has them. */
async function rows(account: Account): Promise<readonly Row[]> {
  const found = await world.sql<Row>(
    `select id, vendor_calendar_id as "vendorId", read_needed as "readNeeded", failures, error_count as errors,
       last_error ->> 'code' as code, last_error ->> 'message' as message,
       (extract(epoch from backoff_until - calstream_now()) * 1000)::float8 as "waitMs"
     from external_calendars where connection_id = $1`,
    [account.connectionId],
  )
  return account.calendars.map(({ id }) => found.find(({ vendorId }) => vendorId === id)!)
}

const byText = (a: string, b: string) => (a < b ? -1 : 1)
const partly = (code: string, calendars = 1) => partlyWith(code, calendars)
const WELL = { readNeeded: false, failures: 0, errors: 0, code: null, waitMs: null }

/** The calendars that were listed since the last question, by their place in the account. */
async function listed(account: Account): Promise<readonly number[]> {
  const calls = await world.calls(account)
  const placeOf = (path: string) =>
    account.calendars.findIndex(({ id }) => path.includes(`/${encodeURIComponent(id)}/`))
  return calls.map(({ path }) => placeOf(path))
}

/** An account of three calendars of which the first answers 500. */
async function withIll(): Promise<{ account: Account; ids: readonly string[] }> {
  const account = await world.synced({ calendars: 3, eventsPerCalendar: 5 })
  await world.fault({ match: { calendarId: account.calendars[0]!.id }, respond: { status: 500 } })
  const ids = (await rows(account)).map(({ id }) => id)
  return { account, ids }
}

describe('a calendar that answers 500 beside two that are well', () => {
  test('fails alone: its row, its ring; the connection is synced, and its siblings are read as ever', async () => {
    const { account, ids } = await withIll()
    const { listed_from: before } = await world.connection(account)
    expect(await world.sync(account)).toEqual(partly('vendor/unavailable'))
    const [ill, ...others] = await rows(account)
    expect(ill).toMatchObject({ readNeeded: true, failures: 1, errors: 1, code: 'vendor/unavailable' })
    expect(ill!.message).toContain('500')
    expect(ill!.waitMs).toBeGreaterThan(1500)
    expect(others).toMatchObject([WELL, WELL])
    const connection = await world.connection(account)
    expect(connection).toMatchObject({
      sync_needed: false,
      error_count: 0,
      last_error: null,
      backoff_until: null,
    })
    expect(connection.listed_from!.getTime()).toBeGreaterThan(before!.getTime())
    const [retry, ...more] = await world.told()
    expect(more).toEqual([])
    expect(retry).toMatchObject({
      topic: TOPICS.retry30s,
      message: { reason: 'retry', calendarId: ids[0], attempt: 1, code: 'vendor/unavailable' },
    })
    expect(Number(retry!.message!['dueAt']) / 1000).toBeCloseTo(Date.now() + ill!.waitMs!, -3)

    // Its backoff keeps nobody else: a ring of a sibling is read, one of the ill calendar is not.
    await world.calls()
    expect(await world.sync(account, [world.webhook(account, ids[1])], { slot: 'live' })).toEqual(READ)
    expect(await world.sync(account, [{ reason: 'reconcile' }])).toEqual(READ)
    expect(await world.sync(account, [world.webhook(account, ids[0])])).toMatchObject({ kind: 'early' })
    expect((await listed(account)).map(String).toSorted(byText)).toEqual(['1', '1', '2'])
    expect((await rows(account))[0]).toMatchObject({ failures: 1 })

    // It heals by itself, and owes nothing then.
    await world.noFaults()
    await world.endBackoff(account)
    await world.told()
    expect(await world.sync(account, [{ reason: 'retry', calendarId: ids[0]! }])).toEqual(READ)
    expect(await listed(account)).toEqual([0])
    expect(await rows(account)).toMatchObject([WELL, WELL, WELL])
    expect(await world.sync(account, [{ reason: 'retry', calendarId: ids[0]! }])).toMatchObject({
      why: 'satisfied',
    })
    expect(await world.differences(account)).toEqual([])
  })

  test('waits longer each time, up to an hour; its twelfth counted failure writes one dead letter', async () => {
    const { account, ids } = await withIll()
    const steps = [5, 30, 300, 900, 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600]
    const letters: number[] = []
    for (const [tries, step] of steps.entries()) {
      await world.endBackoff(account)
      const ring = { reason: 'retry' as const, calendarId: ids[0]! }
      expect(await world.sync(account, tries === 0 ? [{}] : [ring])).toEqual(partly('vendor/unavailable'))
      const told = await world.told()
      const found = told.filter(({ topic }) => topic === TOPICS.deadLetter)
      letters.push(found.length)
      for (const { headers } of found)
        expect(headers).toMatchObject({
          'dead-letter-code': 'vendor/unavailable',
          'dead-letter-attempts': '12',
        })
      // However long it lasts, something rings for it.
      expect(told.filter(({ message }) => message?.['calendarId'] === ids[0])).toHaveLength(1)
      const [ill] = await rows(account)
      expect(ill).toMatchObject({ failures: tries + 1, errors: tries + 1 })
      expect(ill!.waitMs! / 1000).toBeGreaterThan(step / 2 - 2)
      expect(ill!.waitMs! / 1000).toBeLessThanOrEqual(step)
    }
    expect(letters).toEqual(steps.map((_step, at) => (at === 11 ? 1 : 0)))
  })

  test('keeps its streak when the unit hands over, and only what was not read is owed besides', async () => {
    const { account } = await withIll()
    const order = await world.sql<{ id: string }>(
      'select id from external_calendars where connection_id = $1 order by created_at, id',
      [account.connectionId],
    )
    const placeOf = ({ id }: Row) => order.findIndex((one) => one.id === id)
    const [first, last] = (await rows(account)).slice(1).toSorted((a, b) => placeOf(a) - placeOf(b))
    await world.fault({ match: { calendarId: last!.vendorId }, times: 1, delayMs: 20_000 })
    const { permit, stop } = permitOf()
    const syncing = world.sync(account, [{}], permit)
    await eventually('the last one is being read', async () => {
      const { faults } = await world.world.admin<{ faults: { hits: number; delayMs?: number }[] }>(
        'GET',
        '/admin/faults',
      )
      return faults.some(({ hits, delayMs }) => delayMs !== undefined && hits > 0)
    })
    stop.abort()
    expect(await syncing).toEqual({ kind: 'handed-over' })
    const byId = new Map((await rows(account)).map((row) => [row.id, row]))
    expect(byId.get(first!.id)).toMatchObject(WELL)
    expect(byId.get(last!.id)).toMatchObject({ ...WELL, readNeeded: true })
    const [ill] = await rows(account)
    const isRead = placeOf(ill!) < placeOf(last!)
    if (isRead) expect(ill).toMatchObject({ readNeeded: true, failures: 1 })
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
    const told = await world.told()
    expect(told.map(({ message }) => String(message?.['reason'])).toSorted(byText)).toEqual(
      isRead ? ['continue', 'retry'] : ['continue'],
    )
    // The rest alone is read by what was rung for it.
    await world.calls()
    expect((await world.sync(account, [{ reason: 'continue' }])).kind).toBe(isRead ? 'done' : 'partly')
    expect(
      (await listed(account)).includes(account.calendars.findIndex(({ id }) => id === first!.vendorId)),
    ).toBe(false)
    expect((await rows(account)).map(({ readNeeded }) => readNeeded)).toEqual([true, false, false])
  })
})

describe('a calendar that is ill and slow', () => {
  test('gives way to a ring of a sibling: no attempt counts, its error stays, and it is rung again', async () => {
    const { account, ids } = await withIll()
    expect(await world.sync(account)).toEqual(partly('vendor/unavailable'))
    await world.noFaults()
    await world.fault({ match: { calendarId: account.calendars[0]!.id }, delayMs: 25_000 })
    await world.endBackoff(account)
    await world.told()
    const rung = new AbortController()
    const retry = world.sync(account, [{ reason: 'retry', calendarId: ids[0]! }], { rung: rung.signal })
    expect(await world.slowly(retry, async () => rung.abort())).toEqual(partly('sync/gave-way'))
    const [ill] = await rows(account)
    expect(ill).toMatchObject({ readNeeded: true, failures: 2, errors: 1, code: 'vendor/unavailable' })
    const [ring] = await world.told()
    expect(ring?.message).toMatchObject({ calendarId: ids[0], reason: 'retry', attempt: 2 })
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, last_error: null })
  })

  test('has its call cut short in every third try while a sibling waits, and that counts', async () => {
    const { account, ids } = await withIll()
    expect(await world.sync(account)).toEqual(partly('vendor/unavailable'))
    await world.noFaults()
    await world.fault({ match: { calendarId: account.calendars[0]!.id }, hang: true })
    await world.sql('update external_calendars set failures = 2 where id = $1', [ids[0]])
    await world.endBackoff(account)
    const rung = new AbortController()
    rung.abort()
    const retry = world.sync(account, [{ reason: 'retry', calendarId: ids[0]! }], { rung: rung.signal })
    expect(await retry).toEqual(partly('vendor/timeout'))
    const [ill] = await rows(account)
    expect(ill).toMatchObject({ failures: 3, errors: 2, code: 'vendor/timeout' })
    expect(ill?.message).toContain('another calendar of the account waits')
  })
})

describe('a calendar that may not be read', () => {
  test('by a refusal of its own is ill; the account is not parked while it opens others', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
    await world.fault({
      match: { calendarId: account.calendars[0]!.id },
      respond: { status: 403, reason: 'insufficientPermissions' },
    })
    expect(await world.sync(account)).toEqual(partly('vendor/access-denied'))
    expect(await world.connection(account)).toMatchObject({ status: 'active', last_error: null })
    expect(await rows(account)).toMatchObject([{ failures: 1, code: 'vendor/access-denied' }, WELL])
  })

  test('because it does not exist, by one answer, is ill; the list is asked for at the first failure alone', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
    await world.fault({
      match: { calendarId: account.calendars[0]!.id },
      respond: { status: 404, reason: 'notFound' },
    })
    const isListDue = async () =>
      (
        await world.sql(
          'select from external_calendar_connections where id = $1 and list_calendars_at <= calstream_now()',
          [account.connectionId],
        )
      ).length === 1
    expect(await world.sync(account)).toEqual(partly('vendor/calendar-unknown'))
    const [ill] = await rows(account)
    expect(ill!.message).toContain('until two lists of calendars')
    expect(await isListDue()).toBe(true)
    await world.sql(
      `update external_calendar_connections set list_calendars_at = calstream_now() + interval '1 hour' where id = $1`,
      [account.connectionId],
    )
    await world.endBackoff(account)
    expect(await world.sync(account)).toEqual(partly('vendor/calendar-unknown'))
    expect(await isListDue()).toBe(false)
    expect((await rows(account))[0]).toMatchObject({ failures: 2 })
  })
})

describe('all calendars of an account at once', () => {
  test('are told of its connection, as one calendar is; the first that is well again ends that', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
    await world.fault({ respond: { status: 503 } })
    expect(await world.sync(account)).toEqual(failedWith('vendor/unavailable'))
    const connection = await world.connection(account)
    expect(connection).toMatchObject({
      sync_needed: true,
      error_count: 1,
      last_error: { code: 'vendor/unavailable', attempt: 1, scope: 'calendars' },
    })
    const ill = await rows(account)
    for (const row of ill) {
      expect(row).toMatchObject({ readNeeded: true, failures: 1, errors: 1 })
      expect(Math.abs(row.waitMs! - connection.backoff_ms!)).toBeLessThan(1000)
    }
    const told = await world.told()
    expect(told.map(({ message }) => message?.['calendarId'])).toEqual([null])
    expect(await world.sync(account, [world.webhook(account, ill[0]!.id)])).toMatchObject({ kind: 'early' })

    await world.noFaults()
    await world.fault({ match: { calendarId: account.calendars[1]!.id }, respond: { status: 503 } })
    await world.endBackoff(account)
    expect(await world.sync(account, [{ reason: 'retry' }])).toEqual(partly('vendor/unavailable'))
    expect(await world.connection(account)).toMatchObject({
      sync_needed: false,
      error_count: 0,
      last_error: null,
      backoff_until: null,
    })
    expect(await rows(account)).toMatchObject([WELL, { failures: 2, errors: 2 }])
    const [retry] = await world.told()
    expect(retry?.message).toMatchObject({ calendarId: ill[1]!.id, attempt: 2 })
  })
})
