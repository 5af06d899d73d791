// `calstream status`, `doctor`, `connections` and `tail` over real services: what is frozen,
// killed, closed or backing off is named, the state that is counted in the database is the one the
// API says, and what a person reads of the stream is what was published.
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import { listConnections, countStates } from '#shared/store/status.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { COMPILED } from '../../support/compiled.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { openWorld, type Account, type World } from '../../support/world.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const SERVICES = ['ingress', 'sync', 'retry', 'relay', 'scheduler'] as const

/** On a machine with many other tests. */
const RESTART_MAX_MS = 180_000

interface DoctorRow {
  readonly ok: boolean
  readonly what: string
}

interface Told {
  readonly healthy: boolean
  readonly findings: readonly { readonly what: string; readonly found: string; readonly do: string }[]
  readonly connections_in_trouble: readonly {
    readonly id: string
    readonly account: string
    readonly state: string
    readonly next_step: string
  }[]
  readonly more_in_trouble: number
}

let world: World
let account: Account
let services: Readonly<Record<(typeof SERVICES)[number], Component>>

beforeAll(async () => {
  world = await openWorld({ label: 'cli_status' })
  account = await world.connect({ eventsPerCalendar: 3 })
  const starting = SERVICES.map((name) => world.start(name))
  // All have ended before one that failed is told,
  // or the world would be gone before the others belong to it.
  await Promise.allSettled(starting)
  const started = await Promise.all(starting)
  services = Object.fromEntries(started.map((service, at) => [SERVICES[at], service])) as typeof services
})
afterAll(() => world?.[Symbol.asyncDispose]())

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = {
    cwd: ROOT,
    // Without an address of a service: what its processes tell in Postgres is enough.
    env: { PATH: process.env['PATH'], ...COMPILED, ...world.env, ...env },
    maxBuffer: 16 * 1024 * 1024,
  }
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const argv = [path.join(ROOT, 'services/cli/main.ts'), ...args]
    const child = execFile(process.execPath, argv, options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

async function status(env: Readonly<Record<string, string>> = {}): Promise<Told> {
  const { code, stdout, stderr } = await run(['--json', 'status'], env)
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout) as Told
}

/**
 * What is not well about the parts of this file: other files share the flag server and its lists.
 */
const whats = (told: Told) => told.findings.map(({ what }) => what)

const set = (change: string, id: string = account.connectionId) =>
  runStatement(
    world.env['POSTGRES_URL'] ?? '',
    `update external_calendar_connections set ${change} where id = '${id}'`,
  )

const isWell = async () => {
  const now = await status()
  return whats(now).length === 0 && now
}

test('of a system that is well nothing is told (control)', async () => {
  const told = await eventually('all to be well', isWell, 90_000)
  expect(told).toMatchObject({ healthy: true, connections_in_trouble: [], more_in_trouble: 0 })
  const doctor = await run(['--json', 'doctor'])
  const rows = JSON.parse(doctor.stdout) as { ok: boolean; what: string; found: string }[]
  const lines = SERVICES.map((name) => rows.find(({ what }) => what === name))
  expect(lines.map((line) => [line?.ok, line?.found.slice(0, 16)])).toEqual(
    SERVICES.map(() => [true, 'ready: 1 process']),
  )
  expect((await run(['status'])).stdout).toMatch(
    /\bingress ready, sync ready, retry ready, relay ready, scheduler ready\n/,
  )
})

describe('trouble', () => {
  const rowsOf = async () => JSON.parse((await run(['--json', 'doctor'])).stdout) as DoctorRow[]

  test.each(SERVICES)(
    'of a frozen %s is named by status and red in doctor, and thawing heals',
    async (name) => {
      services[name].pause()
      const began = performance.now()
      try {
        const told = await eventually(
          `${name} to be named`,
          async () => (await status()).findings.find(({ what }) => what === name),
          90_000,
        )
        measured(`a frozen ${name} was named after ${Math.round(performance.now() - began)} ms`)
        expect(told).toMatchObject({
          found: expect.stringMatching(/^no process of it lives: the last one said so \d+ s ago/) as string,
          do: `look at its log and restart ${name}`,
        })
        const rows = await rowsOf()
        expect(rows.filter(({ ok }) => !ok).map(({ what }) => what)).toContain(name)
        expect(rows.find(({ what }) => what === 'node')?.ok).toBe(true)
      } finally {
        services[name].resume()
      }
      await eventually('all to be well again', isWell, 90_000)
    },
  )

  test('of services that were killed is named until others have begun', async () => {
    await Promise.all(SERVICES.map((name) => services[name].kill()))
    const areNamed = async () => {
      const named = whats(await status())
      return SERVICES.every((name) => named.includes(name))
    }
    await eventually('all five to be named', areNamed, 90_000)
    const red = (await rowsOf()).filter(({ ok }) => !ok).map(({ what }) => what)
    expect(red).toEqual(expect.arrayContaining([...SERVICES]))
    await Promise.all(SERVICES.map((name) => services[name].restart(AbortSignal.timeout(RESTART_MAX_MS))))
    await eventually('all to be well again', isWell, 90_000)
  })

  test('of a gate that is closed, of a flag server that is away, and of a place nobody told', async () => {
    const closed = await status({ CALENDAR_SYNC_ENABLED: 'false' })
    expect(whats(closed)).toEqual(expect.arrayContaining(['CALENDAR_SYNC_ENABLED', 'paused']))
    expect(closed.connections_in_trouble).toEqual([])
    const away = { UNLEASH_URL: 'http://127.0.0.1:1/api' }
    const [unknown, doctor, gates] = await Promise.all([
      status(away),
      run(['--json', 'doctor'], away),
      run(['gates', 'list'], away),
    ])
    expect(whats(unknown)).toContain('gates')
    // What nobody could ask is not said to have a password that everybody knows.
    const rows = JSON.parse(doctor.stdout) as { ok: boolean; what: string; do: string }[]
    expect(rows.find(({ what }) => what === 'console')).toMatchObject({
      ok: false,
      do: expect.stringMatching(/^start Unleash or correct UNLEASH_URL/) as string,
    })
    expect([gates.code, gates.stderr]).toEqual([1, expect.stringMatching(/^The flag server cannot be asked/)])
    // Without Postgres an address is the only way to ask a service.
    const blind = await status({ POSTGRES_URL_SCHEDULER: 'postgres://role:x@127.0.0.1:1/none' })
    expect(whats(blind)).toEqual(expect.arrayContaining(['postgres', 'relay']))
  })

  test('of one that only its person, a vendor or a list keeps out is named with the API’s words; who left is not', async () => {
    const others = await Promise.all([world.connect(), world.connect(), world.connect()])
    const [revoked, gone, kept] = others.map(({ connectionId }) => connectionId)
    await set(
      `status = 'needs_reauth', last_error = '{"code": "vendor/grant-revoked", "message": "Gone."}'`,
      revoked,
    )
    await set(`status = 'disconnected', disconnected_at = calstream_now()`, gone)
    // Throttled: no error is counted, and it comes again in ten minutes.
    await set(`backoff_until = calstream_now() + interval '10 minutes', account_label = 'me@example.com'`)
    try {
      const all = `${account.connectionId},${revoked},${gone}`
      // A look ends after three seconds, in which a busy machine may not have answered.
      const told = await eventually(
        'three to be named',
        async () => {
          const now = await status({ CALENDAR_ALLOWLIST_CONNECTION_IDS: all })
          return now.connections_in_trouble.length === 3 && now
        },
        90_000,
      )
      expect(told.connections_in_trouble).toMatchObject([
        { id: revoked, state: 'needs_reauth', next_step: expect.stringContaining('connect link') as string },
        { id: account.connectionId, account: 'me@example.com', state: 'retrying' },
        { id: kept, state: 'paused', next_step: expect.stringContaining('ALLOWLIST') as string },
      ])
      const retrying = await run([
        '--json',
        'connections',
        'list',
        '--state',
        'retrying',
        '--vendor',
        'google',
      ])
      expect((JSON.parse(retrying.stdout) as { id: string }[]).map(({ id }) => id)).toEqual([
        account.connectionId,
      ])
      const shown = await run(['connections', 'show', account.connectionId])
      expect(shown.stdout).toContain('It is tried again automatically. The next try is at')
      expect((await run(['connections', 'show', randomUUID()])).stderr).toMatch(/^There is no connection/)
    } finally {
      await set('backoff_until = null')
    }
  })
})

test('the state that the database counts is the one that the words say, for every way a connection can be', async () => {
  const url = world.env['POSTGRES_URL'] ?? ''
  const ways: string[] = []
  for (const state of ['active', 'needs_reauth', 'disabled', 'disconnected'])
    for (const synced of ['null', 'calstream_now()', `calstream_now() - interval '31 minutes'`])
      for (const needed of ['true', 'false'])
        for (const error of ['null', `'{"code": "x", "message": "y"}'`])
          for (const backoff of [
            'null',
            `calstream_now() + interval '1 hour'`,
            `calstream_now() - interval '1 s'`,
          ])
            for (const connected of ['calstream_now()', `calstream_now() - interval '31 minutes'`])
              ways.push(
                `(gen_random_uuid(), 'google', gen_random_uuid()::text, '${state}', ${synced}, ${needed}, ${error}, ${backoff}, ${connected})`,
              )
  await runStatement(
    url,
    `insert into external_calendar_connections
       (provider_id, vendor, vendor_account_id, status, last_synced_at, sync_needed, last_error, backoff_until,
        connected_at)
     values ${ways.join(',')}`,
  )
  // Every other one has a calendar that cannot be read.
  await runStatement(
    url,
    `insert into external_calendars (connection_id, vendor_calendar_id, read_needed, failures, failing_since)
     select id, 'ill', true, 1, calstream_now() from external_calendar_connections
      where id <> '${account.connectionId}' and abs(hashtext(id::text)) % 2 = 0`,
  )
  const filter = { states: null, vendor: null, provider: null, connection: null, limit: 1000 }
  const everybody = { providers: null, connections: null }
  const gates = {
    on: { state: 'on' },
    off: { state: 'off', gate: 'CALENDAR_SYNC_ENABLED', text: 'Calendar sync not enabled' },
    unknown: { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' },
  } as const
  for (const sync of ['on', 'off', 'unknown'] as const) {
    const judged = { admission: { sync, ...everybody }, staleAfterMs: STALE_AFTER_MS }
    const lines = await listConnections(world.database, judged, filter)
    expect(lines.length).toBeGreaterThanOrEqual(ways.length)
    const wrong = lines.filter((line) => line.state !== connectionWords(line, gates[sync]).state)
    expect(wrong).toEqual([])
    if (sync === 'on') expect(lines.map(({ state }) => state)).toContain('partly_in_sync')
    const counts = await countStates(world.database, judged)
    expect(counts.reduce((sum, { connections }) => sum + connections, 0)).toBe(lines.length)
  }
})

test('tail prints what was published of one connection, decoded, and ends at its limit', async () => {
  const args = ['tail', '--from', 'beginning', '--limit', '3', '--connection', account.connectionId]
  const { code, stdout } = await run(['--json', ...args])
  expect(code).toBe(0)
  const records = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { message: Record<string, unknown> })
  expect(
    records.map(({ message }) => [message['connectionId'], message['change'], message['sequence']]),
  ).toEqual([1, 2, 3].map((sequence) => [account.connectionId, 'upserted', sequence]))
  expect((await run(args)).stdout).toMatch(/^\d\d:\d\d:\d\dZ .* #1 google upserted "/)
})

test('tail without a limit ends, without a word, when nobody reads it any more', async () => {
  const argv = [path.join(ROOT, 'services/cli/main.ts'), '--json', 'tail', '--from', 'beginning']
  const child = spawn(process.execPath, argv, {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], ...COMPILED, ...world.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said: string[] = []
  child.stderr.on('data', (data: Buffer) => said.push(String(data)))
  child.stdout.destroy()
  try {
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect([code, said.join('')]).toEqual([0, ''])
  } finally {
    child.kill('SIGKILL')
  }
})
