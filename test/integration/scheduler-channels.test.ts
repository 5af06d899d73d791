// Channels against a vendor that is a fake at the edge: opened, rung for, renewed with overlap, refused, and interrupted.
import { describe, expect, test } from 'vitest'
import { readChannelToken } from '#shared/domain/channel-token.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { ChannelRequest, OpenedChannel, Vendor } from '#shared/vendors/vendor.ts'
import { openConnectionChannels, tendChannels } from '../../services/scheduler/open-channels.ts'
import { eventually } from '../support/eventually.ts'
import { openSchedulerWorld, type SchedulerWorld } from '../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const DAY = 24 * 3600 * 1_000_000

interface FakeVendor extends Vendor {
  readonly opened: ChannelRequest[]
  readonly stopped: string[]
}

function fakeVendor(answer: (request: ChannelRequest) => OpenedChannel = openedFor(7 * DAY)): FakeVendor {
  const opened: ChannelRequest[] = []
  const stopped: string[] = []
  const unasked = async (): Promise<never> => {
    throw new Error('not asked in these tests')
  }
  return {
    name: 'google',
    opened,
    stopped,
    consentUrl: () => 'https://vendor.example/consent',
    exchangeCode: unasked,
    account: unasked,
    revoke: unasked,
    renewChannel: async () => ({ kind: 'gone' }),
    listCalendars: unasked,
    fetchPage: unasked,
    refresh: unasked,
    async openChannel(_token, request) {
      opened.push(request)
      return answer(request)
    },
    async stopChannel(_token, { channelId }) {
      stopped.push(channelId)
    },
  }
}

function openedFor(lifeMicros: number): (request: ChannelRequest) => OpenedChannel {
  return ({ channelId }) => ({
    kind: 'opened',
    channelId,
    resourceId: `resource of ${channelId}`,
    expiresAt: Date.now() * 1000 + lifeMicros,
  })
}

async function addCalendars(
  world: SchedulerWorld,
  connection: ConnectionId,
  ...names: string[]
): Promise<void> {
  await world.db.query(
    `insert into external_calendars (connection_id, vendor_calendar_id) select $1, unnest($2::text[])`,
    [connection, names],
  )
}

const channelsOf = async (world: SchedulerWorld) =>
  (
    await world.db.query<{ id: string; status: string; calendar: string }>(
      `select channels.id, channels.status, vendor_calendar_id as calendar from channels
     join external_calendars on external_calendars.id = calendar_id order by channels.created_at`,
    )
  ).rows

describe('channels', () => {
  test('are opened for every selected calendar of an active connection, with our token, and rung for', async () => {
    const vendor = fakeVendor()
    await using world = await openSchedulerWorld('channels open', { vendor })
    const [active, parked] = await world.connect({}, { status: `'needs_reauth'` })
    await addCalendars(world, active!, 'a', 'b', 'hidden', 'no push')
    await addCalendars(world, parked!, 'c')
    await world.db.query(`update external_calendars set selected = false where vendor_calendar_id = 'hidden'`)
    await world.db.query(
      `update external_calendars set push_supported = false where vendor_calendar_id = 'no push'`,
    )
    world.closed.add('CALENDAR_JOBS_ENABLED')
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    world.closed.clear()
    expect(await tendChannels(world.deps, NEVER)).toBe(2)
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    expect(vendor.opened.map((request) => request.vendorCalendarId).toSorted()).toEqual(['a', 'b'])
    await eventually('both are rung', async () => (await world.rung()).length === 2)
    const { rows } = await world.db.query<{ id: string; name: string }>(
      'select id, vendor_calendar_id as name from external_calendars',
    )
    const idOf = new Map(rows.map((row) => [row.name, row.id]))
    for (const request of vendor.opened) {
      expect(request.callbackUrl).toBe('https://calstream.example/api/webhooks/calendar/google')
      expect(readChannelToken(world.deps.keys, 'google', request.token)).toMatchObject({
        connectionId: active,
        calendarId: idOf.get(request.vendorCalendarId),
      })
    }
    for (const ring of await world.rung())
      expect(ring).toMatchObject({ reason: 'connected', connectionId: active, asOf: null })
    expect((await channelsOf(world)).map((channel) => channel.status)).toEqual(['open', 'open'])
  })

  test('of a calendar that never supports push are not asked for again', async () => {
    const vendor = fakeVendor(() => ({ kind: 'push-not-supported' }))
    await using world = await openSchedulerWorld('channels no push', { vendor })
    const [id] = await world.connect({})
    await addCalendars(world, id!, 'holidays')
    expect(await openConnectionChannels(world.deps, id!, NEVER)).toBe(0)
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    expect(vendor.opened.length).toBe(1)
    expect(await channelsOf(world)).toEqual([])
  })

  test('that could not be opened are tried again after two minutes, and do not hold back their neighbours', async () => {
    let down = true
    const works = openedFor(7 * DAY)
    const vendor = fakeVendor((request) => {
      if (down && request.vendorCalendarId === 'a') throw new Failure('vendor/unavailable')
      return works(request)
    })
    await using world = await openSchedulerWorld('channels fail', { vendor })
    const [id] = await world.connect({})
    await addCalendars(world, id!, 'a', 'b')
    expect(await tendChannels(world.deps, NEVER)).toBe(1)
    down = false
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    await world.db.query(`update channels set created_at = created_at - interval '3 minutes'`)
    expect(await tendChannels(world.deps, NEVER)).toBe(1)
    expect(
      (await channelsOf(world)).map(({ calendar, status }) => `${calendar} ${status}`).toSorted(),
    ).toEqual(['a open', 'b open'])
  })

  test('near their end are replaced before it, and the old one is stopped after an overlap', async () => {
    const vendor = fakeVendor()
    await using world = await openSchedulerWorld('channels renew', { vendor })
    const [id] = await world.connect({})
    await addCalendars(world, id!, 'a')
    await tendChannels(world.deps, NEVER)
    const [old] = await channelsOf(world)
    const age = (interval: string) =>
      world.db.query(
        `update channels set opened_at = opened_at - $1::interval, expires_at = case when id = $2 then expires_at - $1::interval else expires_at end`,
        [interval, old!.id],
      )
    await age('4 days')
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    await age('40 hours')
    // Less than a fifth of seven days is left.
    expect(await tendChannels(world.deps, NEVER)).toBe(1)
    expect(vendor.stopped).toEqual([])
    expect((await channelsOf(world)).length).toBe(2)
    await age('2 minutes')
    expect(await tendChannels(world.deps, NEVER)).toBe(0)
    expect(vendor.stopped).toEqual([old!.id])
    expect((await channelsOf(world)).map((channel) => channel.status)).toEqual(['open'])
    expect((await channelsOf(world))[0]!.id).not.toBe(old!.id)
  })

  test('of a calendar or connection that is not synced any more are stopped', async () => {
    const vendor = fakeVendor()
    await using world = await openSchedulerWorld('channels stop', { vendor })
    const [kept, gone] = await world.connect({}, {})
    await addCalendars(world, kept!, 'a', 'b')
    await addCalendars(world, gone!, 'c')
    expect(await tendChannels(world.deps, NEVER)).toBe(3)
    await world.db.query(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      gone,
    ])
    await world.db.query(`update external_calendars set selected = false where vendor_calendar_id = 'b'`)
    await tendChannels(world.deps, NEVER)
    expect(vendor.stopped.length).toBe(2)
    expect((await channelsOf(world)).map((channel) => channel.calendar)).toEqual(['a'])
  })

  test('interrupted between the vendor and the row are rung for all the same, since another is opened', async () => {
    const vendor = fakeVendor()
    let broken = true
    await using world = await openSchedulerWorld('channels crash', {
      vendor,
      around: (producer) => ({
        async send(records) {
          if (broken) throw new Failure('kafka/unavailable')
          await producer.send(records)
        },
        [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
      }),
    })
    const [id] = await world.connect({})
    await addCalendars(world, id!, 'a')
    await expect(tendChannels(world.deps, NEVER)).rejects.toMatchObject({ code: 'kafka/unavailable' })
    expect((await channelsOf(world)).map((channel) => channel.status)).toEqual(['opening'])
    broken = false
    await world.db.query(`update channels set created_at = created_at - interval '3 minutes'`)
    expect(await tendChannels(world.deps, NEVER)).toBe(1)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect((await channelsOf(world)).map((channel) => channel.status)).toEqual(['open'])
  })
})
