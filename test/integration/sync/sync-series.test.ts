// Series of Google are read whole once a page touches them: whatever part of a change is told, what
// is held equals what there is.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { Account } from '../../support/world.ts'
import { openSyncWorld, READ, permitOf, type SyncWorld } from '../../support/sync-world.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { syncConnection } from '../../../services/sync/unit/sync-connection.ts'
import { SERIES_PER_STEP } from '../../../services/sync/unit/whole-series.ts'

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync series')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(async () => {
  await world.calm()
  await told({ toldShare: 1, tombstones: 'whole' })
})

const told = (knobs: object) => world.world.admin('POST', '/admin/series', knobs)

/** A weekly series, read. */
async function weekly(count: number): Promise<[Account, string]> {
  const account = await world.synced({ eventsPerCalendar: 0 })
  const { id } = await world.addEvent(account, { recurrence: [`RRULE:FREQ=WEEKLY;COUNT=${count}`] })
  expect(await world.sync(account)).toEqual(READ)
  expect(await seriesRows(account)).toBe(count)
  await reads(account)
  return [account, id]
}

const seriesRows = async (account: Account) =>
  (
    await world.sql(
      'select event_id from external_calendar_events where connection_id = $1 and series_id is not null',
      [account.connectionId],
    )
  ).length

const gardens = async (account: Account) =>
  (
    await world.sql(
      "select event_id from external_calendar_events where connection_id = $1 and location = 'Garden'",
      [account.connectionId],
    )
  ).length

/** Calls for a whole series since the last question. */
const reads = async (account: Account) => (await world.calls(account, '/instances$')).length

test.each([
  ['half of its tombstones', { toldShare: 0.5 }],
  ['two of its tombstones, which do not name it', { toldShare: 0.05, tombstones: 'sparse' }],
  ['one tombstone of its own', { tombstones: 'series' }],
])('a deleted series that is told by %s leaves nothing behind', async (_what, knobs) => {
  const [account, series] = await weekly(40)
  await told(knobs)
  await world.deleteEvent(account, series)
  expect(await world.sync(account)).toEqual(READ)
  expect(await seriesRows(account)).toBe(0)
  expect(await world.differences(account)).toEqual([])
  expect(await reads(account)).toBe(1)
})

test('a series that became shorter, or a single event, is as it is at the vendor, though no end was told', async () => {
  const [account, series] = await weekly(40)
  await told({ toldShare: 0 })
  await world.changeEvent(account, series, { recurrence: ['RRULE:FREQ=WEEKLY;COUNT=7'] })
  await world.sync(account)
  expect(await seriesRows(account)).toBe(7)
  await world.changeEvent(account, series, { recurrence: null })
  await world.sync(account)
  expect(await seriesRows(account)).toBe(0)
  expect(await world.differences(account)).toEqual([])
})

test('fifty occurrences of a series in a page cost one more call; events that are no series cost none', async () => {
  const [account, series] = await weekly(50)
  await world.changeEvent(account, series, { location: 'Garden' })
  await world.sync(account)
  expect(await reads(account)).toBe(1)
  expect(await world.differences(account)).toEqual([])
  const { id } = await world.addEvent(account)
  await world.sync(account)
  await world.deleteEvent(account, id)
  await world.sync(account)
  expect(await reads(account)).toBe(0)
})

test('more series than a step takes are read in the next ones, by another unit where the first one has to stop', async () => {
  const account = await world.synced({ eventsPerCalendar: 0 })
  const series: string[] = []
  for (let i = 0; i < 2 * SERIES_PER_STEP + 1; i += 1)
    series.push((await world.addEvent(account, { recurrence: ['RRULE:FREQ=WEEKLY;COUNT=5'] })).id)
  await world.sync(account)
  expect(await reads(account)).toBe(series.length)
  await told({ toldShare: 0.2 })
  for (const id of series) await world.deleteEvent(account, id)
  const { permit, stop } = permitOf()
  // The second of the steps is under way when the process is asked to stop.
  await world.fault({ match: { path: '/instances$' }, skip: SERIES_PER_STEP, times: 1, delayMs: 2_000 })
  const ended = await world.slowly(world.sync(account, [{}], permit), async () =>
    stop.abort(new Error('stop')),
  )
  expect(ended).toEqual({ kind: 'handed-over' })
  // Of those that are left, the page itself told the end of one occurrence in five.
  expect(await seriesRows(account)).toBe(4 * (series.length - SERIES_PER_STEP))
  await world.noFaults()
  expect(await world.sync(account, [{ reason: 'continue' }])).toEqual(READ)
  expect(await seriesRows(account)).toBe(0)
  expect(await world.differences(account)).toEqual([])
})

test('what moved to another calendar makes the others be read from the start, which are not fresh until then', async () => {
  const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
  const vendor = world.vendors.get('google')!
  const from = account.calendars[0]!.id
  const moving: Vendor = {
    ...vendor,
    async fetchPage(token, request, signal, each) {
      const page = await vendor.fetchPage(token, request, signal, each)
      return page.kind === 'page' && request.vendorCalendarId === from ? { ...page, hasMoved: true } : page
    },
  }
  const deps = { ...world.deps, mailboxes: world.mailboxesAt(new Map([['google', moving]])) }
  const message = world.request(account, {})
  const record = {
    topic: 't',
    partition: 0,
    offset: 0n,
    timestampMs: 0,
    key: null,
    value: null,
    headers: new Map(),
  }
  const never = new AbortController().signal
  await syncConnection(deps, [{ message, record }], { slot: 'backfill', stopping: never, signal: never })
  const rows = async () =>
    world.sql(
      `select vendor_calendar_id = $2 as "isFrom", cursor is null as "isReread", read_needed as owes,
         coalesce(resync_after > calstream_now(), false) as rests
       from external_calendars where connection_id = $1 order by 1`,
      [account.connectionId, from],
    )
  expect(await rows()).toEqual([
    { isFrom: false, isReread: true, owes: true, rests: true },
    { isFrom: true, isReread: false, owes: false, rests: false },
  ])
  await world.endRest(account)
  await world.calls()
  await world.sync(account, [{ reason: 'sweep' }])
  const [call] = (await world.calls()).filter(({ path }) => !path.includes(encodeURIComponent(from)))
  expect(call!.query).not.toHaveProperty('syncToken')
  expect(await rows()).toMatchObject([{ isReread: false, owes: false, rests: false }, { isReread: false }])
})

test('a series that cannot be read fails its calendar; what the page told is held, and the series is read next', async () => {
  const [account, series] = await weekly(4)
  await told({ toldShare: 0.5 })
  await world.deleteEvent(account, series)
  await world.fault({ match: { path: '/instances$' }, respond: { status: 503, reason: 'backendError' } })
  expect(await world.sync(account)).toMatchObject({ kind: 'failed' })
  expect(await seriesRows(account)).toBe(2)
  await world.noFaults()
  await world.endBackoff(account)
  await world.calls()
  await world.sync(account)
  expect(await seriesRows(account)).toBe(0)
  const [first] = await world.calls(account, '')
  expect(first?.path).toMatch(/\/instances$/)
})

test('nobody waits for a series: what the page tells is held and published while the series is read', async () => {
  const [account, series] = await weekly(4)
  await world.told()
  await world.changeEvent(account, series, { location: 'Garden' })
  await world.fault({ match: { path: '/instances$' }, times: 1, delayMs: 2_000 })
  const ended = await world.slowly(world.sync(account), async () => {
    expect(await gardens(account)).toBe(4)
    expect(await world.toldOn(TOPICS.eventChanged)).toHaveLength(4)
  })
  expect(ended).toEqual(READ)
})

const placeOf = (message: Record<string, unknown> | null) =>
  (message?.['event'] as { location?: string } | null)?.location

test.each([
  ['a series is read', '/instances$', 0],
  ['the second page is asked for', '/events$', 1],
])('no event goes back to an older state by a change that is made while %s', async (_when, path, skip) => {
  const [account, series] = await weekly(3)
  await world.told()
  await world.pageSize(1)
  await world.changeEvent(account, series, { location: 'Garden' })
  await world.fault({ match: { path }, skip, times: 1, delayMs: 2_000 })
  await world.slowly(world.sync(account), async () => {
    await world.changeEvent(account, series, { location: 'Kitchen' })
  })
  await world.noFaults()
  await world.sync(account)
  const places = Map.groupBy(await world.toldOn(TOPICS.eventChanged), ({ message }) => message?.['eventId'])
  expect(places.size).toBe(3)
  for (const told of places.values())
    expect(['Kitchen', 'Garden Kitchen']).toContain(told.map(({ message }) => placeOf(message)).join(' '))
  expect(await world.differences(account)).toEqual([])
})

test('a series that several pages touch is read once, after the last of them, and so by another unit', async () => {
  const [account, series] = await weekly(6)
  await world.pageSize(2)
  await world.changeEvent(account, series, { location: 'Garden' })
  const { permit, stop } = permitOf()
  await world.fault({ match: { path: '/events$' }, skip: 1, times: 1, delayMs: 2_000 })
  const ended = await world.slowly(world.sync(account, [{}], permit), async () =>
    stop.abort(new Error('stop')),
  )
  expect(ended).toEqual({ kind: 'handed-over' })
  expect(await gardens(account)).toBe(2)
  expect(await reads(account)).toBe(0)
  await world.noFaults()
  expect(await world.sync(account, [{ reason: 'continue' }])).toEqual(READ)
  expect(await reads(account)).toBe(1)
  expect(await world.differences(account)).toEqual([])
})

describe('what a page tells of a series and the series itself does not know', () => {
  const answers = (items: readonly object[]) =>
    world.fault({ match: { path: '/instances$' }, respond: { status: 200, body: { items } } })

  test('stays, and what neither knows goes', async () => {
    const [account, series] = await weekly(4)
    await told({ toldShare: 0 })
    await answers([])
    await world.changeEvent(account, series, {
      location: 'Garden',
      recurrence: ['RRULE:FREQ=WEEKLY;COUNT=2'],
    })
    await world.sync(account)
    expect(await gardens(account)).toBe(2)
    expect(await seriesRows(account)).toBe(2)
  })

  test.each([
    ['no occurrence', 0],
    ['an occurrence of before', 1],
  ])('stays as a single event under the id of the series, which answers with %s', async (_what, count) => {
    const [account, series] = await weekly(4)
    const [old] = await world.sql<{ id: string; at: Date }>(
      'select vendor_event_id as id, start_at as at from external_calendar_events where connection_id = $1',
      [account.connectionId],
    )
    const time = { dateTime: old!.at.toISOString() }
    await answers([{ id: old!.id, recurringEventId: series, start: time, end: time }].slice(0, count))
    await world.changeEvent(account, series, { recurrence: null })
    await world.sync(account)
    expect(await seriesRows(account)).toBe(0)
    expect(await world.differences(account)).toEqual([])
  })
})

describe('an event that leaves its calendar while that alone is read', () => {
  /**
   * Reads the first calendar for a notification.
   * @returns what its sibling owes, and for when that was rung.
   */
  async function read(account: Account): Promise<{ owes: boolean; waitsMs: number[] }> {
    const [first] = account.calendars
    const rows = await world.sql<{ id: string; vendorId: string; owes: boolean }>(
      `select id, vendor_calendar_id as "vendorId", read_needed as owes from external_calendars where connection_id = $1`,
      [account.connectionId],
    )
    const { id } = rows.find(({ vendorId }) => vendorId === first!.id)!
    expect(await world.sync(account, [world.webhook(account, id)])).toEqual(READ)
    const [sibling] = await world.sql<{ owes: boolean }>(
      'select read_needed as owes from external_calendars where connection_id = $1 and id <> $2',
      [account.connectionId, id],
    )
    const rings = (await world.told()).filter(({ message }) => message?.['reason'] === 'continue')
    const waitsMs = rings.map(({ message }) => {
      expect(message).toMatchObject({ calendarId: null })
      return (Number(message?.['dueAt']) - Number(message?.['requestedAt'])) / 1000
    })
    return { owes: sibling!.owes, waitsMs }
  }
  const readLongAgo = (account: Account) =>
    world.sql(
      `update external_calendars set last_read_at = last_read_at - interval '10 minutes' where connection_id = $1`,
      [account.connectionId],
    )

  test('may be in another by now: that owes a read and is rung at once, later events only each half a minute', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
    const [one, two] = [await world.addEvent(account), await world.addEvent(account)]
    await world.sync(account)
    await world.told()
    await readLongAgo(account)
    await world.deleteEvent(account, one.id)
    expect(await read(account)).toEqual({ owes: true, waitsMs: [0] })
    // What is rung for already is not rung for again.
    await world.deleteEvent(account, two.id)
    expect(await read(account)).toEqual({ owes: true, waitsMs: [] })
    await world.calls()
    expect(await world.sync(account, [{ reason: 'continue' }])).toEqual(READ)
    expect(await world.calls()).toHaveLength(1)
    // It was read a moment ago.
    const three = await world.addEvent(account)
    await read(account)
    await world.deleteEvent(account, three.id)
    const { owes, waitsMs } = await read(account)
    expect({ owes, rings: waitsMs.length }).toEqual({ owes: true, rings: 1 })
    expect(waitsMs[0]).toBeLessThanOrEqual(30_000)
  })

  test('asks nobody when it is over, or blocked nothing', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 5 })
    const at = (days: number) => ({ dateTime: new Date(Date.now() + days * 86_400_000).toISOString() })
    const over = await world.addEvent(account, { start: at(-2), end: at(-1) })
    const free = await world.addEvent(account, { transparency: 'transparent' })
    await world.sync(account)
    await world.told()
    await readLongAgo(account)
    for (const { id } of [over, free]) await world.deleteEvent(account, id)
    expect(await read(account)).toEqual({ owes: false, waitsMs: [] })
  })
})
