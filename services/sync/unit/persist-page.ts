// Step 4 of a unit. Invariant: rows, their messages and the place in the run (checkpoint or cursor)
// commit together under the fence; the last page of a unit carries its outcome too.
import type { CalendarId, EventId } from '#shared/domain/ids.ts'
import type { Plan } from '#shared/domain/plan.ts'
import { eventsChanged, type RowChange } from '#shared/messages/event-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import { step } from '#shared/process/step.ts'
import { oweReadsAnew } from '#shared/store/calendar-failures.ts'
import { oweFullReads, saveCheckpoint, saveCursor } from '#shared/store/calendars.ts'
import { deleteEvents, refreshEvents, upsertEvents } from '#shared/store/events.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import { pageCommitted } from './moments.ts'
import { checkpointOf, COOL_DOWN_MS, followUp, nextPage, type CalendarRun } from './read-run.ts'
import { endCalendar, ringForOwed } from './end.ts'
import { writeFenced, type FencedWrite, type Unit, type UnitDeps } from './unit.ts'

const ROWS_PER_STATEMENT = 250
/** A calendar that loses events one after the other asks its siblings no more often. */
const ASK_EVERY_MS = 30_000

interface PlannedPage {
  readonly run: CalendarRun
  readonly plan: Plan
  readonly next: Page['next']
  /** Something left this calendar for another of the account. */
  readonly hasMoved?: boolean
}

/**
 * Stores one page.
 * @returns where the calendar continues; null when it has been read.
 * Throws Failure `store/*`.
 */
export async function persistPage(
  deps: UnitDeps,
  unit: Unit,
  page: PlannedPage,
): Promise<CalendarRun | null> {
  const { run, plan, next } = page
  const { calendarId, rules } = run.calendar
  const changes = plan.upserts.length + plan.removals.length
  const after = runAfter(run, next)
  await writeFenced(deps, unit, changes, async (write) => {
    const { isMissed } = await writePlan(deps, unit, page, write)
    if (page.hasMoved) await rereadOthers(write, unit, calendarId)
    else if (isMissed && run.cursor !== null) await askOthers(deps, unit, write, calendarId)
    if (next.kind === 'end' && run.cursor !== null) await saveCursor(write.tx, calendarId, next.cursor, rules)
    else if (after !== null) {
      const { resyncStreak } = after
      await saveCheckpoint(write.tx, calendarId, { checkpoint: checkpointOf(after), resyncStreak })
    }
    step('sync.place-saved')
    unit.progress.pages += 1
    unit.progress.changes += changes
    if (after === null) await endCalendar(deps, unit, run.calendar, write)
    step('sync.before-commit')
  })
  pageCommitted(unit, changes)
  return after
}

/**
 * What moved away stands in another calendar, whose changes may not tell of it: all others are read
 * from the start, each at most once in ten minutes. Until then they are not called fresh, so what
 * moved is never nowhere without a word.
 */
async function rereadOthers(
  { tx }: FencedWrite,
  { connection, progress }: Unit,
  calendar: CalendarId,
): Promise<void> {
  for (const other of await oweFullReads(tx, connection.connectionId, calendar, COOL_DOWN_MS))
    progress.toReread.set(other.calendarId, other.resyncAfter)
}

/**
 * What left this calendar may have been moved to another of the account, whose own notification may
 * come hours late or never: the others are asked for their changes, one call to each, and are not
 * called fresh before that.
 */
async function askOthers(
  deps: UnitDeps,
  unit: Unit,
  write: FencedWrite,
  calendar: CalendarId,
): Promise<void> {
  const { calendars, scope, progress } = unit
  const isToCome = (id: CalendarId) =>
    scope.some(({ calendarId }) => calendarId === id) && !progress.done.has(id) && !progress.failed.has(id)
  const others = calendars
    .map(({ calendarId }) => calendarId)
    .filter((id) => id !== calendar && !isToCome(id))
  if (others.length === 0) return
  const owed = await oweReadsAnew(write.tx, others)
  if (owed === undefined) return
  const ageMs = owed.lastReadAt === null ? ASK_EVERY_MS : (write.now - owed.lastReadAt) / 1000
  await ringForOwed(deps, unit, write, Math.min(ASK_EVERY_MS, Math.max(0, ASK_EVERY_MS - ageMs)))
}

/**
 * A full read that has seen its last page continues with the sweep;
 * a resumed read of changes with one more pass.
 */
function runAfter(run: CalendarRun, next: Page['next']): CalendarRun | null {
  if (next.kind === 'more') return nextPage(run, next.pageToken)
  if (run.cursor === null) return { ...run, pageToken: null, endCursor: next.cursor }
  return run.isResumed ? followUp(run, next.cursor) : null
}

async function writePlan(
  deps: UnitDeps,
  unit: Unit,
  { run, plan }: PlannedPage,
  { tx, version, now }: FencedWrite,
): Promise<{ readonly isMissed: boolean }> {
  const { calendarId } = run.calendar
  step('sync.fenced')
  const upserts = plan.upserts.map((upsert, i) => ({ ...upsert, sequence: version + 1 + i }))
  const removals = plan.removals.map((removal, i) => ({
    ...removal,
    sequence: version + 1 + upserts.length + i,
  }))
  const home = { connectionId: unit.connection.connectionId, calendarId, generation: run.generation }
  const deleted = await deleteEvents(
    tx,
    removals.map((removal) => removal.eventId),
  )
  const written = new Set<EventId>()
  for (const rows of chunksOf(upserts)) {
    for (const eventId of await upsertEvents(tx, home, rows)) written.add(eventId)
  }
  await refreshEvents(tx, plan.refreshed, run.generation)
  step('sync.rows-written')
  const changed: RowChange[] = [
    ...upserts
      .filter(({ eventId }) => written.has(eventId))
      .map((upsert) => ({ ...upsert, vendorEventId: upsert.event.vendorEventId, reason: null })),
    ...removals.filter(({ eventId }) => deleted.has(eventId)).map((removal) => ({ ...removal, event: null })),
  ]
  const isIncremental = run.cursor !== null
  const origin = sentBy('sync', deps.codec)
  for (const changes of chunksOf(changed)) {
    await insertOutbox(
      tx,
      eventsChanged(unit.connection, { calendarId, observedAt: now, isIncremental, changes }, origin),
    )
  }
  step('sync.outbox-written')
  const isTold = ({ eventId, reason }: (typeof removals)[number]) =>
    reason !== 'window' && deleted.get(eventId)?.isMissed === true
  return { isMissed: removals.some(isTold) }
}

/**
 * Encoded at once, a page of 2 500 rows would hold its 5 000 messages three times over, and live
 * units for as long as that takes.
 */
function* chunksOf<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
    yield rows.slice(from, from + ROWS_PER_STATEMENT)
  }
}
