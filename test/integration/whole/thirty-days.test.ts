// Thirty days of a small install in minutes: one clock for vendors, database and services jumps on
// by half hours while people edit, webhooks get lost, doubled, late and out of order, tokens end
// and rotate, people revoke and come back, cursors die, vendors throttle and fail. At the end
// nothing may be missing, and on the way nobody may have been called who asked for silence.
import { SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectByConsent } from '../../../infra/demo/consent.ts'
import { createRandom, type Random } from '../../../infra/simulator/random.ts'
import { callsInsideBackoffs, type VendorCall } from '../../support/backoff-calls.ts'
import { expectConverged } from '../../support/converged.ts'
import { measured } from '../../support/measured.ts'
import { openSimulatedDays, type SimulatedDays } from '../../support/simulated-days.ts'
import { openWorld, type Account, type World } from '../../support/world.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const DAYS = 30
const STEP = 30 * MINUTE
const SEED = 'thirty-days'
/** The last one is revoked for good. */
const VENDORS = ['google', 'google', 'microsoft', 'microsoft', 'google'] as const

/** For a machine that does other work: alone it takes a fifth of this. */
const WITHIN_MS = 30 * 60_000

/** What happens to whom in a step, with this chance: a few a day each. */
const CHANCE = { change: 0.5, cursorLost: 0.01, throttled: 0.006, failing: 0.004, channelLost: 0.006 }

let world: World
let days: SimulatedDays
const accounts: Account[] = []

beforeAll(async () => {
  process.stderr.write(`thirty days, seed ${SEED}\n`)
  world = await openWorld({ label: 'thirty_days', simulator: { seed: SEED }, hasOwnGates: true })
  for (const vendor of VENDORS)
    accounts.push(await world.connect({ vendor, calendars: 2, eventsPerCalendar: 12 }))
  days = await openSimulatedDays(world, AbortSignal.timeout(WITHIN_MS))
}, WITHIN_MS)

afterAll(async () => {
  await days?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

test(
  'after thirty days of every trouble each active connection equals the truth',
  async () => {
    const random = createRandom(SEED)
    await watchBackoffs()
    await days.work()
    const began = performance.now()
    const start = days.now()
    const unnoticed: string[] = []
    let steps = 0
    for (; days.now() < start + DAYS * DAY; steps += 1) {
      await disturbNotifications(steps, random)
      await peopleComeAndGo(steps)
      for (const account of accounts) await trouble(account, random)
      await days.advance(STEP)
      await days.work()
      for (const id of await stillUnwatched()) unnoticed.push(`${id} on day ${Math.floor(steps / PER_DAY)}`)
    }
    measured(
      `${DAYS} days in ${Math.round((performance.now() - began) / 1000)} s, ${steps} steps, ${days.unrested} of them cut off`,
    )
    expect(unnoticed).toEqual([])
    await world.admin('DELETE', '/admin/faults')
    await world.admin('POST', '/admin/notifications', { drop: 0, duplicate: 0, delayMs: 0 })
    for (let calm = 0; calm < 12; calm += 1) {
      await days.advance(STEP)
      await days.work()
    }
    const states = await days.query<{ status: string }>(
      'select status from external_calendar_connections where id = $1',
      [gone().connectionId],
    )
    expect(states).toEqual([{ status: 'needs_reauth' }])
    await expectConverged(world, accounts.slice(0, -1), () => days.now())
    const early = await callsInsideBackoff()
    expect(early.slice(0, 5), `${early.length} calls inside a backoff`).toEqual([])
  },
  WITHIN_MS,
)

/** 5 % are lost, every twentieth step doubles and delays what it rings, and order is never kept. */
async function disturbNotifications(step: number, random: Random): Promise<void> {
  const twice = step % 20 === 0
  const delayMs = twice ? random.below(10) * MINUTE : 0
  await world.admin('POST', '/admin/notifications', {
    drop: 0.05,
    duplicate: twice ? 1 : 0,
    delayMs,
    reorder: true,
  })
}

const PER_DAY = DAY / STEP

/** Two people revoke and come back a day later, a third never does. */
async function peopleComeAndGo(step: number): Promise<void> {
  const [google, , microsoft] = accounts
  for (const [day, account] of [
    [5, google],
    [12, microsoft],
    [20, gone()],
  ] as const) {
    if (account && step === day * PER_DAY)
      await world.admin('POST', `/admin/accounts/${account.accountId}/revoke`)
  }
  for (const [day, account] of [
    [6, google],
    [13, microsoft],
  ] as const) {
    if (account && step === day * PER_DAY) await connectAgain(account)
  }
}

function gone(): Account {
  const last = accounts.at(-1)
  return last ?? expect.unreachable('there is no account')
}

/**
 * As the person does it: a link, the consent page, and back.
 * It has to be the same connection again.
 */
async function connectAgain(account: Account): Promise<void> {
  const bearer = await new SignJWT({ provider_id: account.providerId })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(world.env['API_JWT_SECRET']))
  const { vendor, email } = account
  await connectByConsent(
    { url: world.env['PUBLIC_URL'] ?? '', bearer },
    { vendor, email },
    AbortSignal.timeout(60_000),
  )
}

async function trouble(account: Account, random: Random): Promise<void> {
  if (random.chance(CHANCE.change)) await changeSomething(account, random)
  if (random.chance(CHANCE.cursorLost))
    await world.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
  if (random.chance(CHANCE.throttled)) {
    const seconds = 30 + random.below(1800)
    await fault(account, 1 + random.below(4), {
      status: 429,
      reason: 'rateLimitExceeded',
      headers: { 'retry-after': String(seconds) },
    })
  }
  if (random.chance(CHANCE.failing)) await fault(account, 1 + random.below(8), { status: 503 })
}

function fault(account: Account, times: number, respond: object): Promise<unknown> {
  return world.admin('POST', '/admin/faults', { match: { accountId: account.accountId }, times, respond })
}

async function changeSomething(account: Account, random: Random): Promise<void> {
  const calendar = pick(account.calendars, random)
  const events = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(calendar.id)}/events`
  const own = made.get(events) ?? []
  made.set(events, own)
  const dice = random.next()
  if (dice < 0.5 || own.length === 0) {
    const { id } = await world.admin<{ id: string }>('POST', events, {})
    own.push(id)
  } else if (dice < 0.85) await world.admin('PATCH', `${events}/${pick(own, random)}`, {})
  else {
    const [gone] = own.splice(random.below(own.length), 1)
    await world.admin('DELETE', `${events}/${gone}`)
  }
}

function pick<T>(from: readonly T[], random: Random): T {
  return from[random.below(from.length)]!
}

const made = new Map<string, string[]>()

/** Every change of a connection's backoff, by a trigger that the services know nothing of. */
async function watchBackoffs(): Promise<void> {
  await days.query(`
    create table backoff_history (
      connection_id uuid not null, at timestamptz not null default calstream_now(), backoff_until timestamptz);
    create function note_backoff() returns trigger language plpgsql security definer as $$
      begin insert into public.backoff_history values (new.id, public.calstream_now(), new.backoff_until); return null; end $$;
    create trigger note_backoff after update on external_calendar_connections for each row
      when (old.backoff_until is distinct from new.backoff_until) execute function note_backoff()`)
}

/**
 * The same after another look of the scheduler at the same moment: a calendar that a unit healed
 * after the first one gets its channel at the next, two seconds later in life.
 */
async function stillUnwatched(): Promise<string[]> {
  if ((await unwatched()).length === 0) return []
  await days.work()
  return unwatched()
}

/**
 * Calendars that nobody rings for although the vendor would:
 * their channel ended, and the scheduler has just looked.
 */
async function unwatched(): Promise<string[]> {
  const rows = await days.query<{ id: string }>(
    `select k.id from external_calendars k join external_calendar_connections c on c.id = k.connection_id
      where c.status = 'active' and (c.backoff_until is null or c.backoff_until < calstream_now() - interval '1 minute')
        and k.selected and k.push_supported and k.removal_reason is null
        and (k.channel_retry_at is null or k.channel_retry_at < calstream_now() - interval '1 minute')
        and not exists (select from channels where channels.calendar_id = k.id and channels.status = 'open'
                           and channels.expires_at > calstream_now())`,
  )
  return rows.map(({ id }) => id)
}

/** Listings of events while their connection was backing off. */
async function callsInsideBackoff(): Promise<string[]> {
  const windows = await days.query<{ connectionId: string; from: string; to: string | null }>(
    `select connection_id as "connectionId", extract(epoch from at) * 1000 as "from",
            case when backoff_until is not null then
              extract(epoch from least(backoff_until, lead(at) over (partition by connection_id order by at))) * 1000 end as "to"
       from backoff_history`,
  )
  const backoffs = windows.flatMap(({ connectionId, from, to }) =>
    to === null ? [] : { connectionId, from: Number(from), to: Number(to) },
  )
  expect(backoffs.length).toBeGreaterThan(5)
  const calls = await listings()
  expect(calls.length).toBeGreaterThan(100)
  return callsInsideBackoffs(calls, backoffs, days.jumps).map(
    ({ call, backoff }) => `${call.what}, backing off from ${iso(backoff.from)} to ${iso(backoff.to)}`,
  )
}

/** Every listing of events in the vendor's own ledger. */
async function listings(): Promise<(VendorCall & { readonly what: string })[]> {
  const calls: (VendorCall & { readonly what: string })[] = []
  for (let after = 0; ;) {
    const { requests, next, more } = await world.admin<{
      requests: { start: number; path: string; method: string; accountId: string; status: number }[]
      next: number
      more: boolean
    }>('GET', `/admin/requests?after=${after}`)
    for (const { start, path, method, accountId, status } of requests) {
      const account = accounts.find((one) => one.accountId === accountId)
      if (!account || !/\/events$|\/delta/.test(path)) continue
      const what = `${method} ${path} ${status} at ${iso(start)}`
      calls.push({ connectionId: account.connectionId, at: start, what })
    }
    if (!more) return calls
    after = next
  }
}

function iso(at: number): string {
  return new Date(at).toISOString()
}
