// What one look at the whole database says of waiting work, for the metrics of the scheduler.
// Reads only; every list is bounded, so that it stays quick with 100 000 connections.
import type { VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface WaitingWork {
  /** Connections with work that waits for a gate, by the gate that refused. */
  readonly held: readonly { readonly gate: string; readonly connections: number }[]
  /** Dead letters that were not replayed, by code. */
  readonly letters: readonly { readonly code: string; readonly letters: number }[]
}

/** More codes than that are none of ours: entries of records that others wrote. */
const CODES_MAX = 100

/** Throws Failure `store/*`. */
export async function readWaitingWork(db: Queryable): Promise<WaitingWork> {
  const { rows } = await db.query<WaitingWork>(
    `select
       (select coalesce(jsonb_agg(h), '[]') from (
          select held.gate, count(*)::int as connections
            from held_requests held join external_calendar_connections c on c.id = held.connection_id
           where c.status <> 'disconnected' group by held.gate) h) as held,
       (select coalesce(jsonb_agg(d), '[]') from (
          select code, count(*)::int as letters from dead_letters
           where replayed_at is null group by code order by count(*) desc limit $1) d) as letters`,
    [CODES_MAX],
  )
  return rows[0] ?? { held: [], letters: [] }
}

export interface VendorAges {
  readonly vendor: VendorName
  /**
   * Since the active connection that was in sync longest ago was so, or since it was connected if
   * it never was; null without an active connection.
   */
  readonly oldestSyncedSeconds: number | null
  /**
   * Since a unit last answered a notification of this vendor; at least so long when the newest
   * 5 000 of all vendors have none. null without a channel that could ring, and before the first.
   */
  readonly lastNotificationSeconds: number | null
}

/** One row for each vendor. Throws Failure `store/*`. */
export async function readVendorAges(db: Queryable): Promise<readonly VendorAges[]> {
  const { rows } = await db.query<VendorAges>(
    `with clock as materialized (select calstream_now() as now),
     newest as materialized (
       select c.vendor, k.seen_at
         from (select connection_id, seen_at from webhook_dedupe_keys order by seen_at desc limit 5000) k
         join external_calendar_connections c on c.id = k.connection_id),
     synced as (
       select vendor, min(coalesce(last_synced_at, connected_at)) as oldest
         from external_calendar_connections where status = 'active' group by vendor)
     select vendors.vendor,
       greatest(0, extract(epoch from clock.now - synced.oldest))::float8 as "oldestSyncedSeconds",
       case when exists (select from channels where channels.vendor = vendors.vendor and channels.status = 'open')
         then greatest(0, extract(epoch from clock.now - coalesce(
           (select max(seen_at) from newest where newest.vendor = vendors.vendor),
           (select min(seen_at) from newest))))::float8 end as "lastNotificationSeconds"
       from unnest(array['google', 'microsoft']) as vendors (vendor)
       cross join clock
       left join synced on synced.vendor = vendors.vendor`,
  )
  return rows
}
