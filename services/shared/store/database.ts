// The pool of database connections. Invariants: every wait ends (2 s for a connection, 5 s for a
// statement); an error carries a code of ours and never a value of a row; a connection in doubt is
// thrown away; a lost connection never ends the process.
import pg from 'pg'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Secret } from '#shared/process/secret.ts'
import type { Logger } from '#shared/process/log.ts'
import { atMost } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { identityFailure } from './identity.ts'

export interface Queryable {
  /**
   * Runs one statement. bigint comes as a number, date as text (YYYY-MM-DD), timestamptz as a Date.
   * Rejects with Failure `store/*`.
   */
  query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ rows: R[]; rowCount: number }>
}

/** The values of these members of the rows, a list for each: what `unnest` takes. */
export function columnsOf<T>(rows: readonly T[], ...names: readonly (keyof T)[]): unknown[][] {
  return names.map((name) => rows.map((row) => row[name]))
}

/**
 * Outside of a transaction a statement that ends in `store/unavailable` may have been carried out
 * all the same: use it for reads and for writes that may be repeated.
 */
export interface Database extends Queryable, AsyncDisposable {
  /**
   * BEGIN, `work`, COMMIT; any rejection rolls everything back and passes through. A break at
   * COMMIT is `store/outcome-unknown`. Failures of statements that `work` swallowed still fail the
   * transaction. `tx` must not be used afterwards.
   */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>
  /**
   * Reads of one moment: no statement of `work` sees what was committed after the first of them.
   * Writes are refused. Otherwise as `transaction`.
   */
  snapshot<T>(work: (tx: Queryable) => Promise<T>): Promise<T>
}

interface DatabaseConfig {
  readonly url: Secret
  readonly applicationName: string
  readonly poolMax: number
}

const SNAPSHOT = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'
const CONNECT_MAX_MS = 2_000
/**
 * Above the 4 s statement_timeout of the roles:
 * the server's own answer comes first unless it cannot answer.
 */
const QUERY_MAX_MS = 5_000
const CLOSE_MAX_MS = 2_000
const KEEP_ALIVE_AFTER_MS = 10_000
const IDLE_MAX_MS = 30_000
const MAX_LIFE_SECONDS = 1_800

/** Opens a pool; connections are made when they are needed. */
export function openDatabase(config: DatabaseConfig, logger: Logger): Database {
  const pool = new pg.Pool({
    Client: clientOf(config.url),
    application_name: config.applicationName,
    max: config.poolMax,
    connectionTimeoutMillis: CONNECT_MAX_MS,
    query_timeout: QUERY_MAX_MS,
    idleTimeoutMillis: IDLE_MAX_MS,
    // After a failover, connections to the old server do not live for ever.
    maxLifetimeSeconds: MAX_LIFE_SECONDS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
    types: { getTypeParser: parserOf },
  })
  // Without listeners, a connection that breaks while idle (pool) or checked out
  // (client) ends the process.
  pool.on('error', (error) => logger.warn({ err: clean(error) }, 'an idle Postgres connection was lost'))
  pool.on('connect', (client) => client.on('error', noteLostConnection))

  return {
    query: (text, values) => borrow(pool, (session) => run(session, text, values)),
    transaction: (work) => borrow(pool, (session) => transact(session, 'BEGIN', work)),
    snapshot: (work) => borrow(pool, (session) => transact(session, SNAPSHOT, work)),
    async [Symbol.asyncDispose]() {
      await atMost(pool.end(), CLOSE_MAX_MS, undefined)
    },
  }
}

/**
 * Asks for the address at each connection: its password, and the certificates that it names, may
 * have been replaced meanwhile.
 */
function clientOf(url: Secret): typeof pg.Client {
  return class extends pg.Client {
    constructor(options: pg.ClientConfig = {}) {
      super({ ...options, connectionString: url.reveal() })
    }
  }
}

/** A borrowed connection; `lost` means that it must not be used again. */
interface Session {
  readonly client: pg.PoolClient
  lost: boolean
}

async function borrow<T>(pool: pg.Pool, work: (session: Session) => Promise<T>): Promise<T> {
  const session: Session = { client: await connect(pool), lost: false }
  try {
    return await work(session)
  } finally {
    session.client.release(session.lost)
  }
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw translate(error).failure
  }
}

async function run<R extends object>(
  session: Session,
  text: string,
  values: readonly unknown[] = [],
): Promise<{ rows: R[]; rowCount: number }> {
  try {
    const result = await session.client.query<R>(text, [...values])
    return { rows: result.rows, rowCount: result.rowCount ?? 0 }
  } catch (error) {
    const { failure, connectionLost } = translate(error)
    session.lost ||= connectionLost
    throw failure
  }
}

async function transact<T>(session: Session, begin: string, work: (tx: Queryable) => Promise<T>): Promise<T> {
  await run(session, begin)
  let open = true
  // pg 9 will refuse a statement while another one runs,
  // so those of a Promise.all go one after the other.
  let last: Promise<unknown> = Promise.resolve()
  const tx: Queryable = {
    query<R extends object>(text: string, values?: readonly unknown[]) {
      const next = last.then(() => {
        if (!open) throw new Failure('internal/defect', 'A statement came after the end of its transaction.')
        return run<R>(session, text, values)
      })
      last = next.catch(() => undefined)
      return next
    },
  }
  try {
    const result = await work(tx)
    await last
    open = false
    await commit(session)
    return result
  } catch (error) {
    open = false
    await last
    await rollBack(session)
    throw error
  }
}

async function commit(session: Session): Promise<void> {
  // Lost before COMMIT was sent: certainly not committed.
  if (session.lost)
    throw new Failure(
      'store/unavailable',
      'The connection to Postgres broke inside a transaction; nothing was saved.',
    )
  let command: string
  try {
    command = (await session.client.query('COMMIT')).command
  } catch (error) {
    const { failure, connectionLost } = translate(error)
    session.lost ||= connectionLost
    throw connectionLost ? new Failure('store/outcome-unknown', undefined, { cause: failure.cause }) : failure
  }
  // Postgres answers COMMIT of a failed transaction with ROLLBACK and no error.
  if (command !== 'COMMIT') {
    throw new Failure(
      'internal/defect',
      'A failed statement of a transaction was swallowed; nothing was saved.',
    )
  }
}

async function rollBack(session: Session): Promise<void> {
  if (session.lost) return
  try {
    await session.client.query('ROLLBACK')
  } catch {
    // The server rolls back what a closed connection leaves open.
    session.lost = true
  }
}

interface Translation {
  readonly failure: Failure
  readonly connectionLost: boolean
}

/** One driver error as a Failure. postgresql.org/docs/18/errcodes-appendix.html */
function translate(error: unknown): Translation {
  const translation = error instanceof pg.DatabaseError ? fromServer(error) : fromDriver(error)
  metrics.postgresFailures.add(1, { code: translation.failure.code })
  return translation
}

function fromServer(error: pg.DatabaseError): Translation {
  const state = error.code ?? ''
  const identity = identityFailure(error, clean(error))
  if (identity !== null) return { failure: identity, connectionLost: true }
  const { code, connectionLost } = meaningOf(state)
  return { failure: new Failure(code, sentence(code, state, error), { cause: clean(error) }), connectionLost }
}

function meaningOf(state: string): { readonly code: FailureCode; readonly connectionLost: boolean } {
  const kept = (code: FailureCode) => ({ code, connectionLost: false })
  const lost = (code: FailureCode) => ({ code, connectionLost: true })
  switch (state) {
    case '40001': // serialization_failure
    case '40P01': // deadlock_detected
    case '55P03': // lock_not_available
      return kept('store/contention')
    case '25006': // read_only_sql_transaction: this connection leads to a standby
      return lost('store/read-only')
    case '53100': // disk_full
      return kept('store/disk-full')
    case '54000': // program_limit_exceeded: a value is larger than an index takes
      return kept('store/rejected-data')
    case '57014': // query_canceled: statement_timeout
      return kept('store/unavailable')
    case '3D000': // invalid_catalog_name: the database does not exist (yet)
      return lost('store/unavailable')
  }
  // Connections, limits, shutdown and crash, timeouts between statements.
  if (/^(?:08|53|57P|25P03)/.test(state)) return lost('store/unavailable')
  if (/^2[23]/.test(state)) return kept('store/rejected-data')
  return kept('internal/defect')
}

function sentence(code: FailureCode, state: string, error: pg.DatabaseError): string | undefined {
  if (code === 'store/rejected-data') {
    const constraint = error.constraint === undefined ? '' : `, constraint ${error.constraint}`
    return `Postgres refused a value (SQLSTATE ${state}${constraint}).`
  }
  if (state === '3D000') return 'Postgres has no database of this name. Check it in POSTGRES_URL.'
  if (state === '42501')
    return `The role in POSTGRES_URL has no right to a statement: ${error.message}. Each service has a role of its own; \`calstream migrate\` gives the rights.`
  return code === 'internal/defect'
    ? `Postgres refused a statement (SQLSTATE ${state}): ${error.message}`
    : undefined
}

/**
 * Errors without a SQLSTATE: of sockets,
 * of the driver's own timeouts (which have no code at all), or of our own making.
 */
function fromDriver(error: unknown): Translation {
  const isOurs = error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError
  if (isOurs)
    return { failure: new Failure('internal/defect', error.message, { cause: error }), connectionLost: false }
  const failure =
    identityFailure(error, clean(error)) ??
    new Failure('store/unavailable', undefined, { cause: clean(error) })
  return { failure, connectionLost: true }
}

/**
 * An error without the parts that may hold values of rows:
 * detail, where, hint, the text of class 22.
 */
function clean(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error))
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const message = code?.startsWith('22') === true ? `SQLSTATE ${code}` : error.message
  const copy = new Error(message)
  copy.name = error.name
  if (error.stack !== undefined) copy.stack = error.stack.replace(error.message, message)
  return code === undefined ? copy : Object.assign(copy, { code })
}

/**
 * The statement that runs on the connection rejects anyway;
 * between two statements the next one does.
 */
function noteLostConnection(): void {}

const INT8 = 20
const INT8_ARRAY = 1016
const DATE = 1082

/**
 * Parsers of this pool only: the registry of pg is global to the process and others
 * may rely on its defaults.
 */
function parserOf(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  const usual = pg.types.getTypeParser(oid, format ?? 'text') as (value: string) => unknown
  if (format === 'binary') return usual
  if (oid === INT8) return safeNumber
  if (oid === INT8_ARRAY)
    return (value) =>
      (usual(value) as (string | null)[]).map((item) => (item === null ? null : safeNumber(item)))
  // The usual parser makes an instant of a date, in the zone of the process.
  if (oid === DATE) return (value) => value
  return usual
}

function safeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value))
    throw new RangeError('A bigint of Postgres is beyond 2^53; select it as text.')
  return value
}
