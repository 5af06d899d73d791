// Event rows in bulk. Invariant: a row is written only when its content hash differs, so what
// RETURNING gives back is exactly what changed and has to be published. Callers fence first
// (`fence`, connections.ts): under its lock no other unit writes the events of the connection.
import { HASH_VERSION } from '#shared/domain/content-hash.ts'
import type { CalendarEvent } from '#shared/domain/event.ts'
import type { CalendarId, ConnectionId, EventId } from '#shared/domain/ids.ts'
import type { StoredEvent, RowNames } from '#shared/domain/plan.ts'
import type { Window } from '#shared/domain/window.ts'
import type { Queryable } from './database.ts'

/** A row outside of the window $4 … $5; dates get a day of grace, because they have no zone. */
const LEFT_WINDOW = `coalesce(end_at <= from_micros($4) or start_at >= from_micros($5),
  end_date <= from_micros($4)::date + 1 or start_date >= from_micros($5)::date - 1)`

/** The rows of a calendar that are named. */
export async function readStored(
  db: Queryable,
  calendar: CalendarId,
  { vendorEventIds, seriesIds }: RowNames,
  window: Window,
): Promise<readonly StoredEvent[]> {
  if (vendorEventIds.length === 0 && seriesIds.length === 0) return []
  // A union, because `or` would keep Postgres from using the index of either name.
  const rows = `select event_id as "eventId", vendor_event_id as "vendorEventId", series_id as "seriesId",
       ${LEFT_WINDOW} as "leftWindow", content_hash as "contentHash", hash_version as "hashVersion", generation
     from external_calendar_events where calendar_id = $1`
  const { rows: stored } = await db.query<StoredEvent>(
    `${rows} and vendor_event_id = any($2::text[]) union ${rows} and series_id = any($3::text[])`,
    [calendar, vendorEventIds, seriesIds, window.from, window.to],
  )
  return stored
}

interface EventWrite {
  readonly eventId: EventId
  readonly event: CalendarEvent
  readonly hash: Buffer
  /** The connection's version at this row. */
  readonly sequence: number
}

interface RowHome {
  readonly connectionId: ConnectionId
  readonly calendarId: CalendarId
  readonly generation: number
}

/** Every column of the row that comes from the event: its type for unnest, and its value. */
const COLUMNS: Readonly<Record<string, readonly [type: string, value: (write: EventWrite) => unknown]>> = {
  event_id: ['uuid', (write) => write.eventId],
  vendor_event_id: ['text', ({ event }) => event.vendorEventId],
  title: ['text', ({ event }) => event.title],
  status: ['text', ({ event }) => event.status],
  busy: ['boolean', ({ event }) => event.busy],
  all_day: ['boolean', ({ event }) => event.allDay],
  start_at: ['micros', ({ event }) => event.start.at],
  end_at: ['micros', ({ event }) => event.end.at],
  start_date: ['date', ({ event }) => event.start.date],
  end_date: ['date', ({ event }) => event.end.date],
  time_zone: ['text', ({ event }) => event.timeZone],
  series_id: ['text', ({ event }) => event.seriesId],
  original_start_at: ['micros', ({ event }) => event.originalStart?.at ?? null],
  original_start_date: ['date', ({ event }) => event.originalStart?.date ?? null],
  location: ['text', ({ event }) => event.location],
  organizer: ['text', ({ event }) => event.organizer],
  vendor_updated_at: ['micros', ({ event }) => event.updatedAt],
  etag: ['text', ({ event }) => event.etag],
  response: ['text', ({ event }) => event.response],
  kind: ['text', ({ event }) => event.kind],
  show_as: ['text', ({ event }) => event.showAs],
  visibility: ['text', ({ event }) => event.visibility],
  content_hash: ['bytea', (write) => write.hash],
  sequence: ['bigint', (write) => write.sequence],
}

const NAMES = Object.keys(COLUMNS)
const UPSERT = upsertStatement()

/** Inserts or updates rows. @returns the ids that really changed. */
export async function upsertEvents(
  tx: Queryable,
  home: RowHome,
  writes: readonly EventWrite[],
): Promise<ReadonlySet<EventId>> {
  if (writes.length === 0) return new Set()
  const arrays = Object.values(COLUMNS).map(([, value]) => writes.map(value))
  const { rows } = await tx.query<{ eventId: EventId }>(UPSERT, [
    home.connectionId,
    home.calendarId,
    home.generation,
    HASH_VERSION,
    ...arrays,
  ])
  return new Set(rows.map((row) => row.eventId))
}

function upsertStatement(): string {
  const arrays = Object.values(COLUMNS).map(
    ([type], i) => `$${i + 5}::${type === 'micros' ? 'bigint' : type}[]`,
  )
  const values = NAMES.map((name) =>
    COLUMNS[name]?.[0] === 'micros' ? `from_micros(r.${name})` : `r.${name}`,
  )
  const taken = [...NAMES, 'hash_version', 'generation'].filter((name) => !name.endsWith('event_id'))
  return `insert into external_calendar_events as stored
      (connection_id, calendar_id, generation, hash_version, ${NAMES.join(', ')})
    select $1::uuid, $2::uuid, $3::bigint, $4::smallint, ${values.join(', ')}
      from unnest(${arrays.join(', ')}) as r (${NAMES.join(', ')})
    on conflict (event_id) do update
      set ${taken.map((name) => `${name} = excluded.${name}`).join(', ')}, updated_at = calstream_now()
      where stored.content_hash <> excluded.content_hash or stored.hash_version <> excluded.hash_version
    returning event_id as "eventId"`
}

/** Marks rows as seen by a read without touching anything that is published. */
export async function refreshEvents(
  tx: Queryable,
  eventIds: readonly EventId[],
  generation: number,
): Promise<void> {
  if (eventIds.length === 0) return
  await tx.query('update external_calendar_events set generation = $2 where event_id = any($1::uuid[])', [
    eventIds,
    generation,
  ])
}

/** What was removed: `isMissed` of one that blocked time which is not over. */
interface DeletedEvent {
  readonly eventId: EventId
  readonly isMissed: boolean
}

/** @returns those that were there, by id. */
export async function deleteEvents(
  tx: Queryable,
  eventIds: readonly EventId[],
): Promise<ReadonlyMap<EventId, DeletedEvent>> {
  if (eventIds.length === 0) return new Map()
  const { rows } = await tx.query<DeletedEvent>(
    `delete from external_calendar_events where event_id = any($1::uuid[])
     returning event_id as "eventId", busy and coalesce(end_at, end_date + interval '1 day') > calstream_now() as "isMissed"`,
    [eventIds],
  )
  return new Map(rows.map((row) => [row.eventId, row]))
}

export interface StaleRows {
  readonly calendarId: CalendarId
  /** Of the full read that has just ended. */
  readonly generation: number
  /** Rows below this generation were missed by an earlier full read too. */
  readonly confirmedBelow: number
  readonly window: Window
}

function valuesOf({ calendarId, generation, confirmedBelow, window }: StaleRows): readonly unknown[] {
  return [calendarId, generation, confirmedBelow, window.from, window.to]
}

/**
 * How many rows inside the window this read alone did not see,
 * and how many rows inside the window there are.
 */
export async function countUnseen(
  db: Queryable,
  stale: StaleRows,
): Promise<{ readonly unseen: number; readonly all: number }> {
  const { rows } = await db.query<{ unseen: number; all: number }>(
    `select count(*) filter (where generation < $2 and generation >= $3)::int as unseen, count(*)::int as "all"
       from external_calendar_events where calendar_id = $1 and not ${LEFT_WINDOW}`,
    valuesOf(stale),
  )
  return rows[0] ?? { unseen: 0, all: 0 }
}

export interface UnseenEvent {
  readonly eventId: EventId
  readonly vendorEventId: string
}

/** Rows inside the window that this read alone did not see, at most `limit`. */
export async function readUnseen(
  db: Queryable,
  stale: StaleRows,
  limit: number,
): Promise<readonly UnseenEvent[]> {
  const { rows } = await db.query<UnseenEvent>(
    `select event_id as "eventId", vendor_event_id as "vendorEventId" from external_calendar_events
      where calendar_id = $1 and generation < $2 and generation >= $3 and not ${LEFT_WINDOW} order by event_id limit $6`,
    [...valuesOf(stale), limit],
  )
  return rows
}

interface StaleEvent extends UnseenEvent {
  readonly leftWindow: boolean
}

/**
 * Rows that the read did not see, at most `limit`. With `spare`, only those that an earlier read
 * missed too or that left the window.
 */
export async function readStale(
  db: Queryable,
  stale: StaleRows,
  { spare, limit }: { readonly spare: boolean; readonly limit: number },
): Promise<readonly StaleEvent[]> {
  const { rows } = await db.query<StaleEvent>(
    `select event_id as "eventId", vendor_event_id as "vendorEventId", ${LEFT_WINDOW} as "leftWindow"
       from external_calendar_events
      where calendar_id = $1 and generation < $2 and (not $6::boolean or generation < $3 or ${LEFT_WINDOW})
      order by event_id limit $7`,
    [...valuesOf(stale), spare, limit],
  )
  return rows
}

/** Any rows of a calendar, at most `limit`. */
export async function readAny(
  db: Queryable,
  calendar: CalendarId,
  limit: number,
): Promise<readonly UnseenEvent[]> {
  const { rows } = await db.query<UnseenEvent>(
    `select event_id as "eventId", vendor_event_id as "vendorEventId"
       from external_calendar_events where calendar_id = $1 order by event_id limit $2`,
    [calendar, limit],
  )
  return rows
}
