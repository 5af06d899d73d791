// Connections and calendars as the app of a provider asks about them. Reads only. Invariant: every
// statement names the provider, so that another provider's row is as absent as one that never was.
import type { CalendarFacts, ConnectionFacts, ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { ILL_CALENDAR, ILL_CALENDARS } from './calendar-failures.ts'

export interface ConnectionState extends ConnectionFacts {
  readonly id: ConnectionId
  readonly vendor: VendorName
  /** How people know the account; null once a disconnected one is erased. */
  readonly account: string | null
  readonly disconnectedAt: Micros | null
  readonly errorCount: number
  readonly lastError: {
    readonly code: string
    readonly message: string
    readonly at: string
    /** The number that the vendor gives its reason, as AADSTS700016. */
    readonly number?: number
  } | null
  readonly probeAt: Micros | null
  readonly grantEndsAt: Micros | null
}

export interface CalendarState extends CalendarFacts {
  readonly id: CalendarId
  readonly connectionId: ConnectionId
  readonly name: string | null
  readonly timeZone: string | null
  readonly accessRole: string | null
  readonly isPrimary: boolean
  /** The rules of its last full read; null before the first. */
  readonly judgedBy: string | null
  readonly pushSupported: boolean
  readonly plain: NonNullable<CalendarFacts['plain']> | null
}

/** SQL, with `c` a connection's row: a ConnectionState. */
export const CONNECTION_STATE = `c.id, c.vendor, coalesce(c.account_label, c.vendor_account_id) as account, c.status,
  c.sync_needed as "syncNeeded", to_micros(c.connected_at) as "connectedAt", to_micros(c.disconnected_at) as "disconnectedAt",
  to_micros(c.last_synced_at) as "lastSyncedAt", c.error_count as "errorCount", c.last_error as "lastError",
  to_micros(c.backoff_until) as "backoffUntil", to_micros(calstream_now()) as now,
  case when c.status = 'needs_reauth' then to_micros(c.probe_at) end as "probeAt",
  (select to_micros(g.grant_ends_at) from connection_credentials g where g.connection_id = c.id) as "grantEndsAt",
  to_micros(c.paused_at) as "pausedAt", c.paused_by as "pausedBy",
  exists (select from held_requests h where h.connection_id = c.id) as "isHeld",
  (select to_micros(h.since) from held_requests h where h.connection_id = c.id) as "heldSince",
  to_micros(c.failing_since) as "failingSince", to_micros(c.parked_at) as "parkedAt", ${ILL_CALENDARS}`

const CALENDAR = `k.id, k.connection_id as "connectionId", k.name, k.time_zone as "timeZone", k.access_role as "accessRole", k.is_primary as "isPrimary", k.judged_by as "judgedBy", k.selected,
  k.push_supported as "pushSupported", k.removal_reason as "removalReason", to_micros(k.last_read_at) as "lastReadAt",
  to_micros(k.last_full_sync) as "lastFullReadAt", to_micros(k.resync_after) as "coolDownUntil",
  to_micros(k.missing_since) as "missingSince", k.read_needed as "readNeeded", ${ILL_CALENDAR} as ill,
  case when k.reading = 'plain' then jsonb_build_object('usualFrom', to_micros(k.usual_from)) end as plain`

interface ConnectionFilter {
  /** null: every one. */
  readonly status: ConnectionStatus | null
  readonly vendor: VendorName | null
}

/**
 * Connections of a provider by id, those after `after`, at most `limit`. Throws Failure store/*.
 */
export async function listConnectionStates(
  db: Queryable,
  provider: ProviderId,
  page: ConnectionFilter & { readonly after: ConnectionId | null; readonly limit: number },
): Promise<readonly ConnectionState[]> {
  const { rows } = await db.query<ConnectionState>(
    `select ${CONNECTION_STATE} from external_calendar_connections c
      where c.provider_id = $1 and ($2::uuid is null or c.id > $2)
        and ($4::text is null or c.status = $4) and ($5::text is null or c.vendor = $5)
      order by c.id limit $3`,
    [provider, page.after, page.limit, page.status, page.vendor],
  )
  return rows
}

/**
 * One connection; null when the provider has no such. `provider` null asks for any
 * (operators). Throws Failure store/*.
 */
export async function readConnectionState(
  db: Queryable,
  provider: ProviderId | null,
  connection: ConnectionId,
): Promise<(ConnectionState & { readonly providerId: ProviderId }) | null> {
  const { rows } = await db.query<ConnectionState & { providerId: ProviderId }>(
    `select ${CONNECTION_STATE}, c.provider_id as "providerId" from external_calendar_connections c
      where c.id = $2 and ($1::uuid is null or c.provider_id = $1)`,
    [provider, connection],
  )
  return rows[0] ?? null
}

/**
 * The calendars of one connection, selected ones first, by name;
 * at most `limit`. Throws Failure store/*.
 */
export async function readCalendarStates(
  db: Queryable,
  connection: ConnectionId,
  limit: number,
): Promise<readonly CalendarState[]> {
  const { rows } = await db.query<CalendarState>(
    `select ${CALENDAR} from external_calendars k
      where k.connection_id = $1 order by k.selected desc, k.name, k.id limit $2`,
    [connection, limit],
  )
  return rows
}

/**
 * The calendars that a provider syncs, with the state of their connections;
 * at most `limit`. Throws Failure store/*.
 */
export async function readSyncedCalendars(
  db: Queryable,
  asked: { readonly provider: ProviderId; readonly connection: ConnectionId | null; readonly limit: number },
): Promise<readonly { readonly calendar: CalendarState; readonly connection: ConnectionState }[]> {
  const { rows } = await db.query<{ calendar: CalendarState; connection: ConnectionState }>(
    `select to_jsonb(calendar) as calendar, to_jsonb(connection) as connection
       from (select ${CONNECTION_STATE} from external_calendar_connections c
              where c.provider_id = $1 and ($2::uuid is null or c.id = $2) and c.status <> 'disconnected') connection
       join lateral (select ${CALENDAR} from external_calendars k where k.connection_id = connection.id and k.selected) calendar on true
      order by connection.id, calendar.id limit $3`,
    [asked.provider, asked.connection, asked.limit],
  )
  return rows
}

interface UnbackedConnection {
  readonly id: ConnectionId
  readonly status: ConnectionStatus
}

/**
 * The connections that were asked about and of which no calendar is synced: those with an account
 * first; at most `limit`. Throws Failure store/*.
 */
export async function readUnbackedConnections(
  db: Queryable,
  asked: { readonly provider: ProviderId; readonly connection: ConnectionId | null; readonly limit: number },
): Promise<readonly UnbackedConnection[]> {
  const { rows } = await db.query<UnbackedConnection>(
    `select c.id, c.status from external_calendar_connections c
      where c.provider_id = $1 and ($2::uuid is null or c.id = $2)
        and (c.status = 'disconnected'
             or not exists (select from external_calendars k where k.connection_id = c.id and k.selected))
      order by c.status = 'disconnected', c.id limit $3`,
    [asked.provider, asked.connection, asked.limit],
  )
  return rows
}
