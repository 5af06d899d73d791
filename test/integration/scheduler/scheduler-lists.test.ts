// A changed list of calendars is noticed within the hour: new ones are rung for, vanished ones
// marked for removal, roles read anew.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { listCalendars } from '../../../services/scheduler/calendars/list.ts'
import type { ChannelVendor } from '../../support/channel-vendor.ts'
import { eventually } from '../../support/eventually.ts'
import { openChannelWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000
const HOUR = 60 * MINUTE

async function open(
  label: string,
  ...names: readonly string[]
): Promise<[SchedulerWorld, ChannelVendor, ConnectionId]> {
  const [world, vendor] = await openChannelWorld('google', label)
  const [id] = await world.connect({})
  await world.addCalendars(id!, ...names)
  await world.db.query(
    `update external_calendars set access_role = 'owner', name = vendor_calendar_id, cursor = 'cursor'`,
  )
  return [world, vendor, id!]
}

const calendar = (name: string, accessRole = 'owner', primary = false): VendorCalendar => ({
  vendorCalendarId: name,
  name,
  timeZone: null,
  accessRole,
  primary,
  isOwned: accessRole === 'owner',
})

const run = (world: SchedulerWorld) => listCalendars(world.deps, NEVER)

const rows = async (world: SchedulerWorld) =>
  (
    await world.db.query<{ line: string }>(
      `select concat_ws(' ', vendor_calendar_id, case when selected then 'selected' else 'out' end, removal_reason,
              case when missing_since is null then null else 'missing' end, cursor, access_role) as line
         from external_calendars order by vendor_calendar_id`,
    )
  ).rows.map((row) => row.line)

/** Doorbells that wait in the outbox. */
const asked = async (world: SchedulerWorld) =>
  (await world.db.query(`select key from outbox where topic = 'calendar.sync.requested.google.v1'`)).rowCount

const epoch = async (world: SchedulerWorld) =>
  (
    await world.db.query<{ epoch: number }>(
      'select sync_epoch::int as epoch from external_calendar_connections',
    )
  ).rows[0]!.epoch

describe('the list of calendars', () => {
  test('is compared once an hour ± 20 %, and not while its gate is closed', async () => {
    const [world, vendor] = await open('lists beat', 'a')
    await using _world = world
    let looks = 0
    vendor.answers.list = () => {
      looks += 1
      return [calendar('a')]
    }
    await world.advance(61 * MINUTE)
    world.closed.add('CALENDAR_SYNC_ENABLED')
    await run(world)
    expect(looks).toBe(0)
    world.closed.clear()
    await run(world)
    await run(world)
    expect(looks).toBe(1)
    await world.advance(47 * MINUTE)
    await run(world)
    expect(looks).toBe(1)
    await world.advance(26 * MINUTE)
    await run(world)
    expect(looks).toBe(2)
    expect(await asked(world)).toBe(0)
  })

  test('with a new calendar selects it, and a unit is asked for in the same transaction', async () => {
    const [world, vendor, id] = await open('lists new', 'a')
    await using _world = world
    vendor.answers.list = () => [calendar('a'), calendar('b')]
    await world.advance(HOUR)
    expect(await run(world)).toBe(1)
    expect(await rows(world)).toEqual(['a selected cursor owner', 'b selected owner'])
    const { rows: outbox } = await world.db.query<{ key: string }>('select key from outbox')
    expect(outbox).toEqual([{ key: id }])
    expect(await epoch(world)).toBe(0)
  })

  test('without a calendar marks it when a second look ten minutes later agrees, and not before', async () => {
    const [world, vendor] = await open('lists vanished', 'a', 'b')
    await using _world = world
    vendor.answers.list = () => [calendar('a')]
    await world.advance(HOUR)
    expect(await run(world)).toBe(1)
    expect(await rows(world)).toEqual(['a selected cursor owner', 'b selected missing cursor owner'])
    expect(await asked(world)).toBe(0)
    await world.advance(10 * MINUTE)
    await run(world)
    await world.advance(6 * MINUTE)
    await run(world)
    expect((await rows(world))[1]).toBe('b selected vendor/calendar-gone missing cursor owner')
    expect(await asked(world)).toBe(1)
    vendor.answers.list = () => [calendar('a'), calendar('b')]
    await world.advance(80 * MINUTE)
    expect(await run(world)).toBe(1)
    expect((await rows(world))[1]).toBe('b selected cursor owner')
  })

  test('that lacks a calendar for a moment keeps it', async () => {
    const [world, vendor] = await open('lists flicker', 'a', 'b')
    await using _world = world
    vendor.answers.list = () => [calendar('a')]
    await world.advance(HOUR)
    await run(world)
    vendor.answers.list = () => [calendar('a'), calendar('b')]
    await world.advance(20 * MINUTE)
    expect(await run(world)).toBe(1)
    expect(await rows(world)).toEqual(['a selected cursor owner', 'b selected cursor owner'])
    expect(await asked(world)).toBe(0)
  })

  test("names the account's own calendar by another id: it stays the same row, is read anew, and gets another channel", async () => {
    const [world, vendor] = await open('lists renamed', 'a', 'own@old')
    await using _world = world
    vendor.answers.list = () => [calendar('own@old', 'owner', true), calendar('a')]
    await world.advance(HOUR)
    await run(world)
    const idOf = async (name: string) =>
      (
        await world.db.query('select id, is_primary from external_calendars where vendor_calendar_id = $1', [
          name,
        ])
      ).rows[0]
    const before = await idOf('own@old')
    expect(before).toMatchObject({ is_primary: true })
    await world.db.query(
      `insert into channels (id, connection_id, calendar_id, vendor, status, opened_at, expires_at)
       select 'old-channel', connection_id, id, 'google', 'open', calstream_now(), calstream_now() + interval '7 days'
         from external_calendars where id = $1`,
      [before!['id']],
    )
    vendor.answers.list = () => [calendar('own@new', 'owner', true), calendar('a')]
    await world.advance(80 * MINUTE)
    expect(await run(world)).toBe(1)
    expect(await idOf('own@new')).toEqual(before)
    expect(await rows(world)).toEqual(['a selected cursor owner', 'own@new selected owner'])
    expect([await epoch(world), await asked(world)]).toEqual([1, 1])
    const { rows: channels } = await world.db.query('select status from channels')
    expect(channels).toEqual([{ status: 'stopping' }])
  })

  test('that confirms a removal and names a calendar that is not read yet keeps the old one until it is', async () => {
    const [world, vendor] = await open('lists moved', 'a', 'b')
    await using _world = world
    const read = (name: string) =>
      world.db.query(
        'update external_calendars set last_full_sync = calstream_now() where vendor_calendar_id = $1',
        [name],
      )
    await read('a')
    vendor.answers.list = () => [calendar('a')]
    await world.advance(HOUR)
    await run(world)
    vendor.answers.list = () => [calendar('a'), calendar('c')]
    await world.advance(16 * MINUTE)
    await run(world)
    await world.advance(16 * MINUTE)
    await run(world)
    expect((await rows(world))[1]).toBe('b selected missing cursor owner')
    await read('c')
    await world.advance(16 * MINUTE)
    await run(world)
    expect((await rows(world))[1]).toBe('b selected vendor/calendar-gone missing cursor owner')
  })

  test('with another role takes the cursor away from whoever is reading', async () => {
    const [world, vendor] = await open('lists role', 'a', 'b')
    await using _world = world
    vendor.answers.list = () => [calendar('a', 'reader'), calendar('b')]
    await world.advance(HOUR)
    expect(await run(world)).toBe(1)
    expect(await rows(world)).toEqual(['a selected reader', 'b selected cursor owner'])
    expect([await epoch(world), await asked(world)]).toEqual([1, 1])
  })

  test.each([
    ['nothing', () => []],
    [
      'an error',
      () => {
        throw new Failure('vendor/unavailable')
      },
    ],
  ] as const)(
    'that says %s removes nothing and is asked for again in five to ten minutes',
    async (_what, list) => {
      const [world, vendor] = await open(`lists ${_what}`, 'a')
      await using _world = world
      let looks = 0
      vendor.answers.list = () => {
        looks += 1
        return list()
      }
      await world.advance(HOUR)
      expect(await run(world)).toBe(0)
      await world.advance(4.9 * MINUTE)
      await run(world)
      expect([looks, await rows(world)]).toEqual([1, ['a selected cursor owner']])
      await world.advance(5.2 * MINUTE)
      await run(world)
      expect(looks).toBe(2)
    },
  )

  test('that the account does not give any more rings for a unit, which records it', async () => {
    const [world, vendor, id] = await open('lists denied', 'a')
    await using _world = world
    vendor.answers.list = () => {
      throw new Failure('vendor/grant-revoked')
    }
    await world.advance(HOUR)
    await run(world)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect((await world.rung())[0]).toMatchObject({ connectionId: id, calendarId: null })
  })
})
