// Calendars as a unit reads and moves them. Invariant: the cursor moves only in the transaction that holds the rows it covers;
// the checkpoint of an unfinished run likewise. Callers fence first.
import type { CalendarId, ConnectionId, Micros } from '#shared/domain/ids.ts'
import type { Window } from '#shared/domain/window.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

/** Where an unfinished run stands. */
export interface Checkpoint {
  /** null: a full read. */
  readonly cursor: string | null
  /** null only when `endCursor` is set. */
  readonly pageToken: string | null
  /** Everything is read, the sweep is left; the cursor to commit with its last chunk. */
  readonly endCursor: string | null
  readonly window: Window
  readonly generation: number
  /** Database clock when the run began. */
  readonly startedAt: Micros
  /** How far its pages are shrunk; absent is 0. */
  readonly shrunk?: number
}

export interface CalendarRow {
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly cursor: string | null
  readonly checkpoint: Checkpoint | null
  readonly generation: number
  /** Database clock at the start of the last completed full read: its window is the one of the cursor. */
  readonly lastFullSync: Micros | null
  /** Generation of a full read whose sweep looked like a mass delete: rows below it were not seen by that read. */
  readonly sweepBelow: number | null
  /** No full read before this. */
  readonly resyncAfter: Micros | null
  /** Cursors in a row that expired before they were of any use. */
  readonly resyncStreak: number
  /** The vendor lists it no more: its events are to be removed, not read. */
  readonly isUnlisted: boolean
}

/** The calendars of a connection that are synced, in a fixed order. */
export async function readCalendars(
  tx: Queryable,
  connection: ConnectionId,
): Promise<readonly CalendarRow[]> {
  const { rows } = await tx.query<CalendarRow>(
    `select id as "calendarId", vendor_calendar_id as "vendorCalendarId", cursor, checkpoint, generation,
       to_micros(last_full_sync) as "lastFullSync", sweep_below as "sweepBelow",
       to_micros(resync_after) as "resyncAfter", resync_streak as "resyncStreak",
       removal_reason is not null as "isUnlisted"
     from external_calendars where connection_id = $1 and selected order by created_at, id`,
    [connection],
  )
  return rows
}

/** In the middle of a run. */
export async function saveCheckpoint(
  tx: Queryable,
  calendar: CalendarId,
  { checkpoint, resyncStreak }: { readonly checkpoint: Checkpoint; readonly resyncStreak: number },
): Promise<void> {
  await tx.query(
    `update external_calendars
        set checkpoint = $2, generation = $3, resync_streak = $4, updated_at = calstream_now() where id = $1`,
    [calendar, JSON.stringify(checkpoint), checkpoint.generation, resyncStreak],
  )
}

/** At the end of a read of changes: the cursor has proved its worth. */
export async function saveCursor(tx: Queryable, calendar: CalendarId, cursor: string): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = $2, checkpoint = null, resync_streak = 0, last_read_at = calstream_now(), updated_at = calstream_now()
      where id = $1`,
    [calendar, cursor],
  )
}

export interface FullRead {
  readonly cursor: string
  readonly generation: number
  readonly startedAt: Micros
  /** Set when the sweep was put off: read fully again after `resyncAfterMs`, which then decides. */
  readonly putOff: { readonly resyncAfterMs: number } | null
}

/** At the end of a full read, with the last chunk of its sweep. */
export async function saveFullRead(tx: Queryable, calendar: CalendarId, read: FullRead): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = $2, checkpoint = null, generation = $3, last_full_sync = from_micros($4), last_read_at = from_micros($4),
            sweep_below = case when $5::float8 is null then null else $3::bigint end,
            resync_after = calstream_now() + $5::float8 * interval '1 millisecond', updated_at = calstream_now()
      where id = $1`,
    [calendar, read.cursor, read.generation, read.startedAt, read.putOff?.resyncAfterMs ?? null],
  )
}

/** The vendor discarded the cursor twice in a row: rest before the next full read. */
export async function coolDown(
  tx: Queryable,
  calendar: CalendarId,
  { restMs, resyncStreak }: { readonly restMs: number; readonly resyncStreak: number },
): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = null, checkpoint = null, resync_after = calstream_now() + $2::float8 * interval '1 millisecond',
            resync_streak = $3, updated_at = calstream_now()
      where id = $1`,
    [calendar, restMs, resyncStreak],
  )
}

/** The calendar is gone at the vendor: it is synced no more; connecting the account again may bring it back. */
export async function deselectCalendar(tx: Queryable, calendar: CalendarId, reason: string): Promise<void> {
  await tx.query(
    `update external_calendars
        set selected = false, removal_reason = $2, missing_since = null, cursor = null, checkpoint = null, sweep_below = null,
            updated_at = calstream_now()
      where id = $1`,
    [calendar, reason],
  )
}
