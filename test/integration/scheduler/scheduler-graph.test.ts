// Channels of a vendor that renews them,
// validates their address and tells of their life, as Graph does.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { readChannelToken, V1_ENDS_AT } from '#shared/domain/channel-token.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { NoticeKind } from '#shared/store/channel-notices.ts'
import { maintainChannels } from '../../../services/scheduler/channels/maintain.ts'
import { poll } from '../../../services/scheduler/ringing/poll-unwatched.ts'
import { stopOrphans } from '../../../services/scheduler/channels/stop.ts'
import type { ChannelVendor } from '../../support/channel-vendor.ts'
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

const open = (label: string, parts: ChannelWorldParts = {}) => openChannelWorld('microsoft', label, parts)
const maintain = (world: SchedulerWorld) => maintainChannels(world.deps, NEVER)

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
    expect(await maintain(world)).toBe(1)
    const [id] = vendor.open.keys()
    expect((await world.db.query('select id from channels')).rows).toEqual([{ id }])
    await world.advance(0.6 * DAY)
    expect(await maintain(world)).toBe(0)
    await world.advance(0.9 * DAY)
    expect(await maintain(world)).toBe(1)
    expect([vendor.renewed, vendor.opened.length]).toEqual([[id], 1])
    // Its whole life is before it again; once a day tells early when the vendor has lost it.
    await world.advance(0.6 * DAY)
    expect(await maintain(world)).toBe(0)
    await world.advance(0.9 * DAY)
    expect(await maintain(world)).toBe(1)
    expect([vendor.opened.length, vendor.stopped.length]).toEqual([1, 0])
  })

  test('and are gone when they are to be, are replaced in the same run, and rung for', async () => {
    const [world, vendor] = await open('graph gone')
    await using _world = world
    await connectOne(world)
    await maintain(world)
    const [old] = vendor.open.keys()
    vendor.answers.renew = () => ({ kind: 'gone' })
    await world.advance(6 * DAY)
    expect(await maintain(world)).toBe(1)
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
    await maintain(world)
    const fail = () => {
      throw new Failure('vendor/unavailable')
    }
    Object.assign(vendor.answers, { renew: fail, open: fail })
    await world.advance(6 * DAY)
    for (let hour = 0; hour < 23; hour += 1) {
      expect(await maintain(world)).toBe(0)
      expect(await poll(world.deps, NEVER)).toBe(0)
      await world.advance(HOUR)
    }
    expect(vendor.renewed.length).toBeGreaterThan(10)
    expect(vendor.renewed.length).toBeLessThan(24)
    await world.advance(2 * HOUR)
    expect(await poll(world.deps, NEVER)).toBe(1)
    expect(await maintain(world)).toBe(0)
    expect(vendor.opened.length).toBe(2)
    vendor.answers = {}
    await world.advance(HOUR)
    expect(await maintain(world)).toBe(1)
    await world.advance(HOUR)
    expect(await poll(world.deps, NEVER)).toBe(0)
  })

  test.each(['vendor/rejected', 'vendor/calendar-gone'] as const)(
    'whose renewal is refused as %s, again and again, are replaced by others, and the old one is stopped',
    async (code) => {
      const [world, vendor] = await open(`graph odd ${code}`)
      await using _world = world
      await connectOne(world)
      await maintain(world)
      const [old] = [...vendor.open.keys()]
      vendor.answers.renew = () => {
        throw new Failure(code)
      }
      await world.advance(3 * DAY)
      for (let hour = 0; hour < 7 * 24; hour += 1) {
        await maintain(world)
        await world.advance(HOUR)
      }
      // Three are refused, then another is opened; its own renewal is due a day later.
      expect(vendor.renewed.filter((id) => id === old)).toHaveLength(3)
      expect(vendor.renewed.length).toBeLessThan(7 * 4)
      expect(vendor.opened.length).toBeGreaterThan(2)
      expect(vendor.open.has(old!)).toBe(false)
    },
  )

  test('are not opened while the webhook gate is closed, which would refuse their validation; they are renewed', async () => {
    const [world, vendor] = await open('graph gate')
    await using _world = world
    await connectOne(world)
    world.closed.add('CALENDAR_WEBHOOK_ENABLED')
    expect(await maintain(world)).toBe(0)
    world.closed.clear()
    expect(await maintain(world)).toBe(1)
    world.closed.add('CALENDAR_WEBHOOK_ENABLED')
    await world.advance(6 * DAY)
    expect(await maintain(world)).toBe(1)
    expect([vendor.opened.length, vendor.renewed.length]).toEqual([1, 1])
  })
})

describe('the token of a channel that can be renewed', () => {
  const tokensOf = (vendor: ChannelVendor) => vendor.opened.map(({ token }) => token)

  test('never ends before the channel: after a week of renewals the channel is replaced by one with another', async () => {
    const [world, vendor] = await open('graph token')
    await using _world = world
    await connectOne(world)
    for (let day = 0; day < 22; day += 0.5) {
      await maintain(world)
      await world.advance(2 * MINUTE)
      await maintain(world)
      const { rows } = await world.db.query<{ id: string; outlived: boolean; tokens: number }>(
        `select id, expires_at > token_ends_at - interval '23 hours' as outlived from channels`,
      )
      expect(rows).toEqual([{ id: [...vendor.open.keys()][0], outlived: false }])
      await world.advance(0.5 * DAY - 2 * MINUTE)
    }
    // Some two a month less one: a week of renewals each, then another.
    expect(vendor.opened.length).toBeGreaterThanOrEqual(3)
    expect(vendor.opened.length).toBeLessThanOrEqual(4)
    expect(vendor.renewed.length).toBeGreaterThan(8)
    expect(new Set(tokensOf(vendor)).size).toBe(vendor.opened.length)
    const now = world.deps.clock.now()
    const read = (token: string) => readChannelToken(world.deps.keys, 'microsoft', token, now)
    expect(read(tokensOf(vendor)[0]!)).toBeNull()
    expect(read(tokensOf(vendor).at(-1)!)).not.toBeNull()
  })

  test('is of the first form after an upgrade: the channel is replaced when its renewal is due', async () => {
    const [world, vendor] = await open('graph old form')
    await using _world = world
    await connectOne(world)
    await maintain(world)
    await world.db.query('update channels set token_ends_at = null')
    expect(await maintain(world)).toBe(0)
    await world.advance(1.5 * DAY)
    expect(await maintain(world)).toBe(1)
    expect([vendor.renewed.length, vendor.opened.length]).toEqual([0, 2])
    await world.advance(2 * MINUTE)
    await maintain(world)
    expect([vendor.open.size, vendor.stopped.length]).toEqual([1, 1])
  })

  test('of the first form is replaced at once when that form is about to end, also of one that lives on', async () => {
    const [world, vendor] = await open('graph old form ends')
    await using _world = world
    await world.advance(Math.max(0, (V1_ENDS_AT - world.deps.clock.now()) / 1000 - DAY))
    await connectOne(world)
    await maintain(world)
    expect(await maintain(world)).toBe(0)
    await world.db.query('update channels set token_ends_at = null')
    expect(await maintain(world)).toBe(1)
    expect(await maintain(world)).toBe(0)
    expect([vendor.renewed.length, vendor.opened.length]).toEqual([0, 2])
  })
})

describe('an answer of the vendor', () => {
  test.each([
    ['an id with NUL', { channelId: `\u0000${randomUUID().slice(1)}` }],
    ['an id of a million characters', { channelId: 'a'.repeat(1_000_000) }],
    ['an id of no shape', { channelId: 'x' }],
    ['an end that has passed', { expiresAt: 1 }],
  ])('with %s is a failure that is tried again later, and opens nothing', async (_what, changes) => {
    const [world, vendor] = await open('graph evil')
    await using _world = world
    await connectOne(world)
    vendor.answers.open = () => ({
      kind: 'opened',
      channelId: randomUUID(),
      resourceId: null,
      expiresAt: world.deps.clock.now() + 7 * DAY * 1000,
      ...changes,
    })
    expect(await maintain(world)).toBe(0)
    expect(await maintain(world)).toBe(0)
    expect([vendor.opened.length, await world.channels()]).toEqual([1, []])
    vendor.answers = {}
    await world.advance(HOUR)
    expect(await maintain(world)).toBe(1)
  })

  test('that grants a thousand years is taken for what we asked for', async () => {
    const [world, vendor] = await open('graph ages')
    await using _world = world
    await connectOne(world)
    const ages = () => world.deps.clock.now() + 1000 * 365 * DAY * 1000
    vendor.answers.open = () => ({
      kind: 'opened',
      channelId: randomUUID(),
      resourceId: null,
      expiresAt: ages(),
    })
    vendor.answers.renew = () => ({ kind: 'renewed', expiresAt: ages() })
    await maintain(world)
    await world.advance(1.5 * DAY)
    expect(await maintain(world)).toBe(1)
    await world.advance(1.5 * DAY)
    expect(await maintain(world)).toBe(1)
    expect(vendor.renewed.length).toBe(2)
  })
})

describe('a notice that the vendor', () => {
  test('removed a channel rings and opens another at once', async () => {
    const [world, vendor] = await open('graph removed')
    await using _world = world
    const { id, calendar } = await connectOne(world)
    await maintain(world)
    const [old] = vendor.open.keys()
    await notice(world, 'removed', old!, id)
    expect(await maintain(world)).toBe(1)
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
    await maintain(world)
    await notice(world, 'removed', [...vendor.open.keys()][0]!, id)
    broken = true
    await expect(maintain(world)).rejects.toMatchObject({ code: 'kafka/unavailable' })
    expect([await notices(world), await world.channels()]).toEqual([['removed'], ['a open']])
    broken = false
    expect(await maintain(world)).toBe(1)
    expect(await notices(world)).toEqual([])
  })

  test('wants a channel reauthorized renews it at once and rings', async () => {
    const [world, vendor] = await open('graph reauthorize')
    await using _world = world
    const { id } = await connectOne(world)
    await maintain(world)
    const [channel] = vendor.open.keys()
    await notice(world, 'reauthorize', channel!, id)
    expect(await maintain(world)).toBe(1)
    expect(vendor.renewed).toEqual([channel])
    expect(await maintain(world)).toBe(0)
    expect(await notices(world)).toEqual([])
    await eventually('it is rung', async () => (await world.rung()).length === 2)
  })

  test('wants a channel reauthorized does not wait for an earlier failure', async () => {
    const [world, vendor] = await open('graph reauthorize failing')
    await using _world = world
    const { id } = await connectOne(world)
    await maintain(world)
    vendor.answers.renew = () => {
      throw new Failure('vendor/unavailable')
    }
    await world.advance(6 * DAY)
    await maintain(world)
    expect(await maintain(world)).toBe(0)
    vendor.answers = {}
    await notice(world, 'reauthorize', [...vendor.open.keys()][0]!, id)
    expect(await maintain(world)).toBe(1)
  })

  test.each(['removed', 'reauthorize'] as const)(
    'has %s a channel of another connection does nothing and is forgotten',
    async (kind) => {
      const [world, vendor] = await open(`graph foreign ${kind}`)
      await using _world = world
      await connectOne(world)
      const other = await connectOne(world)
      await maintain(world)
      const [row] = (
        await world.db.query<{ id: string }>('select id from channels where connection_id <> $1', [other.id])
      ).rows
      await notice(world, kind, row!.id, other.id)
      expect(await maintain(world)).toBe(0)
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
    const opening = maintain(world)
    await eventually('the vendor has opened it', async () => early !== undefined)
    await notice(world, 'removed', early!, id)
    await opening
    vendor.answers = {}
    await maintain(world)
    expect(vendor.opened.length).toBe(2)
    expect(await notices(world)).toEqual([])
  })
})
