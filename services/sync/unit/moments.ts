// What happens in a unit, as people and drills see it: each moment is one call, which says the step
// (step.ts), counts, and logs. No step of a unit measures or logs on its own.
// Labels carry no ids.
import { FAILURE_CODES, type Failure } from '#shared/domain/failure.ts'
import type { GateName } from '#shared/domain/gates.ts'
import type { CalendarId, VendorName } from '#shared/domain/ids.ts'
import type { Reading } from '#shared/domain/reading.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import { foundBy } from './note-finds.ts'
import type { CalendarRun } from './read-run.ts'
import type { Unit, UnitEnd } from './unit.ts'

type Of = Pick<Unit, 'connection'>

interface Logs {
  readonly logger: Logger
}

/**
 * Makes the counters that people alert on exist from the start: a rate over a series that begins at
 * 1 misses the first failure.
 */
export function countFromZero(vendors: Iterable<VendorName>): void {
  for (const vendor of vendors) {
    for (const outcome of ['done', 'failed']) metrics.syncRuns.add(0, { vendor, outcome })
    for (const code of Object.keys(FAILURE_CODES)) {
      for (const call of ['made', 'none']) metrics.syncFailures.add(0, { vendor, code, call })
      metrics.calendarFailures.add(0, { vendor, code })
    }
    metrics.itemsProcessed.add(0, { vendor })
  }
}

/** `ms`: from its requests to its end. */
export function unitEnded(
  { logger }: Logs,
  about: { readonly connectionId: string; readonly vendor: VendorName; readonly requests: number },
  end: UnitEnd,
  ms: number,
): void {
  const { vendor } = about
  metrics.syncRuns.add(1, { vendor, outcome: end.kind })
  metrics.syncLatencyMs.record(ms, { vendor, outcome: end.kind })
  const line = { ...about, ms: Math.round(ms), ...end }
  if (end.kind === 'failed') logger.warn(line, 'unit failed')
  else if (end.kind === 'partly') logger.warn(line, 'calendars could not be read beside others that could')
  else if (end.kind === 'blocked') logger.warn(line, 'unit waits for Postgres')
  else logger.debug(line, 'unit ended')
}

/** A gate was closed before the unit began. */
export function refusedByGate(gate: GateName): void {
  metrics.heldRequests.add(1, { gate })
}

/** A gate closed in the middle of it. */
export function unitHeld(gate: GateName): void {
  step('sync.held')
  metrics.heldRequests.add(1, { gate })
}

export function callEnded(
  { connection: { vendor } }: Of,
  { call, outcome, ms }: { readonly call: string; readonly outcome: 'ok' | 'error'; readonly ms: number },
): void {
  metrics.vendorCalls.add(1, { vendor, call, outcome })
  metrics.vendorCallSeconds.record(ms / 1000, { vendor, call })
}

export function pageTooLarge({ logger }: Logs, { connection }: Of, smaller: CalendarRun): void {
  const { calendar, shrunk } = smaller
  logger.info(
    { connectionId: connection.connectionId, calendarId: calendar.calendarId, shrunk },
    'a page was too large and is asked for with a tenth of its items',
  )
}

/** Quarantine: what is unreadable is counted and named, and the row that is stored stays. */
export function itemsLeftOut({ logger }: Logs, { connection }: Of, { unreadable }: Page): void {
  metrics.itemsQuarantined.add(unreadable.length, { vendor: connection.vendor })
  const problems = [...new Set(unreadable.map(({ problem }) => problem))].slice(0, 5)
  logger.warn(
    { connectionId: connection.connectionId, items: unreadable.length, problems },
    'items that cannot be read were left out',
  )
}

export function pageCommitted({ connection: { vendor } }: Of, changes: number): void {
  step('sync.page-committed')
  metrics.pages.add(1, { vendor })
  metrics.itemsProcessed.add(changes, { vendor })
}

export function rowsRemoved({ connection: { vendor } }: Of, rows: number): void {
  metrics.itemsProcessed.add(rows, { vendor })
}

/**
 * What a read found since its cursor, by what had asked for it. What a first or full read finds is
 * not counted: no notification tells of it.
 */
export function changesFound(
  { connection: { vendor }, requests }: Of & Pick<Unit, 'requests'>,
  calendar: CalendarId,
  changes: number,
): void {
  const by = foundBy(
    requests.map(({ message }) => message),
    calendar,
  )
  metrics.foundBy.add(changes, { vendor, by })
}

/** A whole calendar is read, for a reason other than that it never was. */
export function fullReadBegan({ connection: { vendor } }: Of, reason: string): void {
  metrics.resyncs.add(1, { vendor, reason })
}

/** The vendor discarded the place at which a run stood. */
export function readRestarted(unit: Of, restarted: CalendarRun): void {
  step('sync.read-restarted')
  if (restarted.cursor === null) fullReadBegan(unit, 'cursor-expired')
  else placeDropped(unit, 'page', 'expired')
}

export function seriesToldInTwoWays({ logger }: Logs, calendarId: CalendarId): void {
  logger.info({ calendarId }, 'a vendor tells of a series in two ways; only what its page names is changed')
}

export function listedShort(
  { logger }: Logs,
  { connection }: Of,
  { calendarId, events }: { readonly calendarId: CalendarId; readonly events: number },
): void {
  const { connectionId, vendor } = connection
  metrics.listedShort.add(events, { vendor })
  logger.warn(
    { connectionId, calendarId, events },
    'a full read lacked events that the vendor shows when they are asked for by their ids; they are kept',
  )
}

export function massDeleteDoubted({ logger }: Logs, { connection }: Of, calendarId: CalendarId): void {
  logger.warn(
    { connectionId: connection.connectionId, calendarId },
    'a full read lacks many of the events that we hold; they are kept until a second full read agrees',
  )
}

export function calendarEnded(
  { logger }: Logs,
  { connection }: Of,
  calendarId: CalendarId,
  end: 'removed' | 'listed-again',
): void {
  logger.info(
    { connectionId: connection.connectionId, calendarId },
    end === 'removed'
      ? 'a calendar is gone at the vendor and was removed'
      : 'a calendar that was to be removed is listed again and stays',
  )
}

/** A plain listing continues: the usual way was tried and still does not answer. */
export function usualWayFailed({ logger }: Logs, unit: Of, run: CalendarRun, code: string): void {
  placeDropped(unit, 'run', code)
  logger.info(
    { ...namesOf(unit, run), code, tried: run.reading, pages: run.pages + 1 },
    'a calendar that is listed plainly still cannot be read in the usual way',
  )
}

export function runBrokenOff(
  { logger }: Logs,
  unit: Of,
  run: CalendarRun,
  { code, next }: { readonly code: string; readonly next: Reading },
): void {
  placeDropped(unit, 'run', code)
  logger.warn(
    { ...namesOf(unit, run), told: run.progress.told, tried: run.reading, next },
    'a run brought nothing new any more and was broken off; the calendar is read in another way',
  )
}

export function placeLeft(
  { logger }: Logs,
  unit: Of,
  run: CalendarRun,
  left: { readonly place: string; readonly code: string; readonly next: string; readonly by: Reading },
): void {
  placeDropped(unit, left.place, left.code)
  logger.warn(
    { ...namesOf(unit, run), ...left },
    'the vendor goes on failing at one place and answers at another, so the calendar goes on there',
  )
}

function placeDropped({ connection: { vendor } }: Of, place: string, code: string): void {
  metrics.placesDropped.add(1, { vendor, place, code })
}

function namesOf({ connection }: Of, { calendar }: CalendarRun) {
  return { connectionId: connection.connectionId, calendarId: calendar.calendarId }
}

export function faultMet({ logger }: Logs, who: 'a unit' | 'a calendar', error: unknown): void {
  logger.error({ err: error }, `${who} met a fault of calstream`)
}

export function failureCommitted({ connection: { vendor } }: Of, failure: Failure): void {
  step('sync.failure-committed')
  metrics.syncFailures.add(1, { vendor, code: failure.code, call: callOf(failure) })
}

/** Whether the vendor has seen the call that failed. */
function callOf({ code, isKeptBack }: Failure): 'made' | 'none' {
  return code.startsWith('vendor/') && !isKeptBack ? 'made' : 'none'
}

export function calendarsFailed({ connection: { vendor } }: Of, failures: Iterable<Failure>): void {
  for (const { code } of failures) metrics.calendarFailures.add(1, { vendor, code })
}

export function givenUp(topic: string, code: string): void {
  metrics.deadLetters.add(1, { topic, code })
}

export function findsNotKept({ logger }: Logs, error: unknown): void {
  logger.info({ err: error }, 'what reads say of channels could not be kept; the next find says it again')
}

export function parkHeldBack(vendor: VendorName, code: string): void {
  metrics.parksHeldBack.add(1, { vendor, code })
}

export function manyRefused(
  { logger }: Logs,
  about: { readonly vendor: VendorName; readonly code: string; readonly connections: number },
): void {
  logger.error(
    about,
    'many connections are refused at once, so none of them is parked: look at the status page of the vendor and at our app there',
  )
}
