// Units one by one, on real Postgres, registry, adapter and play vendor:
// what they read, write and tell.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { ANSWER_BYTES_MAX, PAGE_ITEMS_MAX } from '#shared/domain/page-limits.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { removeCalendar } from '../../../services/sync/unit/resync.ts'
import type { Unit } from '../../../services/sync/unit/unit.ts'
import { openSyncWorld, READ, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith, partlyWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync unit')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

describe('a first sync', () => {
  test('holds what the vendor holds, page by page, and tells every row twice in one order', async () => {
    const account = await world.connect({ calendars: 2, eventsPerCalendar: 60 })
    await world.pageSize(25)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
    const told = await world.told()
    const changed = told.filter((row) => row.topic === TOPICS.eventChanged)
    const state = told.filter((row) => row.topic === TOPICS.eventState)
    const rows = await world.rowVersions(account)
    expect(rows.length).toBeGreaterThan(100)
    const sequences = changed.map((row) => Number(row.headers['ce_sequence']))
    expect(sequences).toEqual(rows.map((_, i) => i + 1))
    expect(state.map((row) => row.headers['ce_sequence'])).toEqual(
      changed.map((row) => row.headers['ce_sequence']),
    )
    expect(changed.map((row) => row.message)).toEqual(state.map((row) => row.message))
    expect(changed[0]!.headers['traceparent']).toBeUndefined()
    expect(await world.connection(account)).toMatchObject({
      sync_needed: false,
      error_count: 0,
      backoff_until: null,
      unfinished: 0,
      version: String(rows.length),
      sync_epoch: '1',
      last_synced_at: expect.any(Date),
      listed_from: expect.any(Date),
    })
  })

  test('needs a backfill slot, and leaves no trace when it is offered a live one', async () => {
    const account = await world.connect()
    expect(await world.sync(account, [{}], { slot: 'live' })).toEqual({ kind: 'backfill' })
    expect(await world.connection(account)).toMatchObject({ sync_epoch: '0', unfinished: 0 })
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.sync(account, [{}], { slot: 'live' })).toEqual(READ)
  })
})

describe('a notification', () => {
  test('brings what was added, changed and deleted, and nothing else', async () => {
    const account = await world.synced()
    const [changed, deleted] = await world.eventIds(account)
    const added = await world.addEvent(account)
    await world.changeEvent(account, changed!)
    await world.deleteEvent(account, deleted!)
    const before = Number((await world.connection(account)).version)
    const { id: calendarId } = await world.calendarRow(account)
    expect(await world.sync(account, [world.webhook(account, calendarId)], { slot: 'live' })).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
    const told = await world.told()
    const changes = told.filter((row) => row.topic === TOPICS.eventChanged)
    const ids = new Set(changes.map((row) => String(row.message?.['vendorEventId']).split('_')[0]))
    expect(ids).toEqual(new Set([added.id, changed, deleted]))
    expect(changes.map((row) => row.message?.['sequence'])).toEqual(changes.map((_, i) => before + 1 + i))
    const removal = changes.find((row) => row.message?.['vendorEventId'] === deleted)
    expect(removal?.message).toMatchObject({ change: 'removed', removalReason: 'deleted', event: null })
    const tombstone = told.find((row) => row.topic === TOPICS.eventState && row.value === null)
    expect(tombstone?.headers['ce_sequence']).toBe(removal?.headers['ce_sequence'])
    expect(tombstone?.key).toBe(
      `${account.connectionId}/${calendarId}/${String(removal?.message?.['eventId'])}`,
    )
  })

  test('that is delivered again causes no call; one with a new key does', async () => {
    const account = await world.synced()
    await world.changeEvent(account, (await world.eventIds(account))[0]!)
    const ring = world.webhook(account)
    expect(await world.sync(account, [ring])).toEqual(READ)
    expect((await world.calls()).length).toBe(1)
    expect(await world.sync(account, [ring, ring])).toEqual({ kind: 'done', why: 'satisfied' })
    expect(await world.calls()).toEqual([])
    expect(await world.sync(account, [world.webhook(account)])).toEqual(READ)
    expect((await world.calls()).length).toBe(1)
  })

  test('that finds nothing is looked after once more, 20 s later, and only once', async () => {
    const account = await world.synced()
    expect(await world.sync(account, [world.webhook(account)])).toEqual(READ)
    const rechecks = await world.toldOn(TOPICS.retry30s)
    expect(rechecks.map((row) => row.message)).toMatchObject([{ reason: 'recheck', attempt: 0 }])
    const { dueAt, requestedAt } = rechecks[0]!.message as { dueAt: number; requestedAt: number }
    expect(dueAt - requestedAt).toBe(20_000_000)
    expect(await world.sync(account, [{ reason: 'recheck', asOf: dueAt }])).toEqual(READ)
    expect(await world.told()).toEqual([])
  })

  test('that finds something is not looked after', async () => {
    const account = await world.synced()
    await world.addEvent(account)
    await world.sync(account, [world.webhook(account)])
    expect(await world.toldOn(TOPICS.retry30s)).toEqual([])
  })

  test('of one calendar reads that one, and says nothing about what else is owed', async () => {
    const account = await world.synced({ calendars: 2 })
    const { id } = await world.calendarRow(account)
    const { listed_from } = await world.connection(account)
    await world.sync(account, [world.webhook(account, id)])
    expect(await world.calls()).toHaveLength(1)
    expect((await world.connection(account)).listed_from).toEqual(listed_from)
    await world.sql('update external_calendar_connections set sync_needed = true where id = $1', [
      account.connectionId,
    ])
    await world.sync(account, [world.webhook(account, id)])
    expect(await world.calls()).toHaveLength(2)
    expect((await world.connection(account)).sync_needed).toBe(false)
  })
})

describe('a single that becomes a series', () => {
  test('loses its row to its occurrences', async () => {
    const account = await world.synced()
    const start = new Date(Date.now() + 86_400_000).toISOString().slice(0, 11)
    const at = (time: string) => ({ dateTime: `${start}${time}:00Z`, timeZone: 'UTC' })
    const { id } = await world.addEvent(account, { summary: 'once', start: at('10:00'), end: at('11:00') })
    await world.sync(account)
    expect(await world.eventIds(account)).toContain(id)
    await world.changeEvent(account, id, { recurrence: ['RRULE:FREQ=DAILY;COUNT=3'] })
    await world.sync(account)
    expect(await world.eventIds(account)).not.toContain(id)
    expect(await world.differences(account)).toEqual([])
  })
})

describe('a closed gate', () => {
  const held = async (account: Account) =>
    (await world.sql('select gate from held_requests where connection_id = $1', [account.connectionId]))
      .length

  test('at the claim: the refusal is a row, the epoch stays, the vendor hears nothing', async () => {
    const account = await world.synced()
    world.isGateOpen = false
    expect(await world.sync(account)).toEqual({ kind: 'held', gate: 'CALENDAR_SYNC_ENABLED' })
    expect(await held(account)).toBe(1)
    expect(await world.connection(account)).toMatchObject({ sync_epoch: '1', unfinished: 0 })
    expect(await world.calls()).toEqual([])
  })

  test('between pages: whole pages stay, nothing more is fetched, and the work goes on later', async () => {
    const account = await world.connect({ eventsPerCalendar: 60 })
    await world.pageSize(20)
    // Open for the claim and two pages (asked before the token, before the call and before
    // the write), then closed.
    world.gateAnswers.push(...Array.from({ length: 1 + 2 * 3 }, () => 'on' as const))
    world.isGateOpen = false
    expect(await world.sync(account)).toEqual({ kind: 'held', gate: 'CALENDAR_SYNC_ENABLED' })
    expect(await held(account)).toBe(1)
    expect(await world.calls()).toHaveLength(2)
    expect(await world.rowVersions(account)).toHaveLength(40)
    expect(await world.toldOn(TOPICS.eventState)).toHaveLength(40)
    world.isGateOpen = true
    expect(await world.sync(account, [{ reason: 'held', asOf: Date.now() * 1000 }])).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
    // The row is the scheduler's to delete.
    expect(await held(account)).toBe(1)
  })
})

describe('a calendar that is gone', () => {
  test('by an answer keeps its events and is looked for in the list; its neighbour goes on', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 10 })
    const { id: gone, vendor_calendar_id: vendor } = await world.calendarRow(account)
    const before = await world.rowVersions(account)
    const listIsDue = async () =>
      (
        await world.sql(
          `select from external_calendar_connections where id = $1 and list_calendars_at <= calstream_now()`,
          [account.connectionId],
        )
      ).length === 1
    expect(await listIsDue()).toBe(false)
    await world.world.admin(
      'DELETE',
      `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(vendor)}`,
    )
    expect(await world.sync(account)).toMatchObject({ kind: 'partly', code: 'vendor/calendar-unknown' })
    expect(await world.toldOn(TOPICS.eventChanged)).toEqual([])
    expect(await world.rowVersions(account)).toEqual(before)
    expect(
      await world.sql('select selected, failures from external_calendars where id = $1', [gone]),
    ).toEqual([{ selected: true, failures: 1 }])
    expect(await listIsDue()).toBe(true)
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })

  test('that is listed again before its rows are removed stays', async () => {
    const account = await world.synced({ eventsPerCalendar: 10 })
    const row = await world.calendarRow(account)
    const before = await world.rowVersions(account)
    const { version, sync_epoch: epoch } = await world.connection(account)
    const unit = {
      connection: { ...account, vendor: 'google', epoch: Number(epoch) },
      progress: { changes: 0 },
    } as unknown as Unit
    const calendar = { calendarId: row.id } as unknown as CalendarRow
    await removeCalendar(world.deps, unit, calendar)
    expect(await world.rowVersions(account)).toEqual(before)
    expect((await world.connection(account)).version).toBe(version)
    // The control: while the mark stands, they go.
    await world.sql(`update external_calendars set removal_reason = 'vendor/calendar-gone' where id = $1`, [
      row.id,
    ])
    await removeCalendar(world.deps, unit, calendar)
    expect(await world.rowVersions(account)).toEqual([])
  })

  test('from the list of the account alone loses its events by the same rules, without being read', async () => {
    const account = await world.synced({ calendars: 2, eventsPerCalendar: 10 })
    const gone = (await world.calendarRow(account)).id
    const before = await world.rowVersions(account)
    const [own] = await world.sql<{ count: number }>(
      'select count(*)::int from external_calendar_events where calendar_id = $1',
      [gone],
    )
    await world.sql(`update external_calendars set removal_reason = 'vendor/calendar-gone' where id = $1`, [
      gone,
    ])
    expect(await world.sync(account)).toEqual(READ)
    const told = await world.toldOn(TOPICS.eventChanged)
    expect(told.length).toBe(own!.count)
    expect(told.length).toBeGreaterThan(0)
    expect(new Set(told.map((row) => row.message?.['removalReason']))).toEqual(new Set(['calendar_removed']))
    expect((await world.rowVersions(account)).length).toBe(before.length - told.length)
    const rows = await world.sql(
      'select selected, removal_reason, cursor from external_calendars where id = $1',
      [gone],
    )
    expect(rows).toEqual([{ selected: false, removal_reason: 'vendor/calendar-gone', cursor: null }])
    expect(await world.connection(account)).toMatchObject({ sync_needed: false })
  })

  test('by one answer alone is not believed while the account lists it', async () => {
    const account = await world.synced()
    const before = await world.rowVersions(account)
    await world.fault({ respond: { status: 404, reason: 'notFound' } })
    expect(await world.sync(account)).toEqual(failedWith('vendor/calendar-unknown'))
    expect(await world.rowVersions(account)).toEqual(before)
  })
})

describe('a page that is too large', () => {
  const sizesOf = async (account: Account) =>
    (await world.calls(account)).map(({ query }) => Number(query['maxResults']))

  test('is asked for with fewer items until it fits, and the run goes on with those', async () => {
    const account = await world.connect({ eventsPerCalendar: 60 })
    await world.calls()
    // With a tenth and all 60 events it is too large still, with 25 it is not.
    const swell = { bytesPerItem: Math.ceil(ANSWER_BYTES_MAX / 40) }
    await world.fault({ match: { accountId: account.accountId }, swell })
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
    const sizes = await sizesOf(account)
    expect(sizes.slice(0, 3)).toEqual([2500, 250, 25])
    // What was stored lets the next ask for a little more.
    expect(sizes.slice(3)).toEqual([31, 39])
    await world.noFaults()
    expect(await world.sync(account)).toEqual(READ)
    expect((await sizesOf(account))[0]).toBe(2500)
  })

  test('with any number of items fails its calendar, and the next one is read', async () => {
    const account = await world.connect({ calendars: 2, eventsPerCalendar: 30 })
    const [huge, other] = account.calendars
    await world.fault({ match: { calendarId: huge!.id }, swell: { copies: PAGE_ITEMS_MAX } })
    const ill = partlyWith('vendor/answer-too-large', 1)
    expect(await world.sync(account)).toEqual(ill)
    const held = await world.sql<{ id: string }>(
      `select distinct c.vendor_calendar_id as id from external_calendar_events e
         join external_calendars c on c.id = e.calendar_id where e.connection_id = $1`,
      [account.connectionId],
    )
    expect(held).toEqual([{ id: other!.id }])
    await world.noFaults()
    await world.endBackoff(account)
    expect(await world.sync(account)).toEqual(READ)
    expect(await world.differences(account)).toEqual([])
  })
})
