// What the ingress learns about channels and the scheduler has to act on. Invariants: a notice is
// of the connection whose token it came with, and acts on channels of that connection alone; a
// connection has a bounded number of notices of channels that it does not have; a notice is
// forgotten at the time that was read, so one that came again in between is acted on again.
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'
import { SILENT_FINDS } from './channels.ts'

/**
 * seen: it rings. removed: the vendor ended it. reauthorize:
 * the vendor will end it unless it is renewed.
 */
export type NoticeKind = 'seen' | 'removed' | 'reauthorize'

/** A channel under whose id something came whose token was missing or wrong. */
export interface RefusedChannel {
  readonly vendor: VendorName
  readonly channelId: string
}

/**
 * Records that what comes under these ids is refused. Only open channels of ours are kept: their
 * ids are secrets of the vendor's and ours, and what follows is that their calendars are polled.
 * Throws Failure `store/*`.
 */
export async function saveRefused(db: Queryable, refused: readonly RefusedChannel[]): Promise<void> {
  await db.query(
    `insert into channel_notices (vendor, channel_id, kind, connection_id)
     select channel.vendor, channel.id, 'refused', channel.connection_id
       from unnest($1::text[], $2::text[]) as r (vendor, channel_id)
       join channels channel on lower(channel.id) = lower(r.channel_id) and channel.vendor = r.vendor
      where channel.status = 'open'
      order by channel.connection_id, channel.id
     on conflict (connection_id, channel_id, kind) do nothing`,
    columnsOf(refused, 'vendor', 'channelId'),
  )
}

/**
 * Channels of which everything is refused count as silent (store/channels.ts) until one of their
 * rings is taken: their calendars are polled from now on.
 * @returns how many.
 */
export async function takeRefused(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    `with told as (
       delete from channel_notices notice using channels channel
        where notice.kind = 'refused' and channel.id = notice.channel_id
       returning channel.calendar_id)
     update external_calendars
        set poll_at = case when unrung_finds < ${SILENT_FINDS} then calstream_now() else poll_at end,
            unrung_finds = greatest(unrung_finds, ${SILENT_FINDS})
      where id in (select calendar_id from told)`,
  )
  return rowCount
}

export interface ChannelNotice {
  readonly vendor: VendorName
  readonly channelId: string
  readonly kind: NoticeKind
  readonly connectionId: ConnectionId
  /** Google's; null where the notification named none. */
  readonly resourceId: string | null
}

/**
 * Notices of one kind that a connection may have of channels that are not its own: twice what a
 * scheduler leaves behind when it dies (eight openings at once, `channels/open.ts`).
 */
export const UNKNOWN_MAX = 16

/**
 * Records notices in one statement. Left out are those of a connection that is gone, of channels
 * that ring and are known, and of unknown channels beyond UNKNOWN_MAX. One that is being opened is
 * not known yet: Google rings it before its row says open, and its scheduler may die in between.
 * What was seen before keeps its time, so that it is judged once; a lifecycle notice gets a new
 * one. Throws Failure `store/*`.
 */
export async function saveNotices(db: Queryable, notices: readonly ChannelNotice[]): Promise<void> {
  const keyOf = (one: ChannelNotice) => `${one.connectionId} ${one.kind} ${one.channelId}`
  const rows = [...new Map(notices.map((notice) => [keyOf(notice), notice])).values()]
  if (rows.length === 0) return
  // Rows are locked in the order of their key,
  // so that two processes with the same notices cannot deadlock.
  await db.query(
    `with told as (
       select n.vendor, n.channel_id, n.kind, c.id as connection_id, n.resource_id,
         exists (select from channels where lower(channels.id) = lower(n.channel_id)
                   and (n.kind = 'seen' and channels.status <> 'opening'
                        or n.kind <> 'seen' and channels.connection_id = c.id)) as is_known,
         exists (select from channel_notices old where old.connection_id = c.id and old.channel_id = n.channel_id
                   and old.kind = n.kind) as is_repeated
         from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[])
                as n (vendor, channel_id, kind, connection_id, resource_id)
         join external_calendar_connections c on c.id = n.connection_id and c.vendor = n.vendor),
     counted as (
       select told.*,
         row_number() over (partition by connection_id, kind, is_known, is_repeated order by channel_id)
           + (select count(*) from channel_notices old
               where old.connection_id = told.connection_id and old.kind = told.kind
                 and not exists (select from channels where lower(channels.id) = lower(old.channel_id)
                                   and channels.connection_id = old.connection_id)) as place
         from told)
     insert into channel_notices as held (vendor, channel_id, kind, connection_id, resource_id)
     select vendor, channel_id, kind, connection_id, resource_id from counted
      where case when is_known then kind <> 'seen' else is_repeated or place <= $6 end
      order by connection_id, channel_id, kind
     on conflict (connection_id, channel_id, kind) do update set noticed_at = excluded.noticed_at
      where held.kind <> 'seen'`,
    [...columnsOf(rows, 'vendor', 'channelId', 'kind', 'connectionId', 'resourceId'), UNKNOWN_MAX],
  )
}

interface EndedChannel {
  readonly channelId: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly calendarId: CalendarId
  readonly noticedAt: Micros
}

/**
 * Our channels that the vendor says it ended.
 * The notice has to name the connection that the channel belongs to.
 */
export async function endedChannels(db: Queryable, limit: number): Promise<readonly EndedChannel[]> {
  const { rows } = await db.query<EndedChannel>(
    `select channel.id as "channelId", connection.id as "connectionId", connection.provider_id as "providerId",
       connection.vendor, channel.calendar_id as "calendarId", to_micros(notice.noticed_at) as "noticedAt"
     from channel_notices notice
     join channels channel on lower(channel.id) = lower(notice.channel_id) and channel.connection_id = notice.connection_id
     join external_calendar_connections connection on connection.id = notice.connection_id
     where notice.kind = 'removed' order by notice.noticed_at limit $1`,
    [limit],
  )
  return rows
}

/** Forgets channels that the vendor ended; their calendars want others then. */
export async function deleteEnded(db: Queryable, ended: readonly EndedChannel[]): Promise<void> {
  await db.query(
    `with read as (
       select * from unnest($1::text[], $2::uuid[], $3::bigint[]) as read (channel_id, connection_id, noticed_at)),
     forgotten as (
       delete from channel_notices notice using read
        where lower(notice.channel_id) = lower(read.channel_id) and notice.connection_id = read.connection_id
          and notice.kind = 'removed' and to_micros(notice.noticed_at) = read.noticed_at)
     delete from channels channel using read
      where channel.id = read.channel_id and channel.connection_id = read.connection_id`,
    columnsOf(ended, 'channelId', 'connectionId', 'noticedAt'),
  )
}

/**
 * Turns demands to reauthorize into demands to renew.
 * @returns how many channels are to be renewed at once.
 */
export async function takeReauthorizations(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    `with asked as (
       delete from channel_notices notice using channels channel
        where notice.kind = 'reauthorize' and lower(channel.id) = lower(notice.channel_id)
          and channel.connection_id = notice.connection_id
       returning channel.id, channel.calendar_id),
     at_once as (update external_calendars set channel_retry_at = null where id in (select calendar_id from asked))
     update channels set renew_asked_at = calstream_now() where id in (select id from asked)`,
  )
  return rowCount
}

export interface OrphanChannel {
  readonly vendor: VendorName
  readonly channelId: string
  readonly resourceId: string | null
  readonly connectionId: ConnectionId
  readonly attempts: number
}

/**
 * Channels that ring although we do not know them (of no connection at all: no channel is stopped
 * for another), for long enough that no scheduler is opening them just now, and whose connection
 * still has credentials and does not back off.
 */
export async function orphanChannels(
  db: Queryable,
  graceSeconds: number,
  limit: number,
): Promise<readonly OrphanChannel[]> {
  const { rows } = await db.query<OrphanChannel>(
    `select notice.vendor, notice.channel_id as "channelId", notice.resource_id as "resourceId",
       notice.connection_id as "connectionId", notice.attempts
     from channel_notices notice
     where notice.kind = 'seen' and notice.noticed_at < calstream_now() - $1 * interval '1 second'
       and (notice.retry_at is null or notice.retry_at <= calstream_now())
       and not exists (select from channels where lower(channels.id) = lower(notice.channel_id))
       and exists (
         select from connection_credentials credentials
         join external_calendar_connections connection on connection.id = credentials.connection_id
         where connection.id = notice.connection_id
           and (connection.backoff_until is null or connection.backoff_until <= calstream_now()))
     order by notice.noticed_at limit $2`,
    [graceSeconds, limit],
  )
  return rows
}

type Orphan = Pick<OrphanChannel, 'connectionId' | 'channelId'>

export async function forgetOrphan(db: Queryable, { connectionId, channelId }: Orphan): Promise<void> {
  await db.query(
    `delete from channel_notices where connection_id = $1 and channel_id = $2 and kind = 'seen'`,
    [connectionId, channelId],
  )
}

/** An orphan could not be stopped. */
export async function putOffOrphan(
  db: Queryable,
  { connectionId, channelId }: Orphan,
  waitMs: number,
): Promise<void> {
  await db.query(
    `update channel_notices
        set attempts = attempts + 1, retry_at = calstream_now() + $3::float8 * interval '1 millisecond'
      where connection_id = $1 and channel_id = $2 and kind = 'seen'`,
    [connectionId, channelId, waitMs],
  )
}

/**
 * Forgets notices that are done with: of channels that ring and are known, lifecycle notices
 * of channels that their connection does not have, and whatever is older than any channel lives
 * (8 days). @returns how many.
 */
export async function deleteSettledNotices(db: Queryable, graceSeconds: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from channel_notices notice
      where notice.noticed_at < calstream_now() - $1 * interval '1 second'
        and (notice.noticed_at < calstream_now() - interval '8 days'
             or case notice.kind
                  when 'seen' then exists (select from channels where lower(channels.id) = lower(notice.channel_id))
                  else not exists (select from channels where lower(channels.id) = lower(notice.channel_id)
                                     and channels.connection_id = notice.connection_id) end)`,
    [graceSeconds],
  )
  return rowCount
}
