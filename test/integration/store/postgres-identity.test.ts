// Who we are to Postgres and whom we believe: a real server that takes some roles over TLS alone
// and one with a client certificate only; a password that rotates; and what is said of a refusal.
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createLogger } from '#shared/process/log.ts'
import { type ConfigError, readEnv } from '#shared/process/settings.ts'
import { type Database, openDatabase } from '#shared/store/database.ts'
import { databaseUrlOf, postgresEnv } from '#shared/store/settings.ts'
import { type Postgres, runStatement } from '../../../infra/stack/postgres.ts'
import { type CertificateAuthority, newAuthority } from '../../../infra/stack/certificates.ts'
import { eventually } from '../../support/eventually.ts'
import { startLocalPostgres } from '../../support/own-components.ts'

const PASSWORD = 'the-password-of-a-role'
const RULES = `host    all postgres 127.0.0.1/32 scram-sha-256
hostssl all secured  127.0.0.1/32 scram-sha-256
hostssl all mutual   127.0.0.1/32 scram-sha-256 clientcert=verify-full
`

let server: Postgres
let authority: CertificateAuthority
let files: string

beforeAll(async () => {
  files = mkdtempSync(path.join(tmpdir(), 'calstream-postgres-'))
  authority = await newAuthority()
  server = await startLocalPostgres(['calstream'])
  await secure(server.url('postgres'))
}, 180_000)
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(files, { recursive: true })
})

/** Takes TLS from now on, and lets the roles in by the rules. */
async function secure(url: string): Promise<void> {
  for (const role of ['secured', 'mutual'])
    await runStatement(url, `create role ${role} login password '${PASSWORD}'`)
  const [found] = await runStatement(url, `select current_setting('data_directory') as data`)
  const data = String(found?.['data'])
  const { certificate, key } = await authority.issue({ commonName: 'postgres', names: ['127.0.0.1'] })
  const contents = {
    'server.crt': certificate,
    'server.key': key,
    'ca.crt': authority.ca,
    'pg_hba.conf': RULES,
  }
  const { uid, gid } = statSync(data)
  for (const [name, content] of Object.entries(contents)) {
    writeFileSync(path.join(data, name), `${content}\n`, { mode: 0o600 })
    chownSync(path.join(data, name), uid, gid)
  }
  await runStatement(url, `alter system set ssl_ca_file = 'ca.crt'`)
  await runStatement(url, 'alter system set ssl = on')
  await runStatement(url, 'select pg_reload_conf()')
  await eventually('the server takes TLS', async () => {
    const [row] = await runStatement(url, `select current_setting('ssl') as ssl`)
    return row?.['ssl'] === 'on'
  })
  write('ca.pem', authority.ca)
}

function write(name: string, content: string): string {
  const file = path.join(files, name)
  writeFileSync(file, content)
  return file
}

interface Address {
  readonly role?: string
  readonly host?: string
  readonly query?: Record<string, string>
}

const inFull = (): Record<string, string> => ({
  sslmode: 'verify-full',
  sslrootcert: path.join(files, 'ca.pem'),
})

function urlOf(
  { role = 'secured', host = '127.0.0.1', query = inFull() }: Address,
  password: string,
): string {
  const login = password === '' ? role : `${role}:${password}`
  return `postgres://${login}@${host}:${server.port}/calstream?${new URLSearchParams(query).toString()}`
}

function open(env: Record<string, string>): Database {
  const url = databaseUrlOf(readEnv(z.object(postgresEnv), env))
  return openDatabase(
    { url, applicationName: 'test', poolMax: 1 },
    createLogger({ service: 'test', level: 'silent' }),
  )
}

/** Whether a connection is encrypted; else the failure's code and words. */
async function saidOf(address: Address, password = PASSWORD): Promise<string> {
  await using db = open({ POSTGRES_URL: urlOf(address, password) })
  try {
    const { rows } = await db.query<{ ssl: boolean }>(
      'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
    )
    return rows[0]?.ssl === true ? 'encrypted' : 'in clear'
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return `${code} ${message}`
  }
}

describe('a server that takes TLS alone', () => {
  test('is reached by an authority of our own, and the server’s name is checked', async () => {
    expect(await saidOf({})).toBe('encrypted')
    const other = write('other.pem', (await newAuthority('another')).ca)
    expect(await saidOf({ query: { ...inFull(), sslrootcert: other } })).toMatch(
      /^store\/certificate-refused .*authority that is not known here.*sslrootcert/,
    )
    expect(await saidOf({ query: { sslmode: 'verify-full' } })).toMatch(/^store\/certificate-refused/)
    expect(await saidOf({ host: 'localhost' })).toMatch(/^store\/certificate-refused .*for another name/)
  })

  test('tells one who comes in clear that it wants TLS, and one with a wrong password that', async () => {
    expect(await saidOf({ query: {} })).toMatch(/^store\/login-refused .*over TLS alone.*sslmode=verify-full/)
    const refused = await saidOf({}, 'a-wrong-password')
    expect(refused).toMatch(/^store\/login-refused .*28P01/)
    expect(refused).not.toContain('a-wrong-password')
  })

  test('wants a client certificate of a role, and gets it from the files that the URL names', async () => {
    expect(await saidOf({ role: 'mutual' })).toMatch(/^store\/certificate-refused .*client certificate/)
    const own = await authority.issue({ commonName: 'mutual' })
    const named = { sslcert: write('cert.pem', own.certificate), sslkey: write('key.pem', own.key) }
    expect(await saidOf({ role: 'mutual', query: { ...inFull(), ...named } })).toBe('encrypted')
  })
})

test('a password rotates without a restart: what is refused in between says so, and then it goes on', async () => {
  const file = write('password', PASSWORD)
  await using db = open({ POSTGRES_URL: urlOf({}, ''), POSTGRES_PASSWORD_FILE: file })
  const works = () => db.query('select 1')
  await works()
  await runStatement(server.url('postgres'), `alter role secured password 'the-next/password: 100%'`)
  // A session that is open stays; the next one logs in anew.
  await works()
  await runStatement(
    server.url('postgres'),
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'secured'`,
  )
  await eventually('the old password is refused', () =>
    works().then(
      () => false,
      (error: unknown) => (error as { code?: string }).code === 'store/login-refused',
    ),
  )
  writeFileSync(file, 'the-next/password: 100%\n')
  await works()
})

test.each<[string, () => Record<string, string>, RegExp]>([
  ['two passwords', () => ({ POSTGRES_URL: urlOf({}, PASSWORD), POSTGRES_PASSWORD: 'another' }), /keep one/],
  [
    'a mode that is none',
    () => ({ POSTGRES_URL: urlOf({ query: { sslmode: 'verify_full' } }, PASSWORD) }),
    /^POSTGRES_URL cannot be used: its sslmode/,
  ],
  [
    'a file that is missing',
    () => ({ POSTGRES_URL: urlOf({ query: { ...inFull(), sslrootcert: '/does/not/exist' } }, PASSWORD) }),
    /^POSTGRES_URL cannot be used: the file that it names as sslrootcert/,
  ],
  [
    'a certificate without a key',
    () => ({
      POSTGRES_URL: urlOf({ query: { ...inFull(), sslcert: path.join(files, 'ca.pem') } }, PASSWORD),
    }),
    /sslcert and sslkey belong together/,
  ],
])('the settings refuse %s', (_what, env, words) => {
  try {
    readEnv(z.object(postgresEnv), env())
    expect.fail('was taken')
  } catch (error) {
    const { problems } = error as ConfigError
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(words)
    expect(problems[0]).not.toContain(PASSWORD)
  }
})
