// Events as the app of a provider reads them:
// a page in the order of their start, then of their id. Reads only.
import type { CalendarEvent } from '#shared/domain/event.ts'
import type { CalendarId, ConnectionId, EventId, Micros } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

/**
 * Where an event stands in the order:
 * an all-day one at midnight UTC of its first day, since a date has no zone.
 */
export interface EventPlace {
  readonly at: Micros
  readonly id: EventId
}

type Tagged = Pick<CalendarEvent, 'response' | 'kind' | 'showAs' | 'visibility'>
/** null: not read since these are kept. */
type Tags = { readonly [Name in keyof Tagged]: Tagged[Name] | null }

export interface EventRow extends EventPlace, Tags, Omit<CalendarEvent, keyof Tagged | 'updatedAt'> {
  readonly calendarId: CalendarId
  readonly vendorUpdatedAt: Micros | null
  readonly sequence: number
  readonly updatedAt: Micros
}

interface EventsAsked {
  readonly connection: ConnectionId
  readonly calendars: readonly CalendarId[]
  readonly from: Micros
  readonly to: Micros
  /** Those after this one; null begins. */
  readonly after: EventPlace | null
  readonly limit: number
}

/** Before every event: the first day of the year 1, and the smallest uuid. */
const BEGINNING: EventPlace = {
  at: -62_135_596_800_000_000,
  id: '00000000-0000-0000-0000-000000000000' as EventId,
}

const COLUMNS = `event_id as id, calendar_id as "calendarId", vendor_event_id as "vendorEventId", title, status, busy, all_day as "allDay",
  jsonb_build_object('at', to_micros(start_at), 'date', start_date) as start,
  jsonb_build_object('at', to_micros(end_at), 'date', end_date) as "end",
  time_zone as "timeZone", series_id as "seriesId",
  case when original_start_at is not null or original_start_date is not null
       then jsonb_build_object('at', to_micros(original_start_at), 'date', original_start_date) end as "originalStart",
  location, organizer, to_micros(vendor_updated_at) as "vendorUpdatedAt", etag,
  response, kind, show_as as "showAs", visibility, sequence, to_micros(updated_at) as "updatedAt"`

/**
 * Timed events by the index events_busy, all-day ones by events_busy_dates, each in order and no
 * more than fit a page. A row comparison alone would not bound the second, whose index knows dates.
 */
export const EVENTS_PAGE = `select * from (
  (select ${COLUMNS}, to_micros(start_at) as at
     from external_calendar_events
    where connection_id = $1 and calendar_id = any($2::uuid[]) and not all_day
      and start_at < from_micros($4) and (end_at > from_micros($3) or start_at >= from_micros($3))
      and (start_at, event_id) > (from_micros($5), $6::uuid)
    order by start_at, event_id limit $7)
  union all
  (select ${COLUMNS}, to_micros(start_date::timestamp at time zone 'UTC') as at
     from external_calendar_events
    where connection_id = $1 and calendar_id = any($2::uuid[]) and all_day
      and start_date <= (from_micros($4) at time zone 'UTC')::date + 1
      and end_date >= (from_micros($3) at time zone 'UTC')::date - 1
      and start_date >= (from_micros($5) at time zone 'UTC')::date
      and (start_date::timestamp at time zone 'UTC', event_id) > (from_micros($5), $6::uuid)
    order by start_date, event_id limit $7)) page
  order by at, id limit $7`

/** The values of EVENTS_PAGE, in order. */
export function eventsPageValues({ connection, calendars, from, to, after, limit }: EventsAsked): unknown[] {
  const { at, id } = after ?? BEGINNING
  return [connection, calendars, from, to, at, id, limit]
}

/**
 * Events that touch [from, to), at most `limit`. Days come with a day of grace on both sides: which
 * instants they cover is the caller's to find. Throws Failure store/*.
 */
export async function readEvents(db: Queryable, asked: EventsAsked): Promise<readonly EventRow[]> {
  if (asked.calendars.length === 0) return []
  const { rows } = await db.query<EventRow>(EVENTS_PAGE, eventsPageValues(asked))
  return rows
}

/** Every event of a connection, in pages by id. Throws Failure `store/*`. */
export async function readAllEvents(
  db: Queryable,
  connection: ConnectionId,
  after: EventId | null,
  limit: number,
): Promise<readonly Omit<EventRow, 'at'>[]> {
  const { rows } = await db.query<Omit<EventRow, 'at'>>(
    `select ${COLUMNS} from external_calendar_events
      where connection_id = $1 and ($2::uuid is null or event_id > $2) order by event_id limit $3`,
    [connection, after, limit],
  )
  return rows
}
