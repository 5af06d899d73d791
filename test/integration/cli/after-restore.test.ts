// Postgres is restored to an earlier moment under a stream that went on: readers who drop the
// numbers that they have passed lose nothing, once `calstream after-restore` has run. And Kafka is
// lost whole: `calstream republish` fills a new cluster.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { openStoredEvents } from '../../../infra/oracle/rows.ts'
import { openStreamReader } from '../../../infra/oracle/stream-reader.ts'
import { compareHoldings, foldChanges, foldState } from '../../../infra/oracle/verify.ts'
import { restoreBackup, takeBackup } from '../../support/backup.ts'
import { COMPILED } from '../../support/compiled.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { silent } from '../../support/recording-consumer.ts'
import { startOwnKafka, testStack } from '../../support/stack.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const NAMES = ['relay', 'retry', 'sync', 'scheduler', 'ingress'] as const

let world: World
let services: Component[] = []

beforeAll(async () => {
  world = await openWorld({ label: 'after_restore' })
})
afterEach(() => stopAll())
afterAll(() => world[Symbol.asyncDispose]())

const url = () => world.env['POSTGRES_URL'] ?? ''

async function startAll(env: Readonly<Record<string, string>> = {}): Promise<void> {
  services = await Promise.all(NAMES.map((name) => world.start(name, env)))
}

async function stopAll(): Promise<void> {
  await Promise.all(services.map((service) => service[Symbol.asyncDispose]()))
  services = []
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The command as a person runs it; `--json` where the answer is looked at. */
function calstream(args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const env = { ...COMPILED, ...world.env, ...more, PATH: process.env['PATH'] ?? '' }
  const script = path.join(ROOT, 'services/cli/main.ts')
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [script, ...args], { env }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

async function restoredLine(): Promise<{ ok: boolean; found: string; do: string }> {
  const { stdout } = await calstream(['--json', 'doctor', '--restored'])
  const lines = JSON.parse(stdout) as { ok: boolean; what: string; found: string; do: string }[]
  return lines.find(({ what }) => what === 'restored') ?? expect.unreachable('the line is there')
}

const eventsOf = (account: Account) =>
  `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]!.id)}/events`

/** @returns the vendor's id of the new event. */
async function create(account: Account): Promise<string> {
  const made = await world.admin<{ id?: string; eventId?: string }>('POST', eventsOf(account), {})
  return made.id ?? made.eventId ?? expect.unreachable('the event has an id')
}

const change = (account: Account, event: string) =>
  world.admin('PATCH', `${eventsOf(account)}/${encodeURIComponent(event)}`, {})
const remove = (account: Account, event: string) =>
  world.admin('DELETE', `${eventsOf(account)}/${encodeURIComponent(event)}`)

/** The stored events of an account, by the vendor's ids, in a fixed order. */
async function stored(account: Account): Promise<readonly string[]> {
  const rows = await look<{ id: string }>(
    url(),
    'select vendor_event_id as id from external_calendar_events where connection_id = $1 and series_id is null order by 1',
    [account.connectionId],
  )
  return rows.map(({ id }) => id)
}

describe('a database that was restored to an earlier moment', () => {
  test('continues where the topics end: readers lose nothing that came after the backup', async () => {
    await startAll()
    const [google, microsoft, leaver] = await Promise.all([
      world.connect({ eventsPerCalendar: 12 }),
      world.connect({ vendor: 'microsoft', eventsPerCalendar: 12 }),
      world.connect({ eventsPerCalendar: 3 }),
    ])
    await expectConverged(world, [google, microsoft, leaver])
    await takeBackup(url())

    // What the stream tells and the backup does not know: changed, removed, made, connected, left.
    const late = await world.connect({ eventsPerCalendar: 2 })
    const made: string[] = []
    for (const account of [google, microsoft]) {
      const [first, second] = await stored(account)
      await change(account, first!)
      await remove(account, second!)
      made.push(await create(account), await create(account))
    }
    await expectConverged(world, [google, microsoft, late])
    const token = (await calstream(['token', '--provider', leaver.providerId])).stdout.trim()
    const left = await fetch(`${world.env['PUBLIC_URL']}/api/calendar/connections/${leaver.connectionId}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${token}` },
    })
    expect(left.status).toBeLessThan(300)
    await eventually('the relay to be done', async () => (await waiting()) === 0)

    const refused = await calstream(['after-restore'])
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/Services run: .*Nothing was changed/),
    ])
    await stopAll()
    await restoreBackup(url())
    expect(await restoredLine()).toMatchObject({
      ok: false,
      found: expect.stringMatching(/of 3 connections would use numbers again/) as string,
      do: expect.stringContaining('calstream after-restore') as string,
    })
    // While all is down: what was made after the backup changes or goes.
    await remove(google, made[0]!)
    await change(google, made[1]!)
    await remove(microsoft, made[2]!)

    const report = await reportOf()
    expect(report).toMatchObject({
      connections: 3,
      raised: 3,
      unknown_connections: 1,
      disconnected_again: 1,
      rows_removed: expect.any(Number) as number,
    })
    expect(report['rows_from_the_stream']).toBeGreaterThanOrEqual(4)
    // Repeated, it finds nothing more to do.
    expect(await reportOf()).toMatchObject({
      raised: 0,
      rows_from_the_stream: 0,
      rows_removed: 0,
      removals_told: 0,
    })

    await startAll()
    await expectConverged(world, [google, microsoft])
    expect((await restoredLine()).found).toMatch(/3 connections continue above all that the topics hold/)
    expect(await statusOf(leaver)).toBe('disconnected')
    // Whoever reads the stream has nothing of those that are gone.
    const state = await stateOf(world.env['KAFKA_BROKERS'] ?? '')
    const owners = new Set([...state.keys()].map((key) => key.split('/')[0] ?? ''))
    expect(owners).toEqual(new Set([google.connectionId, microsoft.connectionId]))
  }, 400_000)

  test('from a backup that is older than what the topics keep takes numbers that no reader has passed', async () => {
    const greatest = async () =>
      (
        await look<{ n: number }>(
          url(),
          'select max(version)::float8 as n from external_calendar_connections',
        )
      )[0]?.n ?? 0
    const before = await greatest()
    expect((await reportOf())['numbers_leapt']).toBe(0)
    expect(await greatest()).toBe(before)
    await look(url(), `update job_leases set last_run_at = last_run_at - interval '7 days'`)
    expect((await reportOf())['numbers_leapt']).toBe(2 ** 32)
    expect(await greatest()).toBe(before + 2 ** 32)
  }, 200_000)

  async function reportOf(): Promise<Record<string, number>> {
    const { code, stdout, stderr } = await eventually(
      'the groups to have no members',
      async () => {
        const ended = await calstream(['--json', 'after-restore'])
        return !ended.stderr.includes('Services run') && ended
      },
      90_000,
    )
    expect([code, stderr]).toEqual([0, ''])
    return JSON.parse(stdout) as Record<string, number>
  }

  async function statusOf({ connectionId }: Account): Promise<string | undefined> {
    const sql = 'select status from external_calendar_connections where id = $1'
    return (await look<{ status: string }>(url(), sql, [connectionId]))[0]?.status
  }
})

async function waiting(): Promise<number> {
  return (await look<{ n: number }>(url(), 'select count(*)::int as n from outbox'))[0]?.n ?? 0
}

/** What a reader has who read the state from its beginning. */
async function stateOf(brokers: string) {
  await using reader = await openReader(brokers)
  await using rows = await openStoredEvents(url())
  const held = await rows.events((await rows.connections()).map(({ connectionId }) => connectionId))
  const fold = () => foldState(reader.records(world.prefix + TOPICS.eventState)).holdings
  await eventually('the state to equal the rows', () => compareHoldings('state', held, fold()).length === 0)
  return fold()
}

function openReader(brokers: string) {
  return openStreamReader({
    brokers: brokers.split(','),
    registryUrl: testStack().registryUrl,
    topics: [TOPICS.eventChanged, TOPICS.eventState].map((topic) => world.prefix + topic),
  })
}

describe('a Kafka that was lost whole', () => {
  test('is filled again by republish: a fresh reader has every row, and what changes comes after', async () => {
    await using kafka = await startOwnKafka()
    const brokers = kafka.brokers
    const place = { brokers: brokers.split(','), prefix: world.prefix, clientId: 'test', partitions: 4 }
    await applyTopics(place, silent())
    await applySchemas(
      { registryUrl: testStack().registryUrl, prefix: world.prefix },
      AbortSignal.timeout(60_000),
    )
    const account = await connectedOf()
    expect(await calstream(['republish', '--connection', account])).toMatchObject({ code: 0, stderr: '' })
    const nobody = '0198d3a0-0000-7000-8000-00000000dead'
    expect(await calstream(['republish', '--connection', nobody])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is no connection') as string,
    })
    const { code, stdout } = await calstream(['--json', 'republish'], { KAFKA_BROKERS: brokers })
    const events = (
      await look<{ n: number }>(url(), 'select count(*)::int as n from external_calendar_events')
    )[0]?.n
    expect([code, JSON.parse(stdout)]).toEqual([0, { connections: 3, events }])
    expect(events).toBeGreaterThan(20)

    services = [await world.start('relay', { KAFKA_BROKERS: brokers })]
    await eventually('the relay to be done', async () => (await waiting()) === 0)
    expect((await stateOf(brokers)).size).toBe(events)
    await using reader = await openReader(brokers)
    const changes = () => foldChanges(reader.records(world.prefix + TOPICS.eventChanged))
    await eventually('the changes to hold every row', () => changes().holdings.size === events)
    expect(changes().differences).toEqual([])
  }, 300_000)

  async function connectedOf(): Promise<string> {
    const sql = `select id from external_calendar_connections where status = 'active' order by id limit 1`
    return (await look<{ id: string }>(url(), sql))[0]?.id ?? expect.unreachable('one is connected')
  }
})
