// Channels of a vendor that renews them, validates their address and tells of their life, as Graph does.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { NoticeKind } from '#shared/store/channel-notices.ts'
import { tendChannels } from '../../services/scheduler/open-channels.ts'
import { poll } from '../../services/scheduler/poll.ts'
import { stopOrphans } from '../../services/scheduler/stop-channels.ts'
import { eventually } from '../support/eventually.ts'
import {
  type ChannelWorldParts,
  downWhile,
  openChannelWorld,
  type SchedulerWorld,
} from '../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const open = (label: string, parts: ChannelWorldParts = {}) => openChannelWorld('microsoft', label, parts)
const tend = (world: SchedulerWorld) => tendChannels(world.deps, NEVER)

async function connectOne(world: SchedulerWorld): Promise<{ id: ConnectionId; calendar: string }> {
  const [id] = await world.connect({ vendor: `'microsoft'` })
  const [calendar] = await world.addCalendars(id!, 'a')
  return { id: id!, calendar: calendar! }
}

async function notice(
  world: SchedulerWorld,
  kind: NoticeKind,
  channel: string,
  id: ConnectionId,
): Promise<void> {
  await world.db.query(
    `insert into channel_notices (vendor, channel_id, kind, connection_id) values ('microsoft', $1, $2, $3)`,
    [channel.toUpperCase(), kind, id],
  )
}

const notices = async (world: SchedulerWorld) =>
  (await world.db.query<{ kind: string }>('select kind from channel_notices')).rows.map(({ kind }) => kind)

describe('channels that can be renewed', () => {
  test('carry the id that the vendor gave, and are renewed without another being opened', async () => {
    const [world, vendor] = await open('graph renew')
    await using _world = world
    await connectOne(world)
    expect(await tend(world)).toBe(1)
    const [id] = vendor.open.keys()
    expect((await world.db.query('select id from channels')).rows).toEqual([{ id }])
    await world.advance(0.6 * DAY)
    expect(await tend(world)).toBe(0)
    await world.advance(0.9 * DAY)
    expect(await tend(world)).toBe(1)
    expect([vendor.renewed, vendor.opened.length]).toEqual([[id], 1])
    // Its whole life is before it again; once a day tells early when the vendor has lost it.
    await world.advance(0.6 * DAY)
    expect(await tend(world)).toBe(0)
    await world.advance(0.9 * DAY)
    expect(await tend(world)).toBe(1)
    expect([vendor.opened.length, vendor.stopped.length]).toEqual([1, 0])
  })

  test('and are gone when they are to be, are replaced in the same run, and rung for', async () => {
    const [world, vendor] = await open('graph gone')
    await using _world = world
    await connectOne(world)
    await tend(world)
    const [old] = vendor.open.keys()
    vendor.answers.renew = () => ({ kind: 'gone' })
    await world.advance(6 * DAY)
    expect(await tend(world)).toBe(1)
    expect(vendor.opened.length).toBe(2)
    const { rows } = await world.db.query<{ id: string }>('select id from channels')
    expect(rows).toHaveLength(1)
    expect(rows[0]!.id).not.toBe(old)
    await eventually('both openings are rung', async () => (await world.rung()).length === 2)
  })

  test('but whose renewal fails are tried again, and polled from their end until another is open', async () => {
    const [world, vendor] = await open('graph fails')
    await using _world = world
    await connectOne(world)
    await tend(world)
    const fail = () => {
      throw new Failure('vendor/unavailable')
    }
    Object.assign(vendor.answers, { renew: fail, open: fail })
    await world.advance(6 * DAY)
    for (let hour = 0; hour < 23; hour += 1) {
      expect(await tend(world)).toBe(0)
      expect(await poll(world.deps, NEVER)).toBe(0)
      await world.advance(HOUR)
    }
    expect(vendor.renewed.length).toBeGreaterThan(10)
    expect(vendor.renewed.length).toBeLessThan(24)
    await world.advance(2 * HOUR)
    expect(await poll(world.deps, NEVER)).toBe(1)
    expect(await tend(world)).toBe(0)
    expect(vendor.opened.length).toBe(2)
    vendor.answers = {}
    await world.advance(HOUR)
    expect(await tend(world)).toBe(1)
    await world.advance(HOUR)
    expect(await poll(world.deps, NEVER)).toBe(0)
  })

  test('are not opened while the webhook gate is closed, which would refuse their validation; they are renewed', async () => {
    const [world, vendor] = await open('graph gate')
    await using _world = world
    await connectOne(world)
    world.closed.add('CALENDAR_WEBHOOK_ENABLED')
    expect(await tend(world)).toBe(0)
    world.closed.clear()
    expect(await tend(world)).toBe(1)
    world.closed.add('CALENDAR_WEBHOOK_ENABLED')
    await world.advance(6 * DAY)
    expect(await tend(world)).toBe(1)
    expect([vendor.opened.length, vendor.renewed.length]).toEqual([1, 1])
  })
})

describe('a notice that the vendor', () => {
  test('removed a channel rings and opens another at once', async () => {
    const [world, vendor] = await open('graph removed')
    await using _world = world
    const { id, calendar } = await connectOne(world)
    await tend(world)
    const [old] = vendor.open.keys()
    await notice(world, 'removed', old!, id)
    expect(await tend(world)).toBe(1)
    expect(vendor.opened.length).toBe(2)
    expect(await notices(world)).toEqual([])
    await eventually('it is rung', async () => (await world.rung()).length === 3)
    expect((await world.rung()).map(({ reason }) => reason).toSorted()).toEqual([
      'connected',
      'connected',
      'reconcile',
    ])
    for (const ring of await world.rung())
      expect(ring).toMatchObject({ connectionId: id, calendarId: calendar, asOf: null })
  })

  test('removed a channel stays until its ring is durable', async () => {
    let broken = false
    const [world, vendor] = await open('graph removed crash', {
      around: downWhile(() => broken),
    })
    await using _world = world
    const { id } = await connectOne(world)
    await tend(world)
    await notice(world, 'removed', [...vendor.open.keys()][0]!, id)
    broken = true
    await expect(tend(world)).rejects.toMatchObject({ code: 'kafka/unavailable' })
    expect([await notices(world), await world.channels()]).toEqual([['removed'], ['a open']])
    broken = false
    expect(await tend(world)).toBe(1)
    expect(await notices(world)).toEqual([])
  })

  test('wants a channel reauthorized renews it at once and rings', async () => {
    const [world, vendor] = await open('graph reauthorize')
    await using _world = world
    const { id } = await connectOne(world)
    await tend(world)
    const [channel] = vendor.open.keys()
    await notice(world, 'reauthorize', channel!, id)
    expect(await tend(world)).toBe(1)
    expect(vendor.renewed).toEqual([channel])
    expect(await tend(world)).toBe(0)
    expect(await notices(world)).toEqual([])
    await eventually('it is rung', async () => (await world.rung()).length === 2)
  })

  test('wants a channel reauthorized does not wait for an earlier failure', async () => {
    const [world, vendor] = await open('graph reauthorize failing')
    await using _world = world
    const { id } = await connectOne(world)
    await tend(world)
    vendor.answers.renew = () => {
      throw new Failure('vendor/unavailable')
    }
    await world.advance(6 * DAY)
    await tend(world)
    expect(await tend(world)).toBe(0)
    vendor.answers = {}
    await notice(world, 'reauthorize', [...vendor.open.keys()][0]!, id)
    expect(await tend(world)).toBe(1)
  })

  test.each(['removed', 'reauthorize'] as const)(
    'has %s a channel of another connection does nothing and is forgotten',
    async (kind) => {
      const [world, vendor] = await open(`graph foreign ${kind}`)
      await using _world = world
      await connectOne(world)
      const other = await connectOne(world)
      await tend(world)
      const [row] = (
        await world.db.query<{ id: string }>('select id from channels where connection_id <> $1', [other.id])
      ).rows
      await notice(world, kind, row!.id, other.id)
      expect(await tend(world)).toBe(0)
      expect([vendor.opened.length, vendor.renewed.length]).toEqual([2, 0])
      await world.advance(10 * MINUTE)
      await stopOrphans(world.deps, NEVER)
      await world.advance(9 * DAY)
      await stopOrphans(world.deps, NEVER)
      expect(await notices(world)).toEqual([])
    },
  )

  test('removed a channel may arrive before we know it, and counts when we do', async () => {
    const [world, vendor] = await open('graph early')
    await using _world = world
    const { id } = await connectOne(world)
    let early: string | undefined
    vendor.answers.open = () => {
      early = crypto.randomUUID()
      return {
        kind: 'opened',
        channelId: early,
        resourceId: null,
        expiresAt: world.deps.clock.now() + DAY * 1000,
      }
    }
    const opening = tend(world)
    await eventually('the vendor has opened it', async () => early !== undefined)
    await notice(world, 'removed', early!, id)
    await opening
    vendor.answers = {}
    await tend(world)
    expect(vendor.opened.length).toBe(2)
    expect(await notices(world)).toEqual([])
  })
})
