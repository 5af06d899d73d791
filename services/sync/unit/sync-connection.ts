// One connection brought up to date: claim, fetch, plan, persist, repeat, close. Safe to repeat at
// any point: the sync request that started it carries no data, the cursor moves only
// with the rows it covers, and the epoch fences a unit that was overtaken.
import { performance } from 'node:perf_hooks'
import { GROUPS } from '#schemas/topics.ts'
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { planPage, rowsToRead, type Plan } from '#shared/domain/plan.ts'
import { inProcessSpan } from '#shared/kafka/spans.ts'
import { step } from '#shared/process/step.ts'
import { VENDOR } from '#shared/process/semantic-names.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { askForList } from '#shared/store/connections.ts'
import { readStored } from '#shared/store/events.ts'
import { processRoom } from '#shared/vendors/room.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import type { LaneEnd, Permit } from '../lanes.ts'
import { claimUnit } from './claim.ts'
import { isIll } from './claim-rules.ts'
import { closeUnit, handOver, holdUnit } from './end.ts'
import { endIll, settleBroken } from './fail.ts'
import { AccountTrouble } from './page-of-run.ts'
import { ownPermit } from './give-way.ts'
import { fetchOrLeave } from './leave-place.ts'
import { changesFound, faultMet, findsNotKept, fullReadBegan, unitEnded } from './moments.ts'
import { noteFinds, type Find } from './note-finds.ts'
import { persistPage } from './persist-page.ts'
import { beginRun, fullReadReason, isPutOff, type CalendarRun } from './read-run.ts'
import { removeCalendar, restartRead, sweepResync } from './resync.ts'
import {
  interruption,
  isPageLate,
  LANE_ENDS,
  writeFenced,
  type Interruption,
  type Unit,
  type UnitDeps,
  type UnitEnd,
  type UnitRequest,
} from './unit.ts'
import { nextWithSeries } from './whole-series.ts'

/** Claims since the last page or outcome; then something ends units before they can say why. */
const UNFINISHED_MAX = 8
/**
 * How long a connection that found no slot waits for the next one: others run meanwhile. The more
 * wait, the longer, spread over about the time that they take: each return in vain costs three
 * transactions and two messages.
 */
const NO_SLOT_WAIT_MS = 15_000
const PER_WAITING_MS = 200

/**
 * Runs a unit for the requests of one lane, in one span. It is linked to the requests that the
 * unit answers, since several became one. Never rejects.
 */
export async function runUnit(
  deps: UnitDeps,
  requests: readonly [UnitRequest, ...UnitRequest[]],
  permit: Permit,
): Promise<LaneEnd> {
  const { connectionId, vendor } = requests[0].message
  const [first, ...others] = requests
  const records = [first.record, ...others.map(({ record }) => record)] as const
  const startedAt = performance.now()
  const about = { group: GROUPS.sync, records, attributes: { [VENDOR]: vendor } }
  const end = await inProcessSpan(about, () => syncConnection(deps, requests, permit))
  unitEnded(deps, { connectionId, vendor, requests: requests.length }, end, performance.now() - startedAt)
  return { ...LANE_ENDS[end.kind], waitMs: end.kind === 'early' ? end.waitMs : 0 }
}

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

/** One calendar after the other; the failure of one does not keep the others from being read. */
async function syncCalendars(deps: UnitDeps, unit: Unit, permit: Permit): Promise<Interruption | null> {
  const { done, failed, left } = unit.progress
  const finds: Find[] = []
  for (const claimed of unit.scope) {
    const calendar = asItStands(unit, claimed)
    const { changes: changesBefore, pages: pagesBefore } = unit.progress
    using own = ownPermit(permit, calendar, unit.calendars)
    try {
      const stop = await syncOrRemove(deps, unit, calendar, own)
      if (stop !== null) return stop
      done.add(calendar.calendarId)
      const changes = unit.progress.changes - changesBefore
      finds.push({ calendar, changes })
      if (calendar.cursor !== null) changesFound(unit, calendar.calendarId, changes)
    } catch (error) {
      // A stop cuts calls off: they reject with its reason, which is no Failure.
      const isCutOff = !(error instanceof Failure || error instanceof AccountTrouble)
      if (permit.stopping.aborted && !permit.signal.aborted && isCutOff) return { kind: 'handed-over' }
      const failure = failureOfCalendar(deps, permit, error)
      if (failure.code === 'sync/gave-way' && unit.progress.pages > pagesBefore) left.add(calendar)
      else failed.set(calendar.calendarId, failure)
    }
  }
  // 6. Close: the last write of the last calendar has done that, unless there was none.
  if (!unit.progress.isClosed && failed.size === 0)
    await writeFenced(deps, unit, 0, (write) => closeUnit(deps, unit, write))
  await noteFinds(deps, unit, finds).catch((error: unknown) => findsNotKept(deps, error))
  return null
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
    // At once when it is news; after that the scheduler compares the list once an hour.
    if (!isIll(calendar))
      await writeFenced(deps, unit, 0, ({ tx }) => askForList(tx, unit.connection.connectionId))
    throw new Failure('vendor/calendar-unknown')
  }
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
    const from = run
    // What a page holds counts towards the room of this process until it is stored.
    const read =
      endCursor === null
        ? await processRoom.hold(() => syncPage(deps, unit, from, permit))
        : await sweepResync(deps, unit, { run, endCursor }, permit)
    if (read.kind !== 'on') return read
    run = read.run
    // 5. Repeat; a run that was resumed makes one more pass from its new cursor.
  }
  return null
}

/**
 * Steps 2 to 4 with one page.
 * @returns why it stopped, or where the calendar continues; null when it has been read.
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
  // 3. Plan: what the page changes in the stored rows (pure).
  const plan = await planFetched(deps, run, page)
  const next = await nextWithSeries(deps, run, page)
  step('sync.planned')
  const late = isPageLate(deps, unit, permit)
  if (late !== null) return late
  // 4. Persist rows, messages and the place in the run in one transaction.
  const { hasMoved = false } = page
  return { kind: 'on', run: await persistPage(deps, unit, { run, plan, next, hasMoved }) }
}

async function planFetched(deps: UnitDeps, run: CalendarRun, page: Page): Promise<Plan> {
  const { calendarId } = run.calendar
  const unreadable = page.unreadable.flatMap(({ vendorEventId }) => vendorEventId ?? [])
  const { window, generation } = run
  const stored = await readStored(deps.db, calendarId, rowsToRead(page.items, unreadable), window)
  return planPage({ calendarId, items: page.items, unreadable, stored, window, generation })
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

function noteBeginning(unit: Unit, calendar: CalendarRow, run: CalendarRun | null): void {
  const { now } = unit.connection
  if (run === null || isPutOff(calendar, now)) unit.progress.putOff.add(calendar.calendarId)
  const reason = run && fullReadReason(run)
  if (reason !== null) fullReadBegan(unit, reason)
}
