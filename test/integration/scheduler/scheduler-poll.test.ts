// Calendars without a channel are rung every two minutes, and only they.
import { describe, expect, test } from 'vitest'
import { SILENT_FINDS } from '#shared/store/channels.ts'
import { poll } from '../../../services/scheduler/ringing/poll-unwatched.ts'
import { eventually } from '../../support/eventually.ts'
import { openSchedulerWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000

async function watch(world: SchedulerWorld, calendar: string, expires = '7 days'): Promise<void> {
  await world.db.query(
    `insert into channels (id, connection_id, calendar_id, vendor, status, opened_at, expires_at)
     select gen_random_uuid()::text, connection_id, id, 'google', 'open', calstream_now(), calstream_now() + $2::interval
       from external_calendars where id = $1`,
    [calendar, expires],
  )
}

describe('the poll', () => {
  test('rings the calendars without a channel every 2 min ± 20 %, by their own names', async () => {
    await using world = await openSchedulerWorld('poll')
    const [id] = await world.connect({})
    const [watched, holidays, lost] = await world.addCalendars(id!, 'watched', 'holidays', 'lost')
    await watch(world, watched!)
    await watch(world, lost!, '-1 second')
    await world.db.query(`update external_calendars set push_supported = false where id = $1`, [holidays])
    expect(await poll(world.deps, NEVER)).toBe(2)
    expect(await poll(world.deps, NEVER)).toBe(0)
    await eventually('both are rung', async () => (await world.rung()).length === 2)
    const rung = await world.rung()
    expect(new Set(rung.map((ring) => ring.calendarId))).toEqual(new Set([holidays, lost]))
    for (const ring of rung) {
      expect(ring).toMatchObject({ connectionId: id, reason: 'reconcile' })
      expect(ring.asOf).not.toBeNull()
    }
    await world.advance(1.5 * MINUTE)
    expect(await poll(world.deps, NEVER)).toBe(0)
    await world.advance(MINUTE)
    // The same unit reads both: they are due together.
    expect(await poll(world.deps, NEVER)).toBe(2)
    await watch(world, lost!)
    await world.advance(3 * MINUTE)
    expect(await poll(world.deps, NEVER)).toBe(1)
  })

  test('rings a calendar whose channel is silent as one without', async () => {
    await using world = await openSchedulerWorld('poll silent')
    const [id] = await world.connect({})
    const [silent, heard] = await world.addCalendars(id!, 'silent', 'heard')
    for (const [calendar, finds] of [
      [silent, SILENT_FINDS],
      [heard, SILENT_FINDS - 1],
    ] as const) {
      await watch(world, calendar!)
      await world.db.query('update external_calendars set unrung_finds = $2 where id = $1', [calendar, finds])
    }
    expect(await poll(world.deps, NEVER)).toBe(1)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect((await world.rung())[0]!.calendarId).toBe(silent)
  })

  test('leaves alone what others ring, what nobody wants and what a gate closes', async () => {
    await using world = await openSchedulerWorld('poll others')
    const ids = await world.connect(
      { sync_needed: 'true' },
      { backoff_until: `calstream_now() + interval '1 minute'` },
      { status: `'needs_reauth'` },
      {},
      {},
      {},
    )
    for (const id of ids) await world.addCalendars(id, 'a')
    await world.db.query(
      `update external_calendars set failures = 1, read_needed = true where connection_id = $1`,
      [ids[5]],
    )
    const [hidden] = await world.addCalendars(ids[4]!, 'hidden')
    await world.db.query(`update external_calendars set selected = false where connection_id = $1`, [ids[3]])
    await world.db.query(`update external_calendars set removal_reason = 'x' where id = $1`, [hidden])
    world.closed.add('CALENDAR_SYNC_ENABLED')
    expect(await poll(world.deps, NEVER)).toBe(0)
    world.closed.clear()
    expect(await poll(world.deps, NEVER)).toBe(1)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    expect((await world.rung())[0]!.connectionId).toBe(ids[4])
  })

  test('gets through more than a page of connections, and spreads them', async () => {
    await using world = await openSchedulerWorld('poll many')
    const ids = await world.connect(...Array.from({ length: 250 }, () => ({})))
    await world.db.query(
      `insert into external_calendars (connection_id, vendor_calendar_id) select unnest($1::uuid[]), 'a'`,
      [ids],
    )
    expect(await poll(world.deps, NEVER)).toBe(250)
    const { rows } = await world.db.query<{ seconds: number }>(
      `select extract(epoch from poll_at - calstream_now())::float8 as seconds from external_calendars`,
    )
    const seconds = rows.map((row) => row.seconds)
    expect(Math.min(...seconds)).toBeGreaterThan(85)
    expect(Math.max(...seconds)).toBeLessThanOrEqual(144)
    expect(Math.max(...seconds) - Math.min(...seconds)).toBeGreaterThan(24)
  })
})
