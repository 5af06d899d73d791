// Busy times as they are stored. Reads only. Timed events come merged by Postgres, so a provider
// with a hundred thousand of them sends a few spans over the wire; all-day events come as dates,
// whose hours depend on the zone of their calendar.
import type { CalendarId, ConnectionId, Micros } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface BusySpan {
  readonly start: Micros
  readonly end: Micros
}

export interface BusyDays {
  readonly calendarId: CalendarId
  /** YYYY-MM-DD. */
  readonly startDate: string
  /** The first day that is free again. */
  readonly endDate: string
  /** Of the event, where its vendor names one. */
  readonly timeZone: string | null
}

interface StoredBusy {
  /** Merged and within the asked span, in order. */
  readonly spans: readonly BusySpan[]
  readonly days: readonly BusyDays[]
}

interface BusyHomes {
  readonly connections: readonly ConnectionId[]
  readonly calendars: readonly CalendarId[]
}

/**
 * What blocks, where a question judges otherwise than the vendor; null judges as the vendor does.
 * Declined is free whatever is asked.
 */
export interface BusyPolicy {
  /** Held, or not yet answered. */
  readonly tentative: boolean | null
  readonly outOfOffice: boolean | null
  readonly focusTime: boolean | null
  /** Working elsewhere, and where a person works. */
  readonly workingElsewhere: boolean | null
}

/** Whether an event blocks under the policy $5 … $8, in the order of its members. */
const BLOCKS = `case
  when response = 'declined' then false
  when kind = 'working_location' or show_as = 'working_elsewhere' then coalesce($8::boolean, busy)
  when show_as = 'free' then busy
  when show_as = 'out_of_office' then coalesce($6::boolean, busy)
  when kind = 'focus_time' then coalesce($7::boolean, busy)
  when show_as = 'tentative' then coalesce($5::boolean, busy)
  else busy end`

/**
 * The busy events of these calendars of these connections that touch [from, to). Days come with a
 * day of grace on both sides: which instants they cover is the caller's to find. An event without
 * length blocks nothing. Throws Failure store/*.
 */
export async function readBusy(
  db: Queryable,
  { connections, calendars }: BusyHomes,
  { from, to, policy }: { readonly from: Micros; readonly to: Micros; readonly policy: BusyPolicy },
): Promise<StoredBusy> {
  if (calendars.length === 0) return { spans: [], days: [] }
  const { tentative, outOfOffice, focusTime, workingElsewhere } = policy
  const values = [calendars, from, to, connections, tentative, outOfOffice, focusTime, workingElsewhere]
  const { rows: spans } = await db.query<BusySpan>(
    `select to_micros(lower(span)) as start, to_micros(upper(span)) as "end"
       from (select unnest(range_agg(tstzrange(greatest(start_at, from_micros($2)), least(end_at, from_micros($3))))) as span
               from external_calendar_events
              where connection_id = any($4::uuid[]) and calendar_id = any($1::uuid[]) and ${BLOCKS} and not all_day
                and start_at < from_micros($3) and end_at > from_micros($2) and end_at > start_at) merged
      where not isempty(span) order by lower(span)`,
    values,
  )
  const { rows: days } = await db.query<BusyDays>(
    `select distinct calendar_id as "calendarId", start_date as "startDate", end_date as "endDate", time_zone as "timeZone"
       from external_calendar_events
      where connection_id = any($4::uuid[]) and calendar_id = any($1::uuid[]) and ${BLOCKS} and all_day
        and start_date <= (from_micros($3) at time zone 'UTC')::date + 1
        and end_date >= (from_micros($2) at time zone 'UTC')::date - 1 and end_date > start_date
      order by 2, 3, 1, 4`,
    values,
  )
  return { spans, days }
}

interface UsualZone {
  readonly connectionId: ConnectionId
  readonly timeZone: string
  readonly events: number
}

/** How many timed events of these accounts were made in which zone. Throws Failure store/*. */
export async function readUsualZones(
  db: Queryable,
  connections: readonly ConnectionId[],
): Promise<readonly UsualZone[]> {
  const { rows } = await db.query<UsualZone>(
    `select connection_id as "connectionId", time_zone as "timeZone", count(*)::int as events
       from external_calendar_events
      where connection_id = any($1::uuid[]) and not all_day and time_zone is not null
      group by 1, 2 order by 3 desc, 2`,
    [connections],
  )
  return rows
}
