// What `calstream status` and `calstream connections list` show. Reads only; bounded lists.
import type { Queryable } from '#shared/platform/postgres.ts'

export interface ConnectionLine {
  readonly id: string
  readonly provider_id: string
  readonly vendor: string
  /** null once a disconnected account is erased. */
  readonly vendor_account_id: string | null
  /** Address or name of the account, for people; null until the vendor has told it. */
  readonly account_label: string | null
  readonly status: string
  readonly sync_needed: boolean
  readonly last_synced_at: Date | null
  readonly error_count: number
  readonly last_error_code: string | null
  readonly backoff_until: Date | null
  readonly calendars: number
  readonly open_channels: number
}

/** Connections, those in trouble first, at most `limit`. */
export async function listConnections(db: Queryable, limit: number): Promise<readonly ConnectionLine[]> {
  const { rows } = await db.query<ConnectionLine>(
    `select c.id, c.provider_id, c.vendor, c.vendor_account_id, c.account_label, c.status, c.sync_needed, c.last_synced_at, c.error_count,
            c.last_error ->> 'code' as last_error_code, c.backoff_until,
            (select count(*)::int from external_calendars k where k.connection_id = c.id and k.selected) as calendars,
            (select count(*)::int from channels h where h.connection_id = c.id and h.status = 'open') as open_channels
       from external_calendar_connections c
      order by (c.status <> 'active') desc, c.error_count desc, c.vendor_account_id
      limit $1`,
    [limit],
  )
  return rows
}

export interface Totals {
  readonly connections: number
  readonly active: number
  readonly sync_needed: number
  readonly backing_off: number
  readonly needs_reauth: number
  readonly calendars: number
  readonly events: number
  readonly held: number
  readonly open_channels: number
  readonly oldest_sync_seconds: number | null
}

/** One line about everything, by the database clock. */
export async function readTotals(db: Queryable): Promise<Totals> {
  const { rows } = await db.query<Totals>(
    `select count(*)::int as connections,
            count(*) filter (where status = 'active')::int as active,
            count(*) filter (where status = 'active' and sync_needed)::int as sync_needed,
            count(*) filter (where backoff_until > calstream_now())::int as backing_off,
            count(*) filter (where status = 'needs_reauth')::int as needs_reauth,
            (select count(*)::int from external_calendars where selected) as calendars,
            (select count(*)::int from external_calendar_events) as events,
            (select count(*)::int from held_requests) as held,
            (select count(*)::int from channels where status = 'open') as open_channels,
            extract(epoch from calstream_now() - min(last_synced_at) filter (where status = 'active'))::int as oldest_sync_seconds
       from external_calendar_connections`,
  )
  const row = rows[0]
  if (!row) throw new Error('an aggregate without grouping always has one row')
  return row
}

/** Connections of each vendor by state; the states overlap: one may be active, dirty and backing off. */
export async function countConnections(db: Queryable): Promise<
  readonly {
    readonly vendor: string
    readonly active: number
    readonly sync_needed: number
    readonly backing_off: number
    readonly needs_reauth: number
    readonly disabled: number
  }[]
> {
  const { rows } = await db.query<Awaited<ReturnType<typeof countConnections>>[number]>(
    `select vendor,
            count(*) filter (where status = 'active')::int as active,
            count(*) filter (where status = 'active' and sync_needed)::int as sync_needed,
            count(*) filter (where status = 'active' and backoff_until > calstream_now())::int as backing_off,
            count(*) filter (where status = 'needs_reauth')::int as needs_reauth,
            count(*) filter (where status = 'disabled')::int as disabled
       from external_calendar_connections group by vendor`,
  )
  return rows
}
