// The front of the Google side: for each call the fault that it meets, the latency knob, the route, the request log. The log entry
// is written whatever happened to the answer, so that the ledger of calls has no hole where a fault struck.
import { type Answer, type Call, render, router, send } from '../http.ts'
import type { Fault, Faults } from '../control/faults.ts'
import type { Knobs } from '../control/knobs.ts'
import { redactQuery, type RequestLog } from '../control/request-log.ts'
import { faultError, googleError } from './errors.ts'
import { accountOfToken } from './oauth.ts'
import { GOOGLE_ROUTES, type GoogleDeps } from './routes.ts'

export interface FrontDeps {
  readonly google: GoogleDeps
  readonly knobs: Knobs
  readonly faults: Faults
  readonly requests: RequestLog
  /** Aborted when the simulator stops: nobody waits for a latency that nobody will see. */
  readonly stopped: AbortSignal
}

/** Pages of HTML instead of JSON come from load balancers in front of the API. */
const HTML_502 =
  '<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title><p><b>502.</b> <ins>That’s an error.</ins></html>'

/** The handler of the Google port. */
export function createFront(deps: FrontDeps): (call: Call) => Promise<void> {
  const find = router(GOOGLE_ROUTES)
  return async (call) => {
    const start = deps.google.world.now()
    const found = find(call.method, call.path)
    const who = identify(deps, call, found?.params['calendarId'])
    const fault = deps.faults.meet({
      method: call.method,
      path: call.path,
      ...who,
      hasPageToken: call.query.has('pageToken'),
      hasSyncToken: call.query.has('syncToken'),
    })
    const half = deps.knobs.latencyMs / 2
    await pause(half + (fault?.delayMs ?? 0), deps.stopped)
    const replaced = fault ? insteadOf(fault) : null
    const work = async (): Promise<Answer> =>
      found ? found.route.handle({ deps: deps.google, call }, found.params) : googleError('notFound')
    const answer = replaced ?? (await work())
    await pause(half, deps.stopped)
    const status = finish(call, answer, fault)
    deps.requests.record({
      start,
      end: deps.google.world.now(),
      method: call.method,
      path: call.path,
      query: redactQuery(call.query),
      ...who,
      status,
      ...answer.note,
      ...present('syncTokenIn', call.query.get('syncToken')),
      ...present('pageTokenIn', call.query.get('pageToken')),
      ...present('faultId', fault?.faultId ?? null),
    })
  }
}

function identify(deps: FrontDeps, call: Call, calendarId: string | undefined) {
  const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1]
  const form = call.path === '/token' ? new URLSearchParams(call.body).get('refresh_token') : null
  const account = accountOfToken(deps.google.oauth, bearer ?? form ?? call.query.get('token') ?? '')
  const calendar = account && calendarId ? deps.google.world.calendar(account.id, calendarId) : undefined
  return { accountId: account?.id ?? null, calendarId: calendar?.id ?? calendarId ?? null }
}

/** What a fault answers without any work being done; null when the work goes on. */
function insteadOf(fault: Fault): Answer | null {
  const { respond } = fault
  if (fault.hang || fault.reset === 'before') return { status: 0 }
  if (fault.html) return { status: respond?.status ?? 502, body: HTML_502, ...headersOf(respond?.headers) }
  if (!respond) return null
  if (respond.body === undefined)
    return { ...faultError(respond.status, respond.reason), ...headersOf(respond.headers) }
  return { status: respond.status, body: respond.body, ...headersOf(respond.headers) }
}

/** Sends the answer, or does to the connection what the fault says; returns the status that the client saw. */
function finish(call: Call, answer: Answer, fault: Fault | null): number {
  const { response } = call.raw
  if (fault?.hang) return 0
  if (fault?.reset !== undefined) {
    response.socket?.resetAndDestroy()
    return 0
  }
  if (!fault?.truncate) {
    send(response, answer)
    return answer.status
  }
  const { payload, type } = render(answer)
  response.writeHead(answer.status, {
    'content-type': type ?? 'application/json; charset=UTF-8',
    'content-length': String(payload.length),
  })
  response.write(payload.subarray(0, Math.floor(payload.length / 2)), () => response.destroy())
  return 0
}

function headersOf(headers: Readonly<Record<string, string>> | undefined) {
  return headers ? { headers } : {}
}

function present<K extends string>(key: K, value: string | null): Partial<Record<K, string>> {
  return value === null ? {} : ({ [key]: value } as Record<K, string>)
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
