// No secret leaves where it belongs. Every secret of a whole life of connections (consent, sync,
// channels, refresh, failures, revocation, disconnection) is known from the wire and from the
// settings; afterwards every place that people or other services can read is searched for each of
// them. Each search proves that it can find: something that must lie in that place is found there.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { createBrowser, linkOn, type Browser } from '../../../infra/demo/browser.ts'
import type { ServiceName } from '../../../infra/stack/services.ts'
import { admit } from '../../support/admit.ts'
import { eventually } from '../../support/eventually.ts'
import { logs, processArguments, tables, topics, type Place } from '../../support/places.ts'
import { captureSecrets, type SecretCapture } from '../../support/secret-capture.ts'
import { testStack } from '../../support/stack.ts'
import { look, openWorld, type World } from '../../support/world.ts'

const SERVICES: readonly ServiceName[] = ['relay', 'retry', 'sync', 'scheduler', 'ingress']
const VENDORS = ['google', 'microsoft'] as const
type Vendor = (typeof VENDORS)[number]

/** A text in the open that must be found wherever events are. */
const PLANTED = `planted-${randomUUID()}`
const LENGTH_MIN = 12

let world: World
let capture: SecretCapture
const started: Component[] = []
const provider = randomUUID()
/** Whatever a person or a vendor was answered that was not a success, and every page. */
const answers: string[] = []
const bearers: string[] = []
const links: string[] = []
const connected = new Map<Vendor, { readonly accountId: string; readonly id: string }>()

interface MadeAccount {
  readonly accountId: string
  readonly email: string
  readonly refreshToken: string
  readonly calendars: readonly { readonly id: string }[]
}

/** One call to our API; what is not a success is kept for the search. */
async function api(
  method: string,
  route: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; text: string }> {
  const bearer = await new SignJWT({ provider_id: provider })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(world.env['API_JWT_SECRET']))
  bearers.push(bearer)
  const response = await fetch(`${world.env['PUBLIC_URL']}${route}`, {
    method,
    headers: {
      authorization: `Bearer ${bearer}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  // A link is what its caller asked for; everything else an answer may not hold.
  if (!route.endsWith('connect-links')) answers.push(text)
  return { status: response.status, text }
}

async function linkFor(vendor: Vendor): Promise<string> {
  const answer = await eventually('a link', async () => {
    const asked = await api('POST', '/api/calendar/connect-links', { vendor })
    return asked.status === 201 && asked
  })
  const { url } = JSON.parse(answer.text) as { url: string }
  links.push(new URL(url).searchParams.get('link') ?? '')
  return url
}

async function consent(browser: Browser, vendor: Vendor, email: string): Promise<void> {
  const asked = await browser.open(await linkFor(vendor))
  const opened = (await browser.press(asked, 'Continue to')) ?? asked
  const choice = linkOn(opened, email)
  const landed = choice === null ? opened : await browser.open(choice)
  answers.push(landed.text)
  expect([landed.url.pathname, landed.status]).toEqual([`/api/auth/${vendor}/calendar/callback`, 200])
}

async function rows<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
  return look<R>(world.env['POSTGRES_URL'] ?? '', sql, values)
}

async function stateOf(vendor: Vendor) {
  const [row] = await rows<{ status: string; synced: Date | null; code: string | null; errors: number }>(
    `select status, last_synced_at as synced, last_error ->> 'code' as code, error_count as errors
       from external_calendar_connections where id = $1`,
    [connected.get(vendor)?.id],
  )
  return row
}

async function connect(vendor: Vendor): Promise<MadeAccount> {
  const account = await world.admin<MadeAccount>('POST', '/admin/accounts', {
    vendor,
    calendars: 1,
    eventsPerCalendar: 10,
  })
  await consent(createBrowser(AbortSignal.timeout(60_000)), vendor, account.email)
  const [row] = await rows<{ id: string }>(
    'select id from external_calendar_connections where provider_id = $1 and vendor = $2',
    [provider, vendor],
  )
  connected.set(vendor, { accountId: account.accountId, id: row?.id ?? '' })
  return account
}

async function change(vendor: Vendor, account: MadeAccount, summary: string): Promise<void> {
  const calendar = encodeURIComponent(account.calendars[0]?.id ?? '')
  const start = Date.now() + 86_400_000
  const at = (ms: number) => ({ dateTime: new Date(ms).toISOString(), timeZone: 'UTC' })
  await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {
    summary,
    start: at(start),
    end: at(start + 3_600_000),
  })
  await api('POST', '/api/calendar/sync', { provider_id: provider })
  await eventually(`${vendor} to have read ${summary}`, async () => {
    const found = await rows(
      'select 1 from external_calendar_events where title = $1 and connection_id = $2',
      [summary, connected.get(vendor)?.id],
    )
    return found.length > 0
  })
}

/** The vendor fails in ways that put tokens under our nose: its answers repeat what we sent. */
async function fail(vendor: Vendor, account: MadeAccount): Promise<void> {
  const echo = [...(capture.found.get('access_token') ?? []), account.refreshToken].join(' ')
  const { accountId } = account
  for (const respond of [
    { status: 500, body: { error: { code: 500, message: `Bearer ${echo}`, errors: [{ reason: echo }] } } },
    { status: 401, body: { error: { code: 401, message: echo, errors: [{ reason: 'authError' }] } } },
  ]) {
    await world.admin('POST', '/admin/faults', { match: { accountId }, times: 1, respond })
    await api('POST', '/api/calendar/sync', { provider_id: provider })
    await eventually(`${vendor} to have met ${respond.status}`, async () => {
      const { faults } = await world.admin<{ faults: readonly { hits: number }[] }>('GET', '/admin/faults')
      return faults.every(({ hits }) => hits > 0)
    })
    await world.admin('DELETE', '/admin/faults')
    await eventually(
      `${vendor} to be well again`,
      async () => {
        await api('POST', '/api/calendar/sync', { provider_id: provider })
        return (await stateOf(vendor))?.errors === 0
      },
      90_000,
    )
  }
}

/**
 * The twelfth failure in a row, whose answer repeats our token, becomes a dead letter; then the
 * connection is well again.
 */
async function giveUp(vendor: Vendor, account: MadeAccount): Promise<void> {
  const echo = [...(capture.found.get('access_token') ?? []), account.refreshToken].join(' ')
  await world.admin('POST', '/admin/faults', {
    match: { accountId: account.accountId },
    times: 100,
    respond: { status: 500, body: { error: { code: 500, message: echo, errors: [{ reason: echo }] } } },
  })
  const id = connected.get(vendor)?.id
  const failing =
    'update external_calendar_connections set error_count = 11, backoff_until = null where id = $1 and error_count < 11'
  await eventually('a dead letter in the index', async () => {
    // Again and again: a unit that began before the fault ends well and forgets the failures.
    await rows(failing, [id])
    await api('POST', '/api/calendar/sync', { provider_id: provider })
    return (await rows('select from dead_letters where connection_id = $1', [id])).length > 0
  })
  await world.admin('DELETE', '/admin/faults')
  await rows('update external_calendar_connections set backoff_until = null where id = $1', [id])
  await eventually(
    `${vendor} to be well again`,
    async () => {
      await api('POST', '/api/calendar/sync', { provider_id: provider })
      return (await stateOf(vendor))?.errors === 0
    },
    90_000,
  )
}

/** Callers that are refused: each shows something secret. */
async function provokeRefusals(): Promise<void> {
  const token = [...(capture.found.get('token') ?? []), ...(capture.found.get('clientState') ?? [])][0] ?? ''
  const code = [...(capture.found.get('code') ?? [])][0] ?? ''
  const state = [...(capture.found.get('state') ?? [])][0] ?? ''
  const altered = (text: string) => `${text.slice(0, -2)}${text.endsWith('AA') ? 'BB' : 'AA'}`
  const webhook = {
    'x-goog-resource-state': 'exists',
    'x-goog-message-number': '1',
    'x-goog-channel-id': 'c',
  }
  await api('POST', '/api/webhooks/calendar/google', undefined, {
    ...webhook,
    'x-goog-channel-token': altered(token),
  })
  await api('POST', '/api/webhooks/calendar/microsoft', { value: [{ clientState: altered(token) }] })
  await api('GET', `/api/auth/google/calendar/callback?code=${code}&state=${state}`)
  await api('GET', `/api/auth/google/calendar?link=${altered(state)}`)
  await api(
    'POST',
    '/api/calendar/sync',
    { provider_id: provider },
    { authorization: `Bearer ${altered(bearers[0] ?? '')}` },
  )
  await api('GET', `/api/calendar/connections/${randomUUID()}`)
}

beforeAll(async () => {
  world = await openWorld({ label: 'secrets-canary', env: { LOG_LEVEL: 'trace' } })
  const portOf = (url: string) => Number(new URL(url).port)
  capture = captureSecrets([portOf(world.simulator.googleUrl), portOf(world.simulator.microsoftUrl)])
  for (const name of SERVICES) started.push(await world.start(name))
  await admit({ providerIds: [provider], connectionIds: [] })
  // Short, so that tokens are refreshed again and again.
  await world.admin('POST', '/admin/access-tokens', { seconds: 90 })
  for (const vendor of VENDORS) {
    const account = await connect(vendor)
    await admit({ providerIds: [provider], connectionIds: [connected.get(vendor)?.id ?? ''] })
    await eventually(`${vendor} to be synced`, async () => (await stateOf(vendor))?.synced, 60_000)
    const channelSecret = vendor === 'google' ? 'token' : 'clientState'
    await eventually(`a channel at ${vendor}`, () => capture.found.has(channelSecret), 90_000)
    await change(vendor, account, `${PLANTED} ${vendor}`)
    await fail(vendor, account)
    await giveUp(vendor, account)
  }
  await provokeRefusals()
  await world.admin('POST', `/admin/accounts/${connected.get('google')?.accountId}/revoke`)
  await eventually(
    'the revoked grant to be noticed',
    async () => {
      await api('POST', '/api/calendar/sync', { provider_id: provider })
      return (await stateOf('google'))?.status === 'needs_reauth'
    },
    120_000,
  )
  await api('GET', '/api/calendar/connections')
  await api('DELETE', `/api/calendar/connections/${connected.get('microsoft')?.id}`)
  await eventually('the disconnected to be published', async () => {
    const [left] = await rows<{ n: number }>('select count(*)::int as n from outbox')
    return left?.n === 0
  })
}, 400_000)

afterAll(async () => {
  capture?.[Symbol.dispose]()
  await world?.[Symbol.asyncDispose]()
})

/** Everything that is secret, by what it is. Taken when it is asked for: the scheduler goes on. */
function canaries(): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const [name, values] of capture.found) for (const value of values) found.set(value, name)
  for (const bearer of bearers) found.set(bearer, 'a bearer token of our API')
  for (const link of links) found.set(link, 'a link to connect')
  const setting = (name: string) => world.env[name] ?? ''
  for (const name of ['CREDENTIALS_KEYS', 'CHANNEL_TOKEN_KEYS'])
    for (const part of setting(name).split(',')) found.set(part.slice(part.indexOf(':') + 1), name)
  for (const name of ['API_JWT_SECRET', 'GOOGLE_CLIENT_SECRET', 'MICROSOFT_CLIENT_SECRET', 'UNLEASH_TOKEN'])
    found.set(setting(name), name)
  for (const role of ['INGRESS', 'SYNC', 'RELAY', 'SCHEDULER'])
    found.set(new URL(setting(`POSTGRES_URL_${role}`)).password, `password of ${role}`)
  for (const value of found.keys()) if (value.length < LENGTH_MIN) found.delete(value)
  return found
}

/**
 * What secrets a place holds, as what they are and where. A part is text or bytes;
 * bytes are searched as they lie.
 */
function leaks(parts: Iterable<Place>): string[] {
  const secrets = canaries()
  const spellings = [...secrets].flatMap(([value, name]) =>
    [...new Set([value, encodeURIComponent(value)])].map(
      (spelling) => [Buffer.from(spelling), name] as const,
    ),
  )
  return [...parts].flatMap(([where, content]) => {
    const bytes = Buffer.from(content)
    return spellings.filter(([spelling]) => bytes.includes(spelling)).map(([, name]) => `${name} in ${where}`)
  })
}

const holds = (parts: Iterable<Place>, text: string): boolean =>
  [...parts].some(([, content]) => Buffer.from(content).includes(text))

describe('the secrets of this run', () => {
  test('are all known: tokens, codes, verifiers, channel tokens and keys of both vendors', () => {
    const counts = Object.fromEntries([...capture.found].map(([name, values]) => [name, values.size]))
    for (const name of [
      'access_token',
      'refresh_token',
      'code',
      'code_verifier',
      'client_secret',
      'token',
      'clientState',
      'state',
    ])
      expect(counts, name).toHaveProperty(name)
    // One by consent and one by refresh, of two vendors.
    expect(counts['access_token']).toBeGreaterThanOrEqual(4)
    expect(canaries().size).toBeGreaterThan(25)
  })

  test('were used: an access token is stored, sealed', async () => {
    const sealed = await rows<{ refresh_token: string }>('select refresh_token from connection_credentials')
    expect(sealed.length).toBeGreaterThan(0)
    for (const row of sealed) expect(row.refresh_token).toMatch(/^v1\.k1\./)
  })
})

describe('no secret is found', () => {
  test('in the logs of any process, at the finest level', () => {
    const found = logs(path.join(world.folder, 'logs'))
    expect(found.map(([file]) => file.replace('.log', '')).toSorted()).toEqual(SERVICES.toSorted())
    expect(holds(found, connected.get('google')?.id ?? 'nothing')).toBe(true)
    expect(holds(found, '"level":20') || holds(found, '"level":"debug"')).toBe(true)
    expect(leaks(found)).toEqual([])
  })

  test('in any table', async () => {
    const found = await tables(world.env['POSTGRES_URL'] ?? '')
    expect(found.length).toBeGreaterThan(12)
    expect(holds(found, `${PLANTED} google`)).toBe(true)
    expect(leaks(found)).toEqual([])
  })

  test('in any record of any topic, its key and its headers', async () => {
    const found = await topics(testStack().brokers, world.prefix)
    expect(holds(found, `${PLANTED} microsoft`)).toBe(true)
    expect(holds(found, 'traceparent')).toBe(true)
    const letters = found.filter(([name]) => name.endsWith(TOPICS.deadLetter))
    expect(holds(letters, 'vendor/unavailable')).toBe(true)
    expect(new Set(found.map(([name]) => name)).size).toBeGreaterThanOrEqual(4)
    expect(leaks(found)).toEqual([])
  })

  test('in any answer of ours to people, apps and vendors, errors of every kind among them', () => {
    const found = answers.map((text, i) => [`answer ${i}`, text] as const)
    expect(holds(found, 'Your calendar is connected')).toBe(true)
    expect(holds(found, '"status":401') || holds(found, 'problem')).toBe(true)
    expect(leaks(found)).toEqual([])
  })

  test('in the metrics and readiness of any process', async () => {
    const found: Place[] = []
    for (const service of started) {
      for (const route of ['/metrics', '/readyz', '/livez'])
        found.push([route, await (await fetch(`${world.adminUrl(service)}${route}`)).text()])
    }
    expect(holds(found, 'calendar_sync_runs_total')).toBe(true)
    expect(leaks(found)).toEqual([])
  })

  test('in the arguments of any process', () => {
    const found = processArguments(started.map(({ pid }) => pid))
    expect(found).toHaveLength(SERVICES.length)
    expect(holds(found, 'services/sync/main.ts')).toBe(true)
    expect(leaks(found)).toEqual([])
  })
})

describe('the search', () => {
  test('finds every canary in every place where one is planted, plain and as in a URL', async () => {
    for (const [value, name] of canaries()) {
      expect(leaks([['here', `before ${value} after`]]), name).toContain(`${name} in here`)
      expect(leaks([['here', `?x=${encodeURIComponent(value)}&`]]), name).toContain(`${name} in here`)
    }
    const [token = ''] = capture.found.get('access_token') ?? []
    await rows(`update external_calendars set name = name || $1`, [token])
    expect(leaks(await tables(world.env['POSTGRES_URL'] ?? ''))).toContain(
      'access_token in table external_calendars',
    )
  })
})
