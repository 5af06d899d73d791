// What is left of a disconnected account: its channels and its credentials. Invariant: credentials go ten minutes after the disconnect
// at the latest, and never those of an account that was connected again meanwhile.
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

export interface ErasableConnection {
  readonly connectionId: ConnectionId
  readonly vendor: VendorName
  /** Of the credentials that were read; others are not erased. */
  readonly version: number
  readonly refreshToken: string
  readonly attempts: number
  /** Ten minutes have passed: erase, whatever the vendor says. */
  readonly isOverdue: boolean
  /** Another provider holds a connection to the same account, which a revocation would end too. */
  readonly isShared: boolean
}

/** Disconnected connections that still have credentials: overdue, or without channels and not backing off. */
export async function erasableConnections(
  db: Queryable,
  limit: number,
): Promise<readonly ErasableConnection[]> {
  const { rows } = await db.query<ErasableConnection>(
    `select connection.id as "connectionId", connection.vendor, credentials.version,
       credentials.refresh_token as "refreshToken", connection.erase_attempts as attempts, overdue as "isOverdue",
       exists (select from external_calendar_connections other
                where other.vendor = connection.vendor and other.vendor_account_id = connection.vendor_account_id
                  and other.status in ('active', 'disabled')) as "isShared"
     from external_calendar_connections connection
     join connection_credentials credentials on credentials.connection_id = connection.id
     cross join lateral (select coalesce(connection.disconnected_at, connection.updated_at)
                           <= calstream_now() - interval '10 minutes' as overdue) age
     where connection.status = 'disconnected'
       and (overdue or (connection.erase_retry_at is null or connection.erase_retry_at <= calstream_now())
              and not exists (select from channels where channels.connection_id = connection.id))
     order by connection.disconnected_at limit $1`,
    [limit],
  )
  return rows
}

/** Whether the account is disconnected still, with these credentials. */
export async function isErasable(
  db: Queryable,
  { connectionId, version }: ErasableConnection,
): Promise<boolean> {
  const { rows } = await db.query(
    `select from external_calendar_connections connection
     join connection_credentials credentials on credentials.connection_id = connection.id
     where connection.id = $1 and connection.status = 'disconnected' and credentials.version = $2`,
    [connectionId, version],
  )
  return rows.length === 1
}

/** Erases the credentials and forgets the channels. @returns false when the account was connected again meanwhile. */
export async function eraseCredentials(
  db: Queryable,
  { connectionId, version }: ErasableConnection,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `with ended as (
       select connection.id from external_calendar_connections connection
        where connection.id = $1 and connection.status = 'disconnected' for update),
     settled as (
       update external_calendar_connections set erase_attempts = 0, erase_retry_at = null
        where id in (select id from ended)),
     forgotten as (delete from channels where connection_id in (select id from ended))
     delete from connection_credentials where connection_id in (select id from ended) and version = $2`,
    [connectionId, version],
  )
  return rowCount === 1
}

/** The vendor could not be asked to revoke. */
export async function putOffErasure(db: Queryable, connection: ConnectionId, waitMs: number): Promise<void> {
  await db.query(
    `update external_calendar_connections
        set erase_attempts = erase_attempts + 1, erase_retry_at = calstream_now() + $2::float8 * interval '1 millisecond'
      where id = $1 and status = 'disconnected'`,
    [connection, waitMs],
  )
}
