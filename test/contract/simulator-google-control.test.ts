// The simulator's own tools: OAuth answers, injected faults, the ledgers, load,
// and the world that outlives its process.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startTestSimulator, type TestAccount } from '../support/simulator.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

interface Requests {
  readonly requests: readonly Record<string, unknown>[]
}

describe('the token endpoint', () => {
  it('answers invalid_client, invalid_grant and a fresh access token as Google does', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    const good = await simulator.refresh(account)
    expect(await good.json()).toMatchObject({
      token_type: 'Bearer',
      expires_in: 3599,
      scope: expect.any(String),
    })
    const wrongClient = await simulator.refresh({ ...account, clientSecret: 'wrong' })
    expect([wrongClient.status, await wrongClient.json()]).toMatchObject([401, { error: 'invalid_client' }])
    const wrongGrant = await simulator.refresh({ ...account, refreshToken: 'wrong' })
    expect([wrongGrant.status, await wrongGrant.json()]).toEqual([
      400,
      { error: 'invalid_grant', error_description: 'Token has been expired or revoked.' },
    ])
  })

  it('refuses everything after a revocation, by the admin or by the client', async () => {
    await using simulator = await startTestSimulator()
    const [first, second] = [await simulator.addAccount(), await simulator.addAccount()]
    const sdk = await simulator.sdk(first)
    expect((await sdk.calendarList.list()).status).toBe(200)
    await simulator.admin('POST', `/admin/accounts/${first.accountId}/revoke`)
    await expect(sdk.calendarList.list()).rejects.toMatchObject({ status: 401 })
    expect(await (await simulator.refresh(first)).json()).toMatchObject({ error: 'invalid_grant' })
    const url = new URL(`/revoke?token=${encodeURIComponent(second.refreshToken)}`, simulator.googleUrl)
    expect((await fetch(url, { method: 'POST' })).status).toBe(200)
    expect((await fetch(url, { method: 'POST' })).status).toBe(400)
    expect((await simulator.refresh(second)).status).toBe(400)
  })

  it('lets access tokens expire', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    await simulator.admin('POST', '/admin/access-tokens', { seconds: 1 })
    const sdk = await simulator.sdk(account)
    expect((await sdk.calendarList.list()).status).toBe(200)
    await eventually('a 401', () =>
      sdk.calendarList.list().then(
        () => false,
        (error: { status?: number }) => error.status === 401,
      ),
    )
    expect((await (await simulator.sdk(account)).calendarList.list()).status).toBe(200)
  })
})

describe('faults', () => {
  it('strike what they match, as often as they say, and count', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    const sdk = await simulator.sdk(account)
    const list = () => sdk.events.list({ calendarId: 'primary' }).then(({ status }) => status)
    const status = (error: { status?: number }) => error.status
    await simulator.admin('POST', '/admin/faults', {
      match: { path: '/events$', accountId: account.accountId },
      skip: 1,
      times: 2,
      respond: { status: 429, headers: { 'retry-after': '7' } },
    })
    const answers = [await list(), await list().catch(status), await list().catch(status), await list()]
    expect(answers).toEqual([200, 429, 429, 200])
    expect((await sdk.calendarList.list()).status).toBe(200)
    expect(await simulator.admin('GET', '/admin/faults')).toMatchObject({ faults: [{ hits: 2 }] })
  })

  it('break connections before and after the work, cut answers off, and answer HTML', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount({ eventsPerCalendar: 0 })
    const sdk = await simulator.sdk(account)
    const insert = () =>
      sdk.events.insert({
        calendarId: 'primary',
        requestBody: { summary: 'x', start: { date: '2026-12-01' }, end: { date: '2026-12-02' } },
      })
    const count = async () => (await sdk.events.list({ calendarId: 'primary' })).data.items?.length
    const strike = (fault: object) =>
      simulator.admin('POST', '/admin/faults', { times: 1, match: { method: 'POST' }, ...fault })
    await strike({ reset: 'before' })
    await expect(insert()).rejects.toThrow()
    expect(await count()).toBe(0)
    await strike({ reset: 'after' })
    await expect(insert()).rejects.toThrow()
    expect(await count()).toBe(1)
    await strike({ truncate: true })
    await expect(insert()).rejects.toThrow()
    expect(await count()).toBe(2)
    await strike({ html: true })
    await expect(insert()).rejects.toMatchObject({ status: 502 })
    expect((await insert()).status).toBe(200)
    expect(await count()).toBe(3)
  })

  it('are refused when they are misspelt', async () => {
    await using simulator = await startTestSimulator()
    await expect(simulator.admin('POST', '/admin/faults', { tmies: 1 })).rejects.toThrow(/400/)
    await expect(simulator.admin('POST', '/admin/faults', { match: { path: '(' } })).rejects.toThrow(/400/)
  })
})

describe('the ledgers', () => {
  it('follow cursors through the request log, without any access token in it', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount({ eventsPerCalendar: 3 })
    const sdk = await simulator.sdk(account)
    const { data } = await sdk.events.list({ calendarId: 'primary' })
    await sdk.events.list({ calendarId: 'primary', syncToken: data.nextSyncToken ?? '' })
    const { requests } = await simulator.admin<Requests>('GET', '/admin/requests?path=%2Fevents%24')
    expect(requests).toMatchObject([
      {
        accountId: account.accountId,
        calendarId: account.email,
        status: 200,
        items: 3,
        syncTokenOut: data.nextSyncToken,
      },
      { items: 0, syncTokenIn: data.nextSyncToken },
    ])
    const revoke = new URL(`/revoke?token=${encodeURIComponent(account.refreshToken)}`, simulator.googleUrl)
    expect((await fetch(revoke, { method: 'POST' })).status).toBe(200)
    const all = JSON.stringify(await simulator.admin('GET', '/admin/requests'))
    expect(all).toContain('/revoke')
    expect(all).not.toContain('ya29.')
    expect(all).not.toContain(account.refreshToken)
  })

  it('tell the truth as a reader sees it, and each change with its versions', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount({ eventsPerCalendar: 60 })
    const sdk = await simulator.sdk(account)
    const before = await simulator.admin<{ seq: number }>('GET', '/admin/truth')
    const { loadId } = await simulator.admin<{ loadId: string }>('POST', '/admin/load', {
      changesPerSecond: 500,
      durationMs: 400,
      accountIds: [account.accountId],
    })
    const finished = await eventually('the end of the load', async () => {
      const state = await simulator.admin<{ done: boolean; changes: number }>('GET', `/admin/load/${loadId}`)
      return state.done && state
    })
    expect(finished.changes).toBe(200)
    const window = { timeMin: '2026-12-01T00:00:00Z', timeMax: '2027-06-01T00:00:00Z' }
    const query = new URLSearchParams({ accountId: account.accountId, ...window })
    const { accounts } = await simulator.admin<{
      accounts: { calendars: { events: Record<string, unknown>[]; tombstones: { id: string }[] }[] }[]
    }>('GET', `/admin/truth?${query.toString()}`)
    const listed = await sdk.events.list({
      calendarId: 'primary',
      singleEvents: true,
      maxResults: 2500,
      ...window,
    })
    const events = accounts[0]?.calendars[0]?.events ?? []
    expect(events.map(({ _version, ...event }) => event)).toEqual(listed.data.items)
    expect(events.length).toBeGreaterThan(10)
    expect(events.every(({ _version }) => Number(_version) >= 1)).toBe(true)
    const { changes } = await simulator.admin<{ changes: { kind: string; seq: number }[] }>(
      'GET',
      `/admin/changes?after=${before.seq}`,
    )
    expect(changes).toHaveLength(200)
    expect(new Set(changes.map(({ kind }) => kind))).toEqual(new Set(['create', 'update', 'delete']))
    expect(accounts[0]?.calendars[0]?.tombstones.length).toBeGreaterThan(0)
  })
})

describe('a warm start', () => {
  it('keeps accounts, tokens, sync tokens, page tokens and channels after kill -9', async () => {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'calstream-simulator-'))
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }))
    const first = await spawnSimulator(dataDir)
    const account = await first.admin<TestAccount>('POST', '/admin/accounts', { eventsPerCalendar: 30 })
    const { access_token: token } = await first.google<{ access_token: string }>(
      '/token',
      refreshForm(account),
    )
    const headers = { authorization: `Bearer ${token}` }
    const events = '/calendar/v3/calendars/primary/events'
    const full = await first.google<{ nextSyncToken: string }>(`${events}?maxResults=2500`, { headers })
    const paged = await first.google<{ nextPageToken: string; items: unknown[] }>(`${events}?maxResults=10`, {
      headers,
    })
    const changesPath = `/admin/accounts/${account.accountId}/calendars/primary/events`
    const { id } = await first.admin<{ id: string }>('POST', changesPath, {})
    const channel = { id: 'kept', type: 'web_hook', address: 'http://127.0.0.1:1/x' }
    await first.google(`${events}/watch`, { method: 'POST', headers, body: JSON.stringify(channel) })
    await first.kill()
    const second = await spawnSimulator(dataDir)
    await second.admin('POST', '/admin/paging', { shortPages: false, emptyPages: false })
    const increment = `${events}?syncToken=${encodeURIComponent(full.nextSyncToken)}`
    expect(await second.google(increment, { headers })).toMatchObject({ items: [{ id }] })
    const rest = `${events}?maxResults=2500&pageToken=${encodeURIComponent(paged.nextPageToken)}`
    const restItems = (await second.google<{ items: unknown[] }>(rest, { headers })).items
    expect(paged.items.length + restItems.length).toBe(31)
    expect(await second.admin('GET', '/admin/channels')).toMatchObject({ channels: [{ id: 'kept' }] })
    expect(await second.google('/token', refreshForm(account))).toHaveProperty('access_token')
    const { id: next } = await second.admin<{ id: string }>('POST', changesPath, {})
    expect(next).not.toBe(id)
    expect(await second.stop()).toBe(0)
  })
})

function refreshForm(account: TestAccount): RequestInit {
  return {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: account.clientId,
      client_secret: account.clientSecret,
      refresh_token: account.refreshToken,
    }),
  }
}

async function spawnSimulator(dataDir: string) {
  const child = spawn(process.execPath, ['infra/simulator/main.ts'], {
    cwd: ROOT,
    env: { ...process.env, SIMULATOR_DATA_DIR: dataDir, SIMULATOR_ALLOW_HTTP_CALLBACKS: 'true' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exited = once(child, 'exit') as Promise<[number | null]>
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  const { googleUrl, adminUrl } = JSON.parse(line) as { googleUrl: string; adminUrl: string }
  const call = async <T>(base: string, route: string, init?: RequestInit): Promise<T> => {
    const response = await fetch(new URL(route, base), init)
    if (!response.ok) throw new Error(`${route} answered ${response.status}: ${await response.text()}`)
    return (await response.json()) as T
  }
  return {
    google: <T>(route: string, init?: RequestInit) => call<T>(googleUrl, route, init),
    admin: <T>(method: string, route: string, body?: unknown) =>
      call<T>(adminUrl, route, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }),
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    async stop() {
      child.kill('SIGTERM')
      return (await exited)[0]
    },
  }
}
