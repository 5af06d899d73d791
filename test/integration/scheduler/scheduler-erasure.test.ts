// What becomes of a disconnected account: channels stopped, grant given back, then erased:
// credentials, address, label, calendars, in ten minutes at the latest.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { holdRequests } from '#shared/store/held-requests.ts'
import { sealSecret } from '#shared/process/keyring.ts'
import { eraseDisconnected } from '../../../services/scheduler/erase.ts'
import { maintainChannels } from '../../../services/scheduler/channels/maintain.ts'
import { openChannelWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000

const open = (label: string) => openChannelWorld('google', label)

async function connectOne(
  world: SchedulerWorld,
  columns: Record<string, string> = {},
): Promise<ConnectionId> {
  const [id] = await world.connect(columns)
  const sealed = sealSecret(world.deps.credentialKeys, `refresh of ${id}`, {
    connectionId: id!,
    field: 'refresh_token',
  })
  await world.db.query('insert into connection_credentials (connection_id, refresh_token) values ($1, $2)', [
    id,
    sealed,
  ])
  return id!
}

const disconnect = (world: SchedulerWorld, id: ConnectionId) =>
  world.db.query(
    `update external_calendar_connections set status = 'disconnected', disconnected_at = calstream_now() where id = $1`,
    [id],
  )

/** Its person presses the button that leads to the vendor. */
const consents = (world: SchedulerWorld, id: ConnectionId) =>
  world.db.query(
    `insert into oauth_flows (id, provider_id, vendor, expires_at, link_used_at, browser_hash, attempt)
       select gen_random_uuid(), provider_id, vendor, calstream_now() + interval '10 minutes', calstream_now(), 'hash', 1
         from external_calendar_connections where id = $1`,
    [id],
  )

const credentials = async (world: SchedulerWorld) =>
  (await world.db.query<{ id: string }>('select connection_id as id from connection_credentials')).rows.map(
    ({ id }) => id,
  )

/** Everything in the database that a person could be found by. */
async function names(world: SchedulerWorld): Promise<readonly string[]> {
  const { rows } = await world.db.query<{ name: string }>(
    `select unnest(array[vendor_account_id, account_label]) as name from external_calendar_connections
     union select unnest(array[vendor_calendar_id, name]) from external_calendars
     union select channel_id from channel_notices`,
  )
  return rows.flatMap(({ name }) => (name === null ? [] : [name])).toSorted()
}

const erase = (world: SchedulerWorld) => eraseDisconnected(world.deps, NEVER)

describe('a disconnected account', () => {
  test('loses its channels, then its grant, then its credentials; others keep theirs', async () => {
    const [world, vendor] = await open('erase')
    await using _world = world
    const [gone, kept] = [await connectOne(world), await connectOne(world)]
    await world.addCalendars(gone, 'a', 'b')
    await world.addCalendars(kept, 'c')
    await maintainChannels(world.deps, NEVER)
    expect(await erase(world)).toBe(0)
    await disconnect(world, gone)
    expect(await erase(world)).toBe(0)
    expect(vendor.revoked).toEqual([])
    await maintainChannels(world.deps, NEVER)
    expect([...vendor.open.values()]).toEqual(['c'])
    expect(await erase(world)).toBe(1)
    expect(vendor.revoked).toEqual([`refresh of ${gone}`])
    expect(await credentials(world)).toEqual([kept])
    expect(await erase(world)).toBe(0)
  })

  test('loses its address, label and calendars too, and keeps its id, provider, vendor and status', async () => {
    const [world] = await open('erase names')
    await using _world = world
    const columns = (name: string) => ({ vendor_account_id: `'${name}@x'`, account_label: `'${name}'` })
    const [gone, kept] = [await connectOne(world, columns('ann')), await connectOne(world, columns('bob'))]
    await world.addCalendars(gone, 'her work')
    await world.addCalendars(kept, 'his work')
    await world.db.query(
      `insert into channel_notices (vendor, channel_id, kind, connection_id) values ('google', 'her channel', 'seen', $1)`,
      [gone],
    )
    await disconnect(world, gone)
    expect(await names(world)).toEqual([
      'ann',
      'ann@x',
      'bob',
      'bob@x',
      'her channel',
      'her work',
      'his work',
    ])
    expect(await erase(world)).toBe(1)
    expect(await names(world)).toEqual(['bob', 'bob@x', 'his work'])
    const { rows } = await world.db.query(
      `select id, vendor, status, provider_id is not null as "isOwned" from external_calendar_connections where id = $1`,
      [gone],
    )
    expect(rows).toEqual([{ id: gone, vendor: 'google', status: 'disconnected', isOwned: true }])
  })

  test('keeps its grant while its person consents again, which a revocation would end too; not for longer', async () => {
    const [world, vendor] = await open('erase consent')
    await using _world = world
    const id = await connectOne(world)
    await disconnect(world, id)
    await consents(world, id)
    expect([await erase(world), vendor.revoked]).toEqual([0, []])
    await world.db.query(`update oauth_flows set link_used_at = link_used_at - interval '3 minutes'`)
    expect([await erase(world), vendor.revoked]).toEqual([1, [`refresh of ${id}`]])
  })

  test('is erased in ten minutes also beside a consent, and then its grant is left as it is', async () => {
    const [world, vendor] = await open('erase consent late')
    await using _world = world
    const id = await connectOne(world)
    await disconnect(world, id)
    await consents(world, id)
    await world.db.query(
      `update external_calendar_connections set disconnected_at = disconnected_at - interval '11 minutes' where id = $1`,
      [id],
    )
    expect([await erase(world), vendor.revoked, await credentials(world)]).toEqual([1, [], []])
  })

  test('of an older version, whose credentials went long ago, loses its names at the next run', async () => {
    const [world, vendor] = await open('erase old')
    await using _world = world
    await world.connect({ vendor_account_id: `'old@x'`, status: `'disconnected'` })
    expect(await erase(world)).toBe(1)
    expect([await names(world), vendor.revoked]).toEqual([[], []])
    expect(await erase(world)).toBe(0)
  })

  test('has nothing held for it, while others have', async () => {
    const [world] = await open('erase held')
    await using _world = world
    const [gone, kept] = [await connectOne(world), await connectOne(world)]
    await disconnect(world, gone)
    // As a refusal does that comes beside the disconnect.
    await world.db.query(`insert into held_requests (connection_id, gate) values ($1, 'x'), ($2, 'x')`, [
      gone,
      kept,
    ])
    await erase(world)
    const { rows } = await world.db.query('select connection_id from held_requests')
    expect(rows).toEqual([{ connection_id: kept }])
    await holdRequests(world.db, [{ connectionId: gone, gate: 'CALENDAR_WEBHOOK_ENABLED' }])
    expect((await world.db.query('select from held_requests')).rows).toHaveLength(1)
  })

  test('is asked for again ever less often while the vendor is away, and erased after ten minutes', async () => {
    const [world, vendor] = await open('erase away')
    await using _world = world
    const gone = await connectOne(world)
    await world.addCalendars(gone, 'a')
    await maintainChannels(world.deps, NEVER)
    await disconnect(world, gone)
    const away = () => {
      throw new Failure('vendor/unavailable')
    }
    Object.assign(vendor.answers, { stop: away, revoke: away })
    // Two minutes are left for the real time that this takes: the database clock goes on meanwhile.
    for (let second = 0; second < 480; second += 5) {
      await maintainChannels(world.deps, NEVER)
      expect(await erase(world)).toBe(0)
      await world.advance(5000)
    }
    expect(vendor.revoked).toEqual([])
    expect(vendor.stopped.length).toBeGreaterThan(4)
    expect(vendor.stopped.length).toBeLessThan(20)
    await world.advance(2 * MINUTE)
    expect(await erase(world)).toBe(1)
    expect(vendor.revoked.length).toBe(1)
    expect([await credentials(world), await world.channels()]).toEqual([[], []])
  })

  test('whose vendor fails to take the grant back is asked again, then done', async () => {
    const [world, vendor] = await open('erase retry')
    await using _world = world
    await disconnect(world, await connectOne(world))
    vendor.answers.revoke = () => {
      throw new Failure('vendor/unavailable')
    }
    expect(await erase(world)).toBe(0)
    expect(await erase(world)).toBe(0)
    expect(vendor.revoked.length).toBe(1)
    vendor.answers = {}
    await world.advance(10_000)
    expect(await erase(world)).toBe(1)
    expect(vendor.revoked.length).toBe(2)
  })

  test('is erased after ten minutes also while the jobs are switched off, and not revoked before', async () => {
    const [world, vendor] = await open('erase gates')
    await using _world = world
    await disconnect(world, await connectOne(world))
    world.closed.add('CALENDAR_JOBS_ENABLED')
    expect(await erase(world)).toBe(0)
    await world.advance(10 * MINUTE + 1000)
    expect(await erase(world)).toBe(1)
    expect([vendor.revoked, await credentials(world)]).toEqual([[], []])
  })

  test('that another provider holds too keeps the grant that both share', async () => {
    const [world, vendor] = await open('erase shared')
    await using _world = world
    const gone = await connectOne(world, { vendor_account_id: `'shared'` })
    const kept = await connectOne(world, { vendor_account_id: `'shared'` })
    await disconnect(world, gone)
    expect(await erase(world)).toBe(1)
    expect([vendor.revoked, await credentials(world)]).toEqual([[], [kept]])
    await disconnect(world, kept)
    expect(await erase(world)).toBe(1)
    expect(vendor.revoked).toEqual([`refresh of ${kept}`])
  })

  test('that was connected again while the vendor was asked keeps its new credentials', async () => {
    const [world, vendor] = await open('erase again')
    await using _world = world
    const back = await connectOne(world)
    await disconnect(world, back)
    const reconnect = () =>
      world.db.query(`
        update external_calendar_connections set status = 'active', disconnected_at = null;
        update connection_credentials set version = version + 1`)
    vendor.answers.revoke = reconnect
    expect(await erase(world)).toBe(0)
    expect(await credentials(world)).toEqual([back])
    await world.advance(11 * MINUTE)
    expect(await erase(world)).toBe(0)
    expect(vendor.revoked.length).toBe(1)
  })
})
