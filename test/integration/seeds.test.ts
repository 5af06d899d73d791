// The drills' SQL, curl and TypeScript, unmodified, against running services: what operators paste
// works, and says what their runbook expects. Each expectation has its control: the same snippet
// before the switch, or after the heal.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { setAllowlist, setToggle, SWITCHES } from '#shared/gates/seed-toggles.ts'
import { SERVICES } from '../../infra/stack/services.ts'
import { expectConverged } from '../support/converged.ts'
import { eventually } from '../support/eventually.ts'
import { startOwnUnleash } from '../support/stack.ts'
import { look, openWorld, type Account, type World } from '../support/world.ts'
import { runCurl, runSql, runTypeScript, type Place } from './seeds/run.ts'

const EVENTS = 120
const LISTING = '/events$'
/** A flag server of its own, five processes and a first sync. */
const START_MS = 240_000
const signal = () => AbortSignal.timeout(20_000)

interface StateRow {
  readonly id: string
  readonly provider_id: string
  readonly sync_needed: boolean
  readonly last_synced_at: Date | null
  readonly error_count: number
  readonly last_error: { readonly code?: string; readonly message?: string } | null
  readonly backoff_until: Date | null
}

let unleash: Awaited<ReturnType<typeof startOwnUnleash>>
let world: World
let account: Account
let place: Place

beforeAll(async () => {
  unleash = await startOwnUnleash()
  world = await openWorld({
    label: 'seeds',
    env: { UNLEASH_URL: unleash.url, UNLEASH_TOKEN: unleash.tokens.backend },
  })
  await Promise.all(SERVICES.map((name) => world.start(name)))
  account = await world.connect({ calendars: 1, eventsPerCalendar: EVENTS })
  await letIn()
  place = { host: world.env['PUBLIC_URL'] ?? '', providerId: account.providerId, token: await tokenOf() }
  await expectConverged(world, [account])
}, START_MS)
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await unleash[Symbol.asyncDispose]()
})
beforeEach(async () => {
  await world.admin('DELETE', '/admin/faults')
  for (const name of SWITCHES) await setToggle(unleash, name, true, signal())
  await letIn()
  await eventually('the services to see the gates open', async () => (await askForSync()) === 202)
})

async function letIn(): Promise<void> {
  await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [account.providerId], signal())
  await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', [account.connectionId], signal())
}

function tokenOf(): Promise<string> {
  return new SignJWT({ provider_id: account.providerId })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(world.env['API_JWT_SECRET']))
}

async function askForSync(): Promise<number> {
  const [answer] = await runCurl('allowlist-removal.sh', place)
  return answer?.status ?? 0
}

const rows = (name: string) => runSql<StateRow>(name, place, world.env['POSTGRES_URL'] ?? '')

async function held(): Promise<number> {
  const [row] = await look<{ count: string }>(
    world.env['POSTGRES_URL'] ?? '',
    'select count(*) from held_requests where connection_id = $1',
    [account.connectionId],
  )
  return Number(row?.count)
}

async function changeCalendar(): Promise<void> {
  const calendar = encodeURIComponent(account.calendars[0]!.id)
  await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {})
}

function errorLines(): readonly string[] {
  return SERVICES.flatMap((name) =>
    readFileSync(path.join(world.folder, 'logs', `${name}.log`), 'utf8')
      .split('\n')
      .filter((line) => /"level":"(?:error|fatal)"|"level":[56]0/.test(line)),
  )
}

function flagLines(env: Readonly<Record<string, string>> = {}): Promise<readonly string[]> {
  const { UNLEASH_URL = '', UNLEASH_TOKEN = '' } = world.env
  return runTypeScript('allowlist-removal.ts.txt', place, { UNLEASH_URL, UNLEASH_TOKEN, ...env })
}

describe('sync disabled in the middle of its work', () => {
  test('leaves a row that is consistent, no part of a page, and goes on when it is enabled', async () => {
    await world.admin('POST', '/admin/faults', { match: { path: LISTING }, times: 1, delayMs: 4_000 })
    await changeCalendar()
    expect(await askForSync()).toBe(202)
    await eventually('a call under way', async () => {
      const { faults } = await world.admin<{ faults: readonly { hits: number }[] }>('GET', '/admin/faults')
      return faults.some(({ hits }) => hits > 0)
    })
    await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', false, signal())
    await eventually('new operations to be blocked', async () => (await askForSync()) === 403)
    const [row, ...more] = await rows('disabled-mid-operation.sql')
    expect(more).toEqual([])
    expect(row).toMatchObject({
      id: account.connectionId,
      provider_id: account.providerId,
      error_count: 0,
    })
    // Either the page in flight was saved whole, or it is owed;
    // the refusal above is kept in both cases.
    expect(await held()).toBe(1)
    await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', true, signal())
    await expectConverged(world, [account])
    const [after] = await rows('disabled-mid-operation.sql')
    expect(after).toMatchObject({ sync_needed: false, error_count: 0 })
    expect(errorLines()).toEqual([])
  })
})

describe('a provider taken off the allowlist', () => {
  test('is refused in the words of the runbook, its rows stay, and the flag functions say false', async () => {
    expect(await flagLines()).toEqual(['Sync enabled: true', 'Provider allowed: true'])
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [], signal())
    await eventually('the refusal', async () => (await askForSync()) === 403)
    const [answer] = await runCurl('allowlist-removal.sh', place)
    expect(JSON.parse(answer?.body ?? '')).toMatchObject({ error: 'Provider not allowed' })
    expect(await flagLines()).toEqual(['Sync enabled: false', 'Provider allowed: false'])
    expect(await rows('disabled-mid-operation.sql')).toHaveLength(1)
    const [count] = await look<{ count: string }>(
      world.env['POSTGRES_URL'] ?? '',
      'select count(*) from external_calendar_events where connection_id = $1',
      [account.connectionId],
    )
    expect(Number(count?.count)).toBeGreaterThan(0)
    expect(errorLines()).toEqual([])
  })

  test('by a cap of the environment is not let in by any toggle', async () => {
    expect(await flagLines({ CALENDAR_SYNC_ENABLED: 'false' })).toEqual([
      'Sync enabled: false',
      'Provider allowed: true',
    ])
    expect(await flagLines({ CALENDAR_ALLOWLIST_PROVIDER_IDS: '' })).toEqual([
      'Sync enabled: false',
      'Provider allowed: false',
    ])
  })
})

describe('all four flags off', () => {
  test('every endpoint of the runbook answers 403, without an ERROR in the logs', async () => {
    const before = await runCurl('rollback.sh', place)
    // Open doors look at what is sent: no provider is named, no token is there, no link is given.
    expect(before.map(({ status }) => status)).not.toContain(403)
    expect(before).toHaveLength(3)
    for (const name of SWITCHES) await setToggle(unleash, name, false, signal())
    await eventually('three refusals', async () =>
      (await runCurl('rollback.sh', place)).every(({ status }) => status === 403),
    )
    expect((await runCurl('rollback.sh', place)).map(({ status }) => status)).toEqual([403, 403, 403])
    expect(errorLines()).toEqual([])
  })
})

describe('the vendor answers 503', () => {
  test('the queries of both runbooks show the failure and its backoff, and after the heal it is forgotten', async () => {
    await expectConverged(world, [account])
    const { faultId } = await world.admin<{ faultId: string }>('POST', '/admin/faults', {
      match: { path: LISTING },
      respond: { status: 503 },
    })
    await changeCalendar()
    expect(await askForSync()).toBe(202)
    const [partial] = await eventually('a recorded failure', async () => {
      const found = await rows('partial-failure.sql')
      return (found[0]?.error_count ?? 0) > 0 && found
    })
    expect(partial?.last_error).toMatchObject({ code: 'vendor/unavailable', message: expect.any(String) })
    expect(partial?.backoff_until).toBeInstanceOf(Date)
    const [outage] = await rows('vendor-outage.sql')
    expect(outage).toMatchObject({ provider_id: account.providerId, sync_needed: true })
    expect(outage?.error_count).toBeGreaterThan(0)
    await world.admin('DELETE', `/admin/faults/${faultId}`)
    await expectConverged(world, [account])
    const [healed] = await rows('vendor-outage.sql')
    expect(healed).toMatchObject({
      error_count: 0,
      last_error: null,
      backoff_until: null,
      sync_needed: false,
    })
    expect(errorLines()).toEqual([])
  })
})
