// An ill calendar gives way to its siblings: what it is asked has failed before, and may take as
// long as a call may take. Not for ever: every third try is not ended, only its calls are shorter
// while a sibling waits, and a read that gets on is only interrupted.
import { Failure } from '#shared/domain/failure.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { isIll } from './claim-rules.ts'
import type { Permit } from '../lanes.ts'

/**
 * How long a ring of a sibling waits for an ill calendar:
 * a calendar that is well again usually answers in less.
 */
export const GIVE_WAY_MS = 3_000
const PATIENT_EVERY = 3
/**
 * How long a sibling's ring waits for one call of a third try. A run has at most three places to
 * ask (ADR 16); with the 30 s of an ordinary call siblings waited for a minute and more.
 */
export const PATIENT_CALL_MS = 5_000

export interface OwnPermit extends Disposable {
  readonly permit: Permit
}

/**
 * The permit under which one of a connection's calendars is read: that of an ill one beside a
 * sibling that is well is over, as `sync/gave-way`, soon after a sibling rang.
 */
export function ownPermit(
  permit: Permit,
  calendar: Pick<CalendarRow, 'failures'>,
  calendars: readonly Pick<CalendarRow, 'failures'>[],
): OwnPermit {
  const { rung } = permit
  if (rung === undefined || !isIll(calendar) || calendars.every(isIll))
    return { permit, [Symbol.dispose]: () => {} }
  if ((calendar.failures + 1) % PATIENT_EVERY === 0)
    return { permit: { ...permit, isPatient: true }, [Symbol.dispose]: () => {} }
  const over = endedAfter(rung, GIVE_WAY_MS, () => new Failure('sync/gave-way'))
  return {
    permit: { ...permit, signal: AbortSignal.any([permit.signal, over.signal]) },
    [Symbol.dispose]: () => over[Symbol.dispose](),
  }
}

/**
 * The end of one call under a permit, to be disposed of after it: `signal`, and in every third try
 * of an ill calendar PATIENT_CALL_MS after a ring of a sibling, as `vendor/timeout`.
 */
export function endOfCall(permit: Pick<Permit, 'rung' | 'isPatient'>, signal: AbortSignal): EndOfCall {
  if (permit.isPatient !== true || permit.rung === undefined) return { signal, [Symbol.dispose]: () => {} }
  const seconds = PATIENT_CALL_MS / 1000
  const text = `The vendor did not answer within ${seconds} s, and another calendar of the account waits.`
  const over = endedAfter(permit.rung, PATIENT_CALL_MS, () => new Failure('vendor/timeout', text))
  return {
    signal: AbortSignal.any([signal, over.signal]),
    [Symbol.dispose]: () => over[Symbol.dispose](),
  }
}

export interface EndOfCall extends Disposable {
  readonly signal: AbortSignal
}

/** A signal that aborts `ms` after `rung` did, or after now when that was earlier. */
function endedAfter(rung: AbortSignal, ms: number, reason: () => Failure): EndOfCall {
  const over = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    timer = setTimeout(() => over.abort(reason()), ms)
  }
  if (rung.aborted) begin()
  else rung.addEventListener('abort', begin, { once: true })
  return {
    signal: over.signal,
    [Symbol.dispose]() {
      clearTimeout(timer)
      rung.removeEventListener('abort', begin)
    },
  }
}
