// Step 2 of a unit: calls to the vendor. Invariants: the gates are asked before every call, also
// before one that follows a token refresh; a stop cuts a call off (it rejects with the stop's
// reason), because its page can be fetched again; a refusal is the account's only when two calls of
// different kinds were refused, so no single resource parks a connection.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Mailbox } from '#shared/vendors/mailbox.ts'
import { processRoom } from '#shared/vendors/room.ts'
import type { CursorExpired, Page } from '#shared/vendors/vendor.ts'
import { callEnded, itemsLeftOut, pageTooLarge } from './moments.ts'
import { withSmallerPages, type CalendarRun } from './read-run.ts'
import { endOfCall } from './give-way.ts'
import type { Permit } from '../lanes.ts'
import { interruption, type Interruption, type Unit, type UnitDeps } from './unit.ts'
import { nextSeries, seriesToRead, vendorsPageToken } from './whole-series.ts'

/** Longer than the steps of any budget; a unit that would wait longer gives its slot to others. */
const BUDGET_WAIT_MAX_MS = 5_000
const BUDGET_SPREAD_MS = 250
/** Refusals of our own, with the time at which the call fits. */
const PACED: ReadonlySet<FailureCode> = new Set(['vendor/budget-spent', 'vendor/recovering'])

/** Whose call it is, and what is called. */
interface Of {
  readonly run: CalendarRun
  readonly permit: Permit
  readonly name: 'page' | 'series' | 'event'
}

interface Refused {
  /** What was said of the calendar: a failure of kind `refused`. */
  readonly failure: Failure
  /** Whether the token that was refused was fetched for this call. */
  readonly isFresh: boolean
}

/**
 * The page is too large, and smaller ones have not all been tried:
 * an expected outcome, not a failure.
 */
export interface TooLarge {
  readonly kind: 'too-large'
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
export async function pageOfRun(
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

/** Whether an event that a full read lacked is there. Throws what `pageOfRun` throws. */
export function lookUpEvent(
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
      if (!(error instanceof Failure) || PACED.has(error.code) || error.code === 'sync/gave-way') throw error
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
  refused: Refused,
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

/**
 * One question about the account as a whole, with a fresh token.
 * @returns the failure as it counts: `vendor/call-refused` when the account answers,
 * `vendor/account-refused` or `vendor/no-mailbox` when it is refused as well, or what the question
 * met instead. Throws the signal's reason.
 */
async function confirmRefusal(
  mailbox: Pick<Mailbox, 'probeAccount'>,
  { failure, isFresh }: Refused,
  signal: AbortSignal,
): Promise<Failure> {
  try {
    await mailbox.probeAccount(isFresh, signal)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return confirmed(failure, error)
  }
  return ofCalendar(failure)
}

function confirmed(first: Failure, second: Failure): Failure {
  const isRefused = second.kind === 'refused' || second.code === 'vendor/token-rejected'
  if (!isRefused || second.code === 'vendor/token-refused') return second
  const named = [first, second].find(({ code }) => code === 'vendor/no-mailbox')
  const told = second.code === 'vendor/token-rejected' ? first : second
  return named ?? new Failure('vendor/account-refused', `${told.message} The whole account is refused.`)
}

/**
 * Whether this calendar was refused the last time, with a fresh token too, while the account was
 * let in. Asking all that again at each try would cost four calls instead of one; whatever is wrong
 * with the account, its siblings that are well find out.
 */
function isKnownRefused({ connection }: Unit, { calendar }: CalendarRun): boolean {
  return !connection.isAllIll && calendar.lastCode === ('vendor/call-refused' satisfies FailureCode)
}

/** What a known refusal is told as: it asks for no other token. */
function asRefused(error: unknown): unknown {
  const isToken = error instanceof Failure && error.code === 'vendor/token-rejected'
  return isToken ? new Failure('vendor/call-refused', 'The vendor keeps refusing this calendar.') : error
}

/** A refusal of one calendar while the account answers, or was not asked. */
function ofCalendar(failure: Failure): Failure {
  return failure.scope === 'calendar' ? failure : new Failure('vendor/call-refused', failure.message)
}

/**
 * Waits for our own budget, or for its turn at a vendor that has just come back, when that is soon:
 * a backfill is slowed down, not failed. The gates are asked again after every wait, so a unit that
 * waits still hands over after its minute.
 */
async function paced<T>(clock: Clock, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Failure) || !PACED.has(error.code)) throw error
      const waitMs = ((error.retryAt ?? 0) - clock.now()) / 1000
      if (waitMs > BUDGET_WAIT_MAX_MS) throw error
      // Spread, or all units that wait would ask at the same moment for the one call that fits.
      // A turn belongs to one of them.
      const spreadMs = error.code === 'vendor/recovering' ? 0 : BUDGET_SPREAD_MS * Math.random()
      await delay(Math.max(0, waitMs) + spreadMs, undefined, { signal }).catch(() => {
        throw signal.reason
      })
    }
  }
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
