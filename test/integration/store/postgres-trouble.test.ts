// What goes wrong inside a healthy-looking Postgres, made to happen on the real server: two
// transactions that want each other's rows, serialization, a server that turned read-only, a full
// disk. Each is told apart, and none costs the pool its next statement.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { type Database, openDatabase } from '#shared/store/database.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { freshDatabase, roleName, type TestDatabase } from '../../support/stack.ts'

let database: TestDatabase
let db: Database

beforeAll(async () => {
  database = await freshDatabase('postgres_trouble')
  await runStatement(database.url(), 'create table counters (name text primary key, value integer not null)')
  await runStatement(database.url(), `grant all on counters to ${roleName('calstream_sync')}`)
  db = open()
})
afterAll(async () => {
  await db[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})
beforeEach(() =>
  runStatement(database.url(), `truncate counters; insert into counters values ('a', 0), ('b', 0)`),
)

function open(): Database {
  return openDatabase(
    {
      url: new Secret(database.url('calstream_sync')),
      applicationName: 'calstream-test',
      poolMax: 4,
    },
    createLogger({ service: 'test', level: 'silent' }),
  )
}

const add = (name: string) => [`update counters set value = value + 1 where name = '${name}'`] as const

async function values(): Promise<Record<string, unknown>> {
  const rows = await runStatement(database.url(), 'select name, value from counters order by name')
  return Object.fromEntries(rows.map((row) => [row['name'], row['value']]))
}

/** Two parties wait for each other once. */
function meeting(): () => Promise<void> {
  let arrived = 0
  let open: () => void = () => undefined
  const both = new Promise<void>((resolve) => {
    open = resolve
  })
  return async () => {
    arrived += 1
    if (arrived === 2) open()
    await both
  }
}

function failuresOf(results: readonly PromiseSettledResult<unknown>[]): readonly unknown[] {
  return results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
}

describe('two transactions that block each other', () => {
  test('end as contention for one and success for the other; what failed left nothing', async () => {
    const meet = meeting()
    // The lock timeout of the role is as long as the server's deadlock check: which of the two says
    // so first is left to chance.
    const cross = (first: string, second: string) =>
      db.transaction(async (tx) => {
        await tx.query(...add(first))
        await meet()
        await tx.query(...add(second))
      })
    const results = await Promise.allSettled([cross('a', 'b'), cross('b', 'a')])
    const failures = failuresOf(results)
    expect(failures.length).toBeGreaterThanOrEqual(1)
    for (const failure of failures)
      expect(failure).toMatchObject({ code: 'store/contention', kind: 'transient' })
    const saved = 2 - failures.length
    expect(await values()).toEqual({ a: saved, b: saved })
  })

  test('found by the deadlock check are contention too', async () => {
    const meet = meeting()
    const cross = (first: string, second: string) =>
      db.transaction(async (tx) => {
        await tx.query(`set local lock_timeout = '3s'`)
        await tx.query(...add(first))
        await meet()
        await tx.query(...add(second))
      })
    const failures = failuresOf(await Promise.allSettled([cross('a', 'b'), cross('b', 'a')]))
    expect(failures).toHaveLength(1)
    expect(failures[0]).toMatchObject({ code: 'store/contention', cause: { code: '40P01' } })
    expect(await values()).toEqual({ a: 1, b: 1 })
  })
})

describe('a transaction that cannot be serialized', () => {
  test('is contention, and the same work succeeds when it is done again', async () => {
    const meet = meeting()
    const bump = (together: () => Promise<void>) =>
      db.transaction(async (tx) => {
        await tx.query('set transaction isolation level serializable')
        await tx.query(`select value from counters where name = 'a'`)
        await together()
        await tx.query(...add('a'))
      })
    const failures = failuresOf(await Promise.allSettled([bump(meet), bump(meet)]))
    expect(failures).toHaveLength(1)
    expect(failures[0]).toMatchObject({ code: 'store/contention', cause: { code: '40001' } })
    await bump(async () => undefined)
    expect(await values()).toEqual({ a: 2, b: 0 })
  })
})

describe('a server that accepts no writes', () => {
  test('is read-only for us, costs no attempt, and is written to again once it is the primary', async () => {
    const name = new URL(database.url()).pathname.slice(1)
    await runStatement(database.url(), `alter database "${name}" set default_transaction_read_only = on`)
    await using standby = open()
    const failure = await failureOf(standby.transaction((tx) => tx.query(...add('a'))))
    expect(failure).toMatchObject({ code: 'store/read-only', scope: 'process' })
    expect(settlementOf(failure)).toMatchObject({ action: 'wait', countsAsAttempt: false })
    await runStatement(
      Object.assign(new URL(database.url()), { pathname: '/postgres' }).href,
      `alter database "${name}" reset default_transaction_read_only`,
    )
    // The connection that said read-only is not used again, so this one leads to the primary.
    await standby.transaction((tx) => tx.query(...add('a')))
    expect(await values()).toEqual({ a: 1, b: 0 })
  })
})

describe('a full disk', () => {
  test('is told apart from a defect, saves nothing and costs no attempt; the connection goes on', async () => {
    // A disk that is full for one process needs mounts;
    // the server's own words for it need a trigger.
    await runStatement(
      database.url(),
      `create function no_space() returns trigger language plpgsql as $$
         begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$`,
    )
    await runStatement(
      database.url(),
      `create trigger no_space before update on counters for each row when (new.name = 'b') execute function no_space()`,
    )
    const failure = await failureOf(
      db.transaction(async (tx) => {
        await tx.query(...add('a'))
        await tx.query(...add('b'))
      }),
    )
    expect(failure).toMatchObject({ code: 'store/disk-full', scope: 'process', kind: 'transient' })
    expect(settlementOf(failure).countsAsAttempt).toBe(false)
    expect(await values()).toEqual({ a: 0, b: 0 })
    await db.transaction((tx) => tx.query(...add('a')))
    expect(await values()).toEqual({ a: 1, b: 0 })
  })
})

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  )
  if (error instanceof Failure) return error
  throw error
}
