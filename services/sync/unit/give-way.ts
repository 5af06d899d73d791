// An ill calendar gives way to its siblings: what it is asked has failed before, and may take as
// long as a call may take. Not for ever: every third try has all the time that it wants, and a read
// that gets on is only interrupted.
import { Failure } from '#shared/domain/failure.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { isIll } from './claim-rules.ts'
import type { Turn } from '../lanes.ts'

/**
 * How long a ring of a sibling waits for an ill calendar:
 * a calendar that is well again usually answers in less.
 */
export const GIVE_WAY_MS = 3_000
const PATIENT_EVERY = 3

export interface OwnTurn extends Disposable {
  readonly turn: Turn
}

/**
 * The turn in which one of a connection's calendars is read: that of an ill one beside a sibling
 * that is well is over, as `sync/gave-way`, soon after somebody rang.
 */
export function ownTurn(
  turn: Turn,
  calendar: Pick<CalendarRow, 'failures'>,
  calendars: readonly Pick<CalendarRow, 'failures'>[],
): OwnTurn {
  const { rung } = turn
  const isPatient = (calendar.failures + 1) % PATIENT_EVERY === 0
  if (rung === undefined || !isIll(calendar) || isPatient || calendars.every(isIll))
    return { turn, [Symbol.dispose]: () => {} }
  const over = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    timer = setTimeout(() => over.abort(new Failure('sync/gave-way')), GIVE_WAY_MS)
  }
  if (rung.aborted) begin()
  else rung.addEventListener('abort', begin, { once: true })
  return {
    turn: { ...turn, signal: AbortSignal.any([turn.signal, over.signal]) },
    [Symbol.dispose]() {
      clearTimeout(timer)
      rung.removeEventListener('abort', begin)
    },
  }
}
