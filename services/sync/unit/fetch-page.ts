// Step 2 of a unit: calls to the vendor. Invariant: the gates are asked before every call, also
// before one that follows a token refresh; a stop cuts a call off (it rejects with the stop's
// reason), because its page can be fetched again.
import { performance } from 'node:perf_hooks'
import { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { Mailbox } from '#shared/vendors/mailbox.ts'
import { processRoom } from '#shared/vendors/room.ts'
import type { CursorExpired, Page } from '#shared/vendors/vendor.ts'
import { callEnded, itemsLeftOut, pageTooLarge } from './events.ts'
import { withSmallerPages, type CalendarRun } from './read-run.ts'
import { asRefused, confirmRefusal, isKnownRefused, ofCalendar } from './confirm-refusal.ts'
import { endOfCall } from './give-way.ts'
import type { Permit } from '../lanes.ts'
import { isPaced, paced } from './pace.ts'
import { interruption, type Interruption, type Unit, type UnitDeps } from './unit.ts'
import { nextSeries, seriesToRead, vendorsPageToken } from './whole-series.ts'

/** Whose call it is, and what is called. */
interface Of {
  readonly run: CalendarRun
  readonly permit: Permit
  readonly name: 'page' | 'series' | 'event'
}

/**
 * The page is too large, and smaller ones have not all been tried:
 * an expected outcome, not a failure.
 */
export interface TooLarge {
  readonly kind: 'too-large'
  /** Where to go on. */
  readonly smaller: CalendarRun
}

/**
 * A call that did not come to be, because the account's token could not be had:
 * no fault of the calendar.
 */
export class AccountTrouble extends Error {
  override readonly name = 'AccountTrouble'
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message, { cause: failure })
    this.failure = failure
  }
}

/**
 * Fetches the page at which a run stands. Throws Failure or AccountTrouble; when the permit is
 * stopped or taken away, that signal's reason.
 */
export async function fetchPage(
  deps: UnitDeps,
  unit: Unit,
  run: CalendarRun,
  permit: Permit,
): Promise<Page | CursorExpired | Interruption | TooLarge> {
  try {
    return await fetchSized(deps, unit, run, permit)
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'vendor/answer-too-large') throw error
    const smaller = withSmallerPages(run)
    if (smaller === null) throw error
    pageTooLarge(deps, unit, smaller)
    return { kind: 'too-large', smaller }
  }
}

async function fetchSized(
  deps: UnitDeps,
  unit: Unit,
  run: CalendarRun,
  permit: Permit,
): Promise<Page | CursorExpired | Interruption> {
  const left = seriesToRead(run)
  if (left !== null)
    return nextSeries(deps, run, left, (series) =>
      call(deps, unit, { run, permit, name: 'series' }, (mailbox, signal) =>
        mailbox.fetchSeries(series, signal),
      ),
    )
  const request = {
    vendorCalendarId: run.calendar.vendorCalendarId,
    cursor: run.cursor,
    pageToken: vendorsPageToken(run),
    window: run.window,
    shrunk: run.shrunk,
    reading: run.reading,
  }
  const page = await call(deps, unit, { run, permit, name: 'page' }, (mailbox, signal) =>
    mailbox.fetchPage(request, signal),
  )
  if (page.kind === 'page' && page.unreadable.length > 0) itemsLeftOut(deps, unit, page)
  return page
}

/** Whether an event that a full read lacked is there. Throws what `fetchPage` throws. */
export function lookUp(
  deps: UnitDeps,
  unit: Unit,
  { run, permit }: Pick<Of, 'run' | 'permit'>,
  vendorEventId: string,
): Promise<'there' | 'gone' | Interruption> {
  const { vendorCalendarId } = run.calendar
  const request = { vendorCalendarId, vendorEventId, window: run.window }
  return call(deps, unit, { run, permit, name: 'event' }, (mailbox, signal) =>
    mailbox.lookUp(request, signal),
  )
}

/**
 * One call behind the gates, counted. Throws what the mailbox throws, and AccountTrouble when there
 * was no token for it.
 */
function call<T>(
  deps: UnitDeps,
  unit: Unit,
  { run, permit, name }: Of,
  ask: (mailbox: Mailbox<Interruption>, signal: AbortSignal) => Promise<T>,
): Promise<T | Interruption> {
  const signal = AbortSignal.any([permit.signal, permit.stopping])
  const isKnown = isKnownRefused(unit, run)
  return paced(deps.clock, signal, async () => {
    let calls = 0
    let refusal: unknown
    const mailbox = deps.mailboxes.of<Interruption>(unit.connection, async (send) => {
      const stop = interruption(deps, unit, permit)
      if (stop !== null) return stop
      calls += 1
      try {
        return await timed(unit, name, send)
      } catch (error) {
        // Of a page that is asked for again, after a refreshed token or a wait for the budget,
        // nothing is in hand any more; of series, what was read of others is.
        if (name === 'page') processRoom.forget()
        refusal = isKnown ? asRefused(error) : error
        throw refusal
      }
    })
    using end = endOfCall(permit, signal)
    try {
      return await ask(mailbox, end.signal)
    } catch (error) {
      // A second call with a fresh token that was refused as well is about what was called.
      const isOfCall = error === refusal || calls > 1
      if (!(error instanceof Failure) || isPaced(error) || error.code === 'sync/gave-way') throw error
      if (!isOfCall) throw new AccountTrouble(error)
      if (error.kind !== 'refused') throw error
      if (isKnown) throw ofCalendar(error)
      return whoIsRefused(deps, unit, permit, { failure: error, isFresh: calls > 1 })
    }
  })
}

/** Throws what the vendor refuses: this call, or as AccountTrouble the account. */
async function whoIsRefused(
  deps: UnitDeps,
  unit: Unit,
  permit: Permit,
  refused: { readonly failure: Failure; readonly isFresh: boolean },
): Promise<Interruption> {
  // What was read a moment ago is answer enough.
  if (unit.progress.pages > 0) throw ofCalendar(refused.failure)
  const stop = interruption(deps, unit, permit)
  if (stop !== null) return stop
  const signal = AbortSignal.any([permit.signal, permit.stopping])
  const failure = await timed(unit, 'account', () =>
    confirmRefusal(deps.mailboxes.of(unit.connection), refused, signal),
  )
  throw settlementOf(failure).action === 'retry-refused' ? failure : new AccountTrouble(failure)
}

async function timed<T>(unit: Unit, call: string, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now()
  let outcome: 'ok' | 'error' = 'error'
  try {
    const result = await work()
    outcome = 'ok'
    return result
  } finally {
    callEnded(unit, { call, outcome, ms: performance.now() - startedAt })
  }
}
