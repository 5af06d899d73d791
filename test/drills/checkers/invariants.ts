// All invariants by id, as a table.
import type { Ledgers } from '../ledgers/ledgers.ts'
import { runChecker, type Checker, type CheckResult, type InvariantId } from './check.ts'
import { backoffKept, credentialsBound, poisonIsolated, telemetryIsTrue } from './failures.ts'
import {
  appliedOnce,
  cursorNeverAhead,
  noPartialState,
  noStaleWriter,
  orderKept,
  singleFlight,
} from './history.ts'
import { ackMeansDurable, answerContract, idempotentIngress } from './ingress.ts'
import { bounded, cleanStop, disconnectIsFinal, noSecretLeaks, restartsFromAnything } from './keeping.ts'
import { foldEqualsState, noLostChange, nothingInvented } from './state.ts'
import { everyMessageOut } from './stream.ts'
import { alive, caughtUp, offMeansOff, removalIsPerConnection } from './switches.ts'

export const INVARIANTS: readonly Checker[] = [
  noLostChange,
  nothingInvented,
  appliedOnce,
  everyMessageOut,
  foldEqualsState,
  noPartialState,
  cursorNeverAhead,
  orderKept,
  noStaleWriter,
  singleFlight,
  offMeansOff,
  removalIsPerConnection,
  caughtUp,
  backoffKept,
  ackMeansDurable,
  idempotentIngress,
  answerContract,
  noSecretLeaks,
  credentialsBound,
  bounded,
  alive,
  poisonIsolated,
  telemetryIsTrue,
  cleanStop,
  disconnectIsFinal,
  restartsFromAnything,
]

/** Those that hold in every drill, whatever it does. */
export const ALWAYS: readonly InvariantId[] = [
  'I1',
  'I2',
  'I3',
  'I4',
  'I5',
  'I6',
  'I7',
  'I8',
  'I9',
  'I18',
  'I20',
  'I21',
]

/** Judges; unknown ids throw, so that a misspelt one proves nothing. */
export function judgeInvariants(
  ids: readonly InvariantId[],
  ledgers: Ledgers,
): ReadonlyMap<InvariantId, CheckResult> {
  return new Map(
    [...new Set(ids)].map((id) => {
      const checker = INVARIANTS.find((one) => one.id === id)
      if (!checker) throw new Error(`there is no invariant ${id}`)
      return [id, runChecker(checker, ledgers)]
    }),
  )
}
