// A Microsoft connection through the real services: first sync, changes that nobody was notified
// of, series in all their ways of changing, deletion. Tables and folded topics must equal the
// vendor's own truth each time.
import { SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000

let world: World
let account: Account

beforeAll(async () => {
  world = await openWorld({ label: 'microsoft' })
  // Notifications never come: changes are found because somebody asks.
  await world.admin('POST', '/admin/notifications', { paused: true })
  await Promise.all(
    (['relay', 'retry', 'sync', 'ingress', 'scheduler'] as const).map((name) => world.start(name)),
  )
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})

/** As an app does whose person presses "sync". */
async function askForSync({ providerId }: Account): Promise<void> {
  const token = await new SignJWT({ provider_id: providerId })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(world.env['API_JWT_SECRET']))
  await eventually('the sync API to accept', async () => {
    const response = await fetch(`${world.env['PUBLIC_URL']}/api/calendar/sync`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ provider_id: providerId }),
    })
    await response.body?.cancel()
    return response.status === 202
  })
}

const eventsOf = ({ accountId, calendars }: Account) =>
  `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendars[0]?.id ?? '')}/events`
/** Whole seconds: the truth is told in Google's words, which have no finer ones. */
const moment = (at: number) => ({
  dateTime: `${new Date(at).toISOString().slice(0, 19)}Z`,
  timeZone: 'Europe/Berlin',
})
const times = (inDays: number) => {
  const start = Date.now() + inDays * 24 * HOUR_MS
  return { start: moment(start), end: moment(start + HOUR_MS) }
}

async function changed(
  account: Account,
  method: 'PATCH' | 'DELETE',
  id: string,
  body?: object,
): Promise<void> {
  await world.admin(method, `${eventsOf(account)}/${encodeURIComponent(id)}`, body)
}

async function converges(account: Account): Promise<void> {
  await askForSync(account)
  await expectConverged(world, [account])
}

async function titlesOf({ connectionId }: Account, seriesId: string): Promise<string[]> {
  const rows = await look<{ title: string }>(
    world.env['POSTGRES_URL'] ?? '',
    'select distinct title from external_calendar_events where connection_id = $1 and series_id = $2',
    [connectionId, seriesId],
  )
  return rows.map(({ title }) => title)
}

test(
  'a Microsoft account is read whole, page by page, and stays equal through every kind of change',
  { timeout: 240_000 },
  async () => {
    await world.admin('POST', '/admin/paging', {
      pageSizeMax: 20,
      shortPages: 'sometimes',
      emptyPages: 'sometimes',
    })
    account = await world.connect({ vendor: 'microsoft', calendars: 2, eventsPerCalendar: 80 })
    await expectConverged(world, [account])

    const { id: single } = await world.admin<{ id: string }>('POST', eventsOf(account), {
      ...times(3),
      summary: 'once',
    })
    const { id: series } = await world.admin<{ id: string }>('POST', eventsOf(account), {
      ...times(4),
      summary: 'daily',
      recurrence: ['RRULE:FREQ=DAILY;COUNT=6'],
    })
    await converges(account)
    expect(await titlesOf(account, series)).toEqual(['daily'])

    await changed(account, 'PATCH', single, { summary: 'once, renamed' })
    await changed(account, 'PATCH', series, { summary: 'daily, renamed' })
    await converges(account)
    expect(await titlesOf(account, series)).toEqual(['daily, renamed'])

    const occurrences = await look<{ id: string }>(
      world.env['POSTGRES_URL'] ?? '',
      'select vendor_event_id as id from external_calendar_events where series_id = $1 order by start_at',
      [series],
    )
    await changed(account, 'DELETE', occurrences[1]!.id)
    await changed(account, 'PATCH', occurrences[2]!.id, { summary: 'an exception' })
    await converges(account)
    expect((await titlesOf(account, series)).toSorted()).toEqual(['an exception', 'daily, renamed'])

    await changed(account, 'PATCH', single, { recurrence: ['RRULE:FREQ=WEEKLY;COUNT=3'] })
    await changed(account, 'PATCH', series, { ...times(730) })
    await converges(account)
    expect(await titlesOf(account, single)).toEqual(['once, renamed'])

    await changed(account, 'DELETE', series)
    await changed(account, 'DELETE', single)
    await converges(account)
  },
)

test(
  'a discarded delta link is read again in full, and an unchanged calendar publishes nothing',
  { timeout: 180_000 },
  async () => {
    const version = async () => {
      const [row] = await look<{ version: string; synced: string }>(
        world.env['POSTGRES_URL'] ?? '',
        'select version, last_synced_at::text as synced from external_calendar_connections where id = $1',
        [account.connectionId],
      )
      return row!
    }
    const before = await version()
    await world.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
    await askForSync(account)
    await eventually('a sync to end', async () => (await version()).synced !== before.synced)
    expect((await version()).version).toBe(before.version)
    await expectConverged(world, [account])
  },
)

test(
  'changes under load are rung for by Graph and arrive without anybody asking',
  { timeout: 180_000 },
  async () => {
    await eventually('the channels to open', async () => {
      const [row] = await look<{ open: number }>(
        world.env['POSTGRES_URL'] ?? '',
        `select count(*)::int as open from channels where status = 'open'`,
      )
      return row?.open === account.calendars.length
    })
    await world.admin('POST', '/admin/notifications', { paused: false })
    const { loadId } = await world.admin<{ loadId: string }>('POST', '/admin/load', {
      changesPerSecond: 15,
      durationMs: 8_000,
      seed: 7,
    })
    await eventually(
      'the load to end',
      async () => (await world.admin<{ done: boolean }>('GET', `/admin/load/${loadId}`)).done,
    )
    await expectConverged(world, [account])
  },
)
