// Calendars as a unit reads and moves them. Invariant: the cursor moves only in the transaction
// that holds the rows it covers; the checkpoint of an unfinished run likewise. Callers fence first.
// What fails is in calendar-failures.ts.
import type { CalendarId, ConnectionId, Micros } from '#shared/domain/ids.ts'
import { REREAD_SPREAD_HOURS, RULES_OF_BEFORE, rulesWith } from '#shared/domain/judged-by.ts'
import type { Reading } from '#shared/domain/reading.ts'
import type { Window } from '#shared/domain/window.ts'
import type { Queryable } from './database.ts'

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
  /** How the run lists; absent is usual. */
  readonly reading?: Reading
  /** It went back to its cursor, because a page token had expired. */
  readonly wentBack?: boolean
  /** Pages that the run has stored. */
  readonly pages?: number
  /** The rules by which its pages are judged; absent in those of before there were any. */
  readonly rules?: string
  /** What the vendor named so far, as short hashes. */
  readonly progress?: {
    readonly seen: readonly (readonly [id: string, version: string])[]
    readonly told: number
    readonly idle: number
  }
}

export interface CalendarRow {
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly cursor: string | null
  readonly checkpoint: Checkpoint | null
  readonly generation: number
  /**
   * Database clock at the start of the last completed full read:
   * its window is the one of the cursor.
   */
  readonly lastFullSync: Micros | null
  /**
   * Generation of a full read whose sweep looked like a mass delete:
   * rows below it were not seen by that read.
   */
  readonly sweepBelow: number | null
  /** No full read before this. */
  readonly resyncAfter: Micros | null
  /** Cursors in a row that expired before they were of any use. */
  readonly resyncStreak: number
  /** The vendor lists it no more: its events are to be removed, not read. */
  readonly isUnlisted: boolean
  /** How it is listed when a new run begins. */
  readonly reading: Reading
  /** From then on a full read tries the usual way again; null while it is read so. */
  readonly usualFrom: Micros | null
  /** Failures in a row at the place where it stands, and when the first was. */
  readonly placeFailures: number
  readonly placeFailingSince: Micros | null
  /**
   * Reads from the start in a row that a dead place asked for, and before when there is no other.
   */
  readonly freshStarts: number
  readonly freshAfter: Micros | null
  /** It owes a read of its own, whatever its connection owes. */
  readonly readNeeded: boolean
  /** Reads that failed in a row, also those that do not count. More than 0: it is ill. */
  readonly failures: number
  /** Counted failures in a row. */
  readonly errorCount: number
  /** Code of the last failure; null while it is well. */
  readonly lastCode: string | null
  /** It is not read before this (database clock). */
  readonly backoffUntil: Micros | null
  /** The rules of today, by which a run that begins now judges. */
  readonly rules?: string
  /** Its rows were judged by other rules, and its time to be read again has come. */
  readonly isRereadDue?: boolean
  /** Reads in a row that found changes for which its channel did not ring. */
  readonly unrungFinds: number
}

/** The calendars of a connection that are synced, in a fixed order. */
export async function readCalendars(
  tx: Queryable,
  connection: ConnectionId,
  rules = rulesWith('kept'),
): Promise<readonly CalendarRow[]> {
  const { rows } = await tx.query<CalendarRow>(
    `select id as "calendarId", vendor_calendar_id as "vendorCalendarId", cursor, checkpoint, generation,
       to_micros(last_full_sync) as "lastFullSync", sweep_below as "sweepBelow",
       to_micros(resync_after) as "resyncAfter", resync_streak as "resyncStreak",
       removal_reason is not null as "isUnlisted", reading, to_micros(usual_from) as "usualFrom",
       place_failures as "placeFailures", to_micros(place_failing_since) as "placeFailingSince",
       fresh_starts as "freshStarts", to_micros(fresh_after) as "freshAfter", read_needed as "readNeeded", failures,
       error_count as "errorCount", last_error ->> 'code' as "lastCode", to_micros(backoff_until) as "backoffUntil",
       unrung_finds as "unrungFinds",
       $2::text as rules, coalesce(judged_by <> $2 and reread_at <= calstream_now(), false) as "isRereadDue"
     from external_calendars where connection_id = $1 and selected order by created_at, id`,
    [connection, rules],
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
        set checkpoint = $2, generation = $3, resync_streak = $4, place_failures = 0, place_failing_since = null,
            updated_at = calstream_now()
      where id = $1`,
    [calendar, JSON.stringify(checkpoint), checkpoint.generation, resyncStreak],
  )
}

/**
 * At the end of a read of changes: the cursor has proved its worth. Rows that were judged by other
 * rules are read again at a moment within REREAD_SPREAD_HOURS, which is drawn once: a fleet of a
 * new release does not read everything at once.
 */
export async function saveCursor(
  tx: Queryable,
  calendar: CalendarId,
  cursor: string,
  rules = rulesWith('kept'),
): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = $2, checkpoint = null, resync_streak = 0, place_failures = 0, place_failing_since = null,
            fresh_starts = 0, fresh_after = null, last_read_at = calstream_now(), updated_at = calstream_now(),
            reread_at = case when judged_by <> $3
                             then coalesce(reread_at, calstream_now() + random() * $4::float8 * interval '1 hour') end
      where id = $1`,
    [calendar, cursor, rules, REREAD_SPREAD_HOURS],
  )
}

interface FullRead {
  /** null after a plain listing: the next read is one too. */
  readonly cursor: string | null
  readonly reading: Reading
  readonly generation: number
  readonly startedAt: Micros
  /** Set when the sweep was put off: the next full read decides. */
  readonly isPutOff: boolean
  /** No full read for so long; null: none is owed. */
  readonly coolDownMs: number | null
  /** By which its rows are judged now; those of before there were rules unless given. */
  readonly rules: string | undefined
  /** For how long it is read so before the usual way is tried again. */
  readonly usualAgainMs: number
}

/** At the end of a full read, with the last chunk of its sweep. */
export async function saveFullRead(tx: Queryable, calendar: CalendarId, read: FullRead): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = $2, checkpoint = null, generation = $3, last_full_sync = from_micros($4), last_read_at = from_micros($4),
            sweep_below = case when $5::boolean then $3::bigint end,
            resync_after = calstream_now() + $6::float8 * interval '1 millisecond', reading = $7,
            usual_from = case when $7 = 'usual' then null when reading = $7 then usual_from
                              else calstream_now() + $8::float8 * interval '1 millisecond' end,
            fresh_starts = case when $7 = 'plain' then 0 else fresh_starts end,
            resync_streak = case when $7 = 'plain' then 0 else resync_streak end,
            place_failures = 0, place_failing_since = null, judged_by = $9, reread_at = null, updated_at = calstream_now()
      where id = $1`,
    [
      calendar,
      read.cursor,
      read.generation,
      read.startedAt,
      read.isPutOff,
      read.coolDownMs,
      read.reading,
      read.usualAgainMs,
      read.rules ?? RULES_OF_BEFORE,
    ],
  )
}

/** The vendor discarded the cursor twice in a row: a cool-down before the next full read. */
export async function coolDown(
  tx: Queryable,
  calendar: CalendarId,
  { coolDownMs, resyncStreak }: { readonly coolDownMs: number; readonly resyncStreak: number },
): Promise<void> {
  await tx.query(
    `update external_calendars
        set cursor = null, checkpoint = null, resync_after = calstream_now() + $2::float8 * interval '1 millisecond',
            resync_streak = $3, updated_at = calstream_now()
      where id = $1`,
    [calendar, coolDownMs, resyncStreak],
  )
}

/**
 * A run led nowhere: its place is given up, its cursor too unless `keepsCursor`,
 * and the next run lists in another way.
 */
export async function giveUpRun(
  tx: Queryable,
  calendar: CalendarId,
  run: { readonly keepsCursor: boolean; readonly reading: Reading; readonly usualAgainMs: number },
): Promise<void> {
  await tx.query(
    `update external_calendars
        set checkpoint = null, cursor = case when $2::boolean then cursor end, reading = $3,
            usual_from = case when $3 = 'usual' then null else calstream_now() + $4::float8 * interval '1 millisecond' end,
            place_failures = 0, place_failing_since = null, updated_at = calstream_now()
      where id = $1`,
    [calendar, run.keepsCursor, run.reading, run.usualAgainMs],
  )
}

/**
 * One more failure at the place where a calendar stands.
 * `coolDownMs`: other places were asked too, and are not for so long.
 */
export async function savePlaceFailure(
  tx: Queryable,
  calendar: CalendarId,
  coolDownMs: number | null,
): Promise<void> {
  await tx.query(
    `update external_calendars
        set place_failures = place_failures + 1, place_failing_since = coalesce(place_failing_since, calstream_now()),
            fresh_after = coalesce(calstream_now() + $2::float8 * interval '1 millisecond', fresh_after),
            updated_at = calstream_now()
      where id = $1`,
    [calendar, coolDownMs],
  )
}

/** A read from the start took the place of a dead one. The next such waits `coolDownMs`. */
export async function saveFreshStart(tx: Queryable, calendar: CalendarId, coolDownMs: number): Promise<void> {
  await tx.query(
    `update external_calendars
        set fresh_starts = fresh_starts + 1, fresh_after = calstream_now() + $2::float8 * interval '1 millisecond',
            place_failures = 0, place_failing_since = null, updated_at = calstream_now()
      where id = $1`,
    [calendar, coolDownMs],
  )
}

/**
 * Takes the cursors of the other calendars of a connection away: they are read from the start,
 * `coolDownMs` after their last full read began at the earliest.
 * @returns which, and when each may be read.
 */
export async function oweFullReads(
  tx: Queryable,
  connection: ConnectionId,
  except: CalendarId,
  coolDownMs: number,
): Promise<readonly { readonly calendarId: CalendarId; readonly resyncAfter: Micros | null }[]> {
  const { rows } = await tx.query<{ calendarId: CalendarId; resyncAfter: Micros | null }>(
    `update external_calendars
        set cursor = null, checkpoint = null, read_needed = true,
            resync_after = greatest(resync_after, last_full_sync + $3::float8 * interval '1 millisecond'),
            updated_at = calstream_now()
      where connection_id = $1 and id <> $2 and selected and removal_reason is null
      returning id as "calendarId", to_micros(resync_after) as "resyncAfter"`,
    [connection, except, coolDownMs],
  )
  return rows
}

/**
 * Whether a calendar is still to be removed. Its row is locked:
 * no list can bring it back before the transaction ends.
 */
export async function lockUnlisted(tx: Queryable, calendar: CalendarId): Promise<boolean> {
  const { rowCount } = await tx.query(
    'select from external_calendars where id = $1 and removal_reason is not null for update',
    [calendar],
  )
  return rowCount === 1
}

/**
 * The calendar is gone at the vendor: it is synced no more;
 * connecting the account again may bring it back.
 */
export async function deselectCalendar(tx: Queryable, calendar: CalendarId, reason: string): Promise<void> {
  await tx.query(
    `update external_calendars
        set selected = false, removal_reason = $2, missing_since = null, cursor = null, checkpoint = null, sweep_below = null,
            read_needed = false, failures = 0, error_count = 0, last_error = null, failing_since = null, backoff_until = null,
            updated_at = calstream_now()
      where id = $1`,
    [calendar, reason],
  )
}
