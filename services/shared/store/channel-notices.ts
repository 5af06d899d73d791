// What the ingress learns about channels and the scheduler has to act on. Invariants: the ingress never looks a channel up; a
// notice is forgotten at the time that was read, so one that came again in between is acted on again.
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

/** seen: it rings. removed: the vendor ended it. reauthorize: the vendor will end it unless it is renewed. */
export type NoticeKind = 'seen' | 'removed' | 'reauthorize'

export interface ChannelNotice {
  readonly vendor: VendorName
  readonly channelId: string
  readonly kind: NoticeKind
  readonly connectionId: ConnectionId
  /** Google's; null where the notification named none. */
  readonly resourceId: string | null
}

/**
 * Records notices in one statement; one of a connection that is gone is left out. What was seen before keeps its time, so that it is
 * judged once; a lifecycle notice gets a new one. Throws Failure `store/*`.
 */
export async function saveNotices(db: Queryable, notices: readonly ChannelNotice[]): Promise<void> {
  const once = new Map(notices.map((notice) => [`${notice.kind} ${notice.channelId}`, notice]))
  const rows = [...once.values()]
  if (rows.length === 0) return
  // Rows are locked in the order of their key, so that two processes with the same notices cannot deadlock.
  await db.query(
    `insert into channel_notices as held (vendor, channel_id, kind, connection_id, resource_id)
     select n.vendor, n.channel_id, n.kind, c.id, n.resource_id
       from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[])
              as n (vendor, channel_id, kind, connection_id, resource_id)
       join external_calendar_connections c on c.id = n.connection_id and c.vendor = n.vendor
      order by n.channel_id, n.kind
     on conflict (channel_id, kind) do update set noticed_at = excluded.noticed_at where held.kind <> 'seen'`,
    [
      rows.map((row) => row.vendor),
      rows.map((row) => row.channelId),
      rows.map((row) => row.kind),
      rows.map((row) => row.connectionId),
      rows.map((row) => row.resourceId),
    ],
  )
}

export interface EndedChannel {
  readonly channelId: string
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly calendarId: string
  readonly noticedAt: Micros
}

/** Our channels that the vendor says it ended. The notice has to name the connection that the channel belongs to. */
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
    `with forgotten as (
       delete from channel_notices notice using unnest($1::text[], $2::bigint[]) as read (channel_id, noticed_at)
        where lower(notice.channel_id) = lower(read.channel_id) and notice.kind = 'removed'
          and to_micros(notice.noticed_at) = read.noticed_at)
     delete from channels where id = any($1::text[])`,
    [ended.map((channel) => channel.channelId), ended.map((channel) => channel.noticedAt)],
  )
}

/** Turns demands to reauthorize into demands to renew. @returns how many channels are to be renewed at once. */
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
 * Channels that ring although we do not know them, for long enough that nobody is opening them just now, and whose connection
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

export async function forgetOrphan(db: Queryable, channelId: string): Promise<void> {
  await db.query(`delete from channel_notices where channel_id = $1 and kind = 'seen'`, [channelId])
}

/** An orphan could not be stopped. */
export async function putOffOrphan(db: Queryable, channelId: string, waitMs: number): Promise<void> {
  await db.query(
    `update channel_notices
        set attempts = attempts + 1, retry_at = calstream_now() + $2::float8 * interval '1 millisecond'
      where channel_id = $1 and kind = 'seen'`,
    [channelId, waitMs],
  )
}

/**
 * Forgets notices that nobody has to act on: channels that we know, lifecycle notices of ones that we do not, and whatever is
 * older than any channel lives (8 days). @returns how many.
 */
export async function deleteSettledNotices(db: Queryable, graceSeconds: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from channel_notices notice
      where notice.noticed_at < calstream_now() - $1 * interval '1 second'
        and ((notice.kind = 'seen') = exists (select from channels where lower(channels.id) = lower(notice.channel_id))
             or notice.noticed_at < calstream_now() - interval '8 days')`,
    [graceSeconds],
  )
  return rowCount
}
