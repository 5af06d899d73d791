// What `calstream status` and `calstream connections list` show. Reads only; every list
// and every count that may grow is bounded, so that it stays quick with 100 000
// connections and a long outbox.
import type { ConnectionFacts } from '#shared/domain/connection-facts.ts'
import type { Words } from '#shared/domain/connection-words.ts'
import type { Admission } from '#shared/domain/gates.ts'
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { ILL_CALENDARS } from './calendar-failures.ts'

export type { Admission }

export type StateName = Words['state']

export interface StateFilter {
  /** null for all. */
  readonly states: readonly string[] | null
  readonly vendor: string | null
  readonly provider: string | null
  readonly connection: string | null
  /** Absent for all. */
  readonly ids?: readonly string[]
  readonly limit: number
}

export interface ConnectionLine extends ConnectionFacts {
  readonly id: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** How people know the account: its address or name, else the vendor's id of it. */
  readonly account: string
  readonly state: StateName
  readonly errorCount: number
  readonly lastError: { readonly code: string; readonly message: string } | null
  readonly isHeld: boolean
  readonly calendars: number
  readonly openChannels: number
}

/**
 * $1 sync gate, $2 providers, $3 connections, $4 late after so many ms. The state is that of
 * connectionWords(), found here so that 100 000 rows can be counted and the worst of them picked; a
 * test holds the two equal. The lists are joined: "id = any(list)" in a case is compared one by
 * one, which with 20 000 ids took more than five seconds.
 */
export const JUDGED = `clock as materialized (select calstream_now() as now),
  judged as (
    select c.id, c.provider_id, c.vendor, c.vendor_account_id, c.account_label, c.status, c.sync_needed, c.connected_at, c.last_synced_at,
      c.error_count, c.last_error, c.backoff_until, c.probe_at, c.paused_at, c.paused_by, clock.now, held.gate as held_by,
      case
        when c.status <> 'active' then c.status
        when $1::text = 'unknown' then 'unknown'
        when $1::text = 'off' or ($2::uuid[] is not null and provider.id is null)
          or ($3::uuid[] is not null and listed.id is null) then 'paused'
        when c.last_error is not null or c.backoff_until > clock.now then 'retrying'
        when coalesce(c.last_synced_at, c.connected_at) < clock.now - $4::float8 * interval '1 ms' then 'late'
        when c.last_synced_at is null then 'first_sync'
        when ill.connection_id is not null then 'partly_in_sync'
        when c.sync_needed or held.gate is not null then 'catching_up'
        else 'in_sync'
      end as state
    from external_calendar_connections c
    cross join clock
    left join (select distinct unnest($2::uuid[]) as id) provider on provider.id = c.provider_id
    left join (select distinct unnest($3::uuid[]) as id) listed on listed.id = c.id
    left join (select distinct connection_id from external_calendars
                where selected and read_needed and failures > 0) ill on ill.connection_id = c.id
    left join held_requests held on held.connection_id = c.id)`

/**
 * Connections, the worst first: those that only a person can cure, then those that fail, are late,
 * are kept out, and the rest.
 */
export async function listConnections(
  db: Queryable,
  { admission, staleAfterMs }: { readonly admission: Admission; readonly staleAfterMs: number },
  filter: StateFilter,
): Promise<readonly ConnectionLine[]> {
  const { rows } = await db.query<ConnectionLine>(
    `with ${JUDGED},
     picked as (
       select * from judged
        where ($5::text[] is null or state = any($5)) and ($6::text is null or vendor = $6)
          and ($7::uuid is null or provider_id = $7) and ($8::uuid is null or id = $8)
          and ($10::uuid[] is null or id in (select unnest($10::uuid[])))
        order by array_position(array['needs_reauth', 'retrying', 'late', 'partly_in_sync', 'unknown', 'paused', 'disabled', 'first_sync',
            'catching_up', 'in_sync', 'disconnected'], state),
          error_count desc, last_synced_at nulls first, id
        limit $9)
     select id, provider_id as "providerId", vendor, coalesce(account_label, vendor_account_id, '(erased)') as account, state, status,
       sync_needed as "syncNeeded", to_micros(connected_at) as "connectedAt", to_micros(last_synced_at) as "lastSyncedAt", error_count as "errorCount",
       last_error as "lastError", to_micros(backoff_until) as "backoffUntil", to_micros(now) as now,
       case when status = 'needs_reauth' then to_micros(probe_at) end as "probeAt",
       (select to_micros(g.grant_ends_at) from connection_credentials g where g.connection_id = c.id) as "grantEndsAt",
       held_by is not null as "isHeld", to_micros(paused_at) as "pausedAt", paused_by as "pausedBy", ${ILL_CALENDARS},
       (select count(*)::int from external_calendars k where k.connection_id = c.id and k.selected) as calendars,
       (select count(*)::int from channels h where h.connection_id = c.id and h.status = 'open') as "openChannels"
       from picked c`,
    [
      ...parametersOf(admission, staleAfterMs),
      filter.states,
      filter.vendor,
      filter.provider,
      filter.connection,
      filter.limit,
      filter.ids ?? null,
    ],
  )
  return rows
}

export interface StateCount {
  readonly vendor: VendorName
  readonly state: StateName
  readonly connections: number
  /** Of those that were ever in sync, the one that was so longest ago: how long ago in seconds. */
  readonly oldestSyncSeconds: number | null
}

/** How many connections of each vendor are in which state. */
export async function countStates(
  db: Queryable,
  { admission, staleAfterMs }: { readonly admission: Admission; readonly staleAfterMs: number },
): Promise<readonly StateCount[]> {
  const { rows } = await db.query<StateCount>(
    `with ${JUDGED}
     select vendor, state, count(*)::int as connections,
       extract(epoch from max(now) - min(last_synced_at))::float8 as "oldestSyncSeconds"
       from judged group by vendor, state`,
    parametersOf(admission, staleAfterMs),
  )
  return rows
}

/** The first four parameters of a statement with JUDGED. */
export function parametersOf(admission: Admission, staleAfterMs: number): readonly unknown[] {
  return [admission.sync, admission.providers, admission.connections, staleAfterMs]
}

/**
 * How many connections of a vendor fail with which code, the most frequent first; at most 20 lines.
 */
export async function countFailures(
  db: Queryable,
): Promise<readonly { readonly vendor: VendorName; readonly code: string; readonly connections: number }[]> {
  const { rows } = await db.query<Awaited<ReturnType<typeof countFailures>>[number]>(
    `select vendor, coalesce(last_error ->> 'code', 'unknown') as code, count(*)::int as connections
       from external_calendar_connections
      where status = 'active' and last_error is not null
      group by 1, 2 order by 3 desc, 1, 2 limit 20`,
  )
  return rows
}

/** Counts stop here: more is said as "100 000 or more". */
export const COUNTED_TO = 100_000

export interface Backlog {
  /** Rows that no relay has published yet. */
  readonly outboxRows: number
  readonly outboxOldestSeconds: number
  /** Connections with work that waits for a gate, by the gate that refused. */
  readonly held: readonly { readonly gate: string; readonly connections: number }[]
  /** Given up and not replayed. */
  readonly deadLetters: number
  readonly calendars: number
  readonly events: number
  readonly openChannels: number
  /**
   * Calendars of active connections that are read by plain listing, because asking for changes led
   * nowhere.
   */
  readonly plainCalendars?: number
  /**
   * Active connections whose grant ends within a week whatever is done, and when the first does.
   */
  readonly grantsEnding?: { readonly connections: number; readonly firstAt: Micros | null }
  /**
   * When a unit last answered a notification; null when none of the last 5 000 was of that vendor.
   */
  readonly lastNotificationAt: Readonly<Partial<Record<VendorName, Micros>>>
}

/** What waits and what there is. Counts stop at COUNTED_TO. Throws Failure `store/*`. */
export async function readBacklog(db: Queryable): Promise<Backlog> {
  const { rows } = await db.query<Backlog>(
    `with clock as materialized (select calstream_now() as now)
     select
       (select count(*)::int from (select from outbox limit $1) o) as "outboxRows",
       (select greatest(0, coalesce(extract(epoch from clock.now - min(first.created_at)), 0))::float8
          from generate_series(0, 15) as shards (shard),
          lateral (select created_at from outbox where outbox.shard = shards.shard order by id limit 1) first)
         as "outboxOldestSeconds",
       (select coalesce(jsonb_agg(h order by h.connections desc), '[]') from (
          select held.gate, count(*)::int as connections
            from held_requests held join external_calendar_connections c on c.id = held.connection_id
           where c.status <> 'disconnected' group by held.gate) h) as held,
       (select count(*)::int from (select from dead_letters where replayed_at is null limit $1) d) as "deadLetters",
       (select count(*)::int from (select from external_calendars where selected limit $1) k) as calendars,
       (select count(*)::int from (select from external_calendar_events limit $1) e) as events,
       (select count(*)::int from (select from channels where status = 'open' limit $1) h) as "openChannels",
       (select count(*)::int from (
          select from external_calendars k join external_calendar_connections c on c.id = k.connection_id
           where k.selected and k.reading = 'plain' and c.status = 'active' limit $1) k) as "plainCalendars",
       (select jsonb_build_object('connections', count(*), 'firstAt', to_micros(min(g.grant_ends_at)))
          from connection_credentials g join external_calendar_connections c on c.id = g.connection_id
         where c.status = 'active' and g.grant_ends_at < clock.now + interval '7 days') as "grantsEnding",
       (select coalesce(jsonb_object_agg(n.vendor, n.at), '{}') from (
          select c.vendor, to_micros(max(k.seen_at)) as at
            from (select connection_id, seen_at from webhook_dedupe_keys order by seen_at desc limit 5000) k
            join external_calendar_connections c on c.id = k.connection_id
           group by c.vendor) n) as "lastNotificationAt"
       from clock`,
    [COUNTED_TO],
  )
  const [row] = rows
  if (!row) throw new Error('a select without a table always has one row')
  return row
}

/**
 * Connections of each vendor by state; the states overlap:
 * one may be active, dirty and backing off.
 */
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

/**
 * Active connections of each vendor whose grant ends within a week, whatever is done.
 * Throws Failure `store/*`.
 */
export async function countEndingGrants(
  db: Queryable,
): Promise<readonly { readonly vendor: VendorName; readonly connections: number }[]> {
  const { rows } = await db.query<{ vendor: VendorName; connections: number }>(
    `select vendors.vendor, count(ending.id)::int as connections
       from unnest(array['google', 'microsoft']) as vendors (vendor)
       left join (select c.id, c.vendor from external_calendar_connections c
                    join connection_credentials g on g.connection_id = c.id
                   where c.status = 'active' and g.grant_ends_at < calstream_now() + interval '7 days') ending
         on ending.vendor = vendors.vendor
      group by 1`,
  )
  return rows
}
