// Credentials of a connection, sealed. Invariant: a rotated token replaces exactly the version that was read; of two processes that
// refresh at once, one is told that it lost and reads what the other stored.
import type { ConnectionId, Micros } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

export interface SealedCredentials {
  readonly version: number
  readonly refreshToken: string
  readonly accessToken: string | null
  readonly accessExpiresAt: Micros | null
  readonly scope: string | null
}

/** null when the connection has none (they are erased after a disconnect). */
export async function loadCredentials(
  db: Queryable,
  connection: ConnectionId,
): Promise<SealedCredentials | null> {
  const { rows } = await db.query<SealedCredentials>(
    `select version, refresh_token as "refreshToken", access_token as "accessToken",
       to_micros(access_expires_at) as "accessExpiresAt", scope
     from connection_credentials where connection_id = $1`,
    [connection],
  )
  return rows[0] ?? null
}

/** Stores a refreshed grant over the version that was read; a null refresh token or scope keeps the stored one. */
export async function saveAccess(
  db: Queryable,
  update: {
    readonly connectionId: ConnectionId
    readonly version: number
    readonly refreshToken: string | null
    readonly accessToken: string
    readonly accessExpiresAt: Micros
    readonly scope: string | null
  },
): Promise<'saved' | 'superseded'> {
  const { rowCount } = await db.query(
    `update connection_credentials
        set version = version + 1, refresh_token = coalesce($3, refresh_token), access_token = $4,
            access_expires_at = from_micros($5), scope = coalesce($6, scope), updated_at = calstream_now()
      where connection_id = $1 and version = $2`,
    [
      update.connectionId,
      update.version,
      update.refreshToken,
      update.accessToken,
      update.accessExpiresAt,
      update.scope,
    ],
  )
  return rowCount === 1 ? 'saved' : 'superseded'
}
