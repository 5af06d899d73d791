// The front of a vendor's port: for each call the fault that it meets, the latency knob, the
// budgets, the route, the request log. The log entry is written whatever happened to the answer, so
// that the ledger of calls has no hole where a fault struck; the calls of a batch go through here
// too, each with an entry of its own.
import { type Answer, type Call, type Operation, type Route, router } from '../http.ts'
import type { Fault, Faults } from '../control/faults.ts'
import type { Knobs } from '../control/knobs.ts'
import { redactQuery, type RequestLog } from '../control/request-log.ts'
import { breakAnswer, insteadOf, pause } from './breakage.ts'
import { createEndlessRuns, type EndlessRuns } from './endless-run.ts'

export interface Who {
  readonly accountId: string | null
  readonly calendarId: string | null
}

/** What is the vendor's own. */
export interface Side<C> {
  readonly vendor: 'google' | 'microsoft'
  readonly routes: readonly Route<C>[]
  /** `within` answers a call that came inside of another. */
  readonly context: (call: Call, within: (inner: Call) => Promise<Answer>) => C
  /** Whose call it is, as far as its token tells, live or not. */
  readonly identify: (call: Call, params: Readonly<Record<string, string>>) => Who
  /**
   * The vendor's error body for an injected status and reason;
   * the sign-in has another than the API.
   */
  readonly faultError: (status: number, reason: string | undefined, operation: Operation | null) => Answer
  readonly notFound: () => Answer
  /** Refuses a call that is over a budget; null lets it pass. */
  readonly admit: (call: Call, who: Who, operation: Operation | null) => Answer | null
  /** Gives a call its place among those in flight, and what takes it back; or refuses it. */
  readonly enter?: (call: Call, who: Who) => Answer | (() => void)
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

/**
 * Where a call came from, and how its answer gets there;
 * resolves to the status that was seen there.
 */
interface Door {
  readonly inBatch: boolean
  readonly deliver: (answer: Answer, fault: Fault | null) => number | Promise<number>
}

interface Port<C> {
  readonly deps: FrontDeps
  readonly side: Side<C>
  readonly find: ReturnType<typeof router<C>>
  readonly endless: EndlessRuns
}

/** The handler of a vendor's port. */
export function createFront<C>(deps: FrontDeps, side: Side<C>): (call: Call) => Promise<void> {
  const port = { deps, side, find: router(side.routes), endless: createEndlessRuns() }
  return (call) =>
    take(port, call, {
      inBatch: false,
      deliver: (answer, fault) => breakAnswer(call, answer, fault, deps.stopped),
    })
}

async function take<C>(port: Port<C>, call: Call, { inBatch, deliver }: Door): Promise<void> {
  const { deps, side } = port
  const start = deps.now()
  const found = port.find(call.method, call.path)
  const operation = found?.route.operation ?? null
  const who = side.identify(call, found?.params ?? {})
  const fault = meetFault(port, call, { operation, who, inBatch })
  const place = side.enter?.(call, who)
  const work = async (): Promise<Answer> =>
    (typeof place === 'object' ? place : null) ??
    side.admit(call, who, operation) ??
    (found
      ? found.route.handle(
          side.context(call, (inner) => answerWithin(port, inner)),
          found.params,
        )
      : side.notFound())
  try {
    const half = deps.knobs.latencyMs / 2
    await pause(half + (fault?.delayMs ?? 0), deps.stopped)
    const error = (status: number, reason: string | undefined) => side.faultError(status, reason, operation)
    const replaced = fault ? (insteadOf(fault, error) ?? port.endless.next(fault, call)) : null
    const real = replaced === null || fault?.afterWork === true ? await work() : null
    const done = real !== null && fault?.goesOn !== undefined ? port.endless.begin(fault, call, real) : real
    const answer = dated(replaced ?? done ?? side.notFound(), deps.now())
    await pause(half, deps.stopped)
    const status = await deliver(answer, fault)
    record(port, call, { start, who, status, answer, fault })
  } finally {
    if (typeof place === 'function') place()
  }
}

async function answerWithin<C>(port: Port<C>, call: Call): Promise<Answer> {
  let given = port.side.notFound()
  await take(port, call, {
    inBatch: true,
    deliver: (answer) => {
      given = answer
      return answer.status
    },
  })
  return given
}

function meetFault<C>(
  { deps, side }: Port<C>,
  call: Call,
  about: { readonly operation: Operation | null; readonly who: Who; readonly inBatch: boolean },
): Fault | null {
  return deps.faults.meet({
    vendor: side.vendor,
    operation: about.operation,
    method: call.method,
    path: call.path,
    ...about.who,
    place:
      call.query.get('pageToken') ??
      call.query.get('$skiptoken') ??
      call.query.get('syncToken') ??
      call.query.get('$deltatoken'),
    items: itemsAskedFor(call),
    hasPageToken: call.query.has('pageToken') || call.query.has('$skiptoken'),
    hasSyncToken: call.query.has('syncToken') || call.query.has('$deltatoken'),
    inBatch: about.inBatch,
  })
}

/**
 * Google takes the number as a parameter, Graph as a parameter of a list or as a preference of a
 * delta.
 */
function itemsAskedFor({ query, headers }: Call): number | null {
  const preferred = /odata\.maxpagesize=(\d+)/.exec(String(headers['prefer'] ?? ''))?.[1]
  const asked = query.get('maxResults') ?? query.get('$top') ?? preferred
  return asked === undefined ? null : Number(asked)
}

function record<C>(
  { deps, side }: Port<C>,
  call: Call,
  seen: { start: number; who: Who; status: number; answer: Answer; fault: Fault | null },
): void {
  const { start, who, status, answer, fault } = seen
  deps.requests.record({
    start,
    end: deps.now(),
    vendor: side.vendor,
    method: call.method,
    path: call.path,
    query: redactQuery(call.query),
    ...who,
    status,
    ...answer.note,
    ...present('syncTokenIn', call.query.get('syncToken') ?? call.query.get('$deltatoken')),
    ...present('pageTokenIn', call.query.get('pageToken') ?? call.query.get('$skiptoken')),
    ...present('retryAfter', answer.headers?.['retry-after'] ?? null),
    ...present('faultId', fault?.faultId ?? null),
  })
}

/** The vendor's clock is in its answers too. */
function dated(answer: Answer, now: number): Answer {
  return { ...answer, headers: { date: new Date(now).toUTCString(), ...answer.headers } }
}

function present<K extends string>(key: K, value: string | null): Partial<Record<K, string>> {
  return value === null ? {} : ({ [key]: value } as Record<K, string>)
}
