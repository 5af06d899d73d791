// Full reads: when they happen, what they remove, and what they leave alone.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import { REREAD_SPREAD_HOURS, rulesWith } from '#shared/domain/judged-by.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import { withPrivateTitles } from '#shared/vendors/private-titles.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { openSyncWorld, READ, type SyncWorld } from '../../support/sync-world.ts'
import { partlyWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'

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
    const ill = partlyWith('vendor/cursor-expired-again', 1)
    expect(await world.sync(account)).toEqual(ill)
    const row = await world.calendarRow(account)
    expect(row).toMatchObject({ cursor: null, resync_streak: 2 })
    const restMs = (from: Date | null) => (from?.getTime() ?? 0) - Date.now()
    expect(restMs(row.resync_after)).toBeGreaterThan(590_000)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false, error_count: 0 })
    // It is tried again when its rest is over;
    // meanwhile the other one is read, also by a unit that comes too early for it.
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

  test('is not believed either when the second one comes too early', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const { length } = await world.rowVersions(account)
    for (const id of await world.eventIds(account)) await world.deleteEvent(account, id)
    await world.expireCursors(account)
    await world.sync(account)
    // The new cursor is of use once, and expires within the ten minutes:
    // the calendar is read from the start again.
    await world.addEvent(account, { summary: 'meanwhile' })
    await world.sync(account, [world.webhook(account)])
    await world.expireCursors(account)
    await world.calls()
    await world.sync(account, [world.webhook(account)])
    expect((await world.calls()).map(({ status, query }) => [status, 'syncToken' in query])).toEqual([
      [410, true],
      [200, false],
    ])
    expect(await world.rowVersions(account)).toHaveLength(length + 1)
    expect(await world.calendarRow(account)).toMatchObject({ sweep_below: expect.any(String) })
    // The control: after its rest the next one is a second look.
    await world.endRest(account)
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
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

  test('is not believed alone of a small calendar either: an empty list removes none of its three events', async () => {
    const account = await world.synced({ eventsPerCalendar: 0 })
    for (let i = 0; i < 3; i += 1) await world.addEvent(account)
    await world.sync(account)
    const before = await world.rowVersions(account)
    expect(before).toHaveLength(3)
    await world.told()
    const once = { match: { hasSyncToken: false }, times: 1 }
    await world.fault({ ...once, respond: { status: 200, body: { items: [], nextSyncToken: 'broken' } } })
    await world.expireCursors(account)
    await world.sync(account)
    expect(await world.rowVersions(account)).toEqual(before)
    await world.endRest(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.toldOn(TOPICS.eventChanged)).toEqual([])
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

describe('a full read that lacks some events which are still there', () => {
  /**
   * The product, with lists from the start that leave these events out; and what else `changes`.
   */
  const withShortLists = (ids: readonly string[], changes: Partial<Vendor> = {}) => {
    const vendor = world.vendors.get('google')!
    const asked: string[] = []
    const short: Vendor = {
      ...vendor,
      async fetchPage(token, request, signal, each) {
        const page = await vendor.fetchPage(token, request, signal, each)
        if (page.kind !== 'page' || request.cursor !== null) return page
        const isListed = (item: PageItem) => item.kind !== 'event' || !ids.includes(item.event.vendorEventId)
        return { ...page, items: page.items.filter(isListed) }
      },
      async lookUp(token, request, signal, each) {
        asked.push(request.vendorEventId)
        return vendor.lookUp(token, request, signal, each)
      },
      ...changes,
    }
    const deps = { ...world.deps, mailboxes: world.mailboxesAt(new Map([['google', short]])) }
    return { deps, asked }
  }

  test('asks for each of them, and keeps what the vendor shows', async () => {
    const account = await world.synced({ eventsPerCalendar: 60 })
    const ids = await world.eventIds(account)
    const before = (await world.rowVersions(account)).length
    const [gone, ...there] = ids.slice(0, 12)
    await world.deleteEvent(account, gone!)
    await world.expireCursors(account)
    const { deps, asked } = withShortLists(there)
    expect(await world.sync(account, [{}], {}, deps)).toEqual(READ)
    expect(asked.toSorted()).toEqual([gone!, ...there].toSorted())
    expect(await world.rowVersions(account)).toHaveLength(before - 1)
    expect(await world.differences(account)).toEqual([])
    // What was kept counts as seen: the next full read, which lists it, decides nothing about it.
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })

  test.each<[string, number, Partial<Vendor>]>([
    ['it lacks more than can be asked for', 21, {}],
    [
      'the vendor does not say',
      3,
      { lookUp: () => Promise.reject(new Failure('vendor/rejected', 'No such method.')) },
    ],
  ])('waits for a second look where %s', async (_what, lacking, changes) => {
    const account = await world.synced({ eventsPerCalendar: 90 })
    const ids = (await world.eventIds(account)).slice(0, lacking)
    const before = await world.rowVersions(account)
    await world.expireCursors(account)
    const { deps, asked } = withShortLists(ids, changes)
    expect(await world.sync(account, [{}], {}, deps)).toEqual(READ)
    expect(asked).toEqual([])
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.calendarRow(account)).toMatchObject({ sweep_below: expect.any(String) })
    await world.endRest(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.rowVersions(account)).toEqual(before)
    expect(await world.calendarRow(account)).toMatchObject({ sweep_below: null })
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

describe('rows that were judged by other rules', () => {
  const withheld = () => withPrivateTitles(world.vendors, 'withheld')
  const rereadIn = async (account: Account) => {
    const [row] = await world.sql<{ hours: number | null; judged: string | null }>(
      `select extract(epoch from reread_at - calstream_now())::float8 / 3600 as hours, judged_by as judged
         from external_calendars where connection_id = $1`,
      [account.connectionId],
    )
    return row!
  }
  const comesDue = (account: Account) =>
    world.sql('update external_calendars set reread_at = calstream_now() where connection_id = $1', [
      account.connectionId,
    ])

  test('are judged again by themselves, each calendar at a time of its own; declined is free afterwards', async () => {
    const account = await world.synced({ eventsPerCalendar: 10 })
    const { id } = await world.addEvent(account, {
      attendees: [
        { email: 'me@example.com', self: true, responseStatus: 'declined' },
        { email: 'x@example.com' },
      ],
    })
    await world.sync(account)
    // As a release of before left it.
    await world.sql(
      `update external_calendar_events set busy = true, response = null, kind = null, show_as = null, hash_version = 1
        where connection_id = $1`,
      [account.connectionId],
    )
    await world.sql(`update external_calendars set judged_by = '1' where connection_id = $1`, [
      account.connectionId,
    ])
    await world.told()
    await world.calls()
    expect(await world.sync(account)).toMatchObject({ kind: 'done' })
    const drawn = await rereadIn(account)
    expect(drawn.judged).toBe('1')
    expect(drawn.hours).toBeGreaterThan(-1)
    expect(drawn.hours).toBeLessThan(REREAD_SPREAD_HOURS)
    await world.sync(account)
    // Drawn once, and only changes are read until then.
    expect(Math.abs((await rereadIn(account)).hours! - drawn.hours!)).toBeLessThan(1)
    expect((await world.calls()).every(({ query }) => 'syncToken' in query)).toBe(true)
    await comesDue(account)
    expect(await world.sync(account)).toEqual(READ)
    expect((await world.calls())[0]?.query).not.toHaveProperty('syncToken')
    expect(await rereadIn(account)).toEqual({ hours: null, judged: rulesWith('kept') })
    const [row] = await world.sql<object>(
      'select busy, response, hash_version as version from external_calendar_events where connection_id = $1 and vendor_event_id = $2',
      [account.connectionId, id],
    )
    expect(row).toEqual({ busy: false, response: 'declined', version: 2 })
    expect(await world.differences(account)).toEqual([])
    // The control: what is judged by the rules of today is not read again.
    await world.sync(account)
    expect((await world.calls()).every(({ query }) => 'syncToken' in query)).toBe(true)
    expect((await rereadIn(account)).hours).toBeNull()
  })

  test('because titles of private events are withheld now lose them, in rows and on the topics', async () => {
    const account = await world.synced({ eventsPerCalendar: 3 })
    const about = { location: 'Ward 7', summary: 'oncologist' }
    const { id } = await world.addEvent(account, { ...about, visibility: 'private' })
    const { id: open } = await world.addEvent(account, about)
    await world.sync(account)
    const titles = async () =>
      world.sql<object>(
        `select vendor_event_id as id, title, location from external_calendar_events
          where connection_id = $1 and vendor_event_id = any($2) order by title nulls first`,
        [account.connectionId, [id, open]],
      )
    expect(await titles()).toEqual(
      [id, open].map((one) => ({ id: one, title: 'oncologist', location: 'Ward 7' })),
    )
    await world.told()
    const deps = {
      ...world.deps,
      rules: rulesWith('withheld'),
      mailboxes: world.mailboxesAt(withheld()),
    }
    await world.sync(account, [{}], {}, deps)
    await comesDue(account)
    expect(await world.sync(account, [{}], {}, deps)).toEqual(READ)
    expect(await titles()).toEqual([
      { id, title: null, location: null },
      { id: open, title: 'oncologist', location: 'Ward 7' },
    ])
    expect((await rereadIn(account)).judged).toBe(rulesWith('withheld'))
    const told = await world.toldOn(TOPICS.eventChanged)
    expect(told.map(({ message }) => message)).toMatchObject([{ vendorEventId: id, event: { title: null } }])
  })
})
