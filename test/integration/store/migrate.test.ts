// Migrations on real databases: repeatable, one at a time, all or nothing, and never on a database
// that is newer than the code.
import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { lookAtTables, migrate } from '#shared/store/migrate.ts'
import { knownFiles, SQL_FOLDER, tableProblem } from '#shared/store/table-set.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { roleName, startOwnPostgres, testRoles, testStack } from '../../support/stack.ts'

const FILES = knownFiles()

/** The files of the next version: those of this one and one more. */
function nextVersion(compatibleWith: string, sql: string): Disposable & { folder: string; name: string } {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-sql-'))
  cpSync(SQL_FOLDER, folder, { recursive: true })
  const name = '000999_future'
  const text = `-- Up Migration\n-- compatible-with: ${compatibleWith}\n${sql}\n`
  writeFileSync(path.join(folder, `${name}.sql`), text)
  return { folder, name, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
}

const NEWEST = FILES.at(-1)!.slice(0, 6)

async function emptyDatabase(): Promise<AsyncDisposable & { url: string; secret: Secret }> {
  const { postgresUrl } = testStack()
  const name = `migrate_${randomBytes(4).toString('hex')}`
  await runStatement(postgresUrl, `create database ${name}`)
  const url = Object.assign(new URL(postgresUrl), { pathname: `/${name}` }).href
  return {
    url,
    secret: new Secret(url),
    [Symbol.asyncDispose]: async () => {
      await runStatement(postgresUrl, `drop database if exists ${name} with (force)`)
    },
  }
}

describe('migrate', () => {
  test('applies every file of an empty database in order, and nothing the second time', async () => {
    await using database = await emptyDatabase()
    expect((await lookAtTables(database.secret)).missing).toEqual(FILES)
    expect((await migrate({ url: database.secret })).applied).toEqual(FILES)
    expect(await lookAtTables(database.secret)).toEqual({ missing: [], newer: [], incompatible: [] })
    expect((await migrate({ url: database.secret })).applied).toEqual([])
    const tables = await runStatement(
      database.url,
      `select to_regclass('external_calendar_connections') is not null as there`,
    )
    expect(tables).toEqual([{ there: true }])
  })

  test('run by several processes at once on one database applies each file once', async () => {
    await using database = await emptyDatabase()
    const applied = await Promise.all([1, 2, 3].map(() => migrate({ url: database.secret })))
    expect(applied.flatMap((one) => one.applied)).toEqual(FILES)
  })

  test('run on several databases of one server at once makes the roles that they share', async () => {
    await using server = await startOwnPostgres(['one', 'two', 'three', 'four'])
    const passwords = { calstream_sync: 'the same everywhere', relay: 'short name' }
    const applied = await Promise.all(
      ['one', 'two', 'three', 'four'].map((name) =>
        migrate({ url: new Secret(server.url(name)), rolePasswords: passwords }),
      ),
    )
    expect(applied.map((one) => one.applied)).toEqual([FILES, FILES, FILES, FILES])
    const as = (user: string, password: string) =>
      Object.assign(new URL(server.url('three')), { username: user, password: encodeURIComponent(password) })
        .href
    const who = 'select current_user as who'
    expect(await runStatement(as('calstream_sync', 'the same everywhere'), who)).toEqual([
      { who: 'calstream_sync' },
    ])
    expect(await runStatement(as('calstream_relay', 'short name'), who)).toEqual([{ who: 'calstream_relay' }])
    await expect(runStatement(as('calstream_sync', 'another'), who)).rejects.toThrow(
      /password authentication failed/,
    )
    await expect(runStatement(as('calstream_ingress', 'x'), who)).rejects.toThrow()
  })

  test('sets a new password, and leaves the stored one alone when it is the same', async () => {
    await using server = await startOwnPostgres(['calstream'])
    const url = new Secret(server.url('calstream'))
    const verifier = async () =>
      (
        await runStatement(
          server.url('calstream'),
          `select rolpassword as v from pg_authid where rolname = 'calstream_sync'`,
        )
      )[0]?.['v']
    await migrate({ url, rolePasswords: { sync: `it's "quoted" \\ and $long$` } })
    const first = await verifier()
    expect(first).toMatch(/^SCRAM-SHA-256\$4096:/)
    await migrate({ url, rolePasswords: { sync: `it's "quoted" \\ and $long$` } })
    expect(await verifier()).toBe(first)
    await migrate({ url, rolePasswords: { sync: 'changed' } })
    expect(await verifier()).not.toBe(first)
    expect(await verifier()).not.toContain('changed')
  })

  test.each([
    ['a role that is not ours', { postgres: 'x' }],
    ['a password that is not ASCII', { sync: 'pässword' }],
  ])('refuses %s', async (_what, rolePasswords) => {
    await using database = await emptyDatabase()
    await expect(migrate({ url: database.secret, rolePasswords })).rejects.toMatchObject({ name: 'Failure' })
  })

  test('leaves newer tables that it works with alone, says so, and sets passwords all the same', async () => {
    await using server = await startOwnPostgres(['calstream'])
    const url = new Secret(server.url('calstream'))
    using next = nextVersion(NEWEST, 'alter table outbox add column note text;')
    expect((await migrate({ url, folder: next.folder })).applied).toEqual([...FILES, next.name])
    const old = await migrate({ url, rolePasswords: { sync: 'set by the old version' } })
    expect(old).toEqual({ applied: [], newer: [next.name] })
    expect(tableProblem(await lookAtTables(url))).toBeNull()
    const login = server.url('calstream', { name: 'calstream_sync', password: 'set by the old version' })
    expect(await runStatement(login, 'select 1 as one')).toEqual([{ one: 1 }])
    const left = await runStatement(server.url('calstream'), 'select note from outbox')
    expect(left).toEqual([])
  })

  test.each([
    ['newer tables that it does not work with', '000999', null],
    [
      'newer tables of which nothing is recorded',
      NEWEST,
      'update calstream_migrations set compatible_with = null',
    ],
    [
      'newer tables that lack one of its own',
      NEWEST,
      `delete from calstream_migrations where name = '${FILES.at(-1)}'`,
    ],
  ])('refuses %s and changes nothing', async (_what, compatibleWith, spoil) => {
    await using database = await emptyDatabase()
    using next = nextVersion(compatibleWith, 'alter table outbox add column note text;')
    await migrate({ url: database.secret, folder: next.folder })
    if (spoil !== null) await runStatement(database.url, spoil)
    await expect(migrate({ url: database.secret })).rejects.toMatchObject({
      code: 'store/schema-newer',
      message: expect.stringMatching(/000999_future.*Nothing was changed/) as string,
    })
    // Its own version goes on where the record alone was lost.
    if (spoil?.startsWith('update')) {
      await migrate({ url: database.secret, folder: next.folder })
      expect((await migrate({ url: database.secret })).newer).toEqual([next.name])
    }
  })

  test('run for two installs on one server gives each roles of its own', async () => {
    await using server = await startOwnPostgres(['one', 'two'])
    const url = (name: string) => new Secret(server.url(name))
    await migrate({ url: url('one'), rolePasswords: { sync: 'of the first' } })
    const second = { rolePrefix: 'stage_', rolePasswords: { stage_sync: 'of the second', relay: 'short' } }
    await migrate({ url: url('two'), ...second })
    const as = (database: string, name: string, password: string) =>
      runStatement(
        server.url(database, { name, password }),
        'select count(*)::int as n from outbox where false',
      )
    const denied = /permission denied/
    await expect(as('one', 'calstream_sync', 'of the first')).rejects.toThrow(denied)
    expect(await as('two', 'stage_relay', 'short')).toEqual([{ n: 0 }])
    await expect(as('one', 'stage_relay', 'short')).rejects.toThrow(denied)
    await expect(as('two', 'calstream_sync', 'of the first')).rejects.toThrow(denied)
    const own = server.url('one', { name: 'calstream_sync', password: 'of the first' })
    expect(await runStatement(own, 'select version from external_calendar_connections')).toEqual([])
    const roles = await runStatement(
      server.url('two'),
      `select rolname as name from pg_roles where rolname like 'stage%' order by 1`,
    )
    expect(roles.map(({ name }) => name)).toEqual([
      'stage_console',
      'stage_ingress',
      'stage_migrate',
      'stage_relay',
      'stage_retry',
      'stage_scheduler',
      'stage_sync',
    ])
    await expect(
      migrate({ url: url('two'), ...second, rolePasswords: { calstream_sync: 'x' } }),
    ).rejects.toThrow(/stage_sync/)
  })

  test('that fails changes nothing and says why', async () => {
    await using database = await emptyDatabase()
    // In the way of the last table of the first file.
    await runStatement(database.url, 'create table dead_letters (value int)')
    await expect(migrate({ url: database.secret })).rejects.toMatchObject({
      code: 'internal/defect',
      message: expect.stringContaining('dead_letters') as string,
    })
    const left = await runStatement(
      database.url,
      `select to_regclass('external_calendar_connections') is null as gone`,
    )
    expect(left).toEqual([{ gone: true }])
    await runStatement(database.url, 'drop table dead_letters')
    expect((await migrate({ url: database.secret })).applied).toEqual(FILES)
  })

  test('as a role that may not change tables says so', async () => {
    await using database = await emptyDatabase()
    await migrate({ url: database.secret, ...testRoles(testStack()) })
    const sync = Object.assign(new URL(database.url), {
      username: roleName('calstream_sync'),
      password: testStack().rolePasswords['calstream_sync'],
    })
    await expect(migrate({ url: new Secret(sync.href) })).rejects.toMatchObject({
      message: expect.stringContaining('Migrate as their owner') as string,
    })
  })

  test('of a server that is not there says where to look, without the password', async () => {
    const attempt = migrate({ url: new Secret('postgres://x:hunter2-hunter2@127.0.0.1:9/x') })
    await expect(attempt).rejects.toMatchObject({
      code: 'store/unavailable',
      message: expect.not.stringContaining('hunter2') as string,
    })
  })
})

describe('the database clock', () => {
  test('moves by the shift of a setting, and times survive the way to microseconds and back', async () => {
    await using database = await emptyDatabase()
    await migrate({ url: database.secret })
    const [row] = await runStatement(
      database.url,
      `select abs(extract(epoch from calstream_now() - clock_timestamp())) < 1 as unshifted,
              to_micros('2026-03-29 01:30:00.123456+00')::text as micros,
              from_micros(to_micros('2026-03-29 01:30:00.123456+00')) = '2026-03-29 01:30:00.123456+00' as exact`,
    )
    expect(row).toEqual({ unshifted: true, micros: '1774747800123456', exact: true })
    const name = new URL(database.url).pathname.slice(1)
    await runStatement(database.url, `alter database ${name} set calstream.clock_shift = '2 days'`)
    expect(
      await runStatement(
        database.url,
        `select calstream_now() - clock_timestamp() > interval '47 hours' as shifted`,
      ),
    ).toEqual([{ shifted: true }])
  })
})
