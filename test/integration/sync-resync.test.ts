// Full reads: when they happen, what they remove, and what they leave alone.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openSyncWorld, READ, type SyncWorld } from '../support/sync-world.ts'

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync resync')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

describe('an expired cursor', () => {
  test('of an unchanged calendar causes a full read that changes no row and tells nothing', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const before = await world.rowVersions(account)
    await world.pageSize(25)
    await world.expireCursors(account)
    expect(await world.sync(account)).toEqual(READ)
    const [first, ...others] = await world.calls()
    expect(first).toMatchObject({ status: 410 })
    expect(others.length).toBeGreaterThan(2)
    expect(new Set(others.map((call) => call.status))).toEqual(new Set([200]))
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.told()).toEqual([])
    // The control: the same way with one change tells that change.
    await world.sync(account)
    const [id] = await world.eventIds(account)
    await world.changeEvent(account, id!, { summary: 'another' })
    await world.expireCursors(account)
    await world.sync(account)
    expect((await world.toldOn(TOPICS.eventChanged)).map((row) => row.message?.['vendorEventId'])).toEqual([
      id,
    ])
  })

  test('finds what was deleted meanwhile, which a full list does not name', async () => {
    const account = await world.synced({ eventsPerCalendar: 30 })
    const [gone] = await world.eventIds(account)
    await world.deleteEvent(account, gone!)
    await world.expireCursors(account)
    expect(await world.sync(account)).toEqual(READ)
    const removed = await world.toldOn(TOPICS.eventChanged)
    expect(removed.map((row) => row.message)).toMatchObject([
      { vendorEventId: gone, change: 'removed', removalReason: 'deleted' },
    ])
    expect(await world.differences(account)).toEqual([])
  })

  test('in the middle of a run discards its place and reads all', async () => {
    const account = await world.synced({ eventsPerCalendar: 30 })
    await world.pageSize(5)
    for (const id of (await world.eventIds(account)).slice(0, 12)) await world.changeEvent(account, id)
    await world.fault({
      match: { hasSyncToken: true, hasPageToken: true },
      skip: 1,
      times: 1,
      respond: { status: 410, reason: 'fullSyncRequired' },
    })
    expect(await world.sync(account)).toEqual(READ)
    expect((await world.calls()).map((call) => call.status).slice(0, 4)).toEqual([200, 200, 410, 200])
    expect(await world.differences(account)).toEqual([])
  })

  test('twice in a row rests: ten minutes, then twenty; other calendars go on', async () => {
    const account = await world.synced({ calendars: 2 })
    const sick = encodeURIComponent(account.calendars[0]!.id)
    await world.fault({
      match: { path: `${sick}/events$`, hasSyncToken: true },
      respond: { status: 410, reason: 'fullSyncRequired' },
    })
    expect(await world.sync(account)).toEqual(READ)
    const ill = { kind: 'partly', code: 'vendor/cursor-expired-again', calendars: 1 }
    expect(await world.sync(account)).toEqual(ill)
    const row = await world.calendarRow(account)
    expect(row).toMatchObject({ cursor: null, resync_streak: 2 })
    const restMs = (from: Date | null) => (from?.getTime() ?? 0) - Date.now()
    expect(restMs(row.resync_after)).toBeGreaterThan(590_000)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, error_count: 0 })
    // It is tried again when its rest is over; meanwhile the other one is read, also by a unit that comes too early for it.
    const [retry] = await world.toldOn(TOPICS.retry6h)
    expect(retry?.message).toMatchObject({ reason: 'retry', calendarId: row.id })
    expect(restMs(new Date(Number(retry?.message?.['dueAt']) / 1000))).toBeGreaterThan(590_000)
    for (const isEarly of [false, true]) {
      if (isEarly) await world.endBackoff(account)
      await world.calls()
      expect(await world.sync(account)).toEqual(READ)
      expect((await world.calls()).map((call) => call.path.includes(sick))).toEqual([false])
      expect(await world.connection(account)).toMatchObject({ sync_needed: false, error_count: 0 })
    }
    // Afterwards it is read again; when that does not hold either, it rests longer.
    await world.endRest(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, error_count: 0 })
    expect(await world.sync(account)).toMatchObject({ kind: 'partly' })
    expect(restMs((await world.calendarRow(account)).resync_after)).toBeGreaterThan(1_190_000)
    // Once changes can be read, it is forgotten.
    await world.noFaults()
    await world.endBackoff(account)
    await world.endRest(account)
    await world.sync(account)
    await world.sync(account)
    expect(await world.calendarRow(account)).toMatchObject({ resync_streak: 0 })
    expect(await world.differences(account)).toEqual([])
  })
})

describe('a full read that would empty a calendar', () => {
  test('is not believed until a second one agrees, ten minutes later', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const ids = await world.eventIds(account)
    const kept = await world.rowVersions(account)
    for (const id of ids) await world.deleteEvent(account, id)
    await world.expireCursors(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.rowVersions(account)).toHaveLength(kept.length)
    expect(await world.told()).toEqual([])
    expect(await world.connection(account)).toMatchObject({ sync_needed: true })
    expect(await world.calendarRow(account)).toMatchObject({ cursor: expect.any(String), sweep_below: '2' })
    // Meanwhile changes are read as ever, and nothing is decided.
    const added = await world.addEvent(account, { summary: 'meanwhile' })
    expect(await world.sync(account, [world.webhook(account)], { slot: 'live' })).toEqual(READ)
    expect(await world.eventIds(account)).toEqual(expect.arrayContaining([added.id, ids[0]!]))
    expect(await world.connection(account)).toMatchObject({ sync_needed: true })
    await world.told()
    await world.endRest(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
    expect(
      (await world.toldOn(TOPICS.eventChanged)).filter((row) => row.message?.['change'] === 'removed').length,
    ).toBeGreaterThanOrEqual(ids.length)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
    expect(await world.calendarRow(account)).toMatchObject({ sweep_below: null, resync_after: null })
  })

  test('keeps what the second one sees', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const before = await world.rowVersions(account)
    // A full list that is wrong for once: everything is missing.
    const calendar = { match: { hasSyncToken: false }, times: 1 }
    await world.fault({ ...calendar, respond: { status: 200, body: { items: [], nextSyncToken: 'broken' } } })
    await world.expireCursors(account)
    await world.sync(account)
    await world.endRest(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.told()).toEqual([])
  })

  test('is believed at once when few are missing', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const gone = (await world.eventIds(account)).slice(0, 15)
    for (const id of gone) await world.deleteEvent(account, id)
    await world.expireCursors(account)
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })
})

describe('a row that left the window', () => {
  test('is removed by the full read and says so, and does not count as missing', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const ids = await world.eventIds(account)
    // Most rows lie 60 days back, as if the window had rolled over them.
    await world.sql(
      `update external_calendar_events set start_at = start_at - interval '900 days', end_at = end_at - interval '900 days',
              start_date = start_date - 900, end_date = end_date - 900
        where connection_id = $1 and vendor_event_id = any($2)`,
      [account.connectionId, ids],
    )
    for (const id of ids) await world.deleteEvent(account, id)
    await world.expireCursors(account)
    await world.sync(account)
    const removed = (await world.toldOn(TOPICS.eventChanged)).filter(
      (row) => row.message?.['change'] === 'removed',
    )
    expect(new Set(removed.map((row) => row.message?.['removalReason']))).toEqual(new Set(['window']))
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })
})
