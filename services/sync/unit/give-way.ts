// An ill calendar gives way to its siblings: what it is asked has failed before, and may take as
// long as a call may take. Not for ever: every third try is not ended, only its calls are shorter
// while a sibling waits, and a read that gets on is only interrupted.
import { Failure } from '#shared/domain/failure.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { isIll } from './claim-rules.ts'
import type { Permit } from '../lanes.ts'

/**
 * How long a request for a sibling waits for an ill calendar:
 * a calendar that is well again usually answers in less.
 */
export const GIVE_WAY_MS = 3_000
const PATIENT_EVERY = 3
/**
 * How long a sibling's request waits for one call of a third try. A run has at most three places to
 * ask (ADR 16); with the 30 s of an ordinary call siblings waited for a minute and more.
 */
export const PATIENT_CALL_MS = 5_000

interface End extends Disposable {
  readonly signal: AbortSignal
}
const NOTHING_TO_END: Disposable = { [Symbol.dispose]() {} }

/**
 * The permit under which one of a connection's calendars is read, to be disposed of after that:
 * that of an ill one beside a sibling that is well is over, as `sync/gave-way`, soon after a
 * sibling rang.
 */
export function ownPermit(
  permit: Permit,
  calendar: Pick<CalendarRow, 'failures'>,
  calendars: readonly Pick<CalendarRow, 'failures'>[],
): Permit & Disposable {
  const { rung, signal } = permit
  if (rung === undefined || !isIll(calendar) || calendars.every(isIll))
    return { ...permit, ...NOTHING_TO_END }
  if ((calendar.failures + 1) % PATIENT_EVERY === 0) return { ...permit, isPatient: true, ...NOTHING_TO_END }
  return { ...permit, ...endedAfter(rung, GIVE_WAY_MS, signal, () => new Failure('sync/gave-way')) }
}

/**
 * The end of one call under a permit, to be disposed of after it: `signal`, and in every third try
 * of an ill calendar PATIENT_CALL_MS after a request for a sibling, as `vendor/timeout`.
 */
export function endOfCall(permit: Pick<Permit, 'rung' | 'isPatient'>, signal: AbortSignal): End {
  if (permit.isPatient !== true || permit.rung === undefined) return { signal, ...NOTHING_TO_END }
  const seconds = PATIENT_CALL_MS / 1000
  const text = `The vendor did not answer within ${seconds} s, and another calendar of the account waits.`
  return endedAfter(permit.rung, PATIENT_CALL_MS, signal, () => new Failure('vendor/timeout', text))
}

/** `signal`, or `ms` after `rung` aborted, or after now when that was earlier. */
function endedAfter(rung: AbortSignal, ms: number, signal: AbortSignal, reason: () => Failure): End {
  const over = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    timer = setTimeout(() => over.abort(reason()), ms)
  }
  if (rung.aborted) begin()
  else rung.addEventListener('abort', begin, { once: true })
  return {
    signal: AbortSignal.any([signal, over.signal]),
    [Symbol.dispose]() {
      clearTimeout(timer)
      rung.removeEventListener('abort', begin)
    },
  }
}
