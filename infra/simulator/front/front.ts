// The front of a vendor's port: for each call the fault that it meets, the latency knob, the budgets, the route, the request log.
// The log entry is written whatever happened to the answer, so that the ledger of calls has no hole where a fault struck.
import { type Answer, type Call, type Operation, type Route, router } from '../http.ts'
import type { Faults } from '../control/faults.ts'
import type { Knobs } from '../control/knobs.ts'
import { redactQuery, type RequestLog } from '../control/request-log.ts'
import { breakAnswer, insteadOf, pause } from './breakage.ts'

export interface Who {
  readonly accountId: string | null
  readonly calendarId: string | null
}

/** What is the vendor's own. */
export interface Side<C> {
  readonly vendor: 'google' | 'microsoft'
  readonly routes: readonly Route<C>[]
  readonly context: (call: Call) => C
  /** Whose call it is, as far as its token tells, live or not. */
  readonly identify: (call: Call, params: Readonly<Record<string, string>>) => Who
  /** The vendor's error body for an injected status and reason. */
  readonly faultError: (status: number, reason: string | undefined) => Answer
  readonly notFound: () => Answer
  /** Refuses a call that is over a budget; null lets it pass. */
  readonly admit: (call: Call, who: Who, operation: Operation | null) => Answer | null
}

export interface FrontDeps {
  /** ms epoch of the simulated clock. */
  readonly now: () => number
  readonly knobs: Knobs
  readonly faults: Faults
  readonly requests: RequestLog
  /** Aborted when the simulator stops: nobody waits for a latency that nobody will see. */
  readonly stopped: AbortSignal
}

/** The handler of a vendor's port. */
export function createFront<C>(deps: FrontDeps, side: Side<C>): (call: Call) => Promise<void> {
  const find = router(side.routes)
  return async (call) => {
    const start = deps.now()
    const found = find(call.method, call.path)
    const operation = found?.route.operation ?? null
    const who = side.identify(call, found?.params ?? {})
    const { vendor } = side
    const fault = deps.faults.meet({
      vendor,
      operation,
      method: call.method,
      path: call.path,
      ...who,
      hasPageToken: call.query.has('pageToken') || call.query.has('$skiptoken'),
      hasSyncToken: call.query.has('syncToken') || call.query.has('$deltatoken'),
    })
    const half = deps.knobs.latencyMs / 2
    await pause(half + (fault?.delayMs ?? 0), deps.stopped)
    const work = async (): Promise<Answer> =>
      side.admit(call, who, operation) ??
      (found ? found.route.handle(side.context(call), found.params) : side.notFound())
    const replaced = fault ? insteadOf(fault, side.faultError) : null
    const done = replaced === null || fault?.afterWork === true ? await work() : null
    const answer = dated(replaced ?? done ?? side.notFound(), deps.now())
    await pause(half, deps.stopped)
    const status = await breakAnswer(call, answer, fault, deps.stopped)
    deps.requests.record({
      start,
      end: deps.now(),
      vendor,
      method: call.method,
      path: call.path,
      query: redactQuery(call.query),
      ...who,
      status,
      ...answer.note,
      ...present('syncTokenIn', call.query.get('syncToken')),
      ...present('pageTokenIn', call.query.get('pageToken')),
      ...present('retryAfter', answer.headers?.['retry-after'] ?? null),
      ...present('faultId', fault?.faultId ?? null),
    })
  }
}

/** The vendor's clock is in its answers too. */
function dated(answer: Answer, now: number): Answer {
  return { ...answer, headers: { date: new Date(now).toUTCString(), ...answer.headers } }
}

function present<K extends string>(key: K, value: string | null): Partial<Record<K, string>> {
  return value === null ? {} : ({ [key]: value } as Record<K, string>)
}
