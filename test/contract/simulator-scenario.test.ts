// Scenarios: a timeline in the admin API's words runs on the simulated clock, comes out the same
// each time, is refused with every problem named, and goes on after a restart.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startTestSimulator, type TestSimulator } from '../support/simulator.ts'

const START = Date.UTC(2026, 8, 1)
const HOUR_MS = 3_600_000

const TIMELINE = {
  name: 'a bad day',
  seed: 7,
  steps: [
    { do: 'POST /admin/accounts', with: { email: 'ana@example.com', eventsPerCalendar: 3 }, as: 'ana' },
    { at: '1h', every: '1h', times: 24, do: 'POST /admin/events/change', with: { count: 2 } },
    {
      at: '1h 30m',
      do: 'POST /admin/accounts/${ana.accountId}/calendars/${ana.calendars.0.id}/events',
      with: { summary: 'of ${ana.email}', start: { date: '2026-09-10' }, end: { date: '2026-09-11' } },
    },
    {
      at: '6h',
      do: 'POST /admin/faults',
      with: {
        match: { operation: 'list', accountId: '${ana.accountId}' },
        forMs: 60000,
        respond: { status: 503 },
      },
    },
    { at: '1d', do: 'POST /admin/accounts/${ana.accountId}/revoke' },
  ],
}

function startAt(options: object = {}): Promise<TestSimulator> {
  return startTestSimulator({ clock: 'manual', clockStart: START, ...options })
}

const changesOf = async (simulator: TestSimulator) => {
  const { changes } = await simulator.admin<{
    changes: { at: number; eventId: string; kind: string; hash: string }[]
  }>('GET', '/admin/changes')
  return changes.map(({ at, eventId, kind, hash }) => [at - START, eventId, kind, hash])
}

describe('a scenario', () => {
  it('happens at its own times, and the same each time', async () => {
    const play = async () => {
      await using simulator = await startAt()
      const state = await simulator.admin('POST', '/admin/scenario', TIMELINE)
      expect(state).toMatchObject({ name: 'a bad day', steps: 28, ran: 1, finished: false, failures: [] })
      await simulator.admin('POST', '/admin/clock', { advanceMs: 2 * HOUR_MS })
      const early = await changesOf(simulator)
      await simulator.admin('POST', '/admin/clock', { advanceMs: 4 * HOUR_MS + 1_000 })
      const { accounts } = await simulator.admin<{ accounts: never[] }>('GET', '/admin/accounts')
      const sdk = await simulator.sdk(accounts[0] as never)
      await expect(sdk.events.list({ calendarId: 'primary' })).rejects.toMatchObject({ status: 503 })
      await simulator.admin('POST', '/admin/clock', { advanceMs: 60_000 })
      expect((await sdk.events.list({ calendarId: 'primary' })).status).toBe(200)
      await simulator.admin('POST', '/admin/clock', { advanceMs: 24 * HOUR_MS })
      expect(await simulator.admin('GET', '/admin/scenario')).toMatchObject({
        ran: 28,
        finished: true,
        failures: [],
      })
      expect(await simulator.admin('GET', '/admin/accounts')).toMatchObject({ accounts: [{ revoked: true }] })
      return { early, all: await changesOf(simulator) }
    }
    const { early, all } = await play()
    const times = [0, 0, 0, HOUR_MS, HOUR_MS, 1.5 * HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS]
    expect(early.map(([at]) => at)).toEqual(times)
    expect(all.length).toBeGreaterThan(40)
    expect((await play()).all).toEqual(all)
  })

  it('is refused with every problem named, and then nothing has happened', async () => {
    await using simulator = await startAt()
    const refused = async (body: unknown) => {
      const answer = simulator.admin('POST', '/admin/scenario', body)
      return String(
        await answer.then(
          () => 'fine',
          (error: Error) => JSON.parse(error.message.replace(/^.*?: /, '')).error,
        ),
      )
    }
    const problems = await refused({
      name: 'wrong',
      steps: [
        { do: 'POST /admin/nothing' },
        { do: 'POST /admin/clock', with: { advanceMs: 1 } },
        { do: 'POST /admin/accounts', with: { emial: 'x@example.com' } },
        { at: '2h', do: 'POST /admin/accounts', as: 'late' },
        { at: '1h', do: 'POST /admin/accounts/${late.accountId}/revoke' },
        { do: 'POST /admin/accounts/${nobody.accountId}/revoke' },
        { do: 'revoke', every: '1h' },
      ],
    })
    expect(problems.split('\n')).toEqual([
      'The scenario cannot be run:',
      'steps[0]: do: there is no POST /admin/nothing.',
      'steps[1]: do: /admin/clock is not for scenarios.',
      expect.stringContaining('steps[2]: with: ✖ Unrecognized key: "emial"'),
      'steps[4]: ${late…} is named by a step that happens later.',
      'steps[5]: ${nobody…} is named by no step before it.',
      'steps[6]: do: "revoke" is no call; it is written as "POST /admin/…".',
      'steps[6]: every needs times.',
    ])
    expect(await refused({ name: 'x', steps: [{ at: 'soon', do: 'POST /admin/accounts' }] })).toContain(
      '"soon"',
    )
    expect(await refused({ name: 'x', steps: [] })).toContain('steps')
    expect(await simulator.admin('GET', '/admin/accounts')).toEqual({ accounts: [] })
    await expect(simulator.admin('GET', '/admin/scenario')).rejects.toThrow('No scenario was started')
  })

  it('keeps the failures of its steps, and goes on', async () => {
    await using simulator = await startAt()
    const state = await simulator.admin('POST', '/admin/scenario', {
      name: 'stumbles',
      steps: [{ do: 'POST /admin/accounts/c9/revoke' }, { do: 'POST /admin/accounts' }],
    })
    expect(state).toMatchObject({
      finished: true,
      failures: [{ place: 'steps[0]', at: 0, error: '404: {"error":"There is no such account."}' }],
    })
    expect(await simulator.admin('GET', '/admin/accounts')).toMatchObject({ accounts: [{ accountId: 'c1' }] })
  })

  it('given at the start goes on after a restart where it stopped, and does not begin again', async () => {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'scenario-'))
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }))
    const scenario = JSON.stringify({
      name: 'two halves',
      steps: [
        { do: 'POST /admin/accounts', with: { eventsPerCalendar: 0 }, as: 'first' },
        { at: '1h', do: 'POST /admin/accounts', with: { eventsPerCalendar: 0 } },
        { at: '2h', do: 'POST /admin/accounts/${first.accountId}/revoke' },
      ],
    })
    const accounts = async (simulator: TestSimulator) =>
      (await simulator.admin<{ accounts: { revoked: boolean }[] }>('GET', '/admin/accounts')).accounts.map(
        ({ revoked }) => revoked,
      )
    {
      await using simulator = await startAt({ dataDir, scenario })
      await simulator.admin('POST', '/admin/clock', { advanceMs: HOUR_MS })
      expect(await accounts(simulator)).toEqual([false, false])
    }
    await using simulator = await startAt({ dataDir, scenario })
    expect(await accounts(simulator)).toEqual([false, false])
    expect(await simulator.admin('GET', '/admin/clock')).toMatchObject({ now: START + HOUR_MS })
    await simulator.admin('POST', '/admin/clock', { advanceMs: HOUR_MS })
    expect(await accounts(simulator)).toEqual([true, false])
    expect(await simulator.admin('GET', '/admin/scenario')).toMatchObject({ ran: 3, finished: true })
  })
})
