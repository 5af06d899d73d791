// Repairs over the whole system: a paused account is left alone while its vendor rings, also after
// restarts; and one repair over thousands of connections outlives the scheduler that works on it.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { COMPILED } from '../../support/compiled.ts'
import { converged, expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { openReader, type Reader } from '../../support/outbox.ts'
import { testStack } from '../../support/stack.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const WITHIN_MS = 120_000
const MANY = 2_500

interface Shown {
  readonly id: string
  readonly state: string
  readonly done: number
  readonly total: number
}

let world: World
let ingress: Component
let sync: Component
/** Those that run. */
let schedulers: readonly Component[]
let accounts: readonly Account[]
let reader: Reader

beforeAll(async () => {
  world = await openWorld({ label: 'repairs_whole' })
  const kafka = { brokers: testStack().brokers, prefix: world.prefix }
  reader = await openReader(kafka, [TOPICS.connectionChanged, TOPICS.requestedGoogle])
  const names = ['ingress', 'sync', 'relay', 'retry'] as const
  const started = await Promise.all(names.map((name) => world.start(name)))
  ;[ingress, sync] = [started[0]!, started[1]!]
  schedulers = [await world.start('scheduler')]
  accounts = await Promise.all(
    [1, 2].map(() => world.connect({ vendor: 'google', calendars: 1, eventsPerCalendar: 3 })),
  )
  await expectConverged(world, accounts)
}, WITHIN_MS)
afterAll(async () => {
  await reader?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

const sql = <R extends object>(text: string, values: readonly unknown[] = []) =>
  look<R>(world.env['POSTGRES_URL'] ?? '', text, values)

/** Every scheduler dies at once; so many others begin. */
async function replaceSchedulers(count: number): Promise<void> {
  await Promise.all(schedulers.map((scheduler) => scheduler.kill()))
  schedulers = await Promise.all(Array.from({ length: count }, () => world.start('scheduler')))
}

function run(...args: readonly string[]) {
  const options = { cwd: ROOT, env: { PATH: process.env['PATH'], ...COMPILED, ...world.env } }
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const argv = [path.join(ROOT, 'services/cli/main.ts'), ...args]
    const child = execFile(process.execPath, argv, options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

async function told(...args: readonly string[]): Promise<Shown> {
  const { code, stdout, stderr } = await run('--json', ...args)
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout) as Shown
}

const shown = (id: string) => told('repairs', 'show', id)

const ended = (id: string) =>
  eventually(
    'the repair to end',
    async () => {
      const repair = await shown(id)
      return repair.state !== 'running' && repair
    },
    WITHIN_MS,
  )

const change = ({ accountId, calendars }: Account) =>
  world.admin(
    'POST',
    `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendars[0]!.id)}/events`,
    {},
  )

async function runsOf(account: Account): Promise<{ status: string; epoch: number; version: number }> {
  const [row] = await sql<{ status: string; epoch: number; version: number }>(
    `select status, sync_epoch::int as epoch, version::int as version from external_calendar_connections where id = $1`,
    [account.connectionId],
  )
  return row!
}

/** The statuses that the stream told of one connection, in order. */
async function statusesOf(id: string): Promise<readonly string[]> {
  const options = { registryUrl: testStack().registryUrl, prefix: world.prefix }
  const topics = [TOPICS.connectionChanged] as const
  const codec = await openCodec({ ...options, topics }, AbortSignal.timeout(WITHIN_MS))
  const own = reader.of(TOPICS.connectionChanged).filter(({ key }) => key?.toString() === id)
  return Promise.all(
    own.map(async ({ value }) => {
      const decoded = await codec.decode(TOPICS.connectionChanged, value)
      return decoded.kind === 'message' ? decoded.message.status : decoded.problem
    }),
  )
}

test(
  'a paused account is not read while its vendor rings, also by services that start again, and catches up when it is resumed',
  async () => {
    const [paused, other] = accounts as [Account, Account]
    const dry = await told('repair', 'pause', '--connection', paused.connectionId, '--dry-run')
    expect(dry).toMatchObject({ matches: 1 })
    const { id } = await told('repair', 'pause', '--connection', paused.connectionId, '--by', 'night')
    expect(await ended(id)).toMatchObject({ state: 'done', done: 1, total: 1, by: 'night' })
    const before = await runsOf(paused)
    expect(before.status).toBe('disabled')
    const ring = () =>
      reader.of(TOPICS.requestedGoogle).filter(({ key }) => key?.toString() === paused.connectionId).length
    const rung = ring()
    const acknowledged = () => world.metric(ingress, 'calendar_sync_webhooks_total', 'outcome="2')
    const answered = await acknowledged()
    await change(paused)
    await eventually(
      'its notification to be acknowledged and kept',
      async () => ring() > rung && (await acknowledged()) > answered,
    )
    await sync.kill()
    await Promise.all([world.start('sync'), replaceSchedulers(1)])
    // The control: what is not paused is read by the same services.
    await change(other)
    await eventually(
      'the other account to be read',
      async () => (await converged(world, [other])).length === 0,
      WITHIN_MS,
    )
    expect(await runsOf(paused)).toEqual(before)
    expect((await run('connections', 'show', paused.connectionId)).stdout).toContain(
      'An operator paused this connection',
    )

    const resumed = await told('repair', 'resume', '--connection', paused.connectionId)
    expect(await ended(resumed.id)).toMatchObject({ state: 'done', done: 1 })
    await expectConverged(world, accounts)
    expect(await statusesOf(paused.connectionId)).toEqual(['active', 'disabled', 'active'])
  },
  WITHIN_MS,
)

test(
  'a repair of thousands whose scheduler is killed in the middle is finished by another, and each is told once',
  async () => {
    const provider = randomUUID()
    await sql(
      `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, last_synced_at, reconcile_at)
       select $1, 'google', gen_random_uuid()::text, calstream_now(), calstream_now() + interval '1 day'
         from generate_series(1, ${MANY})`,
      [provider],
    )
    const own = new Set(
      (
        await sql<{ id: string }>('select id from external_calendar_connections where provider_id = $1', [
          provider,
        ])
      ).map(({ id }) => id),
    )
    const toldOf = (topic: string) =>
      reader.of(topic).flatMap(({ key }) => (own.has(key?.toString() ?? '') ? [key!.toString()] : []))
    for (const kind of ['pause', 'resume']) {
      const { id, total } = await told('repair', kind, '--provider', provider, '--rate', '250')
      expect(total).toBe(MANY)
      await eventually('some to be done', async () => (await shown(id)).done > 200, WITHIN_MS)
      await Promise.all(schedulers.map((scheduler) => scheduler.kill()))
      // The witness: it was in the middle.
      const [at] = await sql<{ state: string; done: number }>(
        'select state, done from repairs where id = $1',
        [id],
      )
      expect([at?.state, at!.done < MANY]).toEqual(['running', true])
      await replaceSchedulers(2)
      expect(await ended(id)).toMatchObject({ state: 'done', done: MANY })
    }
    const topics = [TOPICS.connectionChanged, TOPICS.requestedGoogle]
    await eventually(
      'all to be published',
      async () =>
        toldOf(TOPICS.requestedGoogle).length >= MANY && toldOf(TOPICS.connectionChanged).length >= 2 * MANY,
      WITHIN_MS,
    )
    expect(topics.map((topic) => toldOf(topic).length)).toEqual([2 * MANY, MANY])
    expect(topics.map((topic) => new Set(toldOf(topic)).size)).toEqual([MANY, MANY])
    const left = await sql('select from external_calendar_connections where paused_at is not null')
    expect(left).toEqual([])
  },
  2 * WITHIN_MS,
)

test('a person who says nothing, or what makes no sense, is told what to say', async () => {
  for (const [args, says] of [
    [['sync-now'], /Say which: a connection, a provider/],
    [['sync-now', '--all', '--rate', '0'], /--rate is how many a second/],
    [['pause', '--state', 'sad'], /The state is one of/],
    [['probe', '--since', 'yesterday'], /--since takes an instant/],
  ] as const) {
    const { code, stderr } = await run('repair', ...args)
    expect([code, stderr]).toEqual([1, expect.stringMatching(says)])
  }
  expect((await run('repairs', 'show', randomUUID())).stderr).toMatch(
    /There is no repair .*calstream repairs list/,
  )
  expect(await told('repair', 'resume', '--all')).toMatchObject({ matches: 0 })
  expect((await run('repairs', 'list')).stdout).toMatch(/pause .*2500 of 2500/)
})
