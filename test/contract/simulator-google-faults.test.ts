// The cross fault matrix: each way to fail, for each kind of call, with the official SDK (or
// plain HTTP, where the SDK would hide the wire) as client; what was committed although nobody
// heard of it; and the budgets.
import { randomUUID } from 'node:crypto'
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { describe, expect, it } from 'vitest'
import { startTestSimulator, type TestAccount, type TestSimulator } from '../support/simulator.ts'
import { outcomeOf, wireFaults } from '../support/wire-faults.ts'

const DAY = { start: { date: '2026-12-01' }, end: { date: '2026-12-02' } }
const OPERATIONS = ['token', 'list', 'write', 'watch', 'stop'] as const
type Operation = (typeof OPERATIONS)[number]

interface Setting {
  readonly simulator: TestSimulator
  readonly account: TestAccount
  readonly sdk: calendar_v3.Calendar
}

async function open(clock: 'running' | 'manual' = 'running') {
  const owned = new AsyncDisposableStack()
  const simulator = owned.use(await startTestSimulator({ clock }))
  await simulator.admin('POST', '/admin/notifications', { paused: true, syncMessage: 'after' })
  const account = await simulator.addAccount({ eventsPerCalendar: 0 })
  return {
    simulator,
    account,
    sdk: await simulator.sdk(account),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** One call of the kind, as raw as HTTP: status and body, or the error of the connection. */
async function call({ simulator, account }: Setting, operation: Operation, bearer: string) {
  const json = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' }
  const channel = { id: randomUUID(), type: 'web_hook', address: 'https://127.0.0.1:1/hook' }
  const calls: Record<Operation, () => readonly [string, RequestInit]> = {
    token: () => [
      '/token',
      {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'refresh_token',
          client_id: account.clientId,
          client_secret: account.clientSecret,
          refresh_token: account.refreshToken,
        }),
      },
    ],
    list: () => ['/calendar/v3/calendars/primary/events', { headers: json }],
    write: () => [
      '/calendar/v3/calendars/primary/events',
      { method: 'POST', headers: json, body: JSON.stringify(DAY) },
    ],
    watch: () => [
      '/calendar/v3/calendars/primary/events/watch',
      { method: 'POST', headers: json, body: JSON.stringify(channel) },
    ],
    stop: () => [
      '/calendar/v3/channels/stop',
      { method: 'POST', headers: json, body: JSON.stringify({ id: 'none', resourceId: 'none' }) },
    ],
  }
  const [path, init] = calls[operation]()
  return fetch(new URL(path, simulator.googleUrl), { ...init, signal: AbortSignal.timeout(10_000) })
}

describe.each(OPERATIONS)('a fault of %s', (operation) => {
  const HEALTHY = operation === 'stop' ? '404 application/json json' : '200 application/json json'
  const FAULTS = wireFaults(HEALTHY)

  it('is met once by that kind of call only, and looks as it was asked for', async () => {
    await using setting = await open()
    const { simulator } = setting
    const { access_token: bearer } = (await (await simulator.refresh(setting.account)).json()) as {
      access_token: string
    }
    const others = OPERATIONS.filter((other) => other !== operation)
    for (const [fault, expected] of FAULTS) {
      await simulator.admin('POST', '/admin/faults', {
        match: { operation, vendor: 'google' },
        times: 1,
        ...fault,
      })
      for (const other of others)
        expect((await call(setting, other, bearer)).status).toBe(other === 'stop' ? 404 : 200)
      const met = await outcomeOf(call(setting, operation, bearer))
      expect([JSON.stringify(fault), met]).toEqual([JSON.stringify(fault), expected])
      expect(await outcomeOf(call(setting, operation, bearer)), 'the next call').toBe(HEALTHY)
    }
    const { faults } = await simulator.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
    expect(faults.map(({ hits }) => hits)).toEqual(FAULTS.map(() => 1))
  })

  it('can be a body without an end, of which a client may read as much as it dares', async () => {
    await using setting = await open()
    const { simulator } = setting
    const { access_token: bearer } = (await (await simulator.refresh(setting.account)).json()) as {
      access_token: string
    }
    await simulator.admin('POST', '/admin/faults', { match: { operation }, times: 1, endless: true })
    const answer = await call(setting, operation, bearer)
    const reader = answer.body?.getReader()
    let bytes = 0
    while (bytes < 3_000_000) bytes += (await reader?.read())?.value?.length ?? Infinity
    await reader?.cancel()
    expect(Number.isFinite(bytes)).toBe(true)
    expect(await outcomeOf(call(setting, operation, bearer))).toBe(HEALTHY)
  })
})

describe('an ambiguous write', () => {
  const insert = (sdk: calendar_v3.Calendar, id: string) =>
    sdk.events.insert({ calendarId: 'primary', requestBody: { id, ...DAY } })
  const count = async (sdk: calendar_v3.Calendar) =>
    (await sdk.events.list({ calendarId: 'primary' })).data.items?.length ?? 0

  it.each([
    ['reset before the work', { reset: 'before' }, 0, 200],
    ['reset after the work', { reset: 'after' }, 1, 409],
    ['answered 500 instead of the work', { respond: { status: 500 } }, 0, 200],
    ['answered 500 after the work', { respond: { status: 500 }, afterWork: true }, 1, 409],
    ['answered in HTML after the work', { html: true, afterWork: true }, 1, 409],
    ['cut off', { truncate: true }, 1, 409],
  ] as const)('%s', async (_name, fault, committed, again) => {
    await using setting = await open()
    const { simulator, sdk } = setting
    await simulator.admin('POST', '/admin/faults', { match: { operation: 'write' }, times: 1, ...fault })
    await expect(insert(sdk, 'abcde0')).rejects.toThrow()
    expect(await count(sdk)).toBe(committed)
    const status = await insert(sdk, 'abcde0').then(
      (answer) => answer.status,
      (error: { status?: number }) => error.status,
    )
    expect([status, await count(sdk)]).toEqual([again, 1])
  })

  it('of a watch leaves a channel that nobody knows the resource id of', async () => {
    await using setting = await open()
    const { simulator, sdk } = setting
    await simulator.admin('POST', '/admin/faults', {
      match: { operation: 'watch' },
      times: 1,
      reset: 'after',
    })
    const requestBody = { id: randomUUID(), type: 'web_hook', address: 'https://127.0.0.1:1/hook' }
    await expect(sdk.events.watch({ calendarId: 'primary', requestBody })).rejects.toThrow()
    expect(await simulator.admin('GET', '/admin/channels')).toMatchObject({
      channels: [{ id: requestBody.id }],
    })
    await expect(sdk.events.watch({ calendarId: 'primary', requestBody })).rejects.toMatchObject({
      status: 400,
      response: { data: { error: { errors: [{ reason: 'channelIdNotUnique' }] } } },
    })
  })
})

describe('faults over time', () => {
  it('end with their simulated time, and strike with their probability, alike for one seed', async () => {
    const run = async () => {
      await using setting = await open('manual')
      const { simulator, sdk } = setting
      const list = () =>
        sdk.events.list({ calendarId: 'primary' }).then(
          ({ status }) => status,
          (error: { status?: number }) => error.status,
        )
      const fault = { match: { operation: 'list' }, respond: { status: 503 }, chance: 0.5, forMs: 60_000 }
      await simulator.admin('POST', '/admin/faults', fault)
      const during: (number | undefined)[] = []
      for (let index = 0; index < 40; index += 1) during.push(await list())
      await simulator.admin('POST', '/admin/clock', { advanceMs: 60_000 })
      const after = [await list(), await list(), await list()]
      return { during, after }
    }
    const first = await run()
    expect(new Set(first.during)).toEqual(new Set([200, 503]))
    expect(first.after).toEqual([200, 200, 200])
    expect(await run()).toEqual(first)
  })
})

describe('the budgets', () => {
  async function limited(quota: object) {
    const owned = new AsyncDisposableStack()
    const setting = owned.use(await open('manual'))
    await setting.simulator.admin('POST', '/admin/quota', quota)
    return { ...setting, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  }

  async function told(work: Promise<unknown>) {
    try {
      await work
      return 'fine'
    } catch (error) {
      const { status, response } = error as {
        status: number
        response: { headers: Headers; data: { error: { errors: { reason: string; domain: string }[] } } }
      }
      const [problem] = response.data.error.errors
      return `${status} ${problem?.domain} ${problem?.reason} ${response.headers.get('retry-after') ?? '-'}`
    }
  }

  it('are per user, slide, and refuse as 403 and as 429 by turns', async () => {
    await using setting = await limited({ perUserPerMinute: 3 })
    const { simulator, sdk } = setting
    const list = () => told(sdk.calendarList.list())
    expect([await list(), await list()]).toEqual(['fine', 'fine'])
    await simulator.admin('POST', '/admin/clock', { advanceMs: 30_000 })
    expect([await list(), await list(), await list()]).toEqual([
      'fine',
      '403 usageLimits userRateLimitExceeded -',
      '429 usageLimits rateLimitExceeded -',
    ])
    const other = await simulator.sdk(await simulator.addAccount())
    expect(await told(other.calendarList.list())).toBe('fine')
    await simulator.admin('POST', '/admin/clock', { advanceMs: 30_000 })
    expect([await list(), await list()], 'the two of the first second are forgotten').toEqual([
      'fine',
      'fine',
    ])
    expect(await list()).toMatch(/^403/)
  })

  it('count a patch three times, leave refused calls out, and say when to come back if told to', async () => {
    await using setting = await limited({ perUserPerMinute: 5, answer: 429, retryAfter: true })
    const { simulator, sdk } = setting
    const { data } = await sdk.events.insert({ calendarId: 'primary', requestBody: DAY })
    const patch = () =>
      told(sdk.events.patch({ calendarId: 'primary', eventId: data.id ?? '', requestBody: { summary: 'x' } }))
    expect(await patch()).toBe('fine')
    await simulator.admin('POST', '/admin/clock', { advanceMs: 20_000 })
    expect(await patch()).toBe('429 usageLimits rateLimitExceeded 40')
    expect(await told(sdk.calendarList.list())).toBe('fine')
    await simulator.admin('POST', '/admin/clock', { advanceMs: 40_000 })
    expect(await patch()).toBe('fine')
    const { requests } = await simulator.admin<{ requests: { retryAfter?: string }[] }>(
      'GET',
      '/admin/requests',
    )
    expect(requests.filter(({ retryAfter }) => retryAfter === '40')).toHaveLength(1)
  })

  it('of the project are shared by its users', async () => {
    await using setting = await limited({ perProjectPerMinute: 2, answer: 403 })
    const other = await setting.simulator.sdk(await setting.simulator.addAccount())
    expect(await told(setting.sdk.calendarList.list())).toBe('fine')
    expect(await told(other.calendarList.list())).toBe('fine')
    expect(await told(other.calendarList.list())).toBe('403 usageLimits rateLimitExceeded -')
    const { status } = await setting.simulator.refresh(setting.account)
    expect(status, 'tokens are not part of it').toBe(200)
  })
})

describe('the clock of the answers', () => {
  it('is the simulated one', async () => {
    await using simulator = await startTestSimulator({
      clock: 'manual',
      clockStart: Date.UTC(2027, 2, 1, 12),
    })
    const answer = await fetch(new URL('/calendar/v3/users/me/calendarList', simulator.googleUrl))
    expect([answer.status, answer.headers.get('date')]).toEqual([401, 'Mon, 01 Mar 2027 12:00:00 GMT'])
    expect(await simulator.admin('GET', '/admin/clock')).toMatchObject({
      mode: 'manual',
      time: '2027-03-01T12:00:00.000Z',
    })
    const account = await simulator.addAccount()
    const sdk = await simulator.sdk(account)
    await simulator.admin('POST', '/admin/clock', { to: '2027-03-01T12:59:58Z' })
    expect((await sdk.calendarList.list()).status).toBe(200)
    await simulator.admin('POST', '/admin/clock', { advanceMs: 1_000 })
    await expect(sdk.calendarList.list()).rejects.toMatchObject({ status: 401 })
    await expect(simulator.admin('POST', '/admin/clock', { to: '2027-03-01T12:00:00Z' })).rejects.toThrow(
      /past/,
    )
    expect((await (await simulator.sdk(account)).calendarList.list()).status).toBe(200)
  })
})
