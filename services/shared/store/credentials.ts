// Credentials of a connection, sealed. Invariant: a rotated token replaces exactly the
// version that was read; of two processes that refresh at once, one learns that it lost and
// reads what the other stored.
import type { AccessUpdate, StoredCredentials } from '#shared/domain/credentials.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'

/** null when the connection has none (they are erased after a disconnect). */
export async function loadCredentials(
  db: Queryable,
  connection: ConnectionId,
): Promise<StoredCredentials | null> {
  const { rows } = await db.query<StoredCredentials>(
    `select version, refresh_token as "refreshToken", access_token as "accessToken",
       to_micros(access_expires_at) as "accessExpiresAt"
     from connection_credentials where connection_id = $1`,
    [connection],
  )
  return rows[0] ?? null
}

/**
 * Stores a refreshed grant over the version that was read; a null refresh token, scope or
 * end keeps the stored one. A connection that is still known by its address is known by
 * the subject from then on.
 */
export async function saveAccess(db: Queryable, update: AccessUpdate): Promise<'saved' | 'superseded'> {
  const { rowCount } = await db.query(
    `update connection_credentials
        set version = version + 1, refresh_token = coalesce($3, refresh_token), access_token = $4,
            access_expires_at = from_micros($5), scope = coalesce($6, scope),
            grant_ends_at = coalesce(from_micros($7), grant_ends_at), updated_at = calstream_now()
      where connection_id = $1 and version = $2`,
    [
      update.connectionId,
      update.version,
      update.refreshToken,
      update.accessToken,
      update.accessExpiresAt,
      update.scope,
      update.endsAt,
    ],
  )
  if (rowCount !== 1) return 'superseded'
  if (update.subject !== null) await adoptSubject(db, update.connectionId, update.subject)
  return 'saved'
}

/** A row that a unit holds at the moment is adopted at a later refresh. */
async function adoptSubject(db: Queryable, connection: ConnectionId, subject: string): Promise<void> {
  await db.query(
    `update external_calendar_connections set vendor_account_id = $2
      where id in (select c.id from external_calendar_connections c
                    where c.id = $1 and c.vendor_account_id like '%@%'
                      and not exists (select from external_calendar_connections other
                                       where other.provider_id = c.provider_id and other.vendor = c.vendor
                                         and other.vendor_account_id = $2)
                    for no key update skip locked)`,
    [connection, subject],
  )
}

/** One row for rotation of the keys: what is sealed, and the version that it had. */
export interface SealedRow {
  readonly connectionId: ConnectionId
  readonly version: number
  readonly refreshToken: string
  readonly accessToken: string | null
}

/** Rows with a token that is not sealed with this key, by connection id after `after`. */
export async function credentialsNotUnder(
  db: Queryable,
  kid: string,
  page: { readonly after: ConnectionId | null; readonly limit: number },
): Promise<readonly SealedRow[]> {
  const { rows } = await db.query<SealedRow>(
    `select connection_id as "connectionId", version, refresh_token as "refreshToken", access_token as "accessToken"
       from connection_credentials
      where (split_part(refresh_token, '.', 2) <> $1 or split_part(access_token, '.', 2) <> $1)
        and ($2::uuid is null or connection_id > $2)
      order by connection_id limit $3`,
    [kid, page.after, page.limit],
  )
  return rows
}

/** How many rows have a token that is not sealed with this key. Throws Failure `store/*`. */
export async function countNotUnder(db: Queryable, kid: string): Promise<number> {
  const { rows } = await db.query<{ rows: number }>(
    `select count(*)::int as rows from connection_credentials
      where split_part(refresh_token, '.', 2) <> $1 or split_part(access_token, '.', 2) <> $1`,
    [kid],
  )
  return rows[0]?.rows ?? 0
}

/** The same tokens sealed with another key, and the value that they replace. */
export interface ResealedRow extends SealedRow {
  readonly replaces: string
}

/**
 * Stores the same tokens sealed with another key, each over exactly what was read: the version, and
 * the sealed refresh token, whose nonce is never the same twice, for a row that was erased and made
 * anew meanwhile. The version stays: a refresh that is under way at the vendor must be able to save
 * the token that it gets, or a rotated refresh token would be lost for ever.
 * @returns the connections that were stored;
 * the others were changed meanwhile and are to be read again.
 */
export async function reseal(
  db: Queryable,
  rows: readonly ResealedRow[],
): Promise<ReadonlySet<ConnectionId>> {
  const { rows: stored } = await db.query<{ connectionId: ConnectionId }>(
    `update connection_credentials as held
        set refresh_token = fresh.refresh_token, access_token = fresh.access_token, updated_at = calstream_now()
       from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[])
              as fresh(connection_id, version, refresh_token, access_token, replaces)
      where held.connection_id = fresh.connection_id and held.version = fresh.version
        and held.refresh_token = fresh.replaces
     returning held.connection_id as "connectionId"`,
    columnsOf(rows, 'connectionId', 'version', 'refreshToken', 'accessToken', 'replaces'),
  )
  return new Set(stored.map(({ connectionId }) => connectionId))
}

/** How many connections hold a token under each key id. */
export async function countByKey(
  db: Queryable,
): Promise<readonly { readonly kid: string; readonly connections: number }[]> {
  const { rows } = await db.query<{ kid: string; connections: number }>(
    `select kid, count(distinct connection_id) as connections
       from connection_credentials, unnest(array[split_part(refresh_token, '.', 2), split_part(access_token, '.', 2)]) as kid
      where kid is not null group by kid order by kid`,
  )
  return rows
}
