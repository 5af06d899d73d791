// `calstream why` on real rows, a real flag server and a real broker: an account is found by what
// people call it, each cause is told with who acts, and what is away is a cause too.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { COMPILED } from '../../support/compiled.ts'
import { eventually } from '../../support/eventually.ts'
import { openWorld, type Account, type World } from '../../support/world.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')

let world: World
let account: Account
beforeAll(async () => {
  world = await openWorld({ label: 'cli_why' })
  account = await world.connect({ eventsPerCalendar: 1 })
  await set(`last_synced_at = calstream_now(), sync_needed = false, account_label = 'Ada@example.com'`)
  await statement('update external_calendars set last_read_at = calstream_now(), read_needed = false')
  await statement(
    `insert into service_instances (instance, service, version, host, pid, started_at, seen_at, ready)
     select gen_random_uuid(), service, 'test', 'test', 1, clock_timestamp(), clock_timestamp() + interval '1 day', true
       from unnest(array['ingress', 'sync', 'retry', 'relay', 'scheduler']) as services (service)`,
  )
})
afterAll(() => world?.[Symbol.asyncDispose]())

const statement = (sql: string) => runStatement(world.env['POSTGRES_URL'] ?? '', sql)
const set = (change: string) =>
  statement(`update external_calendar_connections set ${change} where id = '${account.connectionId}'`)

interface Told {
  readonly id: string
  readonly why: { readonly is_up_to_date: boolean; readonly causes: readonly { readonly code: string }[] }
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = { cwd: ROOT, env: { PATH: process.env['PATH'], ...COMPILED, ...world.env, ...env } }
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const argv = [path.join(ROOT, 'services/cli/main.ts'), ...args]
    const child = execFile(process.execPath, argv, options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/** A look ends after three seconds, in which a busy machine may not have answered. */
function told(
  text: string,
  codes: string,
  env: Readonly<Record<string, string>> = {},
): Promise<readonly Told[]> {
  return eventually(
    `the causes ${codes}`,
    async () => {
      const { stdout } = await run(['--json', 'why', text], env)
      const { connections } = JSON.parse(stdout) as { connections: readonly Told[] | null }
      return connections?.[0]?.why.causes.map(({ code }) => code).join() === codes && connections
    },
    60_000,
  )
}

test('an account that is well is up to date, by its id and by its address in any letter case (control)', async () => {
  for (const text of [account.connectionId, 'ADA@example.com'])
    expect(await told(text, '')).toMatchObject([{ id: account.connectionId, why: { is_up_to_date: true } }])
  expect((await run(['why', 'ada@example.com'])).stdout).toMatch(
    /^Ada@example\.com {2}google .*\nUp to date as of 20/,
  )
})

test('several accounts of one address are told one after the other', async () => {
  const other = await world.connect({ eventsPerCalendar: 1 })
  await statement(
    `update external_calendar_connections set account_label = 'ada@example.com', last_synced_at = calstream_now()
      where id = '${other.connectionId}'`,
  )
  const { stdout } = await run(['--json', 'why', 'ada@example.com'])
  const { connections } = JSON.parse(stdout) as { connections: readonly Told[] }
  expect(connections.map(({ id }) => id)).toEqual([account.connectionId, other.connectionId].toSorted())
  await statement(`delete from external_calendar_connections where id = '${other.connectionId}'`)
})

test('every cause is told in the order of who can act, with what happens next and what to do', async () => {
  await set(
    `failing_since = calstream_now(), backoff_until = calstream_now() + interval '1 hour',
     last_error = '{"code": "vendor/unavailable", "message": "Google answered 503."}'`,
  )
  await statement(
    `update service_instances set seen_at = clock_timestamp() - interval '1 minute' where service = 'relay'`,
  )
  const cap = { CALENDAR_SYNC_ENABLED: 'false' }
  await told(account.connectionId, 'capped_by_environment,relay_down,backing_off', cap)
  const { stdout } = await run(['why', account.connectionId], cap)
  expect(stdout).toMatch(/\nNot up to date; it was as of 20/)
  expect(stdout).toMatch(
    /\n {2}✗ capped_by_environment: Not synced at the moment: Calendar sync not enabled\.\n/,
  )
  expect(stdout).toMatch(
    /\n {6}→ operator: The variable CALENDAR_SYNC_ENABLED of the services keeps it closed/,
  )
  expect(stdout).toMatch(
    /✗ relay_down: The service relay was last heard of at 20.*; changes wait in the outbox/,
  )
  expect(stdout).toMatch(/✗ backing_off: The last sync failed: Google answered 503\. \(since 20.*, until 20/)
  const { causes } = JSON.parse((await run(['--json', 'status'])).stdout) as { causes: readonly object[] }
  expect(causes).toMatchObject([{ cause: 'backing_off', vendor: 'google', connections: 1, actor: 'vendor' }])
  const listed = await run(['--json', 'connections', 'list', '--cause', 'backing_off'])
  expect((JSON.parse(listed.stdout) as { id: string }[]).map(({ id }) => id)).toEqual([account.connectionId])
  expect((await run(['connections', 'list', '--cause', 'bad'])).stderr).toMatch(
    /^--cause must be one of disconnected, /,
  )
})

test('without Postgres nothing is known of the account, and that is told with what else is away', async () => {
  const url = Object.assign(new URL(world.env['POSTGRES_URL'] ?? ''), { port: '1' }).href
  const away = { POSTGRES_URL: url, POSTGRES_URL_SCHEDULER: url, KAFKA_BROKERS: '127.0.0.1:1' }
  const { code, stdout } = await run(['--json', 'why', account.connectionId], away)
  expect(code).toBe(1)
  const { connections, causes } = JSON.parse(stdout) as {
    connections: unknown
    causes: { code: string; text: string }[]
  }
  expect(connections).toBeNull()
  expect(causes.map((cause) => cause.code)).toEqual(['database_away', 'kafka_away'])
  expect(causes[0]?.text).toMatch(/^The database does not answer\./)
})

test('what names no connection is said to name none', async () => {
  for (const text of [
    'nobody@example.com',
    account.connectionId.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
  ]) {
    const { code, stderr } = await run(['why', text])
    expect([code, stderr]).toEqual([
      1,
      `No connection has the id or the account "${text}". List them: calstream connections list.\n`,
    ])
  }
})
