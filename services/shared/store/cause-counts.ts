// The causes of all connections, found in SQL so that 100 000 rows can be counted. Reads only.
// Invariant: a connection has here the causes that its own rows and its gate give it in the domain
// (causes-of-connection.ts, causes-of-calendar.ts); a test holds the two equal. What holds for the
// installation is not here: it is one look and not a count.
import type { CauseCode } from '#shared/domain/causes.ts'
import { CAUSE_OF_FAILURE, CAUSE_OF_REFUSAL } from '#shared/domain/causes-of-connection.ts'
import { GRANT_WARN_MS, STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { SILENT_FINDS } from './channels.ts'
import type { Queryable } from './database.ts'
import type { Admission } from './status.ts'

/**
 * $1 sync gate, $2 providers, $3 connections, $4 and $5 the same as the environment caps them, $6
 * whether it caps the sync gate, $7 and $8 failure code → cause, $9 late and $10 warned after so
 * many ms.
 */
const STANDING = `clock as materialized (select calstream_now() as now),
  standing as (
    select c.id, c.provider_id, c.vendor, c.status, c.connected_at, c.last_synced_at, c.sync_needed, c.failing_since, c.parked_at, c.paused_at,
      c.disconnected_at, clock.now, held.since as held_since, granted.grant_ends_at,
      case c.status
        when 'disconnected' then 'disconnected'
        when 'disabled' then 'paused_by_operator'
        when 'needs_reauth' then coalesce($8::jsonb ->> (c.last_error ->> 'code'),
          case when c.probe_at is null then 'grant_revoked' else 'account_refused' end)
      end as status_code,
      case
        when $6::boolean or ($4::uuid[] is not null and provider_cap.id is null)
          or ($5::uuid[] is not null and connection_cap.id is null) then 'capped_by_environment'
        when $1::text = 'unknown' then 'gates_unknown'
        when $1::text = 'off' then 'sync_switched_off'
        when $2::uuid[] is not null and provider.id is null then 'provider_not_allowed'
        when $3::uuid[] is not null and listed.id is null then 'connection_not_allowed'
      end as gate_code,
      case when c.last_error is not null or c.backoff_until > clock.now
        then coalesce($7::jsonb ->> (c.last_error ->> 'code'), 'backing_off') end as failure_code
    from external_calendar_connections c
    cross join clock
    left join (select distinct unnest($2::uuid[]) as id) provider on provider.id = c.provider_id
    left join (select distinct unnest($3::uuid[]) as id) listed on listed.id = c.id
    left join (select distinct unnest($4::uuid[]) as id) provider_cap on provider_cap.id = c.provider_id
    left join (select distinct unnest($5::uuid[]) as id) connection_cap on connection_cap.id = c.id
    left join held_requests held on held.connection_id = c.id
    left join connection_credentials granted on granted.connection_id = c.id)`

/** Two lists side by side, since a lateral list of values costs ten times as much a row. */
const OF_ROWS = `select s.id, s.provider_id, s.vendor,
      unnest(array[
        s.status_code,
        case when s.status = 'active' then s.gate_code end,
        case when s.status = 'active' then s.failure_code end,
        case when s.status = 'active' and s.grant_ends_at > s.now
                  and s.grant_ends_at <= s.now + $10::float8 * interval '1 ms' then 'grant_ends_soon' end,
        case when s.status = 'active' and s.gate_code is null and s.failure_code is null then
          case when coalesce(s.last_synced_at, s.connected_at) < s.now - $9::float8 * interval '1 ms' then 'late'
               when s.last_synced_at is null then 'first_read'
               when s.held_since is not null then 'held_request'
               when s.sync_needed then 'catching_up' end end]) as code,
      unnest(array[
        case s.status when 'disconnected' then s.disconnected_at when 'disabled' then s.paused_at when 'needs_reauth' then s.parked_at end,
        null,
        s.failing_since,
        null,
        case when s.held_since is not null and s.last_synced_at >= s.now - $9::float8 * interval '1 ms' then s.held_since
             else coalesce(s.last_synced_at, s.connected_at) end]) as since
    from standing s`

/** A calendar that is well in every way is left out before anything is made of its row. */
const OF_CALENDARS = `select s.id, s.provider_id, s.vendor,
      unnest(array[
        case when k.failures > 0 then 'calendar_ill' end,
        case when k.missing_since is not null then 'calendar_not_listed' end,
        case when k.sweep_below is not null then 'held_mass_delete' end,
        case when k.reading = 'plain' then 'plain_listing' when own.cools_down then 'cooling_down' end,
        case when k.failures = 0 and k.missing_since is null and k.sweep_below is null and k.reading <> 'plain'
                  and not own.cools_down then
          case when k.last_read_at is null then 'first_read'
               when own.is_old then case when s.gate_code is null and s.failure_code is null then 'late' end
               when k.read_needed then 'catching_up' end end,
        case when k.channel_attempts > 0 then 'channel_failing'
             when not k.push_supported then 'no_push'
             when k.unrung_finds >= ${SILENT_FINDS} then 'channel_silent' end]) as code,
      unnest(array[k.failing_since, k.missing_since, k.last_full_sync, null, k.last_read_at, null]) as since
    from standing s join external_calendars k on k.connection_id = s.id
    cross join lateral (select
      k.read_needed and k.failures = 0 and k.sweep_below is null and coalesce(k.resync_after > s.now, false) as cools_down,
      coalesce(k.last_read_at < s.now - $9::float8 * interval '1 ms', true) as is_old) as own
    where k.selected and s.status = 'active'
      and (k.failures > 0 or k.missing_since is not null or k.sweep_below is not null or k.reading = 'plain' or k.read_needed
           or own.is_old or k.channel_attempts > 0 or not k.push_supported or k.unrung_finds >= ${SILENT_FINDS})`

const NONE_SELECTED = `select s.id, s.provider_id, s.vendor, 'no_calendar_selected', null::timestamptz
    from standing s where s.status = 'active'
     and not exists (select from external_calendars k where k.connection_id = s.id and k.selected)`

/** Each connection once under each of its causes, with the oldest time that it is known since. */
const CAUSES = `with ${STANDING},
  told as (${OF_ROWS} union all ${OF_CALENDARS} union all ${NONE_SELECTED}),
  causes as (select id, provider_id, vendor, code, min(since) as since from told where code is not null group by id, provider_id, vendor, code)`

function parametersOf({ sync, providers, connections, caps }: Admission): readonly unknown[] {
  return [
    sync,
    providers,
    connections,
    caps?.providers ?? null,
    caps?.connections ?? null,
    caps?.sync ?? false,
    JSON.stringify(CAUSE_OF_FAILURE),
    JSON.stringify(CAUSE_OF_REFUSAL),
    STALE_AFTER_MS,
    GRANT_WARN_MS,
  ]
}

export interface CauseCount {
  readonly vendor: VendorName
  readonly cause: CauseCode
  readonly connections: number
  /** Since when the one has it that has it longest; null where that is not known. */
  readonly oldestSince: Micros | null
}

/**
 * How many connections of each vendor have which cause, those of long ago first. One that has
 * several is counted under each. Throws Failure `store/*`.
 */
export async function countCauses(db: Queryable, admission: Admission): Promise<readonly CauseCount[]> {
  const { rows } = await db.query<CauseCount>(
    `${CAUSES} select vendor, code as cause, count(*)::int as connections, to_micros(min(since)) as "oldestSince"
       from causes group by vendor, code order by min(since) nulls last, count(*) desc, code, vendor`,
    parametersOf(admission),
  )
  return rows
}

export interface CauseFilter {
  readonly cause: CauseCode
  /** null: any. */
  readonly vendor: VendorName | null
  readonly provider: ProviderId | null
  /** Only those that have had it since before that; one whose time is not known is left out. */
  readonly sinceBefore: Micros | null
  /** In the order of their ids, those after this one. */
  readonly after: ConnectionId | null
  readonly limit: number
}

/**
 * The connections that have a cause, by id, at most `limit`; page on with the last id.
 * Throws Failure `store/*`.
 */
export async function listByCause(
  db: Queryable,
  admission: Admission,
  filter: CauseFilter,
): Promise<readonly { readonly id: ConnectionId; readonly since: Micros | null }[]> {
  const { rows } = await db.query<{ id: ConnectionId; since: Micros | null }>(
    `${CAUSES} select id, to_micros(since) as since from causes
      where code = $11 and ($12::text is null or vendor = $12) and ($13::uuid is null or provider_id = $13)
        and ($14::bigint is null or since < from_micros($14)) and ($15::uuid is null or id > $15)
      order by id limit $16`,
    [
      ...parametersOf(admission),
      filter.cause,
      filter.vendor,
      filter.provider,
      filter.sinceBefore,
      filter.after,
      filter.limit,
    ],
  )
  return rows
}
