// What the database knows of refusals: whose, since when, with whom, and which parked connections
// are asked about again. Everything is judged by the database clock. Invariant: a refusal counts on
// the one before only while nothing of the account was read in between.
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { forgetTrouble } from './connect.ts'

/** See RefusalFacts of sync/unit/judge-refusal.ts. */
interface NotedRefusal {
  readonly refusedMs: number
  readonly freshTokens: number
  readonly peers: number
  readonly parkedLately: number
  readonly connections: number
}

/** Refused since about the same time: this much apart, in seconds. */
const TOGETHER_SECONDS = 900
/** Still refused: heard of within the longest backoff and a little. */
const STILL_SECONDS = 4500
const LATELY_SECONDS = 600
/** More are not counted: shares are judged of this many at most. */
const COUNTED_MAX = 10_000

/**
 * Notes one more refusal of everything of a connection, and says what is known of it and of its
 * neighbours. Under the fence. Throws Failure store/*.
 */
export async function noteRefusal(tx: Queryable, connection: ConnectionId): Promise<NotedRefusal> {
  const { rows } = await tx.query<{ vendor: VendorName; refusedMs: number; freshTokens: number }>(
    `update external_calendar_connections c
        set refused_since = case when streak.goes_on then c.refused_since else streak.now end,
            refused_tokens = case when streak.goes_on then c.refused_tokens + 1 else 1 end,
            refused_at = streak.now
       from (select clock.now, coalesce(
                    old.refused_since is not null
                    and old.refused_at > clock.now - interval '6 hours'
                    and coalesce(old.last_synced_at, '-infinity') < old.refused_since
                    and not exists (select from external_calendars k
                                     where k.connection_id = old.id and k.last_read_at > old.refused_since),
                    false) as goes_on
               from external_calendar_connections old, (select calstream_now() as now) clock where old.id = $1) streak
      where c.id = $1
      returning c.vendor, c.refused_tokens as "freshTokens",
        (extract(epoch from c.refused_at - c.refused_since) * 1000)::float8 as "refusedMs"`,
    [connection],
  )
  const [noted] = rows
  if (!noted) return { refusedMs: 0, freshTokens: 0, peers: 0, parkedLately: 0, connections: 0 }
  return { ...noted, ...(await neighbours(tx, connection, noted.vendor)) }
}

async function neighbours(
  tx: Queryable,
  connection: ConnectionId,
  vendor: VendorName,
): Promise<Pick<NotedRefusal, 'peers' | 'parkedLately' | 'connections'>> {
  const { rows } = await tx.query<Pick<NotedRefusal, 'peers' | 'parkedLately' | 'connections'>>(
    `with own as (select id, refused_since, calstream_now() as now from external_calendar_connections where id = $1)
     select
       (select count(*) from external_calendar_connections c, own
         where c.vendor = $2 and c.id <> own.id and c.status = 'active'
           and c.refused_since between own.refused_since - $3 * interval '1 second' and own.refused_since + $3 * interval '1 second'
           and c.refused_at > own.now - $4 * interval '1 second'
           and coalesce(c.last_synced_at, '-infinity') < c.refused_since)::int as peers,
       (select count(*) from external_calendar_connections c, own
         where c.vendor = $2 and c.id <> own.id and c.status = 'needs_reauth'
           and c.parked_at > own.now - $5 * interval '1 second')::int as "parkedLately",
       (select count(*) from (select from external_calendar_connections c, own
         where c.vendor = $2 and (c.status = 'active' or c.parked_at > own.now - $5 * interval '1 second')
         limit $6) counted)::int as connections`,
    [connection, vendor, TOGETHER_SECONDS, STILL_SECONDS, LATELY_SECONDS, COUNTED_MAX],
  )
  return rows[0] ?? { peers: 0, parkedLately: 0, connections: 0 }
}

/**
 * Remembers for what a connection was parked, and when it is asked about again: in about an hour,
 * or never. Under the fence.
 */
export async function markParked(
  tx: Queryable,
  connection: ConnectionId,
  parked: { readonly code: string; readonly isProbed: boolean },
): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set parked_at = calstream_now(), parked_code = $2, probes = 0,
            probe_at = case when $3 then calstream_now() + (0.8 + 0.4 * random()) * interval '1 hour' end
      where id = $1`,
    [connection, parked.code, parked.isProbed],
  )
}

/**
 * Those that were parked just before a brake was pulled are asked about again too: what was
 * believed of them is doubted now.
 * @returns how many.
 */
export async function probeParkedLately(tx: Queryable, vendor: VendorName): Promise<number> {
  const { rowCount } = await tx.query(
    `update external_calendar_connections
        set probe_at = calstream_now() + (0.8 + 0.4 * random()) * interval '1 hour', probes = 0
      where id in (select id from external_calendar_connections
                    where vendor = $1 and status = 'needs_reauth' and probe_at is null
                      and parked_at > calstream_now() - $2 * interval '1 second'
                    order by id for no key update skip locked)`,
    [vendor, LATELY_SECONDS],
  )
  return rowCount
}

export interface ProbableConnection {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly parkedCode: string | null
  /** Asked before without success. */
  readonly probes: number
}

/**
 * Parked connections that are due to be asked about, by id from after `after`;
 * at most `limit`. Throws Failure store/*.
 */
export async function probableConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly ProbableConnection[]> {
  const { rows } = await db.query<ProbableConnection>(
    `select id as "connectionId", provider_id as "providerId", vendor, parked_code as "parkedCode", probes
       from external_calendar_connections
      where status = 'needs_reauth' and probe_at <= calstream_now() and ($1::uuid is null or id > $1)
      order by id limit $2`,
    [after, limit],
  )
  return rows
}

/**
 * Puts the next probe off: `seconds` from now ± 20 %,
 * or for ever with null. Throws Failure store/*.
 */
export async function putOffProbe(
  db: Queryable,
  connection: ConnectionId,
  next: { readonly seconds: number | null; readonly probes: number },
): Promise<void> {
  await db.query(
    `update external_calendar_connections
        set probes = $3, probe_at = calstream_now() + (0.8 + 0.4 * random()) * interval '1 second' * $2::float8
      where id = $1 and status = 'needs_reauth'`,
    [connection, next.seconds, next.probes],
  )
}

/**
 * Lets a parked connection continue, under a new epoch: active, or disabled while an operator's
 * pause lasts; dirty, without backoff or errors.
 * @returns its status and the database clock, or null when it is not parked any more. Throws
 * Failure store/*.
 */
export async function unpark(
  tx: Queryable,
  connection: ConnectionId,
): Promise<{ readonly status: 'active' | 'disabled'; readonly at: Micros } | null> {
  const { rows } = await tx.query<{ status: 'active' | 'disabled'; at: Micros }>(
    `update external_calendar_connections
        set status = case when paused_at is null then 'active' else 'disabled' end, sync_needed = true, error_count = 0, last_error = null, failing_since = null,
            backoff_until = null, unfinished = 0, sync_epoch = sync_epoch + 1, updated_at = calstream_now(),
            refused_since = null, refused_at = null, refused_tokens = 0,
            parked_at = null, parked_code = null, probe_at = null, probes = 0
      where id = $1 and status = 'needs_reauth'
      returning status, to_micros(calstream_now()) as at`,
    [connection],
  )
  const [row] = rows
  if (!row) return null
  await forgetTrouble(tx, connection)
  return row
}
