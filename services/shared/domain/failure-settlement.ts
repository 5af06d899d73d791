// What follows from a failure: the one place that decides it, for a unit of the sync, a relay and
// a job of the scheduler. `kind` and `scope` of a code say what happened; this says what is done.
// Pure. Each action is there because one of the three does something of its own about it
// (`settleUnit`, `settleBatch`, `settleJob`).
import { FAILURE_CODES, type CodeEntry, type FailureCode } from './failure.ts'

export type FailureAction =
  /** Passes without a person: tried again. */
  | 'retry'
  /** The vendor refuses this one calendar, and lets the account in: tried again. */
  | 'retry-refused'
  /** Seldom passes, yet is tried again: the vendor or a release may mend it. */
  | 'retry-fault'
  /** The account is refused in undocumented words: tried again; parked when that lasts. */
  | 'judge'
  /** Documented words about one grant: parked. */
  | 'park'
  /** The vendor says that the calendar is gone: the list of calendars decides. */
  | 'check-list'
  /** Kafka will never take this record: a dead letter takes its place. */
  | 'dead-letter'
  /** A newer unit does the work, or it is unknown whether it was saved: nothing is written. */
  | 'abandon'
  /** A newer relay publishes this shard: it is let go. */
  | 'drop-shard'
  /** Something of ours is away, and nothing can be recorded: the work waits. */
  | 'wait'

export interface Settlement {
  readonly action: FailureAction
  /**
   * Met while one calendar was read, it is that calendar's alone, whatever its scope says in
   * general: a vendor that is down is met by every calendar, and then it is the connection's.
   * What concerns the grant, the quota of the mailbox, our store or the unit itself never is.
   */
  readonly isOfCalendar: boolean
  /**
   * Adds to error_count: being throttled, outages of ours, and refusals that may be everybody's
   * do not.
   */
  readonly countsAsAttempt: boolean
  /**
   * The pause grows with the failures before: not where we ourselves kept the call back, since the
   * moment that `retryAt` names is then known and a call in vain costs the vendor nothing.
   */
  readonly growsBackoff: boolean
  /**
   * The vendor itself said that there were too many calls; limits of ours and outages are not
   * meant.
   */
  readonly isThrottledByVendor: boolean
}

/** What follows from a failure. */
export function settlementOf({ code }: { readonly code: FailureCode }): Settlement {
  const failure: Met = { code, ...FAILURE_CODES[code] }
  const action = actionOf(failure)
  return {
    action,
    isOfCalendar: isOfCalendar(failure),
    countsAsAttempt: countsAsAttempt(failure, action),
    growsBackoff: code !== 'vendor/refusing-all' && code !== 'vendor/recovering',
    isThrottledByVendor: code === 'vendor/throttled' || code === 'vendor/quota-exhausted',
  }
}

interface Met extends Pick<CodeEntry, 'kind' | 'scope'> {
  readonly code: FailureCode
}

function actionOf({ kind, scope }: Met): FailureAction {
  if (scope === 'process') return kind === 'conflict' ? 'drop-shard' : 'wait'
  switch (kind) {
    case 'transient':
    case 'throttled':
      return 'retry'
    case 'unauthorized':
      return 'park'
    case 'refused':
      return scope === 'connection' ? 'judge' : 'retry-refused'
    case 'gone':
      return 'check-list'
    case 'conflict':
      return 'abandon'
    case 'invalid':
      return scope === 'message' ? 'dead-letter' : 'retry-fault'
    case 'defect':
      return 'retry-fault'
    default:
      return kind satisfies never
  }
}

function isOfCalendar({ code, kind, scope }: Met): boolean {
  if (scope === 'process' || kind === 'conflict') return false
  if (kind === 'throttled' || kind === 'refused') return scope === 'calendar'
  return !OF_CONNECTION.has(code)
}

const OF_CONNECTION: ReadonlySet<FailureCode> = new Set([
  'vendor/grant-revoked',
  'vendor/admin-required',
  'vendor/no-offline-access',
  'vendor/client-rejected',
  'credentials/unreadable',
  'store/contention',
])

function countsAsAttempt(failure: Met, action: FailureAction): boolean {
  if (failure.kind === 'throttled' || failure.scope === 'process') return false
  return action !== 'judge' && failure.code !== 'vendor/client-rejected'
}
