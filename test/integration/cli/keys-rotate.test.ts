// `calstream keys rotate` on a real database: under the load of token refreshes, stopped half-way,
// and with credentials that do not open. What is checked is what a person would lose: after it
// every connection still has the last token of its vendor.
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { connectionId, type ConnectionId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { openSecret, parseKeyring, sealedWith, sealSecret, type Keyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { openDatabase, type Database, type Queryable } from '#shared/store/database.ts'
import { credentialsNotUnder, loadCredentials, reseal, saveAccess } from '#shared/store/credentials.ts'
import { openTokens } from '#shared/vendors/tokens.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { rotate } from '../../../services/cli/keys.ts'
import { COMPILED } from '../../support/compiled.ts'
import { freshDatabase, type TestDatabase } from '../../support/stack.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const key = () => randomBytes(32).toString('base64')
const KEYS = { old: `old:${key()}`, new: `new:${key()}`, foreign: `foreign:${key()}` }
const ring = (...names: (keyof typeof KEYS)[]): Keyring =>
  parseKeyring(new Secret(names.map((name) => KEYS[name]).join(',')))

let database: TestDatabase
let db: Database

beforeAll(async () => {
  database = await freshDatabase('keys_rotate')
  db = openDatabase(
    {
      url: new Secret(database.url('calstream_scheduler')),
      applicationName: 'calstream-test',
      poolMax: 8,
    },
    createLogger({ service: 'test', level: 'silent' }),
  )
})
afterAll(async () => {
  await db[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})
beforeEach(() => runStatement(database.url(), 'truncate external_calendar_connections cascade'))

const seal = (keyring: Keyring, id: ConnectionId, field: string, text: string) =>
  sealSecret(keyring, text, { connectionId: id, field })

/** Connections with tokens `refresh <id> 0` and `access <id> 0`. */
async function addConnections(count: number, keyring: Keyring): Promise<readonly ConnectionId[]> {
  const ids = Array.from({ length: count }, () => connectionId(randomUUID()))
  await runStatement(
    database.url(),
    `insert into external_calendar_connections (id, provider_id, vendor, vendor_account_id)
     select id, gen_random_uuid(), 'google', id::text from unnest('{${ids.join(',')}}'::uuid[]) as id`,
  )
  const values = ids.map(
    (id) =>
      `('${id}', '${seal(keyring, id, 'refresh_token', `refresh ${id} 0`)}', '${seal(keyring, id, 'access_token', `access ${id} 0`)}')`,
  )
  await runStatement(
    database.url(),
    `insert into connection_credentials (connection_id, refresh_token, access_token) values ${values.join(',')}`,
  )
  return ids
}

async function refreshTokenOf(keyring: Keyring, id: ConnectionId): Promise<string> {
  const stored = await loadCredentials(db, id)
  if (stored === null) throw new Error('no credentials')
  return openSecret(keyring, stored.refreshToken, { connectionId: id, field: 'refresh_token' })
}

/** The command as a person runs it. */
function command(
  args: readonly string[],
  keys: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = {
    PATH: process.env['PATH'],
    ...COMPILED,
    KAFKA_BROKERS: 'none:1',
    POSTGRES_URL_SCHEDULER: database.url('calstream_scheduler'),
    CREDENTIALS_KEYS: keys,
  }
  const argv = [path.join(ROOT, 'services/cli/main.ts'), ...args]
  return new Promise((resolve) => {
    const child = execFile(process.execPath, argv, { cwd: ROOT, env }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/**
 * Before each write a refresh of this connection is stored by somebody else, `times` times in all.
 */
function refreshedBeforeWrites(id: ConnectionId, keyring: Keyring, times: number): Queryable {
  let left = times
  return {
    async query(text: string, values?: readonly unknown[]) {
      if (text.startsWith('update connection_credentials') && left > 0) {
        left -= 1
        const stored = await loadCredentials(db, id)
        const n = times - left
        const outcome = await saveAccess(db, {
          connectionId: id,
          version: stored?.version ?? 0,
          refreshToken: seal(keyring, id, 'refresh_token', `refresh ${id} ${n}`),
          accessToken: seal(keyring, id, 'access_token', `access ${id} ${n}`),
          accessExpiresAt: Date.now() * 1000,
          scope: null,
          subject: null,
          endsAt: null,
        })
        expect(outcome).toBe('saved')
      }
      return db.query(text, values)
    },
  }
}

describe('rotation', () => {
  test('seals everything with the first key, after which the old one may be dropped', async () => {
    const ids = await addConnections(250, ring('old'))
    const done = await command(['keys', 'rotate', '--json'], `${KEYS.new},${KEYS.old}`)
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(done.stdout)).toEqual({
      current_key: 'new',
      dry_run: false,
      sealed_anew: 250,
      refreshed_meanwhile: 0,
      unreadable: [],
      left: 0,
      connections_by_key: { new: 250 },
    })
    for (const id of ids) expect(await refreshTokenOf(ring('new'), id)).toBe(`refresh ${id} 0`)
    // Control: what was read with the new key alone is not readable with the old one.
    await expect(refreshTokenOf(ring('old'), ids[0]!)).rejects.toMatchObject({
      code: 'credentials/unreadable',
    })
    const again = await command(['--json', 'keys', 'rotate'], KEYS.new)
    expect(JSON.parse(again.stdout)).toMatchObject({ sealed_anew: 0, left: 0 })
  })

  test('in a dry run opens everything, tells the counts and changes nothing', async () => {
    const ids = await addConnections(30, ring('old'))
    const before = await runStatement(database.url(), 'select * from connection_credentials order by 1')
    const done = await command(['keys', 'rotate', '--dry-run', '--json'], `${KEYS.new},${KEYS.old}`)
    expect(done.code).toBe(0)
    expect(JSON.parse(done.stdout)).toMatchObject({ dry_run: true, sealed_anew: 30, left: 30 })
    expect(await runStatement(database.url(), 'select * from connection_credentials order by 1')).toEqual(
      before,
    )
    expect(await refreshTokenOf(ring('old'), ids[0]!)).toBe(`refresh ${ids[0]} 0`)
  })

  test('that was stopped half-way goes on with what is left', async () => {
    await addConnections(250, ring('old'))
    const both = ring('new', 'old')
    let writes = 0
    const dying: Queryable = {
      query: (text, values) => {
        if (text.startsWith('update') && ++writes > 1) return Promise.reject(new Error('killed'))
        return db.query(text, values)
      },
    }
    await expect(rotate({ db: dying, keyring: both }, false)).rejects.toThrow('killed')
    expect((await credentialsNotUnder(db, 'new', { after: null, limit: 1000 })).length).toBe(150)
    expect(await rotate({ db, keyring: both }, false)).toMatchObject({ resealed: 150, left: 0 })
  })

  test('loses to a refresh that happens under its hands, and takes the refreshed token in its next pass', async () => {
    const [id] = await addConnections(1, ring('old'))
    const racing = refreshedBeforeWrites(id!, ring('old'), 2)
    const report = await rotate({ db: racing, keyring: ring('new', 'old') }, false)
    expect(report).toMatchObject({ resealed: 1, refreshedMeanwhile: 2, left: 0, unreadable: [] })
    expect(await refreshTokenOf(ring('new'), id!)).toBe(`refresh ${id} 2`)
  })

  test('gives up on a row that loses every time, says so, and has not touched it', async () => {
    const [id] = await addConnections(1, ring('old'))
    const racing = refreshedBeforeWrites(id!, ring('old'), 1000)
    const report = await rotate({ db: racing, keyring: ring('new', 'old') }, false)
    expect(report).toMatchObject({ resealed: 0, left: 1 })
    expect(await refreshTokenOf(ring('old'), id!)).toMatch(/ 5$/)
  })

  test('between the read and the save of a refresh does not make the refresh lose its token', async () => {
    const [id] = await addConnections(1, ring('old'))
    const tokens = openTokens({
      keyring: ring('old', 'new'),
      clock: systemClock,
      load: (connection) => loadCredentials(db, connection),
      save: (update) => saveAccess(db, update),
      async refresh(token) {
        expect(token).toBe(`refresh ${id} 0`)
        expect(await rotate({ db, keyring: ring('new', 'old') }, false)).toMatchObject({ resealed: 1 })
        return {
          accessToken: 'access 1',
          accessExpiresAt: Date.now() * 1000 + 3_600_000_000,
          refreshToken: `refresh ${id} 1`,
          scope: null,
        }
      },
    })
    expect(await tokens.of(id!, AbortSignal.timeout(10_000))).toBe('access 1')
    expect(await refreshTokenOf(ring('old', 'new'), id!)).toBe(`refresh ${id} 1`)
  })

  test('does not write over a row that was erased and made anew with the same version', async () => {
    const [id] = await addConnections(1, ring('old'))
    const [row] = await credentialsNotUnder(db, 'new', { after: null, limit: 1 })
    const other = seal(ring('old'), id!, 'refresh_token', 'another account')
    await runStatement(database.url(), `update connection_credentials set refresh_token = '${other}'`)
    const stale = {
      ...row!,
      refreshToken: seal(ring('new'), id!, 'refresh_token', 'stale'),
      replaces: row!.refreshToken,
    }
    expect(await reseal(db, [stale])).toEqual(new Set())
    expect(await refreshTokenOf(ring('old'), id!)).toBe('another account')
    expect(await reseal(db, [{ ...stale, replaces: other }])).toEqual(new Set([id]))
  })
})

describe('under load', () => {
  test('of refreshes by processes with either key first, no connection loses the last token of its vendor', async () => {
    const ids = await addConnections(200, ring('old'))
    const issued = new Map<string, number>()
    const stop = new AbortController()
    // Two processes while the new key is rolled out:
    // one still seals with the old one until it restarts.
    const firsts = [ring('new', 'old'), ring('old', 'new')]
    const refresher = (keyring: Keyring) =>
      openTokens({
        keyring,
        clock: systemClock,
        load: (connection) => loadCredentials(db, connection),
        save: (update) => saveAccess(db, update),
        // Rotates at every refresh, and takes only the newest token:
        // one that was lost is an error here.
        async refresh(token) {
          const [, id = '', n = ''] = token.split(' ')
          if (Number(n) !== (issued.get(id) ?? 0)) throw new Error(`token ${n} of ${id} is used up`)
          issued.set(id, Number(n) + 1)
          return {
            accessToken: `access ${id} ${Number(n) + 1}`,
            accessExpiresAt: 0,
            refreshToken: `refresh ${id} ${Number(n) + 1}`,
            scope: null,
          }
        },
      })
    let refreshes = 0
    const load = firsts.map(async (keyring, half) => {
      const tokens = refresher(keyring)
      const own = ids.filter((_, i) => i % 2 === half)
      for (let i = 0; !stop.signal.aborted; i += 1) {
        await tokens.of(own[(i * 7) % own.length]!, AbortSignal.timeout(10_000))
        refreshes += 1
      }
    })
    const rotations = []
    for (let i = 0; i < 3; i += 1)
      rotations.push(await command(['keys', 'rotate', '--json'], `${KEYS.new},${KEYS.old}`))
    stop.abort()
    await Promise.all(load)
    expect(refreshes).toBeGreaterThan(100)
    expect(rotations.some(({ stdout }) => Number(JSON.parse(stdout)['sealed_anew']) > 0)).toBe(true)

    // The process with the old key is gone now: one more rotation finishes.
    expect((await command(['keys', 'rotate'], `${KEYS.new},${KEYS.old}`)).code).toBe(0)
    for (const id of ids) {
      expect(await refreshTokenOf(ring('new'), id)).toBe(`refresh ${id} ${issued.get(id) ?? 0}`)
    }
  })
})

describe('credentials that do not open', () => {
  test('with a key that is not on the ring, altered, or moved to another row are named, kept and never printed', async () => {
    const [good, foreign, altered, moved, other] = await addConnections(5, ring('old'))
    const set = (id: ConnectionId, column: string, value: string) =>
      runStatement(
        database.url(),
        `update connection_credentials set ${column} = '${value}' where connection_id = '${id}'`,
      )
    await set(foreign!, 'access_token', seal(ring('foreign'), foreign!, 'access_token', 'unknown key'))
    const sealed = (await loadCredentials(db, altered!))!.refreshToken
    await set(
      altered!,
      'refresh_token',
      sealed.slice(0, -2) + (sealed.at(-2) === 'A' ? 'B' : 'A') + sealed.at(-1),
    )
    await set(moved!, 'refresh_token', (await loadCredentials(db, other!))!.refreshToken)
    const before = await runStatement(database.url(), 'select * from connection_credentials order by 1')

    const done = await command(['keys', 'rotate', '--json'], `${KEYS.new},${KEYS.old}`)
    expect(done.code).toBe(1)
    expect(done.stderr).toContain('3 credentials do not open')
    const report = JSON.parse(done.stdout)
    expect(report).toMatchObject({ sealed_anew: 2, left: 3 })
    expect(
      new Map(
        report.unreadable.map((one: { connection: string; field: string }) => [one.connection, one.field]),
      ),
    ).toEqual(
      new Map([
        [foreign, 'access_token'],
        [altered, 'refresh_token'],
        [moved, 'refresh_token'],
      ]),
    )
    const printed = done.stdout + done.stderr
    for (const secret of [sealed, 'refresh 0', ...Object.values(KEYS).map((text) => text.split(':')[1]!)])
      expect(printed).not.toContain(secret)
    const after = await runStatement(database.url(), 'select * from connection_credentials order by 1')
    const kept = [foreign, altered, moved]
    const rowsOf = (rows: typeof before) =>
      rows.filter((row) => kept.includes(row['connection_id'] as ConnectionId))
    expect(rowsOf(after)).toEqual(rowsOf(before))
    // Control: the good rows beside them were sealed anew.
    for (const id of [good, other])
      expect(sealedWith((await loadCredentials(db, id!))!.refreshToken)).toBe('new')
  })
})
