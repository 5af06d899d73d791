// Brings the tables up to date: the files of schemas/sql in order, forward only, in
// one transaction, one process at a time. Invariants: a database that is newer than this code is
// left alone; what runs is the text of the files, with the names of the roles put in.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runner } from 'node-pg-migrate'
import pg from 'pg'
import { Failure } from '#shared/domain/failure.ts'
import type { Secret } from '#shared/process/secret.ts'
import { identityFailure } from './identity.ts'
import {
  compatibleWith,
  knownFiles,
  MIGRATIONS_TABLE,
  readTableSet,
  SQL_FOLDER,
  sqlOf,
  type TableSet,
  tableProblem,
} from './table-set.ts'
import { DEFAULT_ROLE_PREFIX } from './settings.ts'

const ROLES = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'console'] as const
/** May not log in since 000006; a file of passwords from before may still name it. */
const RETIRED_ROLE = 'migrate'
/** The roles as the files name them. */
const ROLE_IN_FILES = new RegExp(`\\b${DEFAULT_ROLE_PREFIX}(${[...ROLES, RETIRED_ROLE].join('|')})\\b`, 'g')

interface MigrateOptions {
  /** Of the owner of the tables; it must be allowed to create roles. */
  readonly url: Secret
  /** By role, with or without the prefix; printable ASCII. Unnamed roles keep theirs. */
  readonly rolePasswords?: Readonly<Record<string, string>> | undefined
  /** What the names of this install's roles begin with: roles belong to the whole server. */
  readonly rolePrefix?: string | undefined
  /** Where the files are; those of this version unless given. */
  readonly folder?: string | undefined
}

const CONNECT_MAX_MS = 5_000
/** For the advisory lock while another process migrates, and for locks of tables in use. */
const LOCK_MAX = '60s'
const TRIES_MAX = 8
const SCRAM_ITERATIONS = 4096

export interface Migrated {
  /** Names of the files that were applied. */
  readonly applied: readonly string[]
  /** Files that a newer version applied and that this one works with. */
  readonly newer: readonly string[]
}

/**
 * Applies what is missing and sets the passwords of the run-time roles. Throws Failure:
 * `store/schema-newer` when the database has files that this version does not work with, otherwise
 * as classified.
 */
export async function migrate(options: MigrateOptions): Promise<Migrated> {
  // Over all attempts: one that applied the files may still collide at the passwords.
  const applied: string[] = []
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { newer } = await attemptMigration(options, applied)
      return { applied, newer }
    } catch (error) {
      // Roles belong to the whole server while the lock is per database: two databases that are
      // made at once collide there.
      if (attempt >= TRIES_MAX || !isCollision(error)) throw explain(error)
      await letTheOtherFinish(attempt)
    }
  }
}

/** What the database has, compared with what this version needs. For doctor. */
export async function lookAtTables(url: Secret, folder = SQL_FOLDER): Promise<TableSet> {
  return withClient(url, (client) => readTableSet(asQueryable(client), folder)).catch((error: unknown) => {
    throw explain(error)
  })
}

async function attemptMigration(options: MigrateOptions, applied: string[]): Promise<TableSet> {
  const { url, rolePasswords = {}, rolePrefix = DEFAULT_ROLE_PREFIX, folder = SQL_FOLDER } = options
  return withClient(url, async (client) => {
    await client.query(`set lock_timeout = '${LOCK_MAX}'`)
    const before = await readTableSet(asQueryable(client), folder)
    refuseNewer(before)
    if (before.missing.length > 0) applied.push(...(await applyFiles(client, folder, rolePrefix)))
    if (before.newer.length === 0) await recordCompatibility(client, folder)
    for (const [role, password] of Object.entries(rolePasswords))
      await setPassword(client, { name: role, rolePrefix }, password)
    return before
  })
}

/** @returns the names of what was applied. */
async function applyFiles(client: pg.Client, folder: string, rolePrefix: string): Promise<readonly string[]> {
  const newly = await runner({
    dbClient: client,
    dir: folder,
    migrationsTable: MIGRATIONS_TABLE,
    direction: 'up',
    singleTransaction: true,
    advisoryLockMode: 'wait',
    logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    migrationLoaderStrategies: [
      {
        extensions: ['.sql'],
        loader: async (files) =>
          files.map((file) => {
            const sql = sqlOf(path.basename(file, '.sql'), folder).replaceAll(
              ROLE_IN_FILES,
              `${rolePrefix}$1`,
            )
            return { id: file, filePaths: [file], actions: { up: (pgm) => pgm.sql(sql), down: false } }
          }),
      },
    ],
  })
  return newly.map(({ name }) => name)
}

/** A run that dies before it records leaves null, which older versions read as "not compatible". */
async function recordCompatibility(client: pg.Client, folder: string): Promise<void> {
  const names = knownFiles(folder)
  await client.query(
    `update ${MIGRATIONS_TABLE} applied set compatible_with = file.compatible_with
       from unnest($1::text[], $2::int[]) as file (name, compatible_with)
      where applied.name = file.name and applied.compatible_with is distinct from file.compatible_with`,
    [names, names.map((name) => compatibleWith(name, sqlOf(name, folder)))],
  )
}

function asQueryable(client: pg.Client): Parameters<typeof readTableSet>[0] {
  return {
    async query<R extends object>(text: string, values: readonly unknown[] = []) {
      const { rows, rowCount } = await client.query<R & pg.QueryResultRow>(text, [...values])
      return { rows, rowCount: rowCount ?? 0 }
    },
  }
}

async function withClient<T>(url: Secret, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url.reveal(),
    application_name: 'calstream-migrate',
    connectionTimeoutMillis: CONNECT_MAX_MS,
  })
  // Without a listener a connection that breaks between two statements would end the process.
  client.on('error', quiet)
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(quiet)
  }
}

/** Newer tables that this version works with are left as they are. */
function refuseNewer(tables: TableSet): void {
  const { missing, newer, incompatible } = tables
  if (incompatible.length > 0)
    throw new Failure('store/schema-newer', `${tableProblem(tables)} Nothing was changed.`)
  if (newer.length > 0 && missing.length > 0)
    throw new Failure(
      'store/schema-newer',
      `The database has ${newer.join(', ')}, which this version of calstream does not know, and lacks ${missing.join(', ')}, which it needs. Nothing was changed; use a version that knows all of them.`,
    )
}

/**
 * Sets a password unless it is set already. The server sees a SCRAM verifier only, so its log never
 * holds the password. RFC 5803
 */
async function setPassword(
  client: pg.Client,
  { name, rolePrefix }: { readonly name: string; readonly rolePrefix: string },
  password: string,
): Promise<void> {
  const known = [...ROLES, RETIRED_ROLE].find((one) => name === one || name === rolePrefix + one)
  if (known === RETIRED_ROLE) return
  const role = `${rolePrefix}${known}`
  if (known === undefined)
    throw new Failure(
      'internal/defect',
      // Not the name that was given: in a file that went wrong it may be a password.
      `The passwords name a role that calstream does not have. It has ${ROLES.map((one) => rolePrefix + one).join(', ')}.`,
    )
  // Other characters would need SASLprep to give the same verifier as the client's.
  if (!/^[\x20-\x7e]+$/.test(password))
    throw new Failure('internal/defect', `The password of ${role} must be printable ASCII.`)
  const stored = await storedVerifier(client, role)
  if (stored !== null && verifierOf(password, saltOf(stored)) === stored) return
  const verifier = verifierOf(password, randomBytes(16))
  await client.query(`alter role ${pg.escapeIdentifier(role)} login password ${pg.escapeLiteral(verifier)}`)
}

/** null when there is none or we may not look. */
async function storedVerifier(client: pg.Client, role: string): Promise<string | null> {
  const may = await client.query<{ may: boolean }>(
    `select has_table_privilege('pg_catalog.pg_authid', 'select') as may`,
  )
  if (may.rows[0]?.may !== true) return null
  const { rows } = await client.query<{ rolpassword: string | null }>(
    'select rolpassword from pg_catalog.pg_authid where rolname = $1',
    [role],
  )
  return rows[0]?.rolpassword ?? null
}

function saltOf(verifier: string): Buffer {
  return Buffer.from(/^SCRAM-SHA-256\$\d+:([^$]+)\$/.exec(verifier)?.[1] ?? '', 'base64')
}

function verifierOf(password: string, salt: Buffer): string {
  const salted = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 32, 'sha256')
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest()
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${SCRAM_ITERATIONS}:${salt.toString('base64')}$${stored}:${hmac('Server Key').toString('base64')}`
}

function isCollision(error: unknown): boolean {
  return (
    error instanceof pg.DatabaseError &&
    (error.message.includes('tuple concurrently') || error.code === '40P01' || error.code === '23505')
  )
}

function explain(error: unknown): Failure {
  if (error instanceof Failure) return error
  const identity = identityFailure(error)
  if (identity !== null) return identity
  const code = error instanceof pg.DatabaseError ? (error.code ?? '') : ''
  if (code === '55P03') {
    return new Failure(
      'store/contention',
      `Another process held a lock of the tables for ${LOCK_MAX}. Try again when it has finished.`,
    )
  }
  // The library makes one text of what it met while it made its own table.
  const mayNot = /must be owner|permission denied/.test(error instanceof Error ? error.message : '')
  if (code === '42501' || (code === '' && mayNot)) {
    return new Failure(
      'internal/defect',
      'The role in POSTGRES_URL may not change the tables or roles. Migrate as their owner.',
    )
  }
  if (code !== '' && !/^(?:08|28|3D|53|57P)/.test(code)) {
    return new Failure(
      'internal/defect',
      `A migration failed (SQLSTATE ${code}): ${error instanceof Error ? error.message : ''}`,
    )
  }
  return new Failure(
    'store/unavailable',
    `Postgres cannot be reached (${code || (error instanceof Error ? error.message : 'no answer')}). Check POSTGRES_URL.`,
  )
}

async function letTheOtherFinish(attempt: number): Promise<void> {
  await delay(50 * attempt + Math.random() * 100)
}

function quiet(): void {}
