// What a restore to an earlier moment leaves behind, put right: numbers that readers have passed,
// rows that the stream knows better, messages that were published already. Callers lock the
// connection first (`lockConnection`) and run as the owner of the tables, while no service runs.
import { TOPICS } from '#schemas/topics.ts'
import type { CalendarId, ConnectionId, EventId } from '#shared/domain/ids.ts'
import { shardOf } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'

/**
 * Beyond every epoch that a unit of before may still hold in memory: one that wakes up must not
 * find its number taken into use again. 2^21 restores fit below 2^53.
 */
const EPOCHS = 2 ** 32

/** Names under which services hold sessions of this database, each once. */
export async function sessionsOf(db: Queryable, names: readonly string[]): Promise<readonly string[]> {
  const { rows } = await db.query<{ name: string }>(
    `select distinct application_name as name from pg_stat_activity
      where datname = current_database() and application_name = any($1::text[]) order by 1`,
    [names],
  )
  return rows.map(({ name }) => name)
}

/**
 * How long ago a scheduler last worked on this database, in ms; null: never. Some job runs every
 * few seconds, so it is the age of the backup; and no command of ours writes there.
 */
export async function ageOfBackup(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ ageMs: number | null }>(
    `select (extract(epoch from clock_timestamp() - max(last_run_at)) * 1000)::float8 as "ageMs" from job_leases`,
  )
  return rows[0]?.ageMs ?? null
}

/** All connections with their numbers, in pages by id. */
export async function readVersions(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly { readonly connectionId: ConnectionId; readonly version: number }[]> {
  const { rows } = await db.query<{ connectionId: ConnectionId; version: number }>(
    `select id as "connectionId", version from external_calendar_connections
      where $1::uuid is null or id > $1 order by id limit $2`,
    [after, limit],
  )
  return rows
}

/** How many connections there are, or events of one or all of them. Throws Failure `store/*`. */
export async function countStored(
  db: Queryable,
  what: 'connections' | 'events',
  connection: ConnectionId | null = null,
): Promise<number> {
  const { rows } = await db.query<{ stored: number }>(
    what === 'connections'
      ? 'select count(*)::int as stored from external_calendar_connections where $1::uuid is null or id = $1'
      : 'select count(*)::int as stored from external_calendar_events where $1::uuid is null or connection_id = $1',
    [connection],
  )
  return rows[0]?.stored ?? 0
}

/** The number of each of these events in its row; those without a row are left out. */
export async function readSequences(
  db: Queryable,
  events: readonly EventId[],
): Promise<ReadonlyMap<EventId, number>> {
  const { rows } = await db.query<{ eventId: EventId; sequence: number }>(
    `select event_id as "eventId", sequence from external_calendar_events where event_id = any($1::uuid[])`,
    [events],
  )
  return new Map(rows.map(({ eventId, sequence }) => [eventId, sequence]))
}

/** Rows get the numbers under which they were told; a row never goes back. */
export async function saveSequences(
  tx: Queryable,
  told: readonly { readonly eventId: EventId; readonly sequence: number }[],
): Promise<void> {
  await tx.query(
    `update external_calendar_events stored set sequence = told.sequence
       from unnest($1::uuid[], $2::bigint[]) as told (event_id, sequence)
      where stored.event_id = told.event_id and stored.sequence < told.sequence`,
    columnsOf(told, 'eventId', 'sequence'),
  )
}

/** The calendars of a connection that are synced, with the number of their last full read. */
export async function syncedCalendars(
  tx: Queryable,
  connection: ConnectionId,
): Promise<ReadonlyMap<CalendarId, number>> {
  const { rows } = await tx.query<{ calendarId: CalendarId; generation: number }>(
    `select k.id as "calendarId", k.generation from external_calendars k
       join external_calendar_connections c on c.id = k.connection_id
      where k.connection_id = $1 and k.selected and c.status <> 'disconnected'`,
    [connection],
  )
  return new Map(rows.map(({ calendarId, generation }) => [calendarId, generation]))
}

/**
 * Deletes messages about events that readers have passed: the relay published them before the
 * restore. Published again they would stand in the compacted topic above what came later.
 * @param upTo the connection's greatest number in the topics.
 * @returns how many there were.
 */
export async function dropPassedMessages(
  tx: Queryable,
  connection: ConnectionId,
  upTo: number,
): Promise<number> {
  const { rowCount } = await tx.query(
    `delete from outbox where shard = $1 and topic = any($2::text[]) and split_part(key, '/', 1) = $3
        and (headers ->> 'ce_sequence')::bigint <= $4`,
    [shardOf(connection), [TOPICS.eventChanged, TOPICS.eventState], connection, upTo],
  )
  return rowCount
}

/**
 * Events of which a state waits in the outbox, with a number above all that was published: it is
 * the last word about them, whatever the stream says.
 */
export async function eventsWaiting(tx: Queryable, connection: ConnectionId): Promise<ReadonlySet<string>> {
  const { rows } = await tx.query<{ eventId: EventId }>(
    `select split_part(key, '/', 3) as "eventId" from outbox
      where shard = $1 and topic = $2 and split_part(key, '/', 1) = $3`,
    [shardOf(connection), TOPICS.eventState, connection],
  )
  return new Set(rows.map(({ eventId }) => eventId))
}

/** Whether a change of the connection's status waits in the outbox. */
export async function isStatusWaiting(tx: Queryable, connection: ConnectionId): Promise<boolean> {
  const { rowCount } = await tx.query(
    'select from outbox where shard = $1 and topic = $2 and key = $3 limit 1',
    [shardOf(connection), TOPICS.connectionChanged, connection],
  )
  return rowCount > 0
}

/** The ids of messages about connections that wait for the relay. */
export async function waitingStatusIds(db: Queryable): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select headers ->> 'ce_id' as id from outbox where topic = $1`,
    [TOPICS.connectionChanged],
  )
  return rows.map(({ id }) => id)
}

/** Deletes messages about connections by their ids. @returns how many there were. */
export async function dropMessages(tx: Queryable, ids: readonly string[]): Promise<number> {
  const { rowCount } = await tx.query(
    `delete from outbox where topic = $1 and headers ->> 'ce_id' = any($2::text[])`,
    [TOPICS.connectionChanged, ids],
  )
  return rowCount
}

/**
 * The connection continues after `version` under an epoch that no unit has had, and owes a full
 * read of every calendar: its cursors, places and backoffs are of another time. So are its
 * channels, which are replaced.
 */
export async function oweEverything(tx: Queryable, connection: ConnectionId, version: number): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set version = greatest(version, $2), sync_epoch = sync_epoch + ${EPOCHS}, unfinished = 0, listed_from = null,
            sync_needed = sync_needed or status = 'active', error_count = 0, failing_since = null, backoff_until = null,
            last_error = case when status = 'active' then null else last_error end,
            rung_at = null, list_calendars_at = calstream_now(), updated_at = calstream_now()
      where id = $1`,
    [connection, version],
  )
  await tx.query(
    `update external_calendars
        set cursor = null, checkpoint = null, resync_after = null, resync_streak = 0, read_needed = false, failures = 0,
            error_count = 0, last_error = null, failing_since = null, backoff_until = null, reading = 'usual',
            usual_from = null, place_failures = 0, place_failing_since = null, fresh_starts = 0, fresh_after = null,
            channel_attempts = 0, channel_retry_at = null, updated_at = calstream_now()
      where connection_id = $1`,
    [connection],
  )
  await tx.query(
    `update channels set status = 'stopping' where connection_id = $1 and status <> 'stopping'`,
    [connection],
  )
}

/** Numbers a connection's rows past its version, for messages that tell them again. */
export async function advanceVersion(tx: Queryable, connection: ConnectionId, by: number): Promise<void> {
  await tx.query(
    'update external_calendar_connections set version = version + $2, updated_at = calstream_now() where id = $1',
    [connection, by],
  )
}

/** Calendars that are synced and wait for their full read since the restore. */
export async function countOwed(db: Queryable): Promise<{ readonly owed: number; readonly all: number }> {
  const { rows } = await db.query<{ owed: number; all: number }>(
    `select count(*) filter (where k.cursor is null and k.reading <> 'plain')::int as owed, count(*)::int as "all"
       from external_calendars k join external_calendar_connections c on c.id = k.connection_id
      where k.selected and c.status = 'active'`,
  )
  return rows[0] ?? { owed: 0, all: 0 }
}
