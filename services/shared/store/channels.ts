// Channels from the side that opens, renews and stops them. Invariants: the row is there before the
// vendor is asked, so a channel that we opened and then forgot in a crash is one we know of by its
// calendar, and another is opened in its place; of two schedulers only one has a calendar's channel
// in opening; every time is judged by the database clock.
import { V1_ENDS_AT } from '#shared/domain/channel-token.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface UnwatchedCalendar {
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** A channel that lives and wants to be renewed; null when there is none. */
  readonly channelId: string | null
  /** When its token is believed no more; null for one of the first form, and without a channel. */
  readonly tokenEndsAt: Micros | null
  /** The vendor demanded the renewal. */
  readonly isAsked: boolean
  /** It lives and does not ring: reads found changes for which it did not ring. */
  readonly isSilent: boolean
  /** Openings and renewals that failed in a row. */
  readonly attempts: number
}

/**
 * Reads in a row that found changes for which no channel rang,
 * after which it counts as silent: its calendar is polled.
 */
export const SILENT_FINDS = 3
/**
 * A silent channel is replaced when it is this old;
 * a notification may come late, Graph repeats one for four hours.
 */
const SILENT_REPLACED_HOURS = 6

export interface Channel {
  readonly id: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly resourceId: string | null
  /** Stops that failed in a row. */
  readonly attempts: number
}

/**
 * Selected calendars of active connections whose channel wants attention: there is none that lives,
 * the vendor asked for a renewal, the person has connected again since (another grant), or little
 * life is left: a fifth of it, plus up to a tenth by the channel's id, so that channels opened
 * together are not renewed together. Graph's are renewed about once a day, with four fifths left:
 * it loses subscriptions without a word now and then, and the renewal is what shows it. Left out:
 * those being opened right now, those whose last try failed a short while ago, those without push
 * that are asked once a day, those of connections that back off, and those that are ill: a calendar
 * that cannot be read needs no bell, and gets it back as soon as it can.
 * One that is silent wants to be replaced, four times a day at most: where none rings, another
 * does not either. A channel whose token is of the first form wants another at once when that
 * form ends within two days.
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
    `with clock as materialized (select calstream_now() as now),
     live as (
       select distinct on (channel.calendar_id) channel.id, channel.calendar_id, channel.opened_at, channel.expires_at,
         channel.renew_asked_at, channel.token_ends_at
       from channels channel cross join clock
       where channel.status = 'open' and channel.expires_at > clock.now
         and ($1::uuid is null or channel.connection_id = $1)
       order by channel.calendar_id, channel.opened_at desc)
     select calendar.id as "calendarId", calendar.vendor_calendar_id as "vendorCalendarId",
       connection.id as "connectionId", connection.provider_id as "providerId", connection.vendor,
       live.id as "channelId", to_micros(live.token_ends_at) as "tokenEndsAt",
       coalesce(live.renew_asked_at is not null, false) as "isAsked",
       coalesce(live.id is not null and calendar.unrung_finds >= ${SILENT_FINDS}
         and live.opened_at < clock.now - interval '${SILENT_REPLACED_HOURS} hours', false) as "isSilent",
       calendar.channel_attempts as attempts
     from external_calendars calendar
     join external_calendar_connections connection on connection.id = calendar.connection_id
     cross join clock
     left join live on live.calendar_id = calendar.id
     where connection.status = 'active' and calendar.selected and calendar.removal_reason is null
       and (connection.backoff_until is null or connection.backoff_until <= clock.now) and calendar.failures = 0
       and ($1::uuid is null or connection.id = $1) and ($3::uuid is null or calendar.id > $3)
       and (calendar.push_supported or calendar.channel_retry_at is not null)
       and (calendar.channel_retry_at is null or calendar.channel_retry_at <= clock.now)
       and (live.id is null or live.renew_asked_at is not null or live.opened_at < connection.connected_at
            or calendar.unrung_finds >= ${SILENT_FINDS}
               and live.opened_at < clock.now - interval '${SILENT_REPLACED_HOURS} hours'
            or live.token_ends_at is null and clock.now > from_micros($4) - interval '2 days'
            or live.expires_at - clock.now
               <= (live.expires_at - live.opened_at)
                  * (case connection.vendor when 'microsoft' then 0.8 else 0.2 end
                     + (abs(hashtext(live.id)::bigint) % 1000) / 10000.0))
       and not exists (select from channels where channels.calendar_id = calendar.id and channels.status = 'opening')
     order by calendar.id limit $2`,
    [filter.connectionId, filter.limit, filter.after, V1_ENDS_AT],
  )
  return rows
}

/**
 * @returns false when another scheduler is opening a channel for this calendar,
 * or it or its connection has begun to wait.
 */
export async function insertOpening(
  db: Queryable,
  id: string,
  calendar: UnwatchedCalendar,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into channels (id, connection_id, calendar_id, vendor)
     select $1, connection.id, $3, $4 from external_calendar_connections connection
      where connection.id = $2 and connection.status = 'active'
        and (connection.backoff_until is null or connection.backoff_until <= calstream_now())
        and not exists (select from external_calendars calendar
                         where calendar.id = $3 and calendar.channel_retry_at > calstream_now())
     on conflict (calendar_id) where status = 'opening' do nothing`,
    [id, calendar.connectionId, calendar.calendarId, calendar.vendor],
  )
  return rowCount === 1
}

/**
 * The vendor opened the channel, under an id of its own perhaps. The calendar's failures are
 * forgotten. One that replaces a silent one counts as silent after the next find already.
 */
export async function markOpen(
  db: Queryable,
  id: string,
  opened: {
    readonly channelId: string
    readonly resourceId: string | null
    readonly expiresAt: Micros
    readonly tokenEndsAt: Micros
    readonly replacesSilent: boolean
  },
): Promise<void> {
  await db.query(
    `with opened as (
       update channels
          set id = $4, status = 'open', resource_id = $2, opened_at = calstream_now(), expires_at = from_micros($3),
              token_ends_at = from_micros($5)
        where id = $1 returning calendar_id)
     update external_calendars
        set push_supported = true, channel_attempts = 0, channel_retry_at = null,
            unrung_finds = case when $6::boolean then ${SILENT_FINDS} - 1 else 0 end
      where id in (select calendar_id from opened)`,
    [id, opened.resourceId, opened.expiresAt, opened.channelId, opened.tokenEndsAt, opened.replacesSilent],
  )
}

/**
 * The vendor lengthened the channel's life: it counts as opened now.
 * The calendar's failures are forgotten.
 */
export async function markRenewed(db: Queryable, id: string, expiresAt: Micros): Promise<void> {
  await db.query(
    `with renewed as (
       update channels set opened_at = calstream_now(), expires_at = from_micros($2), renew_asked_at = null
        where id = $1 returning calendar_id)
     update external_calendars set channel_attempts = 0, channel_retry_at = null
      where id in (select calendar_id from renewed)`,
    [id, expiresAt],
  )
}

/**
 * Remembers that a calendar does not support push; it is polled, and asked again after `waitMs`.
 */
export async function markPushNotSupported(
  db: Queryable,
  { calendarId, channelId }: { readonly calendarId: CalendarId; readonly channelId: string },
  waitMs: number,
): Promise<void> {
  await db.query(
    `with gone as (delete from channels where id = $2)
     update external_calendars
        set push_supported = false, channel_attempts = 0,
            channel_retry_at = calstream_now() + $3::float8 * interval '1 millisecond', updated_at = calstream_now()
      where id = $1`,
    [calendarId, channelId, waitMs],
  )
}

/**
 * A channel could not be opened or renewed: not again before `waitMs`. `attempts`: how many
 * failures in a row that makes.
 */
export async function putOffOpening(
  db: Queryable,
  calendarId: CalendarId,
  put: { readonly openingId: string | null; readonly attempts: number; readonly waitMs: number },
): Promise<void> {
  await db.query(
    `with gone as (delete from channels where id = $2 and status = 'opening')
     update external_calendars
        set channel_attempts = $3, channel_retry_at = calstream_now() + $4::float8 * interval '1 millisecond'
      where id = $1`,
    [calendarId, put.openingId, put.attempts, put.waitMs],
  )
}

/**
 * The vendor allows no further channel for this account: none of its calendars without one asks
 * before `waitMs`. `attempts`: how often in a row that was so.
 */
export async function putOffOpenings(
  db: Queryable,
  connection: ConnectionId,
  put: { readonly openingId: string; readonly attempts: number; readonly waitMs: number },
): Promise<void> {
  await db.query(
    `with gone as (delete from channels where id = $2 and status = 'opening')
     update external_calendars calendar
        set channel_attempts = greatest(channel_attempts, $3),
            channel_retry_at = calstream_now() + $4::float8 * interval '1 millisecond'
      where connection_id = $1 and selected
        and not exists (select from channels where channels.calendar_id = calendar.id and channels.status = 'open'
                          and channels.expires_at > calstream_now())`,
    [connection, put.openingId, put.attempts, put.waitMs],
  )
}

/**
 * Forgets openings that ended nowhere for two minutes (their scheduler is gone), so that the
 * calendar is tried again, and channels long expired.
 * @returns how many had expired although they are still wanted.
 */
export async function deleteLeftovers(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ unnoticed: number }>(
    `with gone as (
       delete from channels channel using external_calendars calendar, external_calendar_connections connection
        where calendar.id = channel.calendar_id and connection.id = channel.connection_id
          and (channel.status = 'opening' and channel.created_at < calstream_now() - interval '2 minutes'
               or channel.expires_at < calstream_now() - interval '1 hour')
       returning channel.status = 'open' and connection.status = 'active' and calendar.selected and not exists (
           select from channels young where young.calendar_id = channel.calendar_id and young.status = 'open'
             and young.expires_at > channel.expires_at) as unnoticed)
     select count(*) filter (where unnoticed)::int as unnoticed from gone`,
  )
  return rows[0]?.unnoticed ?? 0
}

/**
 * Marks channels that are not needed as stopping and returns those whose time to be stopped has
 * come: replaced for a minute by a younger open one of the same calendar, or of a calendar that is
 * not synced any more or a connection that has ended. Those of a paused connection ring on and end
 * with their time: a pause is short, and 10 000 of them must cost no call.
 */
export async function takeUnneeded(db: Queryable, limit: number): Promise<readonly Channel[]> {
  const { rows } = await db.query<Channel>(
    `with clock as materialized (select calstream_now() as now)
     update channels channel set status = 'stopping'
     from external_calendar_connections connection
     where connection.id = channel.connection_id and channel.id in (
       select old.id from channels old cross join clock
       join external_calendars calendar on calendar.id = old.calendar_id
       join external_calendar_connections owner on owner.id = old.connection_id
       where (old.retry_at is null or old.retry_at <= clock.now)
         and (owner.backoff_until is null or owner.backoff_until <= clock.now)
         and (old.status = 'stopping'
           or old.status = 'open' and (
             owner.status = 'disconnected' or not calendar.selected
             or old.id in (
               select replaced.id from channels replaced cross join clock
               join channels young on young.calendar_id = replaced.calendar_id and young.status = 'open'
                and young.opened_at > replaced.opened_at and young.opened_at < clock.now - interval '1 minute')))
       order by old.expires_at limit $1)
     returning channel.id, channel.connection_id as "connectionId", connection.provider_id as "providerId",
       channel.vendor, channel.resource_id as "resourceId", channel.attempts`,
    [limit],
  )
  return rows
}

/** A channel could not be stopped. */
export async function putOffStop(db: Queryable, id: string, waitMs: number): Promise<void> {
  await db.query(
    `update channels set attempts = attempts + 1, retry_at = calstream_now() + $2::float8 * interval '1 millisecond'
      where id = $1`,
    [id, waitMs],
  )
}

export async function deleteChannel(db: Queryable, id: string): Promise<void> {
  await db.query('delete from channels where id = $1', [id])
}

interface ChannelHealth {
  readonly vendor: VendorName
  /** Open with more than a fifth of their life left. */
  readonly open: number
  /** Open, but not renewed although less than a fifth of their life is left. */
  readonly ending: number
  readonly opening: number
  readonly stopping: number
  /** Calendars that should have a channel and have none. */
  readonly unwatched: number
  /** Calendars whose vendor offers no push for them. */
  readonly unsupported: number
}

/** How channels are, over all connections. */
export async function channelHealth(db: Queryable): Promise<readonly ChannelHealth[]> {
  const { rows } = await db.query<ChannelHealth>(
    `with clock as materialized (select calstream_now() as now),
     by_status as (
       select vendor,
         count(*) filter (where status = 'open' and expires_at > now and not ending)::int as open,
         count(*) filter (where status = 'open' and expires_at > now and ending)::int as ending,
         count(*) filter (where status = 'opening')::int as opening,
         count(*) filter (where status = 'stopping')::int as stopping
       from (select channel.*, clock.now, expires_at - clock.now < (expires_at - opened_at) * 0.2 as ending
               from channels channel cross join clock) channel
       group by vendor),
     unwatched as (
       select connection.vendor, count(*) filter (where calendar.push_supported)::int as unwatched,
         count(*) filter (where not calendar.push_supported)::int as unsupported
       from external_calendars calendar
       join external_calendar_connections connection on connection.id = calendar.connection_id
       cross join clock
       where connection.status = 'active' and calendar.selected and calendar.removal_reason is null
         and not exists (select from channels where channels.calendar_id = calendar.id
                           and channels.status = 'open' and channels.expires_at > clock.now)
       group by connection.vendor)
     select vendor, coalesce(open, 0) as open, coalesce(ending, 0) as ending, coalesce(opening, 0) as opening,
       coalesce(stopping, 0) as stopping, coalesce(unwatched, 0) as unwatched, coalesce(unsupported, 0) as unsupported
     from unnest(array['google', 'microsoft']) as v (vendor)
     left join by_status using (vendor) left join unwatched using (vendor)`,
  )
  return rows
}
