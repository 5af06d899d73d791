// The schema registry is away while every service starts: they are alive and say what they lack, a
// notification is answered 503 and nothing of it is lost, and once the registry is there all goes
// on without a restart.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { providerId } from '#shared/domain/ids.ts'
import { serviceEnv, type ServiceName } from '../../../infra/stack/services.ts'
import { printToken } from '../../../services/cli/token.ts'
import { loadConfig as loadIngress } from '../../../services/ingress/config.ts'
import { startIngress } from '../../../services/ingress/service.ts'
import { loadConfig as loadRelay } from '../../../services/relay/config.ts'
import { startRelay } from '../../../services/relay/service.ts'
import { loadConfig as loadRetry } from '../../../services/retry/config.ts'
import { startRetry } from '../../../services/retry/service.ts'
import { loadConfig as loadScheduler } from '../../../services/scheduler/config.ts'
import { startScheduler } from '../../../services/scheduler/service.ts'
import { loadConfig as loadSync } from '../../../services/sync/config.ts'
import { startSync } from '../../../services/sync/service.ts'
import { freshToken } from '../../support/channel-token.ts'
import { eventually } from '../../support/eventually.ts'
import { testStack } from '../../support/stack.ts'
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const owned = new AsyncDisposableStack()
const NEVER = new AbortController().signal

let world: World
let account: Account
let registry: TcpProxy
const admin: Partial<Record<ServiceName, number>> = {}
let port = 0

beforeAll(async () => {
  const url = new URL(testStack().registryUrl)
  registry = owned.use(await startTcpProxy(Number(url.port)))
  url.port = String(registry.port)
  url.hostname = '127.0.0.1'
  world = owned.use(await openWorld({ label: 'registry-away', env: { SCHEMA_REGISTRY_URL: url.href } }))
  account = await world.connect({ eventsPerCalendar: 3 })
  registry.set({ down: true })
  const env = (name: ServiceName) => ({
    ...serviceEnv(name, { ...world.env, ADMIN_PORT: '0', INGRESS_PORT: '0' }),
    LOG_LEVEL: 'silent',
  })
  const ingress = owned.use(await startIngress(loadIngress(env('ingress')), NEVER))
  port = ingress.port
  admin.ingress = ingress.adminPort
  admin.relay = owned.use(await startRelay(loadRelay(env('relay')), NEVER)).adminPort
  admin.retry = owned.use(await startRetry(loadRetry(env('retry')), NEVER)).adminPort
  admin.sync = owned.use(await startSync(loadSync(env('sync')), NEVER)).adminPort
  admin.scheduler = owned.use(await startScheduler(loadScheduler(env('scheduler')), NEVER)).adminPort
})
afterAll(() => owned.disposeAsync())

const at = (name: ServiceName, path: string) => fetch(`http://127.0.0.1:${admin[name]}${path}`)

async function readiness(name: ServiceName): Promise<{ status: number; registry: string | undefined }> {
  const answer = await at(name, '/readyz')
  const { dependencies } = (await answer.json()) as { dependencies: Record<string, string> }
  return { status: answer.status, registry: dependencies['registry'] }
}

/** A notification of Google for the account. */
async function notify(number: number): Promise<Response> {
  const keys = parseKeyring(new Secret(world.env['CHANNEL_TOKEN_KEYS'] ?? ''))
  const token = freshToken(keys, {
    vendor: 'google',
    connectionId: account.connectionId,
    providerId: providerId(account.providerId),
    calendarId: null,
  })
  return fetch(`http://127.0.0.1:${port}/api/webhooks/calendar/google`, {
    method: 'POST',
    headers: {
      'x-goog-channel-id': 'channel',
      'x-goog-message-number': String(number),
      'x-goog-resource-state': 'exists',
      'x-goog-channel-token': token,
    },
  })
}

async function call(method: 'GET' | 'POST', path: string): Promise<Response> {
  let bearer = ''
  const output = { text: (value: string) => void (bearer = value) }
  await printToken({ provider: account.providerId, expires: '1h' }, { ...world.env }, output)
  return fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { authorization: `Bearer ${bearer}` } })
}

const syncNow = () => call('POST', `/api/calendar/connections/${account.connectionId}/sync`)

test('without the registry every service starts, and says what it lacks', async () => {
  for (const name of ['ingress', 'sync', 'retry', 'scheduler'] as const) {
    expect((await at(name, '/livez')).status, name).toBe(200)
    const { status, registry: problem } = await readiness(name)
    expect(status, name).toBe(503)
    expect(problem, name).toMatch(/schema registry/)
  }
  // It needs no schema: what it publishes is written already.
  await eventually('the relay is ready', async () => (await at('relay', '/readyz')).status === 200)
})

test('a ring is answered 503 with words, and what needs no message works', async () => {
  const answer = await notify(1)
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).not.toBeNull()
  expect(await answer.json()).toMatchObject({
    detail: 'The notification could not be stored. Send it again later.',
  })
  expect((await syncNow()).status).toBe(503)
  const list = await call('GET', '/api/calendar/connections')
  expect(list.status).toBe(200)
})

test('once the registry is there all become ready, and rings flow', async () => {
  registry.set({})
  for (const name of ['ingress', 'sync', 'retry', 'scheduler'] as const)
    await eventually(`${name} is ready`, async () => {
      const { status, registry: state } = await readiness(name)
      return status === 200 && state === 'ok'
    })
  expect((await notify(2)).status).toBe(202)
  expect((await syncNow()).status).toBe(202)
  // Connected before, and rung for while nothing could be read.
  await eventually('the account is read', async () => {
    const sql = 'select count(*)::int as events from external_calendar_events'
    const [row] = await look<{ events: number }>(world.env['POSTGRES_URL'] ?? '', sql)
    return (row?.events ?? 0) > 0
  })
})
