// The gates over a real Unleash of this file's own: flips made through its admin API, shapes
// that an operator can give a toggle by mistake, and faults of the way between (a proxy that
// answers in Unleash's place).
import { createServer, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { type LiveGates, openGates } from '#shared/gates/unleash.ts'
import { letEverybodyIn, setAllowlist, setToggle, standingAllowlist } from '#shared/gates/seed-toggles.ts'
import { startOwnUnleash } from '../../support/stack.ts'

const PROVIDER = providerId('11111111-1111-4111-8111-111111111111')
const OTHER = providerId('22222222-2222-4222-8222-222222222222')
const CONNECTION = connectionId('33333333-3333-4333-8333-333333333333')
/** The promise: an off switch is seen within 2 s. The rest is for a loaded machine. */
const SEEN_MAX_MS = 2_000
const within = { timeout: 20_000, interval: 20 }
const signal = () => AbortSignal.timeout(10_000)

let unleash: Awaited<ReturnType<typeof startOwnUnleash>>
/** Cut off at the beginning, so that its 30 s pass while the other tests run. */
let silenced: { gates: LiveGates; proxy: Awaited<ReturnType<typeof startProxy>> }

beforeAll(async () => {
  unleash = await startOwnUnleash({ switchesOn: true, providerIds: [PROVIDER], connectionIds: [CONNECTION] })
  const proxy = await startProxy()
  silenced = { gates: await openAndOn(proxy.url), proxy }
  proxy.answer(401)
})
afterAll(async () => {
  await silenced.gates[Symbol.asyncDispose]()
  await silenced.proxy[Symbol.asyncDispose]()
  await unleash[Symbol.asyncDispose]()
})
beforeEach(async () => {
  await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', true, signal())
  await setToggle(unleash, 'CALENDAR_JOBS_ENABLED', true, signal())
  await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [PROVIDER], signal())
})

function open(url = unleash.url, token = unleash.tokens.backend) {
  return openGates(
    { url, token: new Secret(token), caps: {}, appName: 'test' },
    createLogger({ service: 'test', level: 'silent' }),
    AbortSignal.timeout(60_000),
  )
}

/** The server reads its own toggles once a second, so what beforeEach set may not be there yet. */
async function openAndOn(url?: string) {
  const gates = await open(url)
  await vi.waitFor(() => {
    const states = [gates.sync(PROVIDER, CONNECTION).state, gates.jobs().state]
    if (states.some((state) => state !== 'on')) throw new Error(`the gates are ${states.join(' and ')}`)
  }, within)
  return gates
}

/** Answers itself while told to, else passes on to Unleash. */
async function startProxy() {
  const state: { answer: number | null; answered: number } = { answer: null, answered: 0 }
  const server = createServer((request, response) => {
    if (state.answer !== null) {
      state.answered += 1
      response.writeHead(state.answer).end('no')
      return
    }
    const target = new URL(request.url ?? '/', unleash.consoleUrl)
    const onward = send(target, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`,
    answered: () => state.answered,
    answer: (status: number | null) => {
      state.answer = status
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function addStrategy(toggle: string, body: unknown): Promise<void> {
  const path = `/api/admin/projects/default/features/${toggle}/environments/development/strategies`
  const answer = await fetch(`${unleash.consoleUrl}${path}`, {
    method: 'POST',
    headers: { authorization: unleash.tokens.admin, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`unleash answered ${answer.status}`)
}

describe('a flip in Unleash', () => {
  test('is seen within two seconds, off and on again', async () => {
    await using gates = await openAndOn()
    const tookMs: number[] = []
    for (const on of [false, true, false, true, false, true]) {
      await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', on, signal())
      const started = performance.now()
      await expect.poll(() => gates.sync(PROVIDER).state, within).toBe(on ? 'on' : 'off')
      tookMs.push(Math.round(performance.now() - started))
    }
    process.stderr.write(`flips were seen after ${tookMs.join(', ')} ms\n`)
    // The median, since one flip on a machine that does other things proves nothing.
    expect(tookMs.toSorted((a, b) => a - b)[3]).toBeLessThan(SEEN_MAX_MS)
  })

  test('of the OAuth switch and of the allowlist decide together who may connect', async () => {
    await using gates = await openAndOn()
    await expect.poll(() => gates.oauth(PROVIDER).state, within).toBe('on')
    expect([gates.oauth().state, gates.oauth(OTHER)]).toMatchObject(['on', { text: 'Provider not allowed' }])
    // Sync may be off meanwhile: who connects then is synced once it is on.
    await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', false, signal())
    await expect.poll(() => gates.sync(PROVIDER).state, within).toBe('off')
    expect(gates.oauth(PROVIDER).state).toBe('on')
    await setToggle(unleash, 'CALENDAR_OAUTH_ENABLED', false, signal())
    await expect.poll(() => gates.oauth().state, within).toBe('off')
    expect(gates.oauth(OTHER)).toMatchObject({ state: 'off', text: 'Calendar OAuth not enabled' })
    await setToggle(unleash, 'CALENDAR_OAUTH_ENABLED', true, signal())
  })

  test('of the allowlist lets a provider in and out, rows kept or not', async () => {
    await using gates = await openAndOn()
    expect(gates.sync(OTHER)).toMatchObject({ state: 'off', text: 'Provider not allowed' })
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [OTHER], signal())
    await expect.poll(() => gates.sync(OTHER).state, within).toBe('on')
    expect(gates.sync(PROVIDER)).toMatchObject({ state: 'off', text: 'Provider not allowed' })
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [], signal())
    await expect.poll(() => gates.sync(OTHER).state, within).toBe('off')
  })
})

describe('an allowlist for everybody', () => {
  const NAME = 'CALENDAR_ALLOWLIST_PROVIDER_IDS'

  test('lets in whoever asks, and is a list again afterwards', async () => {
    await using gates = await openAndOn()
    await letEverybodyIn(unleash, NAME, signal())
    await expect.poll(() => gates.sync(OTHER).state, within).toBe('on')
    const everybody = { enabled: true, form: 'everybody', ids: [] }
    expect(await standingAllowlist(unleash, NAME, signal())).toEqual(everybody)
    await setAllowlist(unleash, NAME, [PROVIDER], signal())
    await expect.poll(() => gates.sync(OTHER).state, within).toBe('off')
    const list = { enabled: true, form: 'list', ids: [PROVIDER] }
    expect(await standingAllowlist(unleash, NAME, signal())).toEqual(list)
  })

  test('that is emptied forgets its ids: who is let in later does not bring them back', async () => {
    await setAllowlist(unleash, NAME, [], signal())
    expect(await standingAllowlist(unleash, NAME, signal())).toEqual({
      enabled: false,
      form: 'empty',
      ids: [],
    })
    await setAllowlist(unleash, NAME, [OTHER], signal())
    const list = { enabled: true, form: 'list', ids: [OTHER] }
    expect(await standingAllowlist(unleash, NAME, signal())).toEqual(list)
  })
})

describe('an allowlist that an operator gave a second strategy', () => {
  test('lets nobody in, although Unleash itself would let everybody in', async () => {
    await using gates = await openAndOn()
    await addStrategy('CALENDAR_ALLOWLIST_PROVIDER_IDS', { name: 'default', constraints: [], parameters: {} })
    await expect.poll(() => gates.sync(PROVIDER).state, within).toBe('off')
    expect(gates.sync(OTHER)).toMatchObject({ state: 'off', gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS' })
    // Another gate is none the worse for it.
    expect(gates.jobs()).toEqual({ state: 'on' })
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [PROVIDER], signal())
    await expect.poll(() => gates.sync(PROVIDER).state, within).toBe('on')
  })

  test('by a gradual rollout instead of a list is closed as well', async () => {
    await using gates = await openAndOn()
    await setToggle(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', false, signal())
    await addStrategy('CALENDAR_ALLOWLIST_PROVIDER_IDS', {
      name: 'flexibleRollout',
      parameters: { rollout: '100', stickiness: 'default', groupId: 'x' },
      constraints: [],
    })
    await setToggle(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', true, signal())
    await expect.poll(() => gates.sync(PROVIDER).state, within).toBe('off')
    expect(gates.jobs()).toEqual({ state: 'on' })
  })
})

describe('a fault on the way', () => {
  test.each([401, 403, 503, 429])(
    'of %i keeps the answers, and a flip is seen once it is over',
    async (status) => {
      await using proxy = await startProxy()
      await using gates = await openAndOn(proxy.url)
      proxy.answer(status)
      await expect.poll(proxy.answered, within).toBeGreaterThan(1)
      await setToggle(unleash, 'CALENDAR_JOBS_ENABLED', false, signal())
      expect(gates.jobs()).toEqual({ state: 'on' })
      proxy.answer(null)
      await expect.poll(() => gates.jobs().state, within).toBe('off')
    },
  )

  test('before the first poll is unknown, and heals', async () => {
    await using proxy = await startProxy()
    proxy.answer(503)
    await using gates = await open(proxy.url)
    expect(gates.state()).toBe('never')
    expect(gates.sync(PROVIDER, CONNECTION).state).toBe('unknown')
    proxy.answer(null)
    await expect.poll(() => gates.sync(PROVIDER, CONNECTION).state, within).toBe('on')
  })

  test('of a wrong token is unknown, never off', async () => {
    await using gates = await open(unleash.url, 'default:development.not-a-token')
    expect(gates.jobs().state).toBe('unknown')
  })

  test('of an Unleash that is killed and comes back is survived', async () => {
    await using gates = await openAndOn()
    await unleash.kill()
    expect(gates.jobs()).toEqual({ state: 'on' })
    await unleash.restart(AbortSignal.timeout(90_000))
    await setToggle(unleash, 'CALENDAR_JOBS_ENABLED', false, signal())
    await expect.poll(() => gates.jobs().state, within).toBe('off')
  })

  test('that lasts longer than 30 s makes every gate unknown, and heals', async () => {
    const { gates, proxy } = silenced
    await expect.poll(() => gates.state(), { timeout: 60_000, interval: 200 }).toBe('stale')
    for (const decision of [gates.sync(PROVIDER), gates.jobs(), gates.webhook(), gates.oauth()])
      expect(decision.state).toBe('unknown')
    expect(gates.problem()).toContain('not reached for 30 s')
    proxy.answer(null)
    await expect.poll(() => gates.jobs().state, within).toBe('on')
    expect(gates.problem()).toBeNull()
  })
})
