// Notices of channels that are not the teller's own:
// they keep no other back, stop nobody's channel and are few.
import { expect, test } from 'vitest'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { saveNotices, UNKNOWN_MAX } from '#shared/store/channel-notices.ts'
import { maintainChannels } from '../../../services/scheduler/channels/maintain.ts'
import { stopOrphans } from '../../../services/scheduler/channels/stop.ts'
import { openChannelWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000

async function connectOne(world: SchedulerWorld): Promise<ConnectionId> {
  const [id] = await world.connect({ vendor: `'microsoft'` })
  await world.addCalendars(id!, 'a')
  return id!
}

const kinds = async (world: SchedulerWorld) =>
  (await world.db.query<{ kind: string }>('select kind from channel_notices')).rows.map(({ kind }) => kind)

test.each(['removed', 'reauthorize'] as const)(
  'that a channel was to be %s is acted on although another connection said so first',
  async (kind) => {
    const [world, vendor] = await openChannelWorld('microsoft', `graph stolen ${kind}`)
    await using _world = world
    const owner = await connectOne(world)
    const thief = await connectOne(world)
    await maintainChannels(world.deps, NEVER)
    const [row] = (
      await world.db.query<{ id: string }>('select id from channels where connection_id = $1', [owner])
    ).rows
    const told = { vendor: 'microsoft', channelId: row!.id, kind, resourceId: null } as const
    await saveNotices(world.db, [{ ...told, connectionId: thief }])
    await saveNotices(world.db, [{ ...told, connectionId: owner }])
    expect(await maintainChannels(world.deps, NEVER)).toBe(1)
    expect([vendor.opened.length, vendor.renewed.length]).toEqual(kind === 'removed' ? [3, 0] : [2, 1])
    // What is left is the thief's, and nobody acts on it.
    expect(await kinds(world)).toEqual([kind])
    await world.advance(10 * MINUTE)
    await stopOrphans(world.deps, NEVER)
    expect([await kinds(world), vendor.stopped]).toEqual([[], []])
  },
)

test('a channel of somebody else is never stopped as the orphan of who names it, and unknown ones are bounded', async () => {
  const [world, vendor] = await openChannelWorld('google', 'channels named by others')
  await using _world = world
  const [owner, thief] = await world.connect({}, {})
  await world.addCalendars(owner!, 'a')
  for (const id of [owner, thief])
    await world.db.query(
      `insert into connection_credentials (connection_id, refresh_token) values ($1, 'sealed')`,
      [id],
    )
  await maintainChannels(world.deps, NEVER)
  const [theirs] = vendor.open.keys()
  const seen = (channelId: string) =>
    ({ vendor: 'google', channelId, kind: 'seen', connectionId: thief!, resourceId: 'r' }) as const
  const stored = async () => (await world.db.query('select from channel_notices')).rowCount
  // Known: nothing to do, so nothing is stored.
  await saveNotices(world.db, [seen(theirs!)])
  expect(await stored()).toBe(0)
  // One that was stored while the channel was not known yet is forgotten.
  await world.db.query(
    `insert into channel_notices (vendor, channel_id, kind, connection_id) values ('google', $1, 'seen', $2)`,
    [theirs, thief],
  )
  for (let batch = 0; batch < 10; batch += 1)
    await saveNotices(
      world.db,
      Array.from({ length: 500 }, (_, n) => seen(`c${batch}-${n}`)),
    )
  expect(await stored()).toBe(1 + UNKNOWN_MAX - 1)
  await saveNotices(world.db, [seen('c0-0'), { ...seen('mine'), connectionId: owner! }])
  expect(await stored()).toBe(1 + UNKNOWN_MAX)
  await world.advance(6 * MINUTE)
  expect(await stopOrphans(world.deps, NEVER)).toBe(UNKNOWN_MAX)
  expect(vendor.stopped).not.toContain(theirs)
  expect(vendor.stopped.length).toBe(UNKNOWN_MAX)
  expect([...vendor.open.keys()]).toEqual([theirs])
})

test('a channel that rings while it is being opened is noted: who opens it may die before its row says open', async () => {
  const [world] = await openChannelWorld('google', 'rung while opening')
  await using _world = world
  const [owner] = await world.connect({})
  const [calendar] = await world.addCalendars(owner!, 'a')
  const seen = (channelId: string) =>
    ({ vendor: 'google', channelId, kind: 'seen', connectionId: owner!, resourceId: 'r' }) as const
  const noted = async () =>
    (await world.db.query<{ id: string }>('select channel_id as id from channel_notices order by 1')).rows
  for (const status of ['opening', 'open', 'stopping'])
    await world.db.query(
      `insert into channels (id, connection_id, calendar_id, vendor, status, opened_at, expires_at)
       values ($1, $2, $3, 'google', $1, now(), now() + interval '1 day')`,
      [status, owner, calendar],
    )
  await saveNotices(world.db, ['opening', 'open', 'stopping'].map(seen))
  expect(await noted()).toEqual([{ id: 'opening' }])
})
