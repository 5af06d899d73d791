// The gates against a server that speaks Unleash's client API: what a toggle means, what silence
// means, and that no answer of the server, however wrong, ends the polling or the process.
// flags.test.ts of the integration tests uses the real Unleash.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { spawn } from 'node:child_process'
import path from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { GATES, type GateName } from '#shared/domain/gates.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { Secret } from '#shared/process/secret.ts'
import type { Caps, Toggle } from '#shared/gates/gate-rules.ts'
import { createLogger } from '#shared/process/log.ts'
import { openGates } from '#shared/gates/unleash.ts'
import { COMPILED } from '../../../support/compiled.ts'

const PROVIDER = providerId('11111111-1111-4111-8111-111111111111')
const OTHER = providerId('22222222-2222-4222-8222-222222222222')
const CONNECTION = connectionId('33333333-3333-4333-8333-333333333333')
const ROOT = path.resolve(import.meta.dirname, '../../../..')

const plain = (name: GateName, enabled = true): Toggle => ({
  name,
  enabled,
  strategies: [{ name: 'default', constraints: [] }],
})
const constraint = (contextName: string, values: readonly string[]) => ({
  contextName,
  operator: 'IN',
  inverted: false,
  values,
})
const list = (name: GateName, field: string, ids: readonly string[]): Toggle => ({
  name,
  enabled: true,
  strategies: [{ name: 'default', constraints: [constraint(field, ids)] }],
})
const PROVIDERS = list('CALENDAR_ALLOWLIST_PROVIDER_IDS', 'providerId', [PROVIDER])
const OPEN: readonly Toggle[] = [
  plain('CALENDAR_SYNC_ENABLED'),
  plain('CALENDAR_JOBS_ENABLED'),
  plain('CALENDAR_WEBHOOK_ENABLED'),
  plain('CALENDAR_OAUTH_ENABLED'),
  PROVIDERS,
  list('CALENDAR_ALLOWLIST_CONNECTION_IDS', 'connectionId', [CONNECTION]),
]
const withToggle = (toggle: Toggle): readonly Toggle[] => [
  ...OPEN.filter(({ name }) => name !== toggle.name),
  toggle,
]

type Answer = (response: ServerResponse) => void
const features =
  (toggles: readonly Toggle[]): Answer =>
  (response) =>
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ version: 2, features: toggles }))
const status =
  (code: number, body = 'no'): Answer =>
  (response) =>
    response.writeHead(code).end(body)

async function startServer(answer: Answer) {
  const state = { answer, polls: 0 }
  const server = createServer((request, response) => {
    if (request.url?.includes('/client/features')) state.polls += 1
    state.answer(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`,
    polls: () => state.polls,
    answer: (next: Answer) => {
      state.answer = next
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function open(url: string, caps: Caps = {}, lines: string[] = []) {
  const logger = createLogger({
    service: 'test',
    level: 'info',
    destination: { write: (line) => void lines.push(line) },
  })
  const config = { url, token: new Secret('default:development.token'), caps, appName: 'test' }
  return openGates(config, logger, AbortSignal.timeout(20_000))
}

afterEach(() => {
  vi.useRealTimers()
})

/** Moves only the monotonic clock that the gates look at; timers and sockets go on. */
function later(milliseconds: number): void {
  vi.useFakeTimers({ toFake: ['performance'], now: 0 })
  vi.advanceTimersByTime(Math.ceil(milliseconds))
}

describe('gates', () => {
  test('are on when every toggle is, and say which one refuses otherwise', async () => {
    await using server = await startServer(features(OPEN))
    await using gates = await open(server.url)
    expect(gates.state()).toBe('fresh')
    expect(gates.problem()).toBeNull()
    for (const decision of [
      gates.sync(PROVIDER),
      gates.sync(PROVIDER, CONNECTION),
      gates.jobs(),
      gates.webhook(),
      gates.oauth(),
    ])
      expect(decision).toEqual({ state: 'on' })
    expect(gates.sync(OTHER)).toEqual({
      state: 'off',
      gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS',
      text: 'Provider not allowed',
    })
    expect(gates.sync(PROVIDER, connectionId(OTHER))).toMatchObject({ text: 'Connection not allowed' })
  })

  test('are off where the toggle is absent or off', async () => {
    await using server = await startServer(features([plain('CALENDAR_JOBS_ENABLED', false)]))
    await using gates = await open(server.url)
    expect(gates.sync(PROVIDER)).toMatchObject({ state: 'off', text: 'Calendar sync not enabled' })
    expect(gates.jobs()).toMatchObject({ state: 'off', text: 'Calendar jobs not enabled' })
    expect(gates.webhook()).toMatchObject({ state: 'off', text: 'Calendar webhooks not enabled' })
    expect(gates.oauth()).toMatchObject({ state: 'off', text: 'Calendar OAuth not enabled' })
  })

  test('compare ids without regard to letter case', async () => {
    const id = 'aaaaaaaa-AAAA-4AAA-8AAA-AAAAAAAAAAAA'
    await using server = await startServer(
      features(withToggle(list('CALENDAR_ALLOWLIST_PROVIDER_IDS', 'providerId', [id]))),
    )
    await using gates = await open(server.url)
    expect(gates.sync(providerId(id)).state).toBe('on')
  })

  test('read an allowlist that is no plain list as closed, and alert once', async () => {
    const twofold: Toggle = { ...PROVIDERS, strategies: [...PROVIDERS.strategies!, { name: 'default' }] }
    await using server = await startServer(features(withToggle(twofold)))
    const lines: string[] = []
    await using gates = await open(server.url, {}, lines)
    expect(gates.sync(PROVIDER)).toMatchObject({ state: 'off', gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS' })
    expect(gates.jobs()).toEqual({ state: 'on' })
    expect(lines.filter((line) => line.includes('"level":"error"'))).toHaveLength(1)
  })

  test('read a plain allowlist without any alert (control)', async () => {
    await using server = await startServer(features(OPEN))
    const lines: string[] = []
    await using gates = await open(server.url, {}, lines)
    expect(gates.sync(PROVIDER)).toEqual({ state: 'on' })
    expect(lines.filter((line) => /"level":"(?:warn|error)"/.test(line))).toEqual([])
  })
})

describe('caps of the environment', () => {
  test('close a gate whatever the toggle says, and never open one', async () => {
    await using server = await startServer(features(OPEN))
    await using gates = await open(server.url, {
      CALENDAR_JOBS_ENABLED: false,
      CALENDAR_WEBHOOK_ENABLED: true,
      CALENDAR_ALLOWLIST_PROVIDER_IDS: [OTHER],
    })
    expect(gates.jobs()).toMatchObject({ state: 'off' })
    expect(gates.webhook()).toEqual({ state: 'on' })
    expect(gates.sync(PROVIDER)).toMatchObject({ state: 'off', text: 'Provider not allowed' })
    expect(gates.sync(OTHER)).toMatchObject({ state: 'off', text: 'Provider not allowed' })
  })

  test('that are an empty list let nobody in', async () => {
    await using server = await startServer(features(OPEN))
    await using capped = await open(server.url, { CALENDAR_ALLOWLIST_CONNECTION_IDS: [] })
    expect(capped.sync(PROVIDER)).toEqual({ state: 'on' })
    expect(capped.sync(PROVIDER, CONNECTION)).toMatchObject({ state: 'off', text: 'Connection not allowed' })
  })

  test('are known even while Unleash is not', async () => {
    await using server = await startServer(status(503))
    await using gates = await open(server.url, { CALENDAR_ALLOWLIST_PROVIDER_IDS: [] })
    expect(gates.sync(PROVIDER)).toMatchObject({ state: 'off', text: 'Provider not allowed' })
    expect(gates.jobs()).toMatchObject({ state: 'unknown' })
  })
})

describe('silence of more than 30 s', () => {
  test('by the monotonic clock is unknown when asked, and heals', async () => {
    await using server = await startServer(features(OPEN))
    await using gates = await open(server.url)
    server.answer(status(503))
    const before = performance.now()
    // The poll that was under way when the server changed its mind.
    const polls = server.polls()
    await expect.poll(server.polls, { timeout: 5_000 }).toBeGreaterThan(polls + 1)
    // The last good poll is from before that moment, on a busy machine by more than its second.
    later(before + 25_000)
    expect(gates.jobs()).toEqual({ state: 'on' })
    later(before + 31_000)
    expect(gates.state()).toBe('stale')
    expect(gates.jobs()).toEqual({ state: 'unknown', gate: 'CALENDAR_JOBS_ENABLED' })
    server.answer(features(OPEN))
    await expect.poll(() => gates.jobs().state, { timeout: 10_000 }).toBe('on')
    expect(gates.state()).toBe('fresh')
  })
})

// What waits for polls waits together; only the test above moves a clock.
describe.concurrent('silence', () => {
  test.for([
    ['503', status(503)],
    ['404', status(404)],
    ['401', status(401)],
    ['a page of HTML', status(200, '<html></html>')],
    ['a closed connection', (response: ServerResponse) => void response.destroy()],
    ['no answer at all', () => undefined],
  ] satisfies [string, Answer][])(
    'before the first poll is unknown, not off (%s), and heals by itself',
    async ([_what, answer], { expect }) => {
      await using server = await startServer(answer)
      await using gates = await open(server.url)
      expect(gates.state()).toBe('never')
      expect(gates.problem()).toContain('not reached yet')
      for (const decision of [gates.sync(PROVIDER, CONNECTION), gates.jobs(), gates.webhook(), gates.oauth()])
        expect(decision.state).toBe('unknown')
      server.answer(features(OPEN))
      await expect.poll(() => gates.jobs().state, { timeout: 10_000 }).toBe('on')
    },
  )

  test.for([401, 403, 503])(
    'after one %i does not stop the polling: a flip is seen afterwards',
    async (code, { expect }) => {
      await using server = await startServer(features(OPEN))
      await using gates = await open(server.url)
      let failed = 0
      server.answer((response) => {
        failed += 1
        status(code)(response)
        server.answer(features(withToggle(plain('CALENDAR_JOBS_ENABLED', false))))
      })
      await expect.poll(() => gates.jobs().state, { timeout: 10_000 }).toBe('off')
      expect(failed).toBe(1)
    },
  )

  test('keeps the last answers meanwhile', async ({ expect }) => {
    await using server = await startServer(features(OPEN))
    await using gates = await open(server.url)
    server.answer(status(503))
    const polls = server.polls()
    await expect.poll(server.polls, { timeout: 10_000 }).toBeGreaterThan(polls + 2)
    expect(gates.sync(PROVIDER, CONNECTION)).toEqual({ state: 'on' })
  })

  test('is polled at most once a second, however often it fails', async ({ expect }) => {
    await using server = await startServer(status(401))
    await using _gates = await open(server.url)
    const started = performance.now()
    const polls = server.polls()
    await expect.poll(server.polls, { timeout: 10_000 }).toBeGreaterThan(polls + 2)
    expect(performance.now() - started).toBeGreaterThan(1_500)
  })
})

describe.concurrent('a change', () => {
  test('is written to the log once, with what was before and after', async ({ expect }) => {
    await using server = await startServer(features(OPEN))
    const lines: string[] = []
    await using gates = await open(server.url, {}, lines)
    const audit = () =>
      lines.map(
        (line) => JSON.parse(line) as { gate?: string; before?: string; after?: string; added?: string[] },
      )
    expect(audit().map(({ gate }) => gate)).toEqual([...GATES])
    lines.length = 0
    server.answer(features(withToggle(list('CALENDAR_ALLOWLIST_PROVIDER_IDS', 'providerId', [OTHER]))))
    await expect.poll(() => gates.sync(OTHER).state, { timeout: 10_000 }).toBe('on')
    expect(audit()).toMatchObject([
      {
        gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS',
        before: 'on for 1',
        after: 'on for 1',
        added: [OTHER],
        removed: [PROVIDER],
      },
    ])
  })
})

describe.concurrent('stopping', () => {
  test('in the middle of a poll that then fails ends nothing else', async ({ expect }) => {
    const held: ServerResponse[] = []
    await using server = await startServer((response) => void held.push(response))
    const script = `
      import { createLogger } from '#shared/process/log.ts'
      import { Secret } from '#shared/process/secret.ts'
      import { openGates } from '#shared/gates/unleash.ts'
      const gates = await openGates(
        { url: '${server.url}', token: new Secret('x'), caps: {}, appName: 'test' },
        createLogger({ service: 'test', level: 'silent' }), new AbortController().signal)
      await gates[Symbol.asyncDispose]()
      // Longer than the poll's own timeout and its retries.
      setTimeout(() => console.log('still here'), 9000)
    `
    const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'], ...COMPILED },
      timeout: 18_000,
    })
    let text = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect({ code, text }).toEqual({ code: 0, text: 'still here\n' })
    expect(held.length).toBeGreaterThan(0)
  })

  test('before the first poll, by the signal, rejects at once', async ({ expect }) => {
    await using server = await startServer(() => undefined)
    const stop = new AbortController()
    const config = { url: server.url, token: new Secret('x'), caps: {}, appName: 'test' }
    const opening = openGates(config, createLogger({ service: 'test', level: 'silent' }), stop.signal)
    stop.abort()
    await expect(opening).rejects.toThrow(/abort/i)
  })
})

describe.concurrent('the functions of flags.ts', () => {
  test('answer synchronously after the import, in a process of their own that ends by itself', async ({
    expect,
  }) => {
    await using server = await startServer(features(OPEN))
    expect(await askFlags(server.url)).toEqual([true, true, false, true, false, true, true, true, true])
  })

  test(
    'are false while Unleash cannot be reached, and under a cap',
    async ({ expect }) => {
      expect(await askFlags('http://127.0.0.1:9/api')).toEqual(Array(9).fill(false))
      await using server = await startServer(features(OPEN))
      const capped = await askFlags(server.url, { CALENDAR_SYNC_ENABLED: 'false' })
      expect(capped).toEqual([false, false, false, true, false, true, true, true, true])
    },
    2 * CHILD_MS_MAX + 5_000,
  )
})

/** A process that loads the flag client takes a second; on a busy machine it took more than 15. */
const CHILD_MS_MAX = 60_000

async function askFlags(url: string, caps: NodeJS.ProcessEnv = {}): Promise<unknown> {
  const script = `
    import * as flags from '#shared/gates/flags.ts'
    const [p, o, c] = ${JSON.stringify([PROVIDER, OTHER, CONNECTION])}
    console.log(JSON.stringify([
      flags.isCalendarSyncEnabled(p), flags.isCalendarSyncEnabled(p.toUpperCase(), c), flags.isCalendarSyncEnabled(p, o),
      flags.isProviderAllowed(p), flags.isProviderAllowed(o), flags.isConnectionAllowed(c),
      flags.isJobsEnabled(), flags.isWebhookEnabled(), flags.isOAuthEnabled(),
    ]))
  `
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script], {
    cwd: ROOT,
    env: {
      PATH: process.env['PATH'],
      ...COMPILED,
      UNLEASH_URL: url,
      UNLEASH_TOKEN: 'default:development.token',
      ...caps,
    },
    timeout: CHILD_MS_MAX,
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const code = await new Promise((resolve) => child.once('close', resolve))
  expect(code).toBe(0)
  return JSON.parse(out) as unknown
}
