// Brings the tables up to date: the files of schemas/sql in order, forward only, in
// one transaction, one process at a time. Invariant: a database that is newer than
// this code is left alone.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runner } from 'node-pg-migrate'
import pg from 'pg'
import { Failure } from '#shared/domain/failure.ts'
import type { Secret } from '#shared/process/secret.ts'

const ROLES = ['ingress', 'sync', 'relay', 'scheduler'] as const
/** May not log in since 000006; a file of passwords from before may still name it. */
const RETIRED_ROLE = 'calstream_migrate'

interface MigrateOptions {
  /** Of the owner of the tables; it must be allowed to create roles. */
  readonly url: Secret
  /** By role, with or without the prefix calstream_; printable ASCII. Unnamed roles keep theirs. */
  readonly rolePasswords?: Readonly<Record<string, string>> | undefined
}

const FOLDER = path.resolve(import.meta.dirname, '../../../schemas/sql')
const TABLE = 'calstream_migrations'
const CONNECT_MAX_MS = 5_000
/** For the advisory lock while another process migrates, and for locks of tables in use. */
const LOCK_MAX = '60s'
const TRIES_MAX = 8
const SCRAM_ITERATIONS = 4096

/**
 * Applies what is missing and sets the passwords of the run-time roles. Returns the names of the
 * applied files. Throws Failure: `store/schema-newer` when the database knows files that this code
 * does not, otherwise as classified.
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  // Over all attempts: one that applied the files may still collide at the passwords.
  const applied: string[] = []
  for (let attempt = 1; ; attempt += 1) {
    try {
      await attemptMigration(options, applied)
      return applied
    } catch (error) {
      // Roles belong to the whole server while the lock is per database: two databases that are
      // made at once collide there.
      if (attempt >= TRIES_MAX || !isCollision(error)) throw explain(error)
      await letTheOtherFinish(attempt)
    }
  }
}

/** The files of this code that the database does not have yet. For doctor. */
export async function pendingMigrations(url: Secret): Promise<readonly string[]> {
  return withClient(url, async (client) => {
    const applied = await appliedNames(client)
    return migrationNames().filter((name) => !applied.includes(name))
  }).catch((error: unknown) => {
    throw explain(error)
  })
}

async function attemptMigration(
  { url, rolePasswords = {} }: MigrateOptions,
  applied: string[],
): Promise<void> {
  await withClient(url, async (client) => {
    await client.query(`set lock_timeout = '${LOCK_MAX}'`)
    refuseNewer(await appliedNames(client))
    const newly = await runner({
      dbClient: client,
      dir: FOLDER,
      migrationsTable: TABLE,
      direction: 'up',
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    })
    applied.push(...newly.map(({ name }) => name))
    for (const [role, password] of Object.entries(rolePasswords)) await setPassword(client, role, password)
  })
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

async function appliedNames(client: pg.Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ present: boolean }>(
    `select to_regclass('public.${TABLE}') is not null as present`,
  )
  if (rows[0]?.present !== true) return []
  const names = await client.query<{ name: string }>(`select name from public.${TABLE} order by id`)
  return names.rows.map(({ name }) => name)
}

function migrationNames(): readonly string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, -'.sql'.length))
    .toSorted()
}

function refuseNewer(applied: readonly string[]): void {
  const known = new Set(migrationNames())
  const unknown = applied.filter((name) => !known.has(name))
  if (unknown.length === 0) return
  throw new Failure(
    'store/schema-newer',
    `The database has ${unknown.join(', ')}, which this version of calstream does not know. Nothing was changed; use the newer version.`,
  )
}

/**
 * Sets a password unless it is set already. The server sees a SCRAM verifier only, so its log never
 * holds the password. RFC 5803
 */
async function setPassword(client: pg.Client, name: string, password: string): Promise<void> {
  const role = name.startsWith('calstream_') ? name : `calstream_${name}`
  if (role === RETIRED_ROLE) return
  if (!ROLES.some((known) => role === `calstream_${known}`))
    throw new Failure(
      'internal/defect',
      // Not the name that was given: in a file that went wrong it may be a password.
      `The passwords name a role that calstream does not have. It has calstream_${ROLES.join(', calstream_')}.`,
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
  const code = error instanceof pg.DatabaseError ? (error.code ?? '') : ''
  if (code === '55P03') {
    return new Failure(
      'store/contention',
      `Another process held a lock of the tables for ${LOCK_MAX}. Try again when it has finished.`,
    )
  }
  if (code === '42501') {
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
