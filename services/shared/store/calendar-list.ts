// The list of calendars of a connection, as the scheduler compares it with the vendor's. Invariant:
// a calendar that the vendor lists no more is only marked here: the unit that finds it marked
// removes its events and deselects it, by the rules of every removal.
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { FailureCode } from '#shared/domain/failure.ts'
import type { CalendarId, ConnectionId } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'
import type { DueConnection } from './due.ts'

/** Then the list decides, also while the connection backs off: the list may be what ends that. */
const REFUSED = 'vendor/calendar-unknown' satisfies FailureCode

export interface StoredCalendar {
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly name: string | null
  readonly timeZone: string | null
  readonly accessRole: string | null
  readonly selected: boolean
  /** The account's own, as it was listed the last time. */
  readonly primary: boolean
  /** The vendor said of it, as the last word, that it does not exist. */
  readonly isRefused: boolean
  /** It was read to its end at least once. */
  readonly isRead: boolean
  /** Seconds since it was first listed. */
  readonly knownForSeconds: number
  /**
   * Taken out by us, not by a person; while it is still selected a unit has
   * yet to remove its events.
   */
  readonly isRemoved: boolean
  /**
   * Seconds since the vendor did not list it for the first time; null when it did the last time.
   */
  readonly missingForSeconds: number | null
}

export interface CalendarListChange {
  /**
   * The same calendar under a new id: its row, and so the ids of its events, stay. It is read anew.
   */
  readonly adopted: readonly { readonly calendarId: CalendarId; readonly vendorCalendarId: string }[]
  /** New, renamed, back again or with another role: stored as they are listed. */
  readonly store: readonly VendorCalendar[]
  /** Their cursor is worth nothing any more. */
  readonly reread: readonly CalendarId[]
  /** Not listed for the first time. */
  readonly missing: readonly CalendarId[]
  /** Not listed again. */
  readonly vanished: readonly CalendarId[]
}

/**
 * Active connections whose list is to be compared, in the order of their ids from after `after`.
 */
export async function listableConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueConnection[]> {
  const { rows } = await db.query<DueConnection>(
    `select id as "connectionId", provider_id as "providerId", vendor, to_micros(calstream_now()) as "readAt"
     from external_calendar_connections
     where status = 'active' and list_calendars_at <= calstream_now()
       and (backoff_until is null or backoff_until <= calstream_now() or last_error ->> 'code' = '${REFUSED}') and ($1::uuid is null or id > $1)
     order by id limit $2`,
    [after, limit],
  )
  return rows
}

export async function storedCalendars(
  db: Queryable,
  connection: ConnectionId,
): Promise<readonly StoredCalendar[]> {
  const { rows } = await db.query<StoredCalendar>(
    `select id as "calendarId", vendor_calendar_id as "vendorCalendarId", name, time_zone as "timeZone",
       access_role as "accessRole", selected, is_primary as "primary", last_full_sync is not null as "isRead",
       coalesce(last_error ->> 'code' = '${REFUSED}', false) as "isRefused",
       extract(epoch from calstream_now() - created_at)::float8 as "knownForSeconds",
       removal_reason is not null as "isRemoved",
       extract(epoch from calstream_now() - missing_since)::float8 as "missingForSeconds"
     from external_calendars where connection_id = $1 order by id`,
    [connection],
  )
  return rows
}

/** Stores what changed; the caller holds the connection's row. */
export async function saveCalendarList(
  tx: Queryable,
  connection: ConnectionId,
  change: CalendarListChange,
): Promise<void> {
  await adoptCalendars(tx, connection, change.adopted)
  await storeListed(tx, connection, change.store)
  await tx.query(
    `update external_calendars
        set cursor = case when id = any($2::uuid[]) then null else cursor end,
            checkpoint = case when id = any($2::uuid[]) then null else checkpoint end,
            backoff_until = case when id = any($2::uuid[] || $4::uuid[]) then null else backoff_until end,
            missing_since = case when id = any($3::uuid[]) then calstream_now() else missing_since end,
            removal_reason = case when id = any($4::uuid[]) then 'vendor/calendar-gone' else removal_reason end,
            updated_at = calstream_now()
      where connection_id = $1 and id = any($2::uuid[] || $3::uuid[] || $4::uuid[])`,
    [connection, change.reread, change.missing, change.vanished],
  )
}

/**
 * Stores calendars as they are listed: the account's own are synced, the rest is offered. What was
 * chosen stays; one that had vanished and is listed again is selected again.
 */
export async function storeListed(
  tx: Queryable,
  connection: ConnectionId,
  listed: readonly VendorCalendar[],
): Promise<readonly { id: CalendarId; vendorCalendarId: string }[]> {
  const { rows } = await tx.query<{ id: CalendarId; vendorCalendarId: string }>(
    `insert into external_calendars as c (connection_id, vendor_calendar_id, name, time_zone, access_role, is_primary, selected)
     select $1, l.vendor_calendar_id, l.name, l.time_zone, l.access_role, l.is_primary, l.is_owned
       from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::boolean[])
              as l (vendor_calendar_id, name, time_zone, access_role, is_primary, is_owned)
     on conflict on constraint calendars_once do update
        set name = excluded.name, time_zone = coalesce(excluded.time_zone, c.time_zone), access_role = excluded.access_role,
            is_primary = excluded.is_primary, missing_since = null,
            selected = c.selected or c.removal_reason is not null, removal_reason = null, updated_at = calstream_now()
     returning id, vendor_calendar_id as "vendorCalendarId"`,
    [
      connection,
      ...columnsOf(listed, 'vendorCalendarId', 'name', 'timeZone', 'accessRole', 'primary', 'isOwned'),
    ],
  )
  return rows
}

/**
 * Gives rows the ids under which the vendor now lists the same calendars. Cursor, places and
 * channel belong to the old id. An id that another row has is left alone.
 */
export async function adoptCalendars(
  tx: Queryable,
  connection: ConnectionId,
  adopted: CalendarListChange['adopted'],
): Promise<void> {
  if (adopted.length === 0) return
  await tx.query(
    `with renamed as (
       update external_calendars calendar
          set vendor_calendar_id = a.vendor_calendar_id, cursor = null, checkpoint = null, missing_since = null,
              reading = 'usual', usual_from = null, place_failures = 0, place_failing_since = null, fresh_starts = 0,
              fresh_after = null, read_needed = true, failures = 0, error_count = 0, last_error = null, failing_since = null,
              backoff_until = null, updated_at = calstream_now()
         from unnest($2::uuid[], $3::text[]) as a (id, vendor_calendar_id)
        where calendar.connection_id = $1 and calendar.id = a.id
          and not exists (select from external_calendars other
                           where other.connection_id = $1 and other.vendor_calendar_id = a.vendor_calendar_id)
       returning calendar.id)
     update channels set status = 'stopping' where status = 'open' and calendar_id in (select id from renamed)`,
    [connection, adopted.map((one) => one.calendarId), adopted.map((one) => one.vendorCalendarId)],
  )
}

/** The list was compared; the next time comes after `seconds` ± 20 %. */
export async function markListed(db: Queryable, connection: ConnectionId, seconds: number): Promise<void> {
  await db.query(
    `update external_calendar_connections
        set calendars_listed_at = calstream_now(),
            list_calendars_at = calstream_now() + (0.8 + 0.4 * random()) * interval '1 second' * $2::float8
      where id = $1`,
    [connection, seconds],
  )
}

/** The list could not be read: not again before `waitMs`. */
export async function putOffListing(db: Queryable, connection: ConnectionId, waitMs: number): Promise<void> {
  await db.query(
    `update external_calendar_connections
        set list_calendars_at = calstream_now() + $2::float8 * interval '1 millisecond' where id = $1`,
    [connection, waitMs],
  )
}
