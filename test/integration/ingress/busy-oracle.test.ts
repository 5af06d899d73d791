// Busy over HTTP, from rows that the real services wrote, against what the play vendors answer over
// HTTP themselves: freeBusy of every calendar that is chosen, getSchedule of a mailbox. Only owned
// calendars are chosen by themselves.
import { SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ORACLE_ZONES } from '../../support/busy-oracle.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const DAY_MS = 86_400_000
const ACCOUNTS = 4
/** Few enough that most hours of a day are nobody else's. */
const EVENTS = 12

let world: World

beforeAll(async () => {
  world = await openWorld({ label: 'busy_oracle' })
  await Promise.all(
    (['relay', 'retry', 'sync', 'ingress', 'scheduler'] as const).map((name) => world.start(name)),
  )
})
afterAll(() => world?.[Symbol.asyncDispose]())

/** On a machine that is busy with other things. */
const SETTLED_MS = 90_000
const TEST_MS = 600_000

const START = Math.ceil(Date.now() / DAY_MS) * DAY_MS
const FROM = new Date(START).toISOString()
const TO = new Date(START + 55 * DAY_MS).toISOString()

interface Span {
  readonly start: string
  readonly end: string
}

async function api<T>(account: Account, method: string, path: string, body?: object): Promise<T> {
  const token = await new SignJWT({ provider_id: account.providerId })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(world.env['API_JWT_SECRET']))
  return json<T>(`${world.env['PUBLIC_URL']}${path}`, method, token, body)
}

async function json<T>(url: string, method: string, token: string, body?: object): Promise<T> {
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  expect(response.ok, `${method} ${url}: ${text}`).toBe(true)
  return JSON.parse(text) as T
}

/** A token of the account, as its vendor gives it to anybody with a grant. */
async function tokenOf({ accountId, vendor }: Account): Promise<string> {
  const { accounts } = await world.admin<{ accounts: readonly Record<string, string>[] }>(
    'GET',
    '/admin/accounts',
  )
  const { refreshToken, clientId, clientSecret } =
    accounts.find((one) => one['accountId'] === accountId) ?? {}
  const form = {
    grant_type: 'refresh_token',
    refresh_token: refreshToken!,
    client_id: clientId!,
    client_secret: clientSecret!,
  }
  const { googleUrl, microsoftUrl } = world.simulator
  const url = vendor === 'google' ? `${googleUrl}/token` : `${microsoftUrl}/common/oauth2/v2.0/token`
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(form) })
  const { access_token: token } = (await response.json()) as { access_token: string }
  return token
}

async function theirs(account: Account, calendars: readonly string[]): Promise<readonly Span[]> {
  const token = await tokenOf(account)
  const { googleUrl, microsoftUrl } = world.simulator
  if (account.vendor === 'google') {
    const asked = { timeMin: FROM, timeMax: TO, items: calendars.map((id) => ({ id })) }
    const answer = await json<{ calendars: Record<string, { busy: Span[] }> }>(
      `${googleUrl}/calendar/v3/freeBusy`,
      'POST',
      token,
      asked,
    )
    return calendars.flatMap((id) => answer.calendars[id]!.busy)
  }
  const time = (iso: string) => ({ dateTime: iso.slice(0, 19), timeZone: 'UTC' })
  const asked = { schedules: [account.email], startTime: time(FROM), endTime: time(TO) }
  type Item = { status: string; start: { dateTime: string }; end: { dateTime: string } }
  const { value } = await json<{ value: [{ scheduleItems: Item[] }] }>(
    `${microsoftUrl}/v1.0/me/calendar/getSchedule`,
    'POST',
    token,
    asked,
  )
  return value[0].scheduleItems
    .filter(({ status }) => status !== 'free' && status !== 'workingElsewhere')
    .map(({ start, end }) => ({
      start: `${start.dateTime.slice(0, 23)}Z`,
      end: `${end.dateTime.slice(0, 23)}Z`,
    }))
}

/** Cut, sorted and joined, in the words of the API. */
function merged(spans: readonly Span[]): readonly Span[] {
  const cut = spans
    .map(
      ({ start, end }) =>
        [Math.max(Date.parse(start), START), Math.min(Date.parse(end), Date.parse(TO))] as const,
    )
    .filter(([start, end]) => start < end)
    .toSorted(([a], [b]) => a - b)
  const joined: [number, number][] = []
  for (const [start, end] of cut) {
    const last = joined.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end)
    else joined.push([start, end])
  }
  return joined.map(([start, end]) => ({
    start: new Date(start).toISOString(),
    end: new Date(end).toISOString(),
  }))
}

async function settled(account: Account): Promise<void> {
  await eventually(
    'every chosen calendar to be read',
    async () => {
      const rows = await look<{ needed: boolean; isRead: boolean; error: string | null }>(
        world.env['POSTGRES_URL'] ?? '',
        `select c.sync_needed as needed, k.last_read_at is not null and k.checkpoint is null as "isRead",
              coalesce(k.last_error, c.last_error) ->> 'message' as error
         from external_calendar_connections c join external_calendars k on k.connection_id = c.id and k.selected
        where c.id = $1`,
        [account.connectionId],
      )
      const isDone = rows.length > 0 && rows.every(({ needed, isRead }) => !needed && isRead)
      if (!isDone) throw new Error(JSON.stringify(rows))
      return true
    },
    SETTLED_MS,
  )
}

interface Listed {
  readonly calendars: readonly {
    readonly id: string
    readonly role: string
    readonly primary: boolean
    readonly selected: boolean
  }[]
}

const ours = (account: Account) =>
  api<{ busy: Span[]; stale: boolean }>(
    account,
    'GET',
    `/api/calendar/busy?${new URLSearchParams({ from: FROM, to: TO, connection_id: account.connectionId }).toString()}`,
  )

test(
  'busy of an account is what its vendor answers for the calendars that are chosen',
  { timeout: TEST_MS },
  async () => {
    for (let number = 0; number < ACCOUNTS; number += 1) {
      const timeZone = ORACLE_ZONES[(number * 5) % ORACLE_ZONES.length]!
      const roles = ['owner', 'reader', 'freeBusyReader', 'writer'].map((accessRole) => ({
        accessRole,
        timeZone,
      }))
      const size = { eventsPerCalendar: EVENTS, claims: true }
      const google = await world.connect({ ...size, vendor: 'google', calendars: roles })
      const microsoft = await world.connect({ ...size, vendor: 'microsoft', calendars: [{ timeZone }] })
      for (const account of [google, microsoft]) await settled(account)
      const own = google.calendars.slice(0, 1).map(({ id }) => id)
      expect((await ours(google)).busy).toEqual(merged(await theirs(google, own)))
      expect((await ours(microsoft)).busy).toEqual(merged(await theirs(microsoft, [])))
      const { calendars } = await api<Listed>(
        google,
        'GET',
        `/api/calendar/connections/${google.connectionId}`,
      )
      const chosen = new Map(calendars.map(({ role, primary, selected }) => [role, primary && selected]))
      expect(Object.fromEntries(chosen)).toEqual({
        owner: true,
        reader: false,
        free_busy_reader: false,
        writer: false,
      })
      expect(calendars.filter(({ selected }) => selected)).toHaveLength(1)
      // A person chooses the others too.
      for (const { id, selected } of calendars)
        if (!selected)
          await api(google, 'PATCH', `/api/calendar/connections/${google.connectionId}/calendars/${id}`, {
            selected: true,
          })
      await settled(google)
      const all = await theirs(
        google,
        google.calendars.map(({ id }) => id),
      )
      expect((await ours(google)).busy).toEqual(merged(all))
      expect(merged(all)).not.toEqual(merged(await theirs(google, own)))
    }
  },
)
