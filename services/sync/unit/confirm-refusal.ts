// Whether a vendor refuses one calendar or the account: one question about the account as a whole,
// with a fresh token. Invariant: a refusal is the account's only when two calls of different kinds
// were refused, so no single resource parks anybody.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Mailbox } from '#shared/vendors/mailbox.ts'
import type { CalendarRun } from './read-run.ts'
import type { Unit } from './unit.ts'

export interface Refused {
  /** What was said of the calendar: a failure of kind `refused`. */
  readonly failure: Failure
  /** Whether the token that was refused was fetched for this call. */
  readonly isFresh: boolean
}

/**
 * Asks.
 * @returns the failure as it counts: `vendor/call-refused` when the account answers,
 * `vendor/account-refused` or `vendor/no-mailbox` when it is refused as well, or what the question
 * met instead. Throws the signal's reason.
 */
export async function confirmRefusal(
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

/**
 * Whether this calendar was refused the last time, with a fresh token too, while the account was
 * let in. Asking all that again at each try would cost four calls instead of one; whatever is wrong
 * with the account, its siblings that are well find out.
 */
export function isKnownRefused({ connection }: Unit, { calendar }: CalendarRun): boolean {
  return !connection.isAllIll && calendar.lastCode === ('vendor/call-refused' satisfies FailureCode)
}

/** What a known refusal is told as: it asks for no other token. */
export function asRefused(error: unknown): unknown {
  const isToken = error instanceof Failure && error.code === 'vendor/token-rejected'
  return isToken ? new Failure('vendor/call-refused', 'The vendor goes on refusing this calendar.') : error
}

/** A refusal of one calendar while the account answers, or was not asked. */
export function ofCalendar(failure: Failure): Failure {
  return failure.scope === 'calendar' ? failure : new Failure('vendor/call-refused', failure.message)
}

function confirmed(first: Failure, second: Failure): Failure {
  const isRefused = second.kind === 'refused' || second.code === 'vendor/token-rejected'
  if (!isRefused || second.code === 'vendor/token-refused') return second
  const named = [first, second].find(({ code }) => code === 'vendor/no-mailbox')
  const told = second.code === 'vendor/token-rejected' ? first : second
  return named ?? new Failure('vendor/account-refused', `${told.message} The whole account is refused.`)
}
