// Connections that the scheduler has to ring: those whose work is overdue (sweep), those to be
// checked now and then (reconcile) and those whose calendars have no channel (poll). Everything is
// judged by the database clock. Marks are set after the sync request is durable, so a crash in
// between rings twice and never not at all; a row that a unit holds locked is left unmarked and
// comes again.
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { SILENT_FINDS } from './channels.ts'

export interface DueConnection {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** Database clock when the row was read. */
  readonly readAt: Micros
}

const COLUMNS = `id as "connectionId", provider_id as "providerId", vendor, to_micros(calstream_now()) as "readAt"`

/**
 * Active connections with `sync_needed` whose backoff (or, without one, last write) is more than
 * 30 s past and that the sweep did not ring for 60 s; in id order from after `after`.
 */
export async function overdueConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueConnection[]> {
  const { rows } = await db.query<DueConnection>(
    `select ${COLUMNS} from external_calendar_connections
     where status = 'active' and sync_needed
       and coalesce(backoff_until, updated_at) < calstream_now() - interval '30 seconds'
       and (rung_at is null or rung_at < calstream_now() - interval '60 seconds')
       and ($1::uuid is null or id > $1)
     order by id limit $2`,
    [after, limit],
  )
  return rows
}

export interface DueCalendar extends DueConnection {
  readonly calendarId: CalendarId
}

/**
 * Calendars that owe a read of their own, while their connection owes nothing as a whole: those
 * whose backoff or cool-down (or, without one, last write) is more than 30 s past and that the
 * sweep did not ring for 60 s; in id order from after `after`. The same as `isOwedNow` of the
 * claim's rules.
 */
export async function overdueCalendars(
  db: Queryable,
  after: CalendarId | null,
  limit: number,
): Promise<readonly DueCalendar[]> {
  const { rows } = await db.query<DueCalendar>(
    `select c.id as "connectionId", c.provider_id as "providerId", c.vendor, k.id as "calendarId",
       to_micros(calstream_now()) as "readAt"
     from external_calendars k join external_calendar_connections c on c.id = k.connection_id
     where k.selected and k.read_needed and c.status = 'active' and not c.sync_needed
       and greatest(coalesce(k.backoff_until, k.updated_at),
             case when k.checkpoint is null and (k.cursor is null or k.sweep_below is not null) then k.resync_after end)
           < calstream_now() - interval '30 seconds'
       and (k.rung_at is null or k.rung_at < calstream_now() - interval '60 seconds')
       and ($1::uuid is null or k.id > $1)
     order by k.id limit $2`,
    [after, limit],
  )
  return rows
}

export async function markCalendarsRung(db: Queryable, ids: readonly CalendarId[]): Promise<void> {
  await db.query(
    `update external_calendars set rung_at = calstream_now()
     where id in (select id from external_calendars where id = any($1::uuid[]) order by id for no key update skip locked)`,
    [ids],
  )
}

export async function markRung(db: Queryable, ids: readonly ConnectionId[]): Promise<void> {
  await db.query(
    `update external_calendar_connections set rung_at = calstream_now()
     where id in (select id from external_calendar_connections where id = any($1::uuid[]) order by id for no key update skip locked)`,
    [ids],
  )
}

/** Active connections whose time of reconcile has come, in id order from after `after`. */
export async function reconcilableConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueConnection[]> {
  const { rows } = await db.query<DueConnection>(
    `select ${COLUMNS} from external_calendar_connections
     where status = 'active' and reconcile_at <= calstream_now() and ($1::uuid is null or id > $1)
     order by id limit $2`,
    [after, limit],
  )
  return rows
}

/**
 * Sets the next reconcile to `seconds` from now ± 20 %,
 * so that connections made together do not stay together.
 */
export async function markReconciled(
  db: Queryable,
  ids: readonly ConnectionId[],
  seconds: number,
): Promise<void> {
  await db.query(
    `update external_calendar_connections
     set reconcile_at = calstream_now() + (0.8 + 0.4 * random()) * interval '1 second' * $2::float8
     where id in (select id from external_calendar_connections where id = any($1::uuid[]) order by id for no key update skip locked)`,
    [ids, seconds],
  )
}

/**
 * The calendars without a channel that lives and rings, of the next `limit` connections where one
 * of them is due to be polled; by connection, from after `after`. A connection that owes a whole
 * unit, or backs off, is rung by others, and so is a calendar.
 */
export async function pollableCalendars(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueCalendar[]> {
  const { rows } = await db.query<DueCalendar>(
    `with clock as materialized (select calstream_now() as now),
     unwatched as materialized (
       select calendar.id, calendar.connection_id, calendar.poll_at
       from external_calendars calendar cross join clock
       where calendar.selected and calendar.removal_reason is null and ($1::uuid is null or calendar.connection_id > $1)
         and calendar.failures = 0 and not calendar.read_needed
         and (calendar.unrung_finds >= ${SILENT_FINDS}
              or not exists (select from channels where channels.calendar_id = calendar.id
                               and channels.status = 'open' and channels.expires_at > clock.now))),
     due as (
       select connection.id, connection.provider_id, connection.vendor
       from external_calendar_connections connection cross join clock
       where connection.status = 'active' and not connection.sync_needed
         and (connection.backoff_until is null or connection.backoff_until <= clock.now)
         and connection.id in (select unwatched.connection_id from unwatched cross join clock
                                where unwatched.poll_at <= clock.now)
       order by connection.id limit $2)
     select due.id as "connectionId", due.provider_id as "providerId", due.vendor, unwatched.id as "calendarId",
       to_micros(clock.now) as "readAt"
     from due join unwatched on unwatched.connection_id = due.id cross join clock order by due.id, unwatched.id`,
    [after, limit],
  )
  return rows
}

/**
 * Sets the next poll of these calendars to `seconds` from now ± 20 %, the same for those of one
 * connection: one unit reads them.
 */
export async function markPolled(
  db: Queryable,
  calendars: readonly CalendarId[],
  seconds: number,
): Promise<void> {
  await db.query(
    `with free as (select id, connection_id from external_calendars
                    where id = any($1::uuid[]) order by id for no key update skip locked),
     spread as (select connection_id, 0.8 + 0.4 * random() as factor
                  from (select distinct connection_id from free) connections)
     update external_calendars calendar
        set poll_at = calstream_now() + spread.factor * interval '1 second' * $2::float8
       from free join spread using (connection_id) where calendar.id = free.id`,
    [calendars, seconds],
  )
}
