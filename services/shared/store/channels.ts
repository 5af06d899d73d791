// Channels from the side that opens and stops them. Invariant: the row is there before the vendor is asked, so a channel that
// we opened and then forgot in a crash is one we know of by its calendar, and another is opened in its place.
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

export interface UnwatchedCalendar {
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
}

export interface Channel {
  readonly id: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly resourceId: string | null
}

/**
 * Selected calendars of active connections that support push and have no channel with enough life left: a fifth of it, plus
 * up to a tenth by the channel's id, so that channels opened together are not renewed together. One that somebody is opening
 * right now has a young row and is left out.
 */
export async function unwatchedCalendars(
  db: Queryable,
  filter: {
    readonly connectionId: ConnectionId | null
    /** Calendars come in the order of their ids; this one and those before it are left out. */
    readonly after: CalendarId | null
    readonly limit: number
  },
): Promise<readonly UnwatchedCalendar[]> {
  const { rows } = await db.query<UnwatchedCalendar>(
    `select calendar.id as "calendarId", calendar.vendor_calendar_id as "vendorCalendarId",
       connection.id as "connectionId", connection.provider_id as "providerId", connection.vendor
     from external_calendars calendar
     join external_calendar_connections connection on connection.id = calendar.connection_id
     where connection.status = 'active' and calendar.selected and calendar.push_supported
       and ($1::uuid is null or connection.id = $1) and ($3::uuid is null or calendar.id > $3)
       and not exists (
         select from channels channel where channel.calendar_id = calendar.id and (
           channel.status = 'opening'
           or channel.status = 'open' and channel.expires_at - calstream_now()
              > (channel.expires_at - channel.opened_at) * (0.2 + (abs(hashtext(channel.id)::bigint) % 1000) / 10000.0)))
     order by calendar.id limit $2`,
    [filter.connectionId, filter.limit, filter.after],
  )
  return rows
}

export async function insertOpening(db: Queryable, id: string, calendar: UnwatchedCalendar): Promise<void> {
  await db.query(`insert into channels (id, connection_id, calendar_id, vendor) values ($1, $2, $3, $4)`, [
    id,
    calendar.connectionId,
    calendar.calendarId,
    calendar.vendor,
  ])
}

export async function markOpen(
  db: Queryable,
  id: string,
  opened: { readonly resourceId: string | null; readonly expiresAt: Micros },
): Promise<void> {
  await db.query(
    `update channels set status = 'open', resource_id = $2, opened_at = calstream_now(), expires_at = from_micros($3)
     where id = $1`,
    [id, opened.resourceId, opened.expiresAt],
  )
}

/** Remembers that a calendar never supports push; it is polled by the reconcile and not asked again. */
export async function markPushNotSupported(
  db: Queryable,
  calendarId: CalendarId,
  channelId: string,
): Promise<void> {
  await db.query(
    `with gone as (delete from channels where id = $2)
     update external_calendars set push_supported = false, updated_at = calstream_now() where id = $1`,
    [calendarId, channelId],
  )
}

/** Forgets attempts that ended nowhere for two minutes, so that the calendar is tried again, and channels long expired. */
export async function deleteLeftovers(db: Queryable): Promise<void> {
  await db.query(
    `delete from channels
     where status = 'opening' and created_at < calstream_now() - interval '2 minutes'
        or expires_at < calstream_now() - interval '1 hour'`,
  )
}

/**
 * Marks channels that nobody needs as stopping and returns them: replaced for a minute by a younger open one of the same
 * calendar, or of a calendar or connection that is not synced any more. One marked before is returned again.
 */
export async function takeUnneeded(db: Queryable, limit: number): Promise<readonly Channel[]> {
  const { rows } = await db.query<Channel>(
    `update channels channel set status = 'stopping'
     from external_calendar_connections connection
     where connection.id = channel.connection_id and channel.id in (
       select old.id from channels old
       join external_calendars calendar on calendar.id = old.calendar_id
       join external_calendar_connections owner on owner.id = old.connection_id
       where old.status = 'stopping'
          or old.status = 'open' and (
            owner.status in ('disconnected', 'disabled') or not calendar.selected
            or exists (select from channels young where young.calendar_id = old.calendar_id and young.status = 'open'
                         and young.opened_at > old.opened_at
                         and young.opened_at < calstream_now() - interval '1 minute'))
       order by old.expires_at limit $1)
     returning channel.id, channel.connection_id as "connectionId", connection.provider_id as "providerId",
       channel.vendor, channel.resource_id as "resourceId"`,
    [limit],
  )
  return rows
}

export async function deleteChannel(db: Queryable, id: string): Promise<void> {
  await db.query('delete from channels where id = $1', [id])
}

/** Channels that are open and not expired, over all connections. */
export async function countOpenChannels(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ open: number }>(
    `select count(*)::int as open from channels where status = 'open' and expires_at > calstream_now()`,
  )
  return rows[0]?.open ?? 0
}
