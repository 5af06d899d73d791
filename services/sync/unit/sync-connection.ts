// One connection brought up to date: claim, fetch, plan, persist, repeat. Safe to repeat at any
// point: the message that started it is a doorbell and carries no data, the cursor moves only with
// the rows it covers, and the epoch fences whoever was overtaken.
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { planPage, rowsToRead, type Plan } from '#shared/domain/plan.ts'
import { step } from '#shared/process/step.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { askForList } from '#shared/store/connections.ts'
import { readStored } from '#shared/store/events.ts'
import { processRoom } from '#shared/vendors/room.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import { faultMet, findsNotKept, fullReadBegan } from './events.ts'
import { beginRun, fullReadReason, isPutOff, type CalendarRun } from './read-run.ts'
import { isIll } from './claim-rules.ts'
import { claimUnit } from './claim.ts'
import { closeUnit, handOver, holdUnit } from './end.ts'
import { AccountTrouble } from './fetch-page.ts'
import { ownPermit } from './give-way.ts'
import type { Permit } from '../lanes.ts'
import { fetchOrLeave } from './leave-place.ts'
import { noteFinds, type Find } from './note-finds.ts'
import { persistPage } from './persist-page.ts'
import { settleBroken, endIll } from './fail.ts'
import { removeCalendar, restartRead, sweepResync } from './resync.ts'
import {
  interruption,
  isPageLate,
  writeFenced,
  type Interruption,
  type Unit,
  type UnitDeps,
  type UnitEnd,
  type UnitRequest,
} from './unit.ts'
import { placeAfter } from './whole-series.ts'

/** Claims since the last page or outcome; then something ends units before they can say why. */
const UNFINISHED_MAX = 8
/**
 * How long a connection that found no slot waits for its next turn: others have theirs meanwhile.
 * The more wait, the longer, spread over about the time that they take: each return in vain costs
 * three transactions and two messages.
 */
const NO_SLOT_WAIT_MS = 15_000
const PER_WAITING_MS = 200

/**
 * Brings the connection of these requests up to date. Never rejects: the result says whether the
 * requests are done, that is, whether their effect, or its failure, is durable.
 */
export async function syncConnection(
  deps: UnitDeps,
  requests: readonly UnitRequest[],
  permit: Permit,
): Promise<UnitEnd> {
  let unit: Unit | null = null
  try {
    // 1. Claim: take the next epoch, and see what is asked for and where the calendars stand.
    const claim = await claimUnit(deps, requests, permit)
    if (claim.kind !== 'claimed') return claim
    unit = claim.unit
    step('sync.claimed')
    if (unit.connection.unfinished >= UNFINISHED_MAX) return await endUnfinished(deps, unit)
    if (permit.slot === 'none') return await handOver(deps, unit, noSlotWaitMs(permit))
    const stop = await syncCalendars(deps, unit, permit)
    if (stop?.kind === 'held') return await holdUnit(deps, unit, stop.gate)
    if (stop?.kind === 'handed-over') return await handOver(deps, unit, 0)
    if (unit.progress.failed.size > 0) return await endIll(deps, unit)
    return { kind: 'done', why: 'read' }
  } catch (error) {
    return settleBroken(deps, unit, permit, error)
  }
}

/**
 * Whatever ends these units is met by the calendars that they read;
 * a sibling may have nothing to do with it.
 */
async function endUnfinished(deps: UnitDeps, unit: Unit): Promise<UnitEnd> {
  const failure = new Failure('sync/unfinished')
  if (unit.scope.length === 0) throw failure
  faultMet(deps, 'a unit', failure)
  for (const { calendarId } of unit.scope) unit.progress.failed.set(calendarId, failure)
  return endIll(deps, unit)
}

function noSlotWaitMs({ waiting = 0 }: Permit): number {
  return NO_SLOT_WAIT_MS + Math.max(NO_SLOT_WAIT_MS, waiting * PER_WAITING_MS) * Math.random()
}

/**
 * One calendar: steps 2 to 4 until the vendor says that there is no more.
 * @returns why it stopped before that, else null.
 */
async function syncCalendar(
  deps: UnitDeps,
  unit: Unit,
  calendar: CalendarRow,
  permit: Permit,
): Promise<Interruption | null> {
  let run = beginRun(calendar, unit.connection.now)
  noteBeginning(unit, calendar, run)
  while (run !== null) {
    const stop = interruption(deps, unit, permit)
    if (stop !== null) return stop
    const { endCursor } = run
    if (endCursor !== null) {
      const swept = await sweepResync(deps, unit, { run, endCursor }, permit)
      if (swept.kind !== 'on') return swept
      run = swept.run
      continue
    }
    // What a page holds counts towards the room of this process until it is stored.
    const from = run
    const read = await processRoom.hold(() => syncPage(deps, unit, from, permit))
    if (read.kind !== 'on') return read
    run = read.run
    // 5. Repeat; a run that was resumed makes one more pass from its new cursor.
  }
  return null
}

/**
 * Steps 2 to 4 with one page.
 * @returns why it stopped, or where the calendar goes on; null when it has been read.
 */
async function syncPage(
  deps: UnitDeps,
  unit: Unit,
  before: CalendarRun,
  permit: Permit,
): Promise<Interruption | { readonly kind: 'on'; readonly run: CalendarRun | null }> {
  // 2. Fetch one page of changes from the vendor; where its place is dead, from another place.
  step('sync.before-fetch')
  const { run, page } = await fetchOrLeave(deps, unit, before, permit)
  step('sync.fetched')
  if (page.kind === 'held' || page.kind === 'handed-over') return page
  if (page.kind === 'cursor-expired') return { kind: 'on', run: await restartRead(deps, unit, run) }
  if (page.kind === 'too-large') return { kind: 'on', run: page.smaller }
  // 3. Plan: what the page changes in what we hold (pure).
  const plan = await planFetched(deps, run, page)
  const next = await placeAfter(deps, run, page)
  step('sync.planned')
  const late = isPageLate(deps, unit, permit)
  if (late !== null) return late
  // 4. Persist rows, messages and the place in the run in one transaction.
  const { hasMoved = false } = page
  return { kind: 'on', run: await persistPage(deps, unit, { run, plan, next, hasMoved }) }
}

/** One calendar after the other; the failure of one does not keep the others from being read. */
async function syncCalendars(deps: UnitDeps, unit: Unit, permit: Permit): Promise<Interruption | null> {
  const { done, failed, left } = unit.progress
  const finds: Find[] = []
  for (const claimed of unit.scope) {
    const calendar = asItStands(unit, claimed)
    const changesBefore = unit.progress.changes
    const pagesBefore = unit.progress.pages
    using own = ownPermit(permit, calendar, unit.calendars)
    try {
      const stop = await syncOrRemove(deps, unit, calendar, own.permit)
      if (stop !== null) return stop
      done.add(calendar.calendarId)
      finds.push({ calendar, changes: unit.progress.changes - changesBefore })
    } catch (error) {
      // A stop cuts calls off: they reject with its reason, which is no Failure.
      const isCutOff = !(error instanceof Failure || error instanceof AccountTrouble)
      if (permit.stopping.aborted && !permit.signal.aborted && isCutOff) return { kind: 'handed-over' }
      const failure = failureOfCalendar(deps, permit, error)
      if (failure.code === 'sync/gave-way' && unit.progress.pages > pagesBefore) left.add(calendar)
      else failed.set(calendar.calendarId, failure)
    }
  }
  if (!unit.progress.isClosed && failed.size === 0)
    await writeFenced(deps, unit, 0, (write) => closeUnit(deps, unit, write))
  await noteFinds(deps, unit, finds).catch((error: unknown) => findsNotKept(deps, error))
  return null
}

/** A calendar of which this unit itself has learned that it is to be read from the start. */
function asItStands({ progress }: Unit, calendar: CalendarRow): CalendarRow {
  const resyncAfter = progress.toReread.get(calendar.calendarId)
  if (resyncAfter === undefined) return calendar
  return { ...calendar, cursor: null, checkpoint: null, readNeeded: true, resyncAfter }
}

/** What a calendar met while it was read. Throws what is not its own but ends the unit. */
function failureOfCalendar(deps: UnitDeps, permit: Permit, error: unknown): Failure {
  if (permit.signal.aborted) throw error
  if (error instanceof AccountTrouble) throw error.failure
  const failure = asFailure(error)
  if (!settlementOf(failure).isOfCalendar) throw error
  if (failure.kind === 'defect') faultMet(deps, 'a calendar', error)
  return failure
}

/**
 * A calendar that two lists lacked is removed, which is no failure; one that an answer says is gone
 * is looked for in the list.
 */
async function syncOrRemove(
  deps: UnitDeps,
  unit: Unit,
  calendar: CalendarRow,
  permit: Permit,
): Promise<Interruption | null> {
  if (calendar.isUnlisted) {
    await removeCalendar(deps, unit, calendar)
    return null
  }
  try {
    return await syncCalendar(deps, unit, calendar, permit)
  } catch (error) {
    if (!(error instanceof Failure) || settlementOf(error).action !== 'check-list') throw error
    // At once when it is news; after that the list is compared once an hour by itself.
    if (!isIll(calendar))
      await writeFenced(deps, unit, 0, ({ tx }) => askForList(tx, unit.connection.connectionId))
    throw new Failure('vendor/calendar-unknown')
  }
}

function noteBeginning(unit: Unit, calendar: CalendarRow, run: CalendarRun | null): void {
  const { now } = unit.connection
  if (run === null || isPutOff(calendar, now)) unit.progress.putOff.add(calendar.calendarId)
  const reason = run && fullReadReason(run)
  if (reason !== null) fullReadBegan(unit, reason)
}

async function planFetched(deps: UnitDeps, run: CalendarRun, page: Page): Promise<Plan> {
  const { calendarId } = run.calendar
  const unreadable = page.unreadable.flatMap(({ vendorEventId }) => vendorEventId ?? [])
  const { window, generation } = run
  const stored = await readStored(deps.db, calendarId, rowsToRead(page.items, unreadable), window)
  return planPage({ calendarId, items: page.items, unreadable, stored, window, generation })
}
