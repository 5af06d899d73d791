// What the console shows beyond the status of an installation. Reads only, under a role that may
// read no credential, no cursor and no text of an event. Every list is bounded, and pages by key.
import type { Admission } from '#shared/domain/gates.ts'
import { shardOf, type ConnectionId, type Micros, type VendorName } from '#shared/domain/ids.ts'
import { ILL_CALENDARS } from './calendar-failures.ts'
import type { Queryable } from './database.ts'
import { JUDGED, parametersOf, type ConnectionLine } from './status.ts'

/** Where a page of accounts begins: after this one. */
export interface AccountPlace {
  /** In small letters, as the index has it. */
  readonly account: string
  readonly id: string
}

export interface AccountFilter {
  /** Part of an account's address or name, or an id of a connection or provider; null for all. */
  readonly search: string | null
  /** null for all. */
  readonly state: string | null
  readonly vendor: string | null
  readonly provider: string | null
  /** Of these alone, in the order of their accounts all the same; null for all. */
  readonly ids: readonly string[] | null
  readonly after: AccountPlace | null
  readonly limit: number
}

export type AccountLine = Omit<ConnectionLine, 'calendars' | 'openChannels'> & {
  /** Its place in the order of accounts. */
  readonly place: string
}

/** The order of accounts, as the index has it. */
const PLACE = `lower(coalesce(account_label, vendor_account_id, '')) collate "C"`

/** $5 … $12 but for the state, of a connection's own columns alone. */
const NARROWED = `($6::text is null or vendor = $6) and ($7::uuid is null or provider_id = $7)
  and ($8::text is null or position($8 in lower(coalesce(account_label, vendor_account_id, ''))) > 0
       or id::text = $8 or provider_id::text = $8)
  and ($9::text is null or (${PLACE}, id) > ($9 collate "C", $10::uuid)) and ($12::uuid[] is null or id = any($12))`

/** Found first by the index, so that no more connections are judged than are shown. */
const ANY_STATE = `page as materialized (
    select id from external_calendar_connections where $5::text is null and ${NARROWED} order by ${PLACE}, id limit $11),
  ${JUDGED}, picked as (select *, ${PLACE} as place from judged where id = any(array(select id from page)))`

/** What a state needs of the row itself spares the judging of most rows. */
const ONE_STATE = `${JUDGED}, picked as (
    select *, ${PLACE} as place from judged
     where state = $5::text and ${NARROWED}
       and ($5 in ('needs_reauth', 'disabled', 'disconnected') or status = 'active')
       and ($5 not in ('needs_reauth', 'disabled', 'disconnected') or status = $5)
       and ($5 <> 'retrying' or last_error is not null or backoff_until is not null)
       and ($5 <> 'first_sync' or last_synced_at is null)
     order by ${PLACE}, id limit $11)`

/**
 * Connections in the order of their accounts, those after a place. Throws Failure `store/*`.
 */
export async function listAccounts(
  db: Queryable,
  { admission, staleAfterMs }: { readonly admission: Admission; readonly staleAfterMs: number },
  filter: AccountFilter,
): Promise<readonly AccountLine[]> {
  const { rows } = await db.query<AccountLine>(
    `with ${filter.state === null ? ANY_STATE : ONE_STATE}
     select id, provider_id as "providerId", vendor, coalesce(account_label, vendor_account_id, '(erased)') as account, place, state,
       status, sync_needed as "syncNeeded", to_micros(connected_at) as "connectedAt", to_micros(last_synced_at) as "lastSyncedAt",
       error_count as "errorCount", last_error as "lastError", to_micros(backoff_until) as "backoffUntil", to_micros(now) as now,
       case when status = 'needs_reauth' then to_micros(probe_at) end as "probeAt",
       (select to_micros(g.grant_ends_at) from connection_credentials g where g.connection_id = c.id) as "grantEndsAt",
       held_by is not null as "isHeld", to_micros(paused_at) as "pausedAt", paused_by as "pausedBy", ${ILL_CALENDARS}
       from picked c order by place, id`,
    [
      ...parametersOf(admission, staleAfterMs),
      filter.state,
      filter.vendor,
      filter.provider,
      filter.search?.toLowerCase() ?? null,
      filter.after?.account ?? null,
      filter.after?.id ?? null,
      filter.limit,
      filter.ids,
    ],
  )
  return rows
}

export interface ChannelLine {
  readonly calendarId: string
  readonly id: string
  readonly status: string
  readonly openedAt: Micros | null
  readonly expiresAt: Micros | null
  readonly attempts: number
  readonly retryAt: Micros | null
}

/** The channels of a connection, at most 1 000. Throws Failure `store/*`. */
export async function readChannels(db: Queryable, connection: ConnectionId): Promise<readonly ChannelLine[]> {
  const { rows } = await db.query<ChannelLine>(
    `select h.calendar_id as "calendarId", h.id, h.status, to_micros(h.opened_at) as "openedAt",
       to_micros(h.expires_at) as "expiresAt", h.attempts, to_micros(h.retry_at) as "retryAt"
       from channels h where h.connection_id = $1 order by h.created_at limit 1000`,
    [connection],
  )
  return rows
}

export const MOMENT_KINDS = [
  'connected',
  'notification',
  'notice',
  'unit',
  'commit',
  'publish_waits',
  'failure',
  'held',
  'channel_opened',
  'dead_letter',
  'full_read',
  'disconnected',
  'next_try',
  'channel_ends',
  'probe',
] as const

/** One thing that happened to a connection, or that will. */
export interface Moment {
  readonly kind: (typeof MOMENT_KINDS)[number]
  readonly at: Micros
  /** What it is about: a calendar's name, a failure's code, a gate. */
  readonly what: string | null
  /** How many rows, attempts or records. */
  readonly count: number | null
  /** The version that it came to. */
  readonly version: number | null
  readonly traceId: string | null
}

const MOMENTS_MAX = 60

/**
 * What the tables know of the last days of a connection and of what comes next, the latest first.
 * Rows of events tell when they last changed, and not each change: a later one takes the place of
 * an earlier. Throws Failure `store/*`.
 */
export async function readMoments(db: Queryable, connection: ConnectionId): Promise<readonly Moment[]> {
  const { rows } = await db.query<Moment>(
    `with c as (select * from external_calendar_connections where id = $1),
     moments (kind, at, what, count, version, trace_id) as (
       select 'connected', connected_at, null, null::int, null::bigint, null from c
       union all select 'disconnected', disconnected_at, null, null, null, null from c
       union all select 'unit', last_synced_at, null, null, null, null from c
       union all select 'failure', (last_error ->> 'at')::timestamptz, last_error ->> 'code', error_count, null,
                        last_error ->> 'traceId' from c where last_error is not null
       union all select 'next_try', backoff_until, last_error ->> 'code', null, null, null from c
                  where backoff_until > calstream_now()
       union all select 'probe', probe_at, null, null, null, null from c where status = 'needs_reauth'
       union all select 'held', since, gate, null, null, null from held_requests where connection_id = $1
       union all (select 'notification', seen_at, null, null, null, null from webhook_dedupe_keys
                   where connection_id = $1 order by seen_at desc limit 20)
       union all (select 'notice', n.noticed_at, n.kind, null, null, null from channel_notices n
                   where n.connection_id = $1 order by n.noticed_at desc limit 20)
       union all (select 'commit', changed.updated_at, k.name, count(*)::int, max(changed.sequence), null
                    from (select calendar_id, updated_at, sequence from external_calendar_events
                           where connection_id = $1 order by sequence desc limit 500) changed
                    join external_calendars k on k.id = changed.calendar_id
                   group by changed.updated_at, k.id, k.name order by 2 desc limit 20)
       union all (select 'publish_waits', min(created_at), null, count(*)::int, max((headers ->> 'ce_sequence')::bigint),
                         split_part(max(headers ->> 'traceparent'), '-', 2)
                    from (select created_at, headers from outbox where shard = $2 and key = $1::text order by id limit 1000) waits
                  having count(*) > 0)
       union all (select 'channel_opened', h.opened_at, k.name, null, null, null
                    from channels h join external_calendars k on k.id = h.calendar_id
                   where h.connection_id = $1 and h.opened_at is not null order by h.opened_at desc limit 20)
       union all (select 'channel_ends', h.expires_at, k.name, null, null, null
                    from channels h join external_calendars k on k.id = h.calendar_id
                   where h.connection_id = $1 and h.status = 'open' order by h.expires_at limit 5)
       union all (select 'failure', (k.last_error ->> 'at')::timestamptz, concat_ws(' · ', k.name, k.last_error ->> 'code'), k.failures,
                         null, k.last_error ->> 'traceId'
                    from external_calendars k where k.connection_id = $1 and k.failures > 0
                   order by k.failing_since limit 20)
       union all (select 'next_try', k.backoff_until, k.name, null, null, null
                    from external_calendars k where k.connection_id = $1 and k.failures > 0 and k.backoff_until > calstream_now()
                   order by k.backoff_until limit 20)
       union all (select 'full_read', k.last_full_sync, k.name, null, null, null
                    from external_calendars k where k.connection_id = $1 and k.last_full_sync is not null
                   order by k.last_full_sync desc limit 20)
       union all (select 'dead_letter', d.last_failed_at, d.code, d.attempts, null, null from dead_letters d
                   where d.connection_id = $1 order by d.last_failed_at desc limit 20))
     select kind, to_micros(at) as at, what, count, version, nullif(trace_id, '') as "traceId" from moments
      where at is not null order by at desc limit ${MOMENTS_MAX}`,
    [connection, shardOf(connection)],
  )
  return rows
}

export interface VendorLine {
  readonly vendor: VendorName
  readonly connections: number
  readonly openChannels: number
  readonly channelsEnding: number
}

/** The vendors with their channels. Throws Failure `store/*`. */
export async function readVendors(db: Queryable): Promise<readonly VendorLine[]> {
  const { rows } = await db.query<VendorLine>(
    `select vendors.vendor,
       (select count(*)::int from external_calendar_connections c where c.vendor = vendors.vendor and c.status <> 'disconnected')
         as connections,
       (select count(*)::int from channels h where h.vendor = vendors.vendor and h.status = 'open') as "openChannels",
       (select count(*)::int from channels h where h.vendor = vendors.vendor and h.status = 'open'
          and h.expires_at < calstream_now() + interval '6 hours') as "channelsEnding"
       from unnest(array['google', 'microsoft']) as vendors (vendor)`,
  )
  return rows
}
