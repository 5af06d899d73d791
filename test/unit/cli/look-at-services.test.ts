// Services that are asked how they are:
// what each answer means, and that one that never answers is told of in time.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { lookAtServices, vendorsLeftAlone, urlsOf } from '../../../services/cli/look-at-services.ts'
import { describeGates, syncGate } from '#shared/gates/toggles.ts'
import { readToggles } from '../../../services/cli/toggles.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'

const servers: Server[] = []

afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

async function serve(answer: (response: ServerResponse, path: string) => void): Promise<string> {
  const server = createServer((request, response) => answer(response, request.url ?? ''))
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Nobody listens there any more. */
async function closedPort(): Promise<string> {
  const url = await serve(() => {})
  const server = servers.pop()
  await new Promise((resolve) => server?.close(resolve))
  return new URL(url).port
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

test('five services are told as ready, not ready, silent, another program or not known where', async () => {
  const ready = await serve((response, path) =>
    path === '/metrics'
      ? response.end('calendar_sync_vendor_breaker{vendor="google",door="api"} 1\n')
      : json(response, 200, { status: 'ready', dependencies: { kafka: 'ok' } }),
  )
  const notReady = await serve((response) =>
    json(response, 503, { status: 'not ready', dependencies: { kafka: 'It is away.', gates: 'ok' } }),
  )
  const frozen = await serve(() => {})
  const stranger = await serve((response) => json(response, 200, ['hello']))
  const looks = await lookAtServices({
    ADMIN_URL_INGRESS: ready,
    ADMIN_URL_SYNC: `${notReady}/, ${frozen}`,
    ADMIN_URL_RETRY: stranger,
    ADMIN_PORT_RELAY: await closedPort(),
  })
  expect(
    looks.map(({ name, state, problems, vendorsLeftAlone: resting }) => [name, state, problems[0], resting]),
  ).toEqual([
    ['ingress', 'ready', undefined, ['google']],
    ['sync', 'not ready', 'kafka: It is away', []],
    ['sync', 'silent', expect.stringMatching(/^no answer within [\d.]+ s at 127\.0\.0\.1:\d+$/), []],
    ['retry', 'silent', expect.stringMatching(/is another program$/), []],
    ['relay', 'silent', expect.stringMatching(/^nothing listens there at 127/), []],
    ['scheduler', 'unknown', expect.stringContaining('ADMIN_URL_SCHEDULER'), []],
  ])
})

test('an address that is none is told by its variable, without the address', () => {
  expect(() => urlsOf('sync', { ADMIN_URL_SYNC: 'sync:9464' })).toThrow(/ADMIN_URL_SYNC cannot be used/)
  expect(() => urlsOf('sync', { ADMIN_URL_SYNC: 'http://sync:9464,ftp://me:secret@x' })).not.toThrow(/secret/)
})

test('a breaker that is closed again rests nobody', () => {
  const text =
    'calendar_sync_vendor_breaker{vendor="google",door="api"} 0\ncalendar_sync_vendor_breaker{otel_scope_name="x",vendor="microsoft",door="login"} 1 1700\n'
  expect(vendorsLeftAlone(text)).toEqual(['microsoft'])
})

describe('toggles', () => {
  const P = providerId('11111111-1111-4111-8111-111111111111')
  const C = connectionId('33333333-3333-4333-8333-333333333333')
  const toggle = (name: string, constraints: unknown[] = [], enabled = true) => ({
    name,
    enabled,
    strategies: [{ name: 'default', constraints }],
  })
  const list = (contextName: string, values: string[]) => [{ contextName, operator: 'IN', values }]
  const OPEN = [
    toggle('CALENDAR_SYNC_ENABLED'),
    toggle('CALENDAR_JOBS_ENABLED'),
    toggle('CALENDAR_WEBHOOK_ENABLED', [], false),
    toggle('CALENDAR_ALLOWLIST_PROVIDER_IDS', list('providerId', [P])),
    toggle('CALENDAR_ALLOWLIST_CONNECTION_IDS'),
  ]
  const read = async (features: unknown, status = 200, more = {}) => {
    const url = await serve((response) => json(response, status, { features }))
    return readToggles({ UNLEASH_URL: `${url}/api`, UNLEASH_TOKEN: 'default:development.x', ...more })
  }

  test('are read as the services read them', async () => {
    const toggles = await read(OPEN)
    expect(describeGates(toggles).map(({ state, isOpen }) => `${state} ${isOpen}`)).toEqual([
      'on true',
      'on true',
      'off false',
      'missing false',
      'on for 1 true',
      'on for everybody true',
    ])
    expect(syncGate(toggles, P, C)).toEqual({ state: 'on' })
    expect(syncGate(toggles, providerId(C), C)).toMatchObject({ gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS' })
  })

  test('that a variable caps are off, whatever the flag server says', async () => {
    const toggles = await read(OPEN, 200, { CALENDAR_SYNC_ENABLED: 'false' })
    expect(describeGates(toggles)[0]).toMatchObject({
      isOpen: false,
      state: expect.stringContaining('capped') as string,
    })
    expect(syncGate(toggles, P, C)).toMatchObject({ state: 'off', gate: 'CALENDAR_SYNC_ENABLED' })
  })

  test.each([
    [401, OPEN, /refuses UNLEASH_TOKEN/],
    [503, OPEN, /answered 503/],
    [200, 'no list', /is no flag server/],
  ])('answered with %i %j are not known, and why', async (status, features, words) => {
    await expect(read(features, status)).rejects.toThrow(words)
  })
})
