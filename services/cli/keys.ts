// `calstream keys rotate`: seals every stored credential with the current key, so that older keys
// can be dropped. Invariants: a token refresh that happens meanwhile wins and its row is read
// again; what does not open is reported and left as it is; nothing that was sealed is ever printed.
// Stopped at any moment it has lost nothing, and the next run continues with what is left.
import { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { openSecret, parseKeyring, sealedWith, sealSecret, type Keyring } from '#shared/process/keyring.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import type { Queryable } from '#shared/store/database.ts'
import {
  countByKey,
  countNotUnder,
  credentialsNotUnder,
  reseal,
  type ResealedRow,
  type SealedRow,
} from '#shared/store/credentials.ts'
import { urlOf } from './config.ts'
import { cliLogger, openDatabaseOf } from './open.ts'
import type { Output } from './output.ts'
import { progressOf } from './progress.ts'
import { UserError } from '#shared/process/user-error.ts'

/** One statement each: 100 rows are locked for a few milliseconds. */
const CHUNK = 100
/**
 * Rows that are refreshed while we seal them are few;
 * a row that loses this often is reported as left.
 */
const PASSES_MAX = 5

interface RotationReport {
  readonly currentKey: string
  /** Rows sealed anew, or, in a dry run, that would be. */
  readonly resealed: number
  /** Rows that a refresh changed under our hands; they were read again. */
  readonly refreshedMeanwhile: number
  /** Rows that do not open: their key is not in the keyring, or they were altered or moved. */
  readonly unreadable: readonly { readonly connection: ConnectionId; readonly field: string }[]
  /** Rows that are still sealed with another key, the unreadable ones included. */
  readonly left: number
}

/**
 * Runs as the scheduler's role, which keeps credentials anyway. Prints counts, and the connections
 * whose credentials do not open. Throws UserError when something is left, so a script does not drop
 * a key that is still needed.
 */
export async function rotateKeys(
  options: { readonly dryRun: boolean },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const config = readEnv(z.object({ ...postgresEnv, ...credentialsEnv }), urlOf('scheduler', env))
  await using db = openDatabaseOf(env, cliLogger())
  const keyring = parseKeyring(config.CREDENTIALS_KEYS)
  const report = await rotateTelling({ db, keyring }, options.dryRun, output)
  const inUse = await countByKey(db)
  output.object({
    current_key: report.currentKey,
    dry_run: options.dryRun,
    // In a dry run: would be.
    sealed_anew: report.resealed,
    refreshed_meanwhile: report.refreshedMeanwhile,
    unreadable: report.unreadable,
    left: report.left,
    connections_by_key: Object.fromEntries(inUse.map(({ kid, connections }) => [kid, connections])),
  })
  if (report.unreadable.length > 0) {
    throw new UserError(
      `${report.unreadable.length} credentials do not open. Put the key that sealed them back into CREDENTIALS_KEYS and repeat; if it is lost, the people have to connect these accounts again.`,
    )
  }
  if (options.dryRun) return
  if (report.left > 0) {
    throw new UserError(
      `${report.left} connections are still sealed with another key. Make "${report.currentKey}" the first key of every process, then repeat.`,
    )
  }
  output.line(
    `Every credential is sealed with "${report.currentKey}"; the other keys may be dropped in 10 min.`,
  )
}

async function rotateTelling(rotation: Rotation, isDryRun: boolean, output: Output): Promise<RotationReport> {
  const total = await countNotUnder(rotation.db, rotation.keyring.current)
  using progress = progressOf(output, 'credential')
  return rotate({ ...rotation, done: (rows) => progress.at(rows, total) }, isDryRun)
}

interface Rotation {
  readonly db: Queryable
  readonly keyring: Keyring
  /** Told after each chunk how many rows are done. */
  readonly done?: (rows: number) => void
}

/** Seals what is not under the current key. Throws Failure `store/*`. */
export async function rotate(
  { db, keyring, done = () => {} }: Rotation,
  isDryRun: boolean,
): Promise<RotationReport> {
  const unreadable = new Map<ConnectionId, string>()
  let resealed = 0
  let refreshedMeanwhile = 0
  for (let pass = 1; pass <= PASSES_MAX; pass += 1) {
    let lost = 0
    for await (const rows of chunks(db, keyring.current)) {
      const fresh = rows.flatMap((row) => sealAnew(keyring, row, unreadable))
      const stored = isDryRun ? fresh.length : (await reseal(db, fresh)).size
      resealed += stored
      lost += fresh.length - stored
      done(resealed)
    }
    refreshedMeanwhile += lost
    if (isDryRun || lost === 0) break
  }
  let left = 0
  for await (const rows of chunks(db, keyring.current)) left += rows.length
  return {
    currentKey: keyring.current,
    resealed,
    refreshedMeanwhile,
    unreadable: [...unreadable].map(([connection, field]) => ({ connection, field })),
    left,
  }
}

async function* chunks(db: Queryable, kid: string): AsyncGenerator<readonly SealedRow[]> {
  let after: ConnectionId | null = null
  for (;;) {
    const rows: readonly SealedRow[] = await credentialsNotUnder(db, kid, { after, limit: CHUNK })
    if (rows.length === 0) return
    yield rows
    after = rows.at(-1)?.connectionId ?? null
  }
}

/** The row under the current key; nothing when a token of it does not open, which is noted. */
function sealAnew(
  keyring: Keyring,
  row: SealedRow,
  unreadable: Map<ConnectionId, string>,
): readonly ResealedRow[] {
  const refreshToken = sealField(keyring, row.connectionId, 'refresh_token', row.refreshToken)
  const accessToken =
    row.accessToken === null ? null : sealField(keyring, row.connectionId, 'access_token', row.accessToken)
  const fields = [
    ...(refreshToken === 'unreadable' ? ['refresh_token'] : []),
    ...(accessToken === 'unreadable' ? ['access_token'] : []),
  ]
  if (refreshToken === 'unreadable' || accessToken === 'unreadable') {
    unreadable.set(row.connectionId, fields.join(', '))
    return []
  }
  // A refresh may have healed what a former pass could not open.
  unreadable.delete(row.connectionId)
  return [{ ...row, refreshToken, accessToken, replaces: row.refreshToken }]
}

function sealField(keyring: Keyring, connectionId: ConnectionId, field: string, sealed: string): string {
  try {
    const plain = openSecret(keyring, sealed, { connectionId, field })
    return sealedWith(sealed) === keyring.current
      ? sealed
      : sealSecret(keyring, plain, { connectionId, field })
  } catch (error) {
    if (error instanceof Failure && error.code === 'credentials/unreadable') return 'unreadable'
    throw error
  }
}
