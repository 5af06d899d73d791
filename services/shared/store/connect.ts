// Connecting an account: the one place where connections, credentials and calendars come to be. The
// same account is the same row: connecting again heals it and bumps the epoch, so that a unit of
// the time before can write nothing more.
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { adoptCalendars, storeListed } from './calendar-list.ts'

export interface ConnectedAccount {
  readonly connectionId: ConnectionId
  /** null when the account was not known before. */
  readonly previousStatus: ConnectionStatus | null
  /** active; disabled while an operator's pause lasts. */
  readonly status: 'active' | 'disabled'
  /** Database clock of this statement. */
  readonly at: Micros
}

/** Who is connected. */
interface AccountToConnect {
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /**
   * What stays when the address changes; the address itself where the vendor named nothing better.
   */
  readonly vendorAccountId: string
  /**
   * The address by which connections of before are known, and the id of the primary calendar; null
   * where no address is an identity.
   */
  readonly address: string | null
  /** How people know the account. */
  readonly label: string | null
}

/**
 * Inserts or heals the connection of an account: active, dirty, without backoff or errors,
 * under a new epoch. An operator's pause outlasts it: then it is disabled. One that was connected
 * under the address of the account, of now or of before, is the same connection.
 */
export async function upsertConnection(tx: Queryable, account: AccountToConnect): Promise<ConnectedAccount> {
  const known = await adoptKnown(tx, account)
  const vendorAccountId = known?.vendorAccountId ?? account.vendorAccountId
  const { rows } = await tx.query<{ id: ConnectionId; status: 'active' | 'disabled'; at: Micros }>(
    `insert into external_calendar_connections as c (provider_id, vendor, vendor_account_id, account_label, sync_needed)
     values ($1, $2, $3, $4, true)
     on conflict on constraint connections_account_once do update
        set status = case when c.paused_at is null then 'active' else 'disabled' end,
            sync_needed = true, error_count = 0, last_error = null, failing_since = null,
            backoff_until = null, unfinished = 0, sync_epoch = c.sync_epoch + 1,
            account_label = coalesce(excluded.account_label, c.account_label), connected_at = calstream_now(),
            disconnected_at = null, updated_at = calstream_now(), refused_since = null, refused_at = null,
            refused_tokens = 0, parked_at = null, parked_code = null, probe_at = null, probes = 0
     returning id, status, to_micros(calstream_now()) as at`,
    [account.providerId, account.vendor, vendorAccountId, account.label],
  )
  const [row] = rows
  if (!row) throw new Error('upsert of a connection returned no row')
  return { connectionId: row.id, previousStatus: known?.status ?? null, status: row.status, at: row.at }
}

/**
 * The connection that an account has already, under the identity that it keeps from now on; null
 * when it is new. Without a subject an address counts, as the vendor lists the primary calendar
 * under it; a subject is never given up for an address.
 */
async function adoptKnown(
  tx: Queryable,
  { providerId, vendor, vendorAccountId, address }: AccountToConnect,
): Promise<{ readonly status: ConnectionStatus; readonly vendorAccountId: string } | null> {
  const { rows } = await tx.query<{ id: ConnectionId; status: ConnectionStatus; vendorAccountId: string }>(
    `select c.id, c.status, c.vendor_account_id as "vendorAccountId" from external_calendar_connections c
      where c.provider_id = $1 and c.vendor = $2
        and (c.vendor_account_id = $3
             or $4::text is not null and (c.vendor_account_id like '%@%' or $3 = $4)
                and (c.vendor_account_id = $4
                     or exists (select from external_calendars k
                                 where k.connection_id = c.id and k.is_primary and k.vendor_calendar_id = $4)))
      order by c.vendor_account_id = $3 desc, c.connected_at desc, c.id limit 1 for update`,
    [providerId, vendor, vendorAccountId, address],
  )
  const [known] = rows
  if (!known) return null
  const isSubject = !known.vendorAccountId.includes('@')
  if (known.vendorAccountId === vendorAccountId || (isSubject && vendorAccountId === address)) return known
  await tx.query('update external_calendar_connections set vendor_account_id = $2 where id = $1', [
    known.id,
    vendorAccountId,
  ])
  return { ...known, vendorAccountId }
}

/**
 * Another address of the same account, for people to see; a row that a unit holds at the moment
 * gets it at the next list.
 */
export async function relabel(db: Queryable, connection: ConnectionId, address: string): Promise<void> {
  await db.query(
    `update external_calendar_connections set account_label = $2
      where id in (select id from external_calendar_connections
                    where id = $1 and status <> 'disconnected' and account_label is distinct from $2
                    for no key update skip locked)`,
    [connection, address],
  )
}

/**
 * Stores sealed credentials. A reconnect is a new grant, so it replaces whatever was
 * there and advances the version. The ingress may not read what is sealed, and
 * `excluded` would count as reading.
 */
export async function putCredentials(
  tx: Queryable,
  credentials: {
    connectionId: ConnectionId
    sealedRefreshToken: string
    sealedAccessToken: string
    accessExpiresAt: Micros
    scope: string | null
    /** null: the vendor names no end. */
    endsAt: Micros | null
  },
): Promise<void> {
  await tx.query(
    `insert into connection_credentials as c
            (connection_id, refresh_token, access_token, access_expires_at, scope, grant_ends_at)
     values ($1, $2, $3, from_micros($4), $5, from_micros($6))
     on conflict (connection_id) do update
        set version = c.version + 1, refresh_token = $2, access_token = $3,
            access_expires_at = from_micros($4), scope = $5, grant_ends_at = from_micros($6),
            updated_at = calstream_now()`,
    [
      credentials.connectionId,
      credentials.sealedRefreshToken,
      credentials.sealedAccessToken,
      credentials.accessExpiresAt,
      credentials.scope,
      credentials.endsAt,
    ],
  )
}

/**
 * The account's own calendar under another id, because an address changed: it stays the same row,
 * and so do the ids of its events.
 */
async function adoptPrimary(
  tx: Queryable,
  connection: ConnectionId,
  listed: readonly VendorCalendar[],
): Promise<void> {
  const own = listed.find(({ primary }) => primary)
  if (own === undefined) return
  const { rows } = await tx.query<{ calendarId: CalendarId }>(
    `select id as "calendarId" from external_calendars
      where connection_id = $1 and is_primary and vendor_calendar_id <> all($2::text[])`,
    [connection, listed.map(({ vendorCalendarId }) => vendorCalendarId)],
  )
  const [row, ...rivals] = rows
  if (row === undefined || rivals.length > 0) return
  await adoptCalendars(tx, connection, [{ ...row, vendorCalendarId: own.vendorCalendarId }])
}

/**
 * Stores the calendar list of an account (`storeListed`). Whatever failed before says nothing: the
 * whole connection owes a read.
 */
export async function putCalendars(
  tx: Queryable,
  connection: ConnectionId,
  calendars: readonly VendorCalendar[],
): ReturnType<typeof storeListed> {
  await forgetTrouble(tx, connection)
  await adoptPrimary(tx, connection, calendars)
  return storeListed(tx, connection, calendars)
}

/**
 * Whatever a calendar met under the grant of before says nothing about this one: runs begin anew,
 * in the usual way and without cool-downs, and what was ill is read from the start. The second look
 * that a suspicious sweep waits for keeps its time.
 */
export async function forgetTrouble(tx: Queryable, connection: ConnectionId): Promise<void> {
  await tx.query(
    `update external_calendars
        set read_needed = false, failures = 0, error_count = 0, last_error = null, failing_since = null, backoff_until = null,
            channel_attempts = 0, channel_retry_at = case when push_supported then null else channel_retry_at end,
            checkpoint = null,
            cursor = case when failures = 0 and place_failures = 0 and resync_streak = 0 and reading = 'usual' then cursor end,
            resync_after = case when sweep_below is not null then resync_after end, resync_streak = 0,
            reading = 'usual', usual_from = null, place_failures = 0, place_failing_since = null,
            fresh_starts = 0, fresh_after = null
      where connection_id = $1`,
    [connection],
  )
}
