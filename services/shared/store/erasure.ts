// What is left of a disconnected account. Invariants: ten minutes after the disconnect at the
// latest nothing shows whose it was (its credentials, address, label, calendars and channels are
// gone), and nothing of an account that was connected again meanwhile goes. What stays: the
// connection's id, provider, vendor and status, so that an app can still learn what became of it.
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

/**
 * The person is at the vendor's consent page, or was two minutes ago. Google ends every grant
 * of the account to our app with a revocation, also the one that was given while the
 * revocation was under way.
 */
const CONSENTS_AGAIN = `exists (select from oauth_flows flow
  where flow.provider_id = connection.provider_id and flow.vendor = connection.vendor and flow.connection_id is null
    and flow.link_used_at > calstream_now() - interval '2 minutes')`

export interface ErasableConnection {
  readonly connectionId: ConnectionId
  readonly vendor: VendorName
  /** What was read; null when there were none. Others are not erased. */
  readonly credentials: { readonly version: number; readonly refreshToken: string } | null
  readonly attempts: number
  /** Ten minutes have passed: erase, whatever the vendor says. */
  readonly isOverdue: boolean
  /** Another provider holds a connection to the same account, which a revocation would end too. */
  readonly isShared: boolean
}

/**
 * Disconnected connections that are not erased: overdue, or without channels, not backing off, and
 * not about to be connected again.
 */
export async function erasableConnections(
  db: Queryable,
  limit: number,
): Promise<readonly ErasableConnection[]> {
  const { rows } = await db.query<ErasableConnection>(
    `select connection.id as "connectionId", connection.vendor,
       case when credentials.version is not null then
         jsonb_build_object('version', credentials.version, 'refreshToken', credentials.refresh_token) end as credentials,
       connection.erase_attempts as attempts, overdue as "isOverdue",
       exists (select from external_calendar_connections other
                where other.vendor = connection.vendor
                  -- One of them may still be known by the address.
                  and (other.vendor_account_id in (connection.vendor_account_id, connection.account_label)
                       or other.account_label in (connection.vendor_account_id, connection.account_label)
                          and connection.vendor = 'google')
                  and other.status in ('active', 'disabled')) as "isShared"
     from external_calendar_connections connection
     left join connection_credentials credentials on credentials.connection_id = connection.id
     cross join lateral (select coalesce(connection.disconnected_at, connection.updated_at)
                           <= calstream_now() - interval '10 minutes' as overdue) age
     where connection.status = 'disconnected' and connection.vendor_account_id is not null
       and (overdue or (connection.erase_retry_at is null or connection.erase_retry_at <= calstream_now())
              and not exists (select from channels where channels.connection_id = connection.id)
              and not ${CONSENTS_AGAIN})
     order by connection.disconnected_at limit $1`,
    [limit],
  )
  return rows
}

/**
 * Whether the account is disconnected still, with these credentials, and no person is about to
 * connect it again.
 */
export async function isErasable(
  db: Queryable,
  { connectionId, credentials }: ErasableConnection,
): Promise<boolean> {
  const { rows } = await db.query(
    `select from external_calendar_connections connection
     join connection_credentials credentials on credentials.connection_id = connection.id
     where connection.id = $1 and connection.status = 'disconnected' and credentials.version = $2
       and not ${CONSENTS_AGAIN}`,
    [connectionId, credentials?.version ?? null],
  )
  return rows.length === 1
}

/** Erases the account. @returns false when it was connected again meanwhile. */
export async function eraseAccount(
  db: Queryable,
  { connectionId, credentials }: ErasableConnection,
): Promise<boolean> {
  // The calendars take their channels with them; their events went with the disconnect.
  const { rowCount } = await db.query(
    `with ended as (
       select connection.id from external_calendar_connections connection
        where connection.id = $1 and connection.status = 'disconnected'
          and not exists (select from connection_credentials newer
                           where newer.connection_id = $1 and newer.version is distinct from $2::bigint)
          for update),
     sealed as (delete from connection_credentials where connection_id in (select id from ended) and version = $2),
     noticed as (delete from channel_notices where connection_id in (select id from ended)),
     calendars as (delete from external_calendars where connection_id in (select id from ended))
     update external_calendar_connections
        set vendor_account_id = null, account_label = null, last_error = null, erase_attempts = 0, erase_retry_at = null
      where id in (select id from ended)`,
    [connectionId, credentials?.version ?? null],
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

/**
 * Forgets what waits for a gate on behalf of disconnected accounts: a refusal that came beside the
 * disconnect. One that was refused after it was connected again has a later number and stays.
 */
export async function forgetHeld(db: Queryable): Promise<void> {
  await db.query(
    `with ended as (
       select held.connection_id, held.seq from held_requests held
       join external_calendar_connections connection on connection.id = held.connection_id
       where connection.status = 'disconnected')
     delete from held_requests held using ended
      where held.connection_id = ended.connection_id and held.seq = ended.seq`,
  )
}
