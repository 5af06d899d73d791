// The pool against a real server and real faults: what each error means, that every wait ends, and
// that no value of a row leaves with an error.
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { type Database, openDatabase } from '#shared/store/database.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { freshDatabase, roleName, startOwnPostgres, type TestDatabase } from '../../support/stack.ts'
import { startTcpProxy } from '../../support/tcp-proxy.ts'

const logger = createLogger({ service: 'test', level: 'silent' })
let database: TestDatabase

function open(url: string, poolMax = 4): Database {
  return openDatabase({ url: new Secret(url), applicationName: 'calstream-test', poolMax }, logger)
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  )
  if (error instanceof Failure) return error
  throw error
}

const rows = async (): Promise<readonly unknown[]> =>
  (await runStatement(database.url(), 'select value from notes order by value')).map(({ value }) => value)

beforeAll(async () => {
  database = await freshDatabase('postgres')
  await runStatement(
    database.url(),
    'create table notes (value text primary key constraint notes_short check (length(value) < 20))',
  )
  await runStatement(database.url(), `grant all on notes to ${roleName('calstream_sync')}`)
})

afterAll(() => database[Symbol.asyncDispose]())

describe('a value', () => {
  test('of bigint comes as a number, of date as text, and of timestamptz as an instant', async () => {
    await using db = open(database.url('calstream_sync'))
    const { rows: found, rowCount } = await db.query(
      `select 9007199254740991::bigint as big, array[1, null, 3]::bigint[] as bigs, date '2026-03-29' as day,
              timestamptz '2026-03-29 01:30:00.123+00' as at, count(*) as n, null::bigint as nothing from (values (1), (2)) v`,
    )
    expect(rowCount).toBe(1)
    expect(found).toEqual([
      {
        big: 9007199254740991,
        bigs: [1, null, 3],
        day: '2026-03-29',
        at: new Date('2026-03-29T01:30:00.123Z'),
        n: 2,
        nothing: null,
      },
    ])
  })

  test('of bigint beyond 2^53 is refused, not rounded', async () => {
    await using db = open(database.url('calstream_sync'))
    const failure = await failureOf(db.query('select 9007199254740993::bigint as big'))
    expect(failure).toMatchObject({ code: 'internal/defect' })
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })
})

describe('a transaction', () => {
  test('is saved as a whole, and its result comes back', async () => {
    await using db = open(database.url('calstream_sync'))
    const result = await db.transaction(async (tx) => {
      // Together: they go one after the other.
      await Promise.all(['a1', 'a2', 'a3'].map((value) => tx.query('insert into notes values ($1)', [value])))
      return (await tx.query('select 1 from notes where value like $1', ['a%'])).rowCount
    })
    expect(result).toBe(3)
    expect(await rows()).toEqual(expect.arrayContaining(['a1', 'a2', 'a3']))
  })

  test('whose work throws leaves nothing, passes the error through and gives a usable connection back', async () => {
    await using db = open(database.url('calstream_sync'), 1)
    const boom = new TypeError('boom')
    const attempt = db.transaction(async (tx) => {
      await tx.query(`insert into notes values ('b1')`)
      throw boom
    })
    await expect(attempt).rejects.toBe(boom)
    expect(await rows()).not.toContain('b1')
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  test('whose failed statement was swallowed is not reported as saved', async () => {
    await using db = open(database.url('calstream_sync'))
    const attempt = db.transaction(async (tx) => {
      await tx.query(`insert into notes values ('c1')`)
      await tx.query('select 1/0').catch(() => undefined)
    })
    expect(await failureOf(attempt)).toMatchObject({ code: 'internal/defect' })
    expect(await rows()).not.toContain('c1')
  })

  test('is over when it is over: a late statement is refused', async () => {
    await using db = open(database.url('calstream_sync'))
    let late: Promise<unknown> | null = null
    await db.transaction(async (tx) => {
      late = new Promise((resolve) => setTimeout(resolve, 50)).then(() =>
        tx.query(`insert into notes values ('late')`),
      )
    })
    expect(await failureOf(late ?? Promise.resolve())).toMatchObject({ code: 'internal/defect' })
    expect(await rows()).not.toContain('late')
  })

  test('that is a snapshot sees one moment, and writes nothing', async () => {
    await using db = open(database.url('calstream_sync'))
    const count = (tx: typeof db | Parameters<Parameters<typeof db.snapshot>[0]>[0]) =>
      tx.query<{ n: number }>('select count(*)::int as n from notes').then(({ rows: [row] }) => row?.n)
    const seen = await db.snapshot(async (tx) => {
      const before = await count(tx)
      await db.query(`insert into notes values ('meanwhile')`)
      return { before, after: await count(tx), others: await count(db) }
    })
    expect(seen.after).toBe(seen.before)
    expect(seen.others).toBe((seen.before ?? 0) + 1)
    const write = db.snapshot((tx) => tx.query(`insert into notes values ('in a snapshot')`))
    expect(await failureOf(write)).toMatchObject({ code: 'store/read-only' })
    expect(await rows()).not.toContain('in a snapshot')
  })

  test('that waits for a lock gives up after the second of its role, as contention', async () => {
    await using db = open(database.url('calstream_sync'))
    await using holder = open(database.url())
    await runStatement(database.url(), `insert into notes values ('locked')`)
    const held = Promise.withResolvers<void>()
    const free = Promise.withResolvers<void>()
    const holding = holder.transaction(async (tx) => {
      await tx.query(`select 1 from notes where value = 'locked' for update`)
      held.resolve()
      await free.promise
    })
    await held.promise
    const update = () =>
      db.transaction((tx) => tx.query(`update notes set value = 'moved' where value = 'locked'`))
    expect(await failureOf(update())).toMatchObject({ code: 'store/contention', kind: 'transient' })
    free.resolve()
    await holding
    await update()
    expect(await rows()).toContain('moved')
  })

  test('whose server process is ended in the middle is unavailable, saved nothing, and the next one works', async () => {
    await using db = open(database.url('calstream_sync'), 1)
    const attempt = db.transaction(async (tx) => {
      await tx.query(`insert into notes values ('d1')`)
      const { rows: me } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
      await runStatement(database.url(), `select pg_terminate_backend(${me[0]?.pid}, 2000)`)
      await tx.query(`insert into notes values ('d2')`)
    })
    expect(await failureOf(attempt)).toMatchObject({ code: 'store/unavailable', scope: 'process' })
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    expect(await rows()).not.toEqual(expect.arrayContaining(['d1']))
  })

  test('that lost its connection is not saved even when the work swallowed that', async () => {
    await using db = open(database.url('calstream_sync'), 1)
    const attempt = db.transaction(async (tx) => {
      const { rows: me } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
      await runStatement(database.url(), `select pg_terminate_backend(${me[0]?.pid}, 2000)`)
      await tx.query(`insert into notes values ('e1')`).catch(() => undefined)
    })
    expect(await failureOf(attempt)).toMatchObject({ code: 'store/unavailable' })
  })
})

describe('a break at COMMIT', () => {
  const COMMIT = Buffer.from('COMMIT\0')

  async function through(cut: 'before' | 'after', value: string): Promise<Failure> {
    const url = new URL(database.url('calstream_sync'))
    await using proxy = await startTcpProxy(Number(url.port))
    url.port = String(proxy.port)
    await using db = open(url.href)
    await db.transaction((tx) => tx.query('insert into notes values ($1)', [`${value} control`]))
    if (cut === 'before') proxy.cutBefore(COMMIT)
    else proxy.cutAfter(COMMIT)
    const failure = await failureOf(
      db.transaction((tx) => tx.query('insert into notes values ($1)', [value])),
    )
    expect(proxy.cuts()).toBe(1)
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    return failure
  }

  test('after the server got it has an unknown outcome: the row is there', async () => {
    expect(await through('after', 'f1')).toMatchObject({ code: 'store/outcome-unknown', kind: 'conflict' })
    expect(await rows()).toEqual(expect.arrayContaining(['f1 control', 'f1']))
  })

  test('before the server got it has an unknown outcome: the row is not there', async () => {
    expect(await through('before', 'f2')).toMatchObject({ code: 'store/outcome-unknown' })
    expect(await rows()).toContain('f2 control')
    expect(await rows()).not.toContain('f2')
  })

  test('is no unknown outcome when the server refuses the COMMIT itself', async () => {
    await runStatement(
      database.url(),
      'create table once (value text constraint once_only unique deferrable initially deferred)',
    )
    await using db = open(database.url())
    const attempt = db.transaction((tx) => tx.query(`insert into once values ('x'), ('x')`))
    expect(await failureOf(attempt)).toMatchObject({ code: 'store/rejected-data' })
  })
})

describe('an error of the server', () => {
  test.each([
    ['40001', 'store/contention'],
    ['40P01', 'store/contention'],
    ['55P03', 'store/contention'],
    ['57P01', 'store/unavailable'],
    ['57P02', 'store/unavailable'],
    ['57P03', 'store/unavailable'],
    ['57014', 'store/unavailable'],
    ['25P03', 'store/unavailable'],
    ['53300', 'store/unavailable'],
    ['08006', 'store/unavailable'],
    ['53100', 'store/disk-full'],
    ['25006', 'store/read-only'],
    ['22001', 'store/rejected-data'],
    ['22P05', 'store/rejected-data'],
    ['23505', 'store/rejected-data'],
    ['23514', 'store/rejected-data'],
    ['42501', 'internal/defect'],
    ['P0001', 'internal/defect'],
  ])('with SQLSTATE %s is %s', async (state, code) => {
    await using db = open(database.url('calstream_sync'))
    const raise = `do $$ begin raise exception 'a message' using errcode = '${state}', detail = 'row-value-1' ; end $$`
    const failure = await failureOf(db.query(raise))
    expect(failure).toMatchObject({ code })
    expect(inspect(failure, { depth: 9 })).not.toContain('row-value-1')
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  test('carries the bare code and constraint of refused data, never the value', async () => {
    await using db = open(database.url('calstream_sync'))
    const long = 'a-private-title-that-is-too-long'
    const refused = await Promise.all([
      failureOf(db.query('insert into notes values ($1)', [long])),
      failureOf(db.query('select $1::int', ['a-private-title'])),
      failureOf(db.query('select $1::timestamptz', ['a-private-title'])),
      failureOf(db.query('select $1::text', ['a-private-title\0'])),
    ])
    for (const failure of refused) {
      expect(failure.code).toBe('store/rejected-data')
      expect(failure.message).toMatch(/^Postgres refused a value \(SQLSTATE 2[23]/)
      expect(inspect(failure, { depth: 9, showHidden: true })).not.toContain('a-private-title')
    }
    expect(refused[0]?.message).toContain('constraint notes_short')
  })
})

describe('a server that is not there', () => {
  test('refuses at once as unavailable, and a wrong password says where to look', async () => {
    await using nowhere = open('postgres://x:y@127.0.0.1:9/calstream')
    expect(await failureOf(nowhere.query('select 1'))).toMatchObject({ code: 'store/unavailable' })
    const wrong = new URL(database.url('calstream_sync'))
    wrong.password = 'wrong-password'
    await using db = open(wrong.href)
    const failure = await failureOf(db.query('select 1'))
    expect(failure).toMatchObject({ code: 'store/login-refused' })
    expect(failure.message).toContain('POSTGRES_URL')
    expect(inspect(failure, { depth: 9 })).not.toContain('wrong-password')
  })

  test('is given up within bounds when it is frozen, in and outside of a transaction, and is used again when it thaws', async () => {
    await using postgres = await startOwnPostgres(['calstream'])
    await using db = open(postgres.url('calstream'))
    await db.query('create table kept (value int)')
    await postgres.pause()
    const started = performance.now()
    const failures = await Promise.all([
      failureOf(db.query('select 1')),
      failureOf(db.transaction((tx) => tx.query('insert into kept values (1)'))),
      failureOf(db.query('select 2')),
    ])
    // 5 s for a statement on the open connection, 2 s for a new connection.
    expect(performance.now() - started).toBeLessThan(9_000)
    for (const failure of failures) expect(failure.code).toBe('store/unavailable')
    await postgres.resume()
    await expect
      .poll(() => db.query('select 1 as one').then((answer) => answer.rows, String), { timeout: 20_000 })
      .toEqual([{ one: 1 }])
    expect((await db.query('select * from kept')).rows).toEqual([])
  })

  test('that is stopped and started again is used again, without an error that nobody handles', async () => {
    await using postgres = await startOwnPostgres(['calstream'])
    await using db = open(postgres.url('calstream'))
    await Promise.all([db.query('select pg_sleep(0.1)'), db.query('select pg_sleep(0.1)')])
    await postgres.kill()
    expect(await failureOf(db.query('select 1'))).toMatchObject({ code: 'store/unavailable' })
    await postgres.restart(AbortSignal.timeout(60_000))
    expect((await db.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })
})

describe('a full pool', () => {
  test('is given up after 2 s and works again when a connection is free', async () => {
    await using db = open(database.url('calstream_sync'), 1)
    const free = Promise.withResolvers<void>()
    const taken = Promise.withResolvers<void>()
    const holding = db.transaction(async (tx) => {
      await tx.query('select 1')
      taken.resolve()
      await free.promise
    })
    await taken.promise
    const started = performance.now()
    expect(await failureOf(db.query('select 1'))).toMatchObject({ code: 'store/unavailable' })
    expect(performance.now() - started).toBeLessThan(4_000)
    const waiting = db.query('select 1 as one')
    free.resolve()
    await holding
    expect((await waiting).rows).toEqual([{ one: 1 }])
  })
})
