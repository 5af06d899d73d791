// Channels against a vendor at the edge:
// opened, rung for, replaced with overlap, refused, stopped, and interrupted.
import { describe, expect, test } from 'vitest'
import { THROTTLED_SPREAD_MS } from '#shared/domain/backoff.ts'
import { readChannelToken } from '#shared/domain/channel-token.ts'
import { Failure } from '#shared/domain/failure.ts'
import { channelHealth } from '#shared/store/channels.ts'
import { maintainChannels, openConnectionChannels } from '../../../services/scheduler/channels/maintain.ts'
import { stopOrphans } from '../../../services/scheduler/channels/stop.ts'
import { eventually } from '../../support/eventually.ts'
import {
  type ChannelWorldParts,
  downWhile,
  openChannelWorld,
  type SchedulerWorld,
} from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const open = (label: string, parts: ChannelWorldParts = {}) => openChannelWorld('google', label, parts)
const maintain = (world: SchedulerWorld) => maintainChannels(world.deps, NEVER)

describe('channels', () => {
  test('are opened for every selected calendar of an active connection, with our token, and rung for', async () => {
    const [world, vendor] = await open('channels open')
    await using _world = world
    const [active, parked] = await world.connect({}, { status: `'needs_reauth'` })
    await world.addCalendars(active!, 'a', 'b', 'hidden', 'no push', 'vanished')
    await world.addCalendars(parked!, 'c')
    await world.db.query(`
      update external_calendars set selected = false where vendor_calendar_id = 'hidden';
      update external_calendars set push_supported = false where vendor_calendar_id = 'no push';
      update external_calendars set removal_reason = 'x' where vendor_calendar_id = 'vanished'`)
    world.closed.add('CALENDAR_JOBS_ENABLED')
    expect(await maintain(world)).toBe(0)
    world.closed.clear()
    expect(await maintain(world)).toBe(2)
    expect(await maintain(world)).toBe(0)
    expect(vendor.opened.map((request) => request.vendorCalendarId).toSorted()).toEqual(['a', 'b'])
    await eventually('both are rung', async () => (await world.rung()).length === 2)
    const { rows } = await world.db.query<{ id: string; name: string }>(
      'select id, vendor_calendar_id as name from external_calendars',
    )
    const idOf = new Map(rows.map((row) => [row.name, row.id]))
    for (const request of vendor.opened) {
      expect(request.callbackUrl).toBe('https://calstream.example/api/webhooks/calendar/google')
      expect(
        readChannelToken(world.deps.keys, 'google', request.token, world.deps.clock.now()),
      ).toMatchObject({
        connectionId: active,
        calendarId: idOf.get(request.vendorCalendarId),
      })
    }
    for (const ring of await world.rung())
      expect(ring).toMatchObject({ reason: 'connected', connectionId: active, asOf: null })
    expect(await world.channels()).toEqual(['a open', 'b open'])
  })

  test('of a calendar that does not support push are asked for again a day later', async () => {
    const [world, vendor] = await open('channels no push')
    await using _world = world
    vendor.answers.open = () => ({ kind: 'push-not-supported' })
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'holidays')
    expect(await openConnectionChannels(world.deps, id!, NEVER)).toBe(0)
    await world.advance(17 * HOUR)
    expect(await maintain(world)).toBe(0)
    expect(vendor.opened.length).toBe(1)
    expect(await world.channels()).toEqual([])
    vendor.answers = {}
    await world.advance(14 * HOUR)
    expect(await maintain(world)).toBe(1)
    expect(await world.channels()).toEqual(['holidays open'])
  })

  test('that cannot be opened are tried again ever less often, and do not hold back their neighbours', async () => {
    const [world, vendor] = await open('channels fail')
    await using _world = world
    let down = true
    vendor.answers.open = ({ vendorCalendarId }) => {
      if (down && vendorCalendarId === 'a') throw new Failure('vendor/unavailable')
      return undefined
    }
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a', 'b')
    expect(await maintain(world)).toBe(1)
    expect(await world.channels()).toEqual(['b open'])
    expect(await maintain(world)).toBe(0)
    expect(vendor.opened.length).toBe(2)
    for (let minute = 0; minute < 30; minute += 1) {
      await world.advance(MINUTE)
      await maintain(world)
    }
    const inHalfAnHour = vendor.opened.length - 2
    expect(inHalfAnHour).toBeGreaterThan(5)
    expect(inHalfAnHour).toBeLessThan(16)
    down = false
    await world.advance(HOUR)
    expect(await maintain(world)).toBe(1)
    expect(await world.channels()).toEqual(['a open', 'b open'])
    const { rows } = await world.db.query(
      'select channel_attempts, channel_retry_at from external_calendars where vendor_calendar_id = $1',
      ['a'],
    )
    expect(rows).toEqual([{ channel_attempts: 0, channel_retry_at: null }])
  })

  test('whose address the vendor refuses are asked for one after the other, not all in each run, and opened once it is mended', async () => {
    const [world, vendor] = await open('channels address')
    await using _world = world
    const names = Array.from({ length: 60 }, (_, index) => `calendar ${index}`)
    const [id] = await world.connect({})
    await world.addCalendars(id!, ...names)
    vendor.answers.open = () => {
      throw new Failure('vendor/callback-refused')
    }
    expect(await maintain(world)).toBe(0)
    // Those that were under way together when the first was refused.
    const inFirstRun = vendor.opened.length
    expect(inFirstRun).toBeGreaterThan(0)
    expect(inFirstRun).toBeLessThanOrEqual(8)
    await maintain(world)
    expect(vendor.opened.length).toBeLessThanOrEqual(2 * inFirstRun + 8)
    expect(await world.channels()).toEqual([])
    const { rows } = await world.db.query(
      'select from external_calendars where channel_attempts = 1 and channel_retry_at > calstream_now()',
    )
    expect(rows).toHaveLength(vendor.opened.length)
    vendor.answers = {}
    await world.advance(10_000)
    expect(await maintain(world)).toBe(names.length)
  })

  test('are not asked for before the time that the vendor named', async () => {
    const [world, vendor] = await open('channels throttled')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    vendor.answers.open = () => {
      throw new Failure('vendor/throttled', 'slow down', { retryAt: world.deps.clock.now() + 600_000_000 })
    }
    await maintain(world)
    vendor.answers = {}
    await world.advance(9.9 * MINUTE)
    expect(await maintain(world)).toBe(0)
    await world.advance(0.1 * MINUTE + THROTTLED_SPREAD_MS)
    expect(await maintain(world)).toBe(1)
  })

  test('are neither asked for nor stopped while the connection backs off', async () => {
    const [world, vendor] = await open('channels backoff')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await maintain(world)
    await world.addCalendars(id!, 'b')
    await world.db.query(`
      update external_calendars set selected = false where vendor_calendar_id = 'a';
      update external_calendar_connections set backoff_until = calstream_now() + interval '10 minutes'`)
    await maintain(world)
    expect([vendor.opened.length, vendor.stopped.length]).toEqual([1, 0])
    await world.advance(10 * MINUTE)
    expect(await maintain(world)).toBe(1)
    expect([...vendor.open.values()]).toEqual(['b'])
  })

  test('are opened and renewed for a calendar that is well, whatever its siblings are; not for an ill one', async () => {
    const [world, vendor] = await open('channels ill')
    await using _world = world
    const [id] = await world.connect({})
    const [, ill] = await world.addCalendars(id!, 'well', 'ill')
    await world.db.query(
      `update external_calendars set failures = 1, read_needed = true, backoff_until = calstream_now() + interval '1 hour'
        where id = $1`,
      [ill],
    )
    expect(await maintain(world)).toBe(1)
    expect([...vendor.open.values()]).toEqual(['well'])
    // Well again, it gets its bell at the next look.
    await world.db.query('update external_calendars set failures = 0, backoff_until = null where id = $1', [
      ill,
    ])
    expect(await maintain(world)).toBe(1)
    expect([...vendor.open.values()].toSorted()).toEqual(['ill', 'well'])
  })

  test('of a calendar that is gone ring for a unit, which finds out', async () => {
    const [world, vendor] = await open('channels gone')
    await using _world = world
    const [id] = await world.connect({})
    const [calendar] = await world.addCalendars(id!, 'a')
    vendor.answers.open = () => {
      throw new Failure('vendor/calendar-gone')
    }
    expect(await maintain(world)).toBe(0)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect((await world.rung())[0]).toMatchObject({ connectionId: id, calendarId: calendar, asOf: null })
  })

  test('near their end are replaced before it, one after the other, and the old one is stopped after an overlap', async () => {
    const [world, vendor] = await open('channels renew')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, ...Array.from({ length: 40 }, (_, i) => `calendar ${i}`))
    expect(await maintain(world)).toBe(40)
    await world.advance(7 * DAY * 0.69)
    expect(await maintain(world)).toBe(0)
    const runs: number[] = []
    for (let step = 0; step < 12; step += 1) {
      await world.advance(7 * DAY * 0.01)
      runs.push(await maintain(world))
      // None ever ends without another.
      expect(new Set(vendor.open.values()).size).toBe(40)
    }
    // All are replaced once before the last fifth begins, spread over the tenth before it.
    expect(runs.reduce((a, b) => a + b)).toBe(40)
    expect(runs.slice(11)).toEqual([0])
    expect(Math.max(...runs)).toBeLessThan(20)
    await world.advance(2 * MINUTE)
    await maintain(world)
    expect(vendor.stopped.length).toBe(40)
    expect(vendor.open.size).toBe(40)
    expect((await world.channels()).every((channel) => channel.endsWith(' open'))).toBe(true)
  })

  test('are stopped only a minute after another is open', async () => {
    const [world, vendor] = await open('channels overlap')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await maintain(world)
    await world.advance(6 * DAY)
    expect(await maintain(world)).toBe(1)
    await maintain(world)
    expect([vendor.stopped.length, vendor.open.size]).toEqual([0, 2])
    await world.advance(MINUTE + 1000)
    await maintain(world)
    expect([vendor.stopped.length, vendor.open.size]).toEqual([1, 1])
  })

  test('that were opened under an earlier grant are replaced', async () => {
    const [world, vendor] = await open('channels regrant')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await maintain(world)
    await world.advance(HOUR)
    expect(await maintain(world)).toBe(0)
    await world.db.query(
      'update external_calendar_connections set connected_at = calstream_now() where id = $1',
      [id],
    )
    expect(await maintain(world)).toBe(1)
    await world.advance(2 * MINUTE)
    await maintain(world)
    expect([vendor.opened.length, vendor.open.size]).toEqual([2, 1])
  })

  test('of a calendar or connection that is not synced any more are stopped, after failures ever less often', async () => {
    const [world, vendor] = await open('channels stop')
    await using _world = world
    const [kept, gone] = await world.connect({}, {})
    await world.addCalendars(kept!, 'a', 'b')
    await world.addCalendars(gone!, 'c')
    expect(await maintain(world)).toBe(3)
    await world.db.query(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      gone,
    ])
    await world.db.query(`update external_calendars set selected = false where vendor_calendar_id = 'b'`)
    vendor.answers.stop = () => {
      throw new Failure('vendor/unavailable')
    }
    for (let second = 0; second < 60; second += 5) {
      await maintain(world)
      await world.advance(5000)
    }
    expect(vendor.stopped.length).toBeGreaterThan(4)
    expect(vendor.stopped.length).toBeLessThan(14)
    expect(await world.channels()).toEqual(['a open', 'b stopping', 'c stopping'])
    vendor.answers = {}
    await world.advance(HOUR)
    await maintain(world)
    expect(await world.channels()).toEqual(['a open'])
    expect([...vendor.open.values()]).toEqual(['a'])
  })

  test('that nobody has a way to stop are forgotten', async () => {
    const [world, vendor] = await open('channels unstoppable')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await maintain(world)
    await world.db.query(`update external_calendars set selected = false`)
    vendor.answers.stop = () => {
      throw new Failure('vendor/grant-revoked')
    }
    await maintain(world)
    expect(await world.channels()).toEqual([])
  })

  // Its person has to come back, or an operator has paused it.
  test.each(['needs_reauth', 'disabled'])('of a %s connection run out, none is opened', async (status) => {
    const [world, vendor] = await open('channels parked')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await maintain(world)
    await world.db.query('update external_calendar_connections set status = $1', [status])
    await world.advance(6.5 * DAY)
    expect(await maintain(world)).toBe(0)
    expect(await world.channels()).toEqual(['a open'])
    await world.advance(DAY)
    await maintain(world)
    expect(await world.channels()).toEqual([])
    expect(vendor.stopped).toEqual([])
  })

  test('are told by their health: wanted and missing ones, and those in their last fifth', async () => {
    const [world, vendor] = await open('channels health')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a', 'b', 'c')
    vendor.answers.open = ({ vendorCalendarId }) => {
      if (vendorCalendarId === 'b') return { kind: 'push-not-supported' }
      if (vendorCalendarId === 'c') throw new Failure('vendor/unavailable')
      return undefined
    }
    await maintain(world)
    const health = async () => (await channelHealth(world.deps.db)).find((one) => one.vendor === 'google')
    expect(await health()).toMatchObject({
      open: 1,
      ending: 0,
      opening: 0,
      stopping: 0,
      unwatched: 1,
      unsupported: 1,
    })
    await world.advance(6 * DAY)
    expect(await health()).toMatchObject({ open: 0, ending: 1, unwatched: 1 })
    await world.advance(2 * DAY)
    expect(await health()).toMatchObject({ open: 0, ending: 0, unwatched: 2 })
  })
})

describe('a scheduler that dies', () => {
  test('between the vendor and the row leaves a calendar that is opened again and rung for', async () => {
    let broken = true
    const [world, vendor] = await open('channels crash', {
      around: downWhile(() => broken),
    })
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await expect(maintain(world)).rejects.toMatchObject({ code: 'kafka/unavailable' })
    expect(await world.channels()).toEqual(['a opening'])
    broken = false
    expect(await maintain(world)).toBe(0)
    await world.advance(3 * MINUTE)
    expect(await maintain(world)).toBe(1)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect(await world.channels()).toEqual(['a open'])
    expect(vendor.open.size).toBe(2)
  })

  test('leaves an orphan that is stopped once it has rung, and none that is known or young', async () => {
    const [world, vendor] = await open('channels orphan')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a')
    await world.db.query(
      `insert into connection_credentials (connection_id, refresh_token) values ($1, 'sealed')`,
      [id],
    )
    await maintain(world)
    const [known] = vendor.open.keys()
    vendor.open.set('orphan', 'a')
    for (const channel of [known, 'orphan'])
      await world.db.query(
        `insert into channel_notices (vendor, channel_id, kind, connection_id, resource_id) values ('google', $1, 'seen', $2, 'r')`,
        [channel, id],
      )
    expect(await stopOrphans(world.deps, NEVER)).toBe(0)
    vendor.answers.stop = () => {
      throw new Failure('vendor/unavailable')
    }
    await world.advance(6 * MINUTE)
    expect(await stopOrphans(world.deps, NEVER)).toBe(0)
    vendor.answers = {}
    expect(await stopOrphans(world.deps, NEVER)).toBe(0)
    await world.advance(MINUTE)
    expect(await stopOrphans(world.deps, NEVER)).toBe(1)
    expect(vendor.stopped).toEqual(['orphan', 'orphan'])
    expect([...vendor.open.keys()]).toEqual([known])
    expect((await world.db.query('select from channel_notices')).rowCount).toBe(0)
  })
})
