// Hours in seconds, for drills whose system has a clock that they move on. The clock stands still
// while something that is due is not done: a unit takes as long as the machine makes it, and on a
// slow one no backoff may seem to last for hours.
import type { DrillRun } from '../drill.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
const STEP_MS = 5 * MINUTE_MS
/** While nothing is due before that. */
const STEP_MAX_MS = 15 * MINUTE_MS
const DONE_WITHIN_MS = 60_000

/** A time of the clock that is moved on, for a person. */
export function minutes(ms: number): string {
  return (ms / MINUTE_MS).toFixed(1)
}

/** What a drill that moves the clock cannot claim. */
export const MOVED = {
  I7: 'what a read from the start lacks stays until a second look, and a calendar may have another id than at first',
  I9: 'calls are noted by the clock of the vendors, which this drill moves on',
}

/**
 * Moves the clock on, in steps of `stepMs` or until the next thing is due, if that is later. Throws
 * DrillFailed when something that is due is not done within a minute of the machine's.
 */
export async function passTime(d: DrillRun, ms: number, stepMs = STEP_MS): Promise<void> {
  const { clock } = d.system
  const ends = clock.now() + ms
  for (let left = ms; left > 0 && !d.signal.aborted; left = ends - clock.now()) {
    const { nextMs } = await dueAt(d, clock.now())
    const least = nextMs === 0 ? Math.max(stepMs, MINUTE_MS) : stepMs
    await clock.advance(Math.ceil(Math.min(left, Math.max(least, Math.min(nextMs, STEP_MAX_MS)))))
    await dueIsDone(d)
  }
}

/**
 * Waits until nothing is due any more that is due now; what becomes due meanwhile is not waited
 * for.
 */
export async function dueIsDone(d: DrillRun): Promise<void> {
  const at = d.system.clock.now()
  await d.until('all that is due is done', async () => (await dueAt(d, at)).due === 0, DONE_WITHIN_MS)
}

interface Due {
  /** Calendars that owe a read and were rung for it by then. */
  readonly due: number
  /** Until the next of them is rung; 0 when none is waited for. */
  readonly nextMs: number
}

/** What rests is left out: the sweep rings for it, every half a minute of the machine's. */
async function dueAt(d: DrillRun, at: number): Promise<Due> {
  const [row] = await d.system.ask<{ due: number; nextMs: number | null }>(
    `with owed as (
       select greatest(con.backoff_until, cal.backoff_until) as due_at
         from external_calendars cal join external_calendar_connections con on con.id = cal.connection_id
        where con.status = 'active' and cal.selected and (con.sync_needed or cal.read_needed)
          and not (cal.checkpoint is null and (cal.sweep_below is not null or cal.cursor is null)
                   and cal.resync_after is not null))
     select (select count(*)::int from owed where coalesce(due_at <= to_timestamp($1::float8 / 1000), true)) as due,
            (select ceil(extract(epoch from min(due_at) - calstream_now()) * 1000)::int
               from owed where due_at > calstream_now()) as "nextMs"`,
    [at],
  )
  return { due: row?.due ?? 0, nextMs: row?.nextMs ?? 0 }
}
