// The beginning and the end of a full read: what it did not see is removed, since a full list
// has no tombstones. Invariants: the cursor commits with the last chunk; rows that merely
// left the window say so and do not count; an event inside the window is removed only when a second
// answer says the same: a few are asked for one by one, of more a second full read decides. A
// calendar that is gone loses its events the same way, chunk by chunk.
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { CalendarId, EventId } from '#shared/domain/ids.ts'
import { USUAL_AGAIN_MS } from '#shared/domain/reading.ts'
import { eventsChanged, type RemovalReason } from '#shared/messages/event-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import { step } from '#shared/process/step.ts'
import { oweReads } from '#shared/store/calendar-failures.ts'
import {
  coolDown,
  deselectCalendar,
  lockUnlisted,
  saveFullRead,
  type CalendarRow,
} from '#shared/store/calendars.ts'
import {
  countUnseen,
  deleteEvents,
  readAny,
  readStale,
  readUnseen,
  refreshEvents,
  type StaleRows,
  type UnseenEvent,
} from '#shared/store/events.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { calendarEnded, listedShort, massDeleteDoubted, readRestarted, rowsRemoved } from './moments.ts'
import {
  afterPlain,
  COOL_DOWN_MS,
  coolDownMs,
  followUp,
  pagesToHere,
  restartRun,
  type CalendarRun,
} from './read-run.ts'
import { endCalendar } from './end.ts'
import { AccountTrouble, lookUpEvent } from './page-of-run.ts'
import type { Permit } from '../lanes.ts'
import { writeFenced, type FencedWrite, type Interruption, type Unit, type UnitDeps } from './unit.ts'

/** Keeps a transaction under 100 ms. */
const CHUNK = 1000
/**
 * So many calls at most, once after a full read: some seconds at a slow vendor. More is put off
 * instead.
 */
const LOOK_UPS_MAX = 20
/**
 * A full read that lacks more of the stored events than this is not believed, however few there
 * are: two of three, too.
 */
const MASS_DELETE_SHARE = 0.5

/**
 * The vendor discarded the cursor: a full read from the start. Of a page token: the run goes back
 * to its cursor first. When that came twice in a row the calendar cools down instead, and this
 * throws Failure `vendor/cursor-expired-again`.
 */
export async function restartRead(deps: UnitDeps, unit: Unit, run: CalendarRun): Promise<CalendarRun> {
  const restarted = restartRun(run, unit.connection.now)
  if (restarted !== null) {
    readRestarted(unit, restarted)
    return restarted
  }
  const { resyncStreak } = run
  const waitMs = coolDownMs(resyncStreak, pagesToHere(run))
  const now = await writeFenced(deps, unit, 0, async ({ tx }) => {
    await coolDown(tx, run.calendar.calendarId, { coolDownMs: waitMs, resyncStreak: resyncStreak + 1 })
    return deps.clock.now()
  })
  throw new Failure('vendor/cursor-expired-again', undefined, { retryAt: now + waitMs * 1000 })
}

/**
 * Sweeps one chunk. @returns where the calendar continues, null when it is done; or why it stopped.
 * Throws Failure.
 */
export async function sweepResync(
  deps: UnitDeps,
  unit: Unit,
  { run, endCursor }: { readonly run: CalendarRun; readonly endCursor: string },
  permit: Permit,
): Promise<Interruption | { readonly kind: 'on'; readonly run: CalendarRun | null }> {
  const { calendarId } = run.calendar
  const stale: StaleRows = {
    calendarId,
    generation: run.generation,
    confirmedBelow: confirmedBelow(run),
    window: run.window,
  }
  const lacking = await judgeLacking(deps, unit, { run, stale }, permit)
  if (typeof lacking === 'object') return lacking
  const isPutOff = lacking === 'doubted'
  const rows = await readStale(deps.db, stale, { spare: isPutOff, limit: CHUNK })
  const isEnd = rows.length < CHUNK
  // What changed while a resumed plain listing ran is in the next one: it is never far, and there
  // is no cursor to ask from.
  const isPlain = run.reading === 'plain'
  const after = !isEnd ? run : run.isResumed && !isPlain ? followUp(run, endCursor) : null
  await writeFenced(deps, unit, rows.length, async (write) => {
    const removals = rows.map((row) => ({
      ...row,
      reason: row.leftWindow ? ('window' as const) : ('deleted' as const),
    }))
    await removeRows(deps, unit, { calendarId, removals }, write)
    unit.progress.changes += rows.length
    if (!isEnd) return
    const plain = isPlain ? afterPlain(run, write.now) : null
    const waitMs = Math.max(isPutOff ? COOL_DOWN_MS : 0, plain?.coolDownMs ?? 0)
    await saveFullRead(write.tx, calendarId, {
      cursor: isPlain ? null : endCursor,
      generation: run.generation,
      startedAt: run.startedAt,
      isPutOff,
      coolDownMs: waitMs > 0 ? waitMs : null,
      reading: run.reading,
      rules: run.rules,
      usualAgainMs: plain?.usualInMs ?? USUAL_AGAIN_MS,
    })
    if (isPutOff) unit.progress.putOff.add(calendarId)
    if (after === null) await endCalendar(deps, unit, run.calendar, write)
    // It has no cursor, so what comes next has to be read whole, asked for or not.
    if (isPlain) await oweReads(write.tx, [calendarId])
    step('sync.sweep-before-commit')
  })
  step('sync.sweep-committed')
  if (isEnd && isPutOff) massDeleteDoubted(deps, unit, calendarId)
  return { kind: 'on', run: after }
}

/** `believed`: what is lacking is gone. `doubted`: a second full read has to agree. */
type Lacking = 'believed' | 'doubted' | Interruption

/**
 * Judges what a full read lacked; events that are there after all are marked as seen. Throws
 * Failure, AccountTrouble.
 */
async function judgeLacking(
  deps: UnitDeps,
  unit: Unit,
  { run, stale }: { readonly run: CalendarRun; readonly stale: StaleRows },
  permit: Permit,
): Promise<Lacking> {
  const { unseen, all } = await countUnseen(deps.db, stale)
  if (unseen === 0) return 'believed'
  if (unseen > LOOK_UPS_MAX || unseen > all * MASS_DELETE_SHARE) return 'doubted'
  const there: UnseenEvent[] = []
  for (const event of await readUnseen(deps.db, stale, LOOK_UPS_MAX)) {
    const answer = await asked(deps, unit, { run, event }, permit)
    if (answer === 'there') there.push(event)
    else if (answer !== 'gone') return answer
  }
  if (there.length > 0) await keep(deps, unit, run, there)
  return 'believed'
}

/** A vendor that does not say of single events whether they are there has its second full read. */
async function asked(
  deps: UnitDeps,
  unit: Unit,
  { run, event }: { readonly run: CalendarRun; readonly event: UnseenEvent },
  permit: Permit,
): Promise<'there' | 'gone' | 'doubted' | Interruption> {
  try {
    return await lookUpEvent(deps, unit, { run, permit }, event.vendorEventId)
  } catch (error) {
    if (permit.signal.aborted || permit.stopping.aborted || error instanceof AccountTrouble) throw error
    if (!settlementOf(asFailure(error)).isOfCalendar) throw error
    return 'doubted'
  }
}

async function keep(
  deps: UnitDeps,
  unit: Unit,
  { calendar, generation }: CalendarRun,
  there: readonly UnseenEvent[],
): Promise<void> {
  await writeFenced(deps, unit, 0, ({ tx }) =>
    refreshEvents(
      tx,
      there.map(({ eventId }) => eventId),
      generation,
    ),
  )
  listedShort(deps, unit, { calendarId: calendar.calendarId, events: there.length })
}

/**
 * Only a read that began after the cool-down is a second look:
 * another may have begun sooner, because a place was dead.
 */
function confirmedBelow({ calendar, startedAt }: CalendarRun): number {
  return startedAt >= (calendar.resyncAfter ?? 0) ? (calendar.sweepBelow ?? 0) : 0
}

/** Thrown inside a write to roll it back, version and all; it never leaves this file. */
class ListedAgain extends Error {
  override readonly name = 'ListedAgain'
}

/**
 * Two lists lacked the calendar: removes its events, and with the last chunk the calendar from what
 * is synced. One that a list has named again since the claim stays.
 */
export async function removeCalendar(deps: UnitDeps, unit: Unit, calendar: CalendarRow): Promise<void> {
  const { calendarId } = calendar
  try {
    while (!(await removeChunk(deps, unit, calendarId)));
    calendarEnded(deps, unit, calendarId, 'removed')
  } catch (error) {
    if (!(error instanceof ListedAgain)) throw error
    calendarEnded(deps, unit, calendarId, 'listed-again')
  }
}

/** @returns whether it was the last one. */
async function removeChunk(deps: UnitDeps, unit: Unit, calendarId: CalendarId): Promise<boolean> {
  const rows = await readAny(deps.db, calendarId, CHUNK)
  const isEnd = rows.length < CHUNK
  await writeFenced(deps, unit, rows.length, async (write) => {
    if (!(await lockUnlisted(write.tx, calendarId))) throw new ListedAgain()
    const removals = rows.map((row) => ({ ...row, reason: 'calendar_removed' as const }))
    await removeRows(deps, unit, { calendarId, removals }, write)
    unit.progress.changes += rows.length
    if (isEnd) await deselectCalendar(write.tx, calendarId, 'vendor/calendar-gone')
  })
  return isEnd
}

interface Removals {
  readonly calendarId: CalendarId
  readonly removals: readonly {
    readonly eventId: EventId
    readonly vendorEventId: string
    readonly reason: RemovalReason
  }[]
}

async function removeRows(
  deps: UnitDeps,
  unit: Unit,
  { calendarId, removals }: Removals,
  { tx, version, now }: FencedWrite,
): Promise<void> {
  const deleted = await deleteEvents(
    tx,
    removals.map((removal) => removal.eventId),
  )
  const changes = removals
    .map((removal, i) => ({ ...removal, event: null, sequence: version + 1 + i }))
    .filter(({ eventId }) => deleted.has(eventId))
  const told = { calendarId, observedAt: now, isIncremental: false, changes }
  await insertOutbox(tx, eventsChanged(unit.connection, told, sentBy('sync', deps.codec)))
  rowsRemoved(unit, changes.length)
}
