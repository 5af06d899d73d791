// What Postgres holds after a sync, read with a connection of its own, apart from the store's code:
// the checking side must not share the checked side's mistakes.
import pg from 'pg'
import { eventKey, type EventImage } from './verify.ts'

export interface StoredConnection {
  readonly connectionId: string
  readonly providerId: string
  /** The account's address, by which both sides know it. */
  readonly email: string
  readonly status: string
  readonly syncNeeded: boolean
  readonly lastSyncedAtMs: number | null
  readonly createdAtMs: number
  readonly lastError: string | null
  /** vendor calendar id → our id. */
  readonly calendars: ReadonlyMap<string, string>
}

export interface StoredEvents extends AsyncDisposable {
  connections(): Promise<readonly StoredConnection[]>
  /** All events of these connections, by eventKey. */
  events(connectionIds: readonly string[]): Promise<Map<string, EventImage>>
  /** Rows that wait for the relay. */
  outboxSize(): Promise<number>
}

const QUERY_TIMEOUT_MS = 20_000

/** Opens the reader; `url` must be of a role that may read all tables. */
export async function openStoredEvents(url: string): Promise<StoredEvents> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 2,
    application_name: 'calstream-verify',
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
  })
  // The next query fails and says so; without a listener a lost session would end the process.
  pool.on('error', () => {})
  return {
    connections: () => readConnections(pool),
    events: (connectionIds) => readEvents(pool, connectionIds),
    async outboxSize() {
      const { rows } = await pool.query<{ size: number }>('select count(*)::int as size from outbox')
      return rows[0]?.size ?? 0
    },
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

async function readConnections(pool: pg.Pool): Promise<StoredConnection[]> {
  const { rows } = await pool.query<Omit<StoredConnection, 'calendars'> & { calendars: [string, string][] }>(
    `select c.id as "connectionId", c.provider_id as "providerId", coalesce(c.account_label, c.vendor_account_id) as email, c.status,
            c.sync_needed as "syncNeeded", (extract(epoch from c.last_synced_at) * 1000)::float8 as "lastSyncedAtMs",
            (extract(epoch from c.created_at) * 1000)::float8 as "createdAtMs", c.last_error ->> 'message' as "lastError",
            coalesce(jsonb_agg(jsonb_build_array(k.vendor_calendar_id, k.id)) filter (where k.id is not null), '[]') as calendars
       from external_calendar_connections c left join external_calendars k on k.connection_id = c.id and k.selected
      group by c.id`,
  )
  return rows.map((row) => ({ ...row, calendars: new Map(row.calendars) }))
}

interface EventRow extends Omit<EventImage, 'start' | 'end' | 'originalStart' | 'updatedAt'> {
  readonly connectionId: string
  readonly calendarId: string
  readonly vendorEventId: string
  readonly startAt: string | null
  readonly endAt: string | null
  readonly startDate: string | null
  readonly endDate: string | null
  readonly originalStartAt: string | null
  readonly originalStartDate: string | null
  readonly updatedAt: string | null
}

async function readEvents(pool: pg.Pool, connectionIds: readonly string[]): Promise<Map<string, EventImage>> {
  const { rows } = await pool.query<EventRow>(
    `select connection_id as "connectionId", calendar_id as "calendarId", vendor_event_id as "vendorEventId",
            title, status, busy, all_day as "allDay", time_zone as "timeZone", series_id as "seriesId", location, organizer, etag,
            (extract(epoch from start_at) * 1000000)::bigint::text as "startAt",
            (extract(epoch from end_at) * 1000000)::bigint::text as "endAt",
            start_date::text as "startDate", end_date::text as "endDate",
            (extract(epoch from original_start_at) * 1000000)::bigint::text as "originalStartAt",
            original_start_date::text as "originalStartDate",
            (extract(epoch from vendor_updated_at) * 1000000)::bigint::text as "updatedAt"
       from external_calendar_events where connection_id = any($1::uuid[])`,
    [connectionIds],
  )
  return new Map(
    rows.map((row) => [eventKey(row.connectionId, row.calendarId, row.vendorEventId), imageOf(row)]),
  )
}

function imageOf(row: EventRow): EventImage {
  const { title, status, busy, allDay, timeZone, seriesId, location, organizer, etag } = row
  return {
    title,
    status,
    busy,
    allDay,
    start: row.startDate ?? Number(row.startAt),
    end: row.endDate ?? Number(row.endAt),
    timeZone,
    seriesId,
    originalStart:
      row.originalStartDate ?? (row.originalStartAt === null ? null : Number(row.originalStartAt)),
    location,
    organizer,
    updatedAt: row.updatedAt === null ? null : Number(row.updatedAt),
    etag,
  }
}
