// Busy times as they are held. Reads only. Timed events come merged by Postgres, so a provider with a hundred thousand of them sends
// a few spans over the wire; all-day events come as dates, whose hours depend on the zone of their calendar.
import type { CalendarId, ConnectionId, Micros } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

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

export interface HeldBusy {
  /** Merged and within the asked span, in order. */
  readonly spans: readonly BusySpan[]
  readonly days: readonly BusyDays[]
}

export interface BusyHomes {
  readonly connections: readonly ConnectionId[]
  readonly calendars: readonly CalendarId[]
}

/**
 * The busy events of these calendars of these connections that touch [from, to). Days come with a day of grace on both sides: which instants they
 * cover is the caller's to find. An event without length blocks nothing. Throws Failure store/*.
 */
export async function readBusy(
  db: Queryable,
  { connections, calendars }: BusyHomes,
  span: { readonly from: Micros; readonly to: Micros },
): Promise<HeldBusy> {
  if (calendars.length === 0) return { spans: [], days: [] }
  const { rows: spans } = await db.query<BusySpan>(
    `select to_micros(lower(span)) as start, to_micros(upper(span)) as "end"
       from (select unnest(range_agg(tstzrange(greatest(start_at, from_micros($2)), least(end_at, from_micros($3))))) as span
               from external_calendar_events
              where connection_id = any($4::uuid[]) and calendar_id = any($1::uuid[]) and busy and not all_day
                and start_at < from_micros($3) and end_at > from_micros($2) and end_at > start_at) merged
      where not isempty(span) order by lower(span)`,
    [calendars, span.from, span.to, connections],
  )
  const { rows: days } = await db.query<BusyDays>(
    `select distinct calendar_id as "calendarId", start_date as "startDate", end_date as "endDate", time_zone as "timeZone"
       from external_calendar_events
      where connection_id = any($4::uuid[]) and calendar_id = any($1::uuid[]) and busy and all_day
        and start_date <= (from_micros($3) at time zone 'UTC')::date + 1
        and end_date >= (from_micros($2) at time zone 'UTC')::date - 1 and end_date > start_date
      order by 2, 3, 1, 4`,
    [calendars, span.from, span.to, connections],
  )
  return { spans, days }
}
