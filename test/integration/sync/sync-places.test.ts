// Runs that get nowhere, at both vendors: a place that is dead is left, a run without end is broken
// off, and the other calendars are read in the same unit.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { putCalendars } from '#shared/store/connect.ts'

import { openSyncWorld, READ, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'
import { PLACE_LASTS_MS } from '../../../services/sync/unit/place-rules.ts'

/** More than tens of calls is too late. */
const TENS = 45
const LISTING = { google: '/events$', microsoft: '/calendarView(/delta)?$' } as const

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync places')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

async function fault(account: Account, spec: object, match: object = {}): Promise<void> {
  await world.world.admin('POST', '/admin/faults', {
    ...spec,
    match: { operation: 'list', calendarId: account.calendars[0]!.id, ...match },
  })
}

/**
 * The backoff is over; three of them, as a rule,
 * are longer than what a place that fails has to last.
 */
async function passBackoff(account: Account): Promise<void> {
  await world.endBackoff(account)
  await world.sql(
    `update external_calendars set place_failing_since = place_failing_since - $2::float8 * interval '1 millisecond'
      where connection_id = $1`,
    [account.connectionId, PLACE_LASTS_MS / 2],
  )
}

/** Units for as long as something is owed, each after the backoff of the last. */
async function until(account: Account, isWell: () => Promise<boolean>, units = 8): Promise<number> {
  for (let n = 1; n <= units; n += 1) {
    await world.sync(account)
    await passBackoff(account)
    if (await isWell()) return n
  }
  return expect.unreachable(`not well after ${units} units`)
}

const row = async (account: Account) => {
  const [found] = await world.sql<Record<string, unknown>>(
    `select cursor is not null as cursor, checkpoint is not null as checkpoint, reading, place_failures, fresh_starts
       from external_calendars where connection_id = $1 and vendor_calendar_id = $2`,
    [account.connectionId, account.calendars[0]!.id],
  )
  return found!
}

const listed = async (account: Account) => world.calls(account, LISTING[account.vendor])
const isRead = async (account: Account) => (await row(account))['cursor'] === true

describe.each(['google', 'microsoft'] as const)('at %s', (vendor) => {
  test.each([
    ['a page of a first read', { hasPageToken: true }, 503],
    ['a page of a first read, in words of refusal', { hasPageToken: true }, 403],
    ['a page of a first read, in words of absence', { hasPageToken: true }, 404],
  ])('%s that is dead is left after a few tries', async (_what, match, status) => {
    const account = await world.connect({ vendor, calendars: 2, eventsPerCalendar: 30 })
    await world.pageSize(10)
    await fault(account, { onePlace: true, respond: { status } }, match)
    const units = await until(account, () => isRead(account))
    expect(units).toBe(3)
    expect(await row(account)).toMatchObject({ reading: 'small-pages', place_failures: 0, checkpoint: false })
    expect(await world.differences(account)).toEqual([])
    // The place was asked three times, and what is read again is a handful of pages.
    const calls = (await listed(account)).filter((call) =>
      call.path.includes(encodeURIComponent(account.calendars[0]!.id)),
    )
    expect(calls.length).toBeLessThanOrEqual(TENS)
  })

  test('a cursor that is dead is left only while the start answers', async () => {
    const account = await world.synced({ vendor, eventsPerCalendar: 20 })
    await fault(account, { respond: { status: 500 } }, { hasSyncToken: true })
    const [held] = await world.sql<{ cursor: string }>(
      'select cursor from external_calendars where connection_id = $1',
      [account.connectionId],
    )
    // Everything fails: that is an outage, whatever is counted, and no cursor is dropped in it.
    await fault(account, { respond: { status: 500 } }, { hasSyncToken: false })
    for (let n = 0; n < 6; n += 1) {
      expect(await world.sync(account)).toMatchObject({ kind: 'failed' })
      await passBackoff(account)
    }
    const [kept] = await world.sql<{ cursor: string }>(
      'select cursor from external_calendars where connection_id = $1',
      [account.connectionId],
    )
    expect(kept).toEqual(held)
    // In six failures the start was asked once, in one way: it rests in between.
    expect(await row(account)).toMatchObject({ fresh_starts: 0, place_failures: 6 })
    const { faults } = await world.world.admin<{ faults: { faultId: string; hits: number }[] }>(
      'GET',
      '/admin/faults',
    )
    expect(faults.map(({ hits }) => hits)).toEqual([6, 1])
    await world.world.admin('DELETE', `/admin/faults/${faults[1]!.faultId}`)
    await world.sql(`update external_calendars set fresh_after = calstream_now() where connection_id = $1`, [
      account.connectionId,
    ])
    expect(await world.sync(account)).toEqual(READ)
    expect(await row(account)).toMatchObject({ place_failures: 0, fresh_starts: 1, reading: 'small-pages' })
    await world.noFaults()
    expect(await world.sync(account)).toEqual(READ)
    expect(await row(account)).toMatchObject({ fresh_starts: 0 })
    expect(await world.differences(account)).toEqual([])
  })

  test.each(['repeating', 'empty'] as const)(
    'a run that goes on %s for ever is broken off, its siblings are read in the same unit, and other pages heal it',
    async (goesOn) => {
      const account = await world.connect({ vendor, calendars: 3, eventsPerCalendar: 30 })
      await fault(account, { goesOn }, vendor === 'google' ? { itemsAtLeast: 2500 } : { itemsAtMost: 200 })
      await world.sync(account)
      const calls = (await listed(account)).filter((call) =>
        call.path.includes(encodeURIComponent(account.calendars[0]!.id)),
      )
      const siblings = await world.sql<{ read: boolean }>(
        `select cursor is not null as read from external_calendars where connection_id = $1 and vendor_calendar_id <> $2`,
        [account.connectionId, account.calendars[0]!.id],
      )
      expect(siblings).toEqual([{ read: true }, { read: true }])
      expect(calls.length).toBeLessThanOrEqual(TENS)
      expect(await row(account)).toMatchObject({ cursor: false, checkpoint: false, reading: 'other-pages' })
      await world.endBackoff(account)
      await world.sync(account)
      expect(await row(account)).toMatchObject({ cursor: true, reading: 'other-pages' })
      expect(await world.differences(account)).toEqual([])
    },
  )

  test('a calendar whose changes never end is listed plainly, rests in between, and goes back to changes as soon as they end', async () => {
    const account = await world.connect({ vendor, eventsPerCalendar: 30 })
    const endless = vendor === 'google' ? { itemsAtLeast: 501 } : { path: 'delta$' }
    await fault(account, { goesOn: 'repeating' }, endless)
    for (const reading of ['other-pages', 'plain']) {
      expect(await world.sync(account)).toEqual(failedWith('vendor/no-progress'))
      await world.endBackoff(account)
      expect(await row(account)).toMatchObject({ reading })
    }
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
    await listed(account)
    await world.sync(account)
    expect(await listed(account), 'it rests').toEqual([])
    // Whole seconds: the truth is told in Google's words, which have no finer ones.
    const at = (hours: number) => ({
      dateTime: `${new Date(Date.now() + hours * 3_600_000).toISOString().slice(0, 19)}Z`,
    })
    await world.addEvent(account, { summary: 'seen by the next listing', start: at(24), end: at(25) })
    await world.endRest(account)
    await world.sync(account)
    expect(await world.differences(account)).toEqual([])
    // When its time has come the usual way is tried first; while it leads nowhere the plain one
    // goes on in the same unit.
    const itIsTime = () =>
      world.sql(`update external_calendars set usual_from = calstream_now() where connection_id = $1`, [
        account.connectionId,
      ])
    await world.addEvent(account, { summary: 'seen after the try', start: at(26), end: at(27) })
    await itIsTime()
    await world.endRest(account)
    await listed(account)
    expect(await world.sync(account)).toEqual(READ)
    expect((await listed(account)).length, 'a try and a plain listing').toBeGreaterThan(2)
    expect(await world.differences(account)).toEqual([])
    const [next] = await world.sql<Record<string, unknown>>(
      `select reading, failures, last_error, usual_from <= calstream_now() + interval '1 hour' as "isSoon",
              usual_from > calstream_now() as "isLater", resync_after > calstream_now() as rests
         from external_calendars where connection_id = $1 and vendor_calendar_id = $2`,
      [account.connectionId, account.calendars[0]!.id],
    )
    expect(next).toEqual({
      reading: 'plain',
      failures: 0,
      last_error: null,
      isSoon: true,
      isLater: true,
      rests: true,
    })
    await world.noFaults()
    await itIsTime()
    await world.endRest(account)
    await world.sync(account)
    expect(await row(account)).toMatchObject({ reading: 'usual', cursor: true })
    expect(await world.differences(account)).toEqual([])
  })
})

test('connecting again forgets places, ways of listing and rests; what is well keeps its cursor', async () => {
  const account = await world.synced({ calendars: 3, eventsPerCalendar: 5 })
  const [ill, unfinished, well] = account.calendars.map(({ id }) => id)
  const set = (id: string | undefined, assignment: string) =>
    world.sql(
      `update external_calendars set ${assignment} where connection_id = $1 and vendor_calendar_id = $2`,
      [account.connectionId, id],
    )
  const rest = "resync_after = calstream_now() + interval '1 hour', resync_streak = 3"
  const place = "reading = 'plain', usual_from = calstream_now(), place_failures = 2, fresh_starts = 4"
  await set(ill, `${rest}, ${place}, checkpoint = '{}', fresh_after = calstream_now() + interval '1 hour'`)
  await set(
    unfinished,
    `checkpoint = '{}', sweep_below = 1, resync_after = calstream_now() + interval '1 hour'`,
  )
  const listed = account.calendars.map(({ id }, i) => ({
    vendorCalendarId: id,
    name: null,
    timeZone: null,
    accessRole: 'owner',
    primary: i === 0,
    isOwned: true,
  }))
  await world.world.database.transaction((tx) => putCalendars(tx, account.connectionId, listed))
  const rows = await world.sql(
    `select vendor_calendar_id as id, cursor is not null as cursor, checkpoint, reading, resync_after is not null as rests
       from external_calendars where connection_id = $1 and resync_streak + place_failures + fresh_starts = 0
        and usual_from is null and fresh_after is null order by created_at, id`,
    [account.connectionId],
  )
  const plain = { checkpoint: null, reading: 'usual' }
  expect(rows).toHaveLength(3)
  expect(rows).toEqual(
    expect.arrayContaining([
      { ...plain, id: ill, cursor: false, rests: false },
      // The second look that a suspicious sweep waits for keeps its time.
      { ...plain, id: unfinished, cursor: true, rests: true },
      { ...plain, id: well, cursor: true, rests: false },
    ]),
  )
})
