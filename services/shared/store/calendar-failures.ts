// What a calendar owes and why it could not be read, in its own row: one ill calendar leaves its
// siblings as they are. Callers fence first. Times are judged by the database clock alone.
import { ILL_NAMED_MAX } from '#shared/domain/ill-words.ts'
import type { CalendarId, ConnectionId, Micros, VendorName } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'
import type { CalendarRow } from './calendars.ts'

export interface FailedCalendar {
  readonly calendarId: CalendarId
  /** Reads that failed in a row, this one included. */
  readonly failures: number
  /** Counted failures in a row, this one included if it counts. */
  readonly errorCount: number
  /** null keeps the error that the row has: giving way to a sibling says nothing new. */
  readonly error: { readonly code: string; readonly message: string } | null
  readonly traceId: string | null
  /** From now by the database clock. */
  readonly backoffMs: number
}

export interface SavedCalendarFailure {
  readonly calendarId: CalendarId
  readonly backoffUntil: Micros
  readonly failingSince: Micros
}

/**
 * Writes what failed.
 * @returns for each when it is due again and since when it fails. Throws Failure `store/*`.
 */
export async function saveCalendarFailures(
  tx: Queryable,
  failed: readonly FailedCalendar[],
): Promise<readonly SavedCalendarFailure[]> {
  const { rows } = await tx.query<SavedCalendarFailure>(
    `update external_calendars k
        set read_needed = true, failures = f.failures, error_count = f.error_count,
            last_error = case when f.code is null and k.last_error is not null then k.last_error
              else jsonb_build_object('code', f.code, 'message', f.message, 'at', to_jsonb(clock.now),
                'attempt', f.failures, 'traceId', f.trace_id) end,
            failing_since = coalesce(k.failing_since, clock.now),
            backoff_until = clock.now + f.backoff_ms * interval '1 millisecond', updated_at = clock.now
       from unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::float8[])
              as f (id, failures, error_count, code, message, trace_id, backoff_ms),
            (select calstream_now() as now) clock
      where k.id = f.id
      returning k.id as "calendarId", to_micros(k.backoff_until) as "backoffUntil",
        to_micros(k.failing_since) as "failingSince"`,
    [
      ...columnsOf(failed, 'calendarId', 'failures', 'errorCount'),
      failed.map(({ error }) => error?.code ?? null),
      failed.map(({ error }) => error?.message ?? null),
      ...columnsOf(failed, 'traceId', 'backoffMs'),
    ],
  )
  return rows
}

/**
 * Every synced calendar of a connection is ill: none is tried before this. `until`: database clock.
 */
export async function waitTogether(tx: Queryable, connection: ConnectionId, until: Micros): Promise<void> {
  await tx.query(
    `update external_calendars set backoff_until = greatest(backoff_until, from_micros($2))
      where connection_id = $1 and selected and failures > 0`,
    [connection, until],
  )
}

/** A calendar, as it stood at the claim, was read to its end: it owes nothing and is well. */
export async function clearIfIll(
  tx: Queryable,
  { calendarId, readNeeded, failures }: Pick<CalendarRow, 'calendarId' | 'readNeeded' | 'failures'>,
): Promise<void> {
  // Most were well and owed nothing: they cost no statement.
  if (!readNeeded && failures === 0) return
  await tx.query(
    `update external_calendars
        set read_needed = false, failures = 0, error_count = 0, last_error = null, failing_since = null,
            backoff_until = null, rung_at = null
      where id = $1`,
    [calendarId],
  )
}

/**
 * These calendars owe a read, and nothing but a gate keeps them from it.
 * A backoff that has passed is forgotten.
 */
export async function oweReads(tx: Queryable, calendars: readonly CalendarId[]): Promise<void> {
  if (calendars.length === 0) return
  await tx.query(
    `update external_calendars set read_needed = true, backoff_until = null, updated_at = calstream_now()
      where id = any($1::uuid[])`,
    [calendars],
  )
}

/**
 * The same for calendars that are well and owe nothing yet.
 * @returns when the one of them that was read last was read, by the database clock; undefined when
 * none of them owes anything more than before.
 */
export async function oweReadsAnew(
  tx: Queryable,
  calendars: readonly CalendarId[],
): Promise<{ readonly lastReadAt: Micros | null } | undefined> {
  const { rows } = await tx.query<{ owed: number; lastReadAt: Micros | null }>(
    `with owed as (
       update external_calendars set read_needed = true, updated_at = calstream_now()
        where id = any($1::uuid[]) and not read_needed and failures = 0 and selected and removal_reason is null
       returning last_read_at)
     select count(*)::int as owed, to_micros(max(last_read_at)) as "lastReadAt" from owed`,
    [calendars],
  )
  return (rows[0]?.owed ?? 0) > 0 ? rows[0] : undefined
}

const ILL_FIELDS = `'since', to_micros(coalesce(k.failing_since, calstream_now())), 'code', coalesce(k.last_error ->> 'code', 'unknown'),
  'message', coalesce(k.last_error ->> 'message', ''), 'nextTryAt', to_micros(k.backoff_until)`

/**
 * SQL, with `k` an external_calendars row:
 * why it cannot be read, as the words need it; null while it can.
 */
export const ILL_CALENDAR = `case when k.selected and k.failures > 0 then jsonb_build_object(${ILL_FIELDS}) end`

/**
 * SQL, with `c` a connection's row: its calendars that cannot be read, those that fail longest
 * first, and how many they are.
 */
export const ILL_CALENDARS = `(select coalesce(jsonb_agg(ill.line order by ill.failing_since, ill.id), '[]')
     from (select k.id, k.failing_since, jsonb_build_object('id', k.id, 'name', k.name, ${ILL_FIELDS}) as line
             from external_calendars k
            where k.connection_id = c.id and k.selected and k.read_needed and k.failures > 0
            order by k.failing_since, k.id limit ${ILL_NAMED_MAX}) ill) as "illCalendars",
  (select count(*)::int from external_calendars k
    where k.connection_id = c.id and k.selected and k.read_needed and k.failures > 0) as "illCount"`

interface IllCount {
  readonly vendor: VendorName
  readonly code: string
  readonly calendars: number
}

/**
 * How many calendars of active connections cannot be read, by vendor and code.
 * Throws Failure `store/*`.
 */
export async function countIllCalendars(db: Queryable): Promise<readonly IllCount[]> {
  const { rows } = await db.query<IllCount>(
    `select c.vendor, coalesce(k.last_error ->> 'code', 'unknown') as code, count(*)::int as calendars
       from external_calendars k join external_calendar_connections c on c.id = k.connection_id
      where k.selected and k.read_needed and k.failures > 0 and c.status = 'active'
      group by 1, 2`,
  )
  return rows
}
