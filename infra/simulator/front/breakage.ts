// What an injected fault does to an answer: puts another in its place, or breaks the connection,
// the body or the content type.
import { type Answer, type Call, render, send } from '../http.ts'
import type { Fault } from '../control/faults.ts'

/** Pages of HTML instead of JSON come from load balancers in front of the API. */
const HTML_502 =
  '<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title><p><b>502.</b> <ins>That’s an error.</ins></html>'
/**
 * An endless body ends here after all,
 * so that a client without a limit does not take this process with it.
 */
const ENDLESS_BYTES_MAX = 1_073_741_824
const ENDLESS_CHUNK = Buffer.alloc(65_536, ' ')
const TRICKLE_TICK_MS = 50

/**
 * What a fault answers in place of the real answer;
 * null when that stands (and may be broken on the way out).
 */
export function insteadOf(
  fault: Fault,
  faultError: (status: number, reason: string | undefined) => Answer,
): Answer | null {
  const { respond } = fault
  if (fault.hang || fault.reset === 'before') return { status: 0 }
  if (fault.html) return { status: respond?.status ?? 502, body: HTML_502, ...headersOf(respond?.headers) }
  if (!respond) return null
  if (respond.body !== undefined)
    return { status: respond.status, body: respond.body, ...headersOf(respond.headers) }
  const error = faultError(respond.status, respond.reason)
  return { ...error, headers: { ...error.headers, ...respond.headers } }
}

/**
 * Sends the answer, or does to it what the fault says; resolves to the status that the client saw,
 * 0 for none or half of one.
 */
export async function breakAnswer(
  call: Call,
  answer: Answer,
  fault: Fault | null,
  stopped: AbortSignal,
): Promise<number> {
  const { response } = call.raw
  if (fault?.hang) return 0
  if (fault?.reset !== undefined) {
    response.socket?.resetAndDestroy()
    return 0
  }
  if (fault?.swell) return swell(call, answer, fault.swell, stopped)
  const typed = fault?.contentType
    ? { ...answer, headers: { ...answer.headers, 'content-type': fault.contentType } }
    : answer
  const broken = fault?.truncate || fault?.endless || fault?.bytesPerSecond !== undefined
  if (!broken) {
    send(response, typed)
    return answer.status
  }
  const { payload, type } = render(typed)
  const headers = { 'content-type': type ?? 'application/json; charset=UTF-8', ...typed.headers }
  if (fault.endless) {
    response.writeHead(answer.status, headers)
    void flood(call, payload.subarray(0, Math.floor(payload.length / 2)), stopped)
    return 0
  }
  response.writeHead(answer.status, { ...headers, 'content-length': String(payload.length) })
  if (fault.truncate) {
    response.write(payload.subarray(0, Math.floor(payload.length / 2)), () => response.destroy())
    return 0
  }
  return (await trickle(call, payload, fault.bytesPerSecond ?? 1, stopped)) ? answer.status : 0
}

/** Waits by the wall clock, but not beyond the end of the simulator. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
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

/**
 * The answer with more of what its list holds, piece by piece and without a length: the other
 * calls of this process go on, and a client learns how much it is only by reading. One without
 * a list is sent as it is.
 */
async function swell(
  call: Call,
  answer: Answer,
  fault: NonNullable<Fault['swell']>,
  stopped: AbortSignal,
): Promise<number> {
  const { response } = call.raw
  const { copies = 1, bytesPerItem = 0 } = fault
  const body = (typeof answer.body === 'object' && answer.body !== null ? answer.body : {}) as Record<
    string,
    unknown
  >
  const list = Object.keys(body).find((name) => Array.isArray(body[name]))
  if (list === undefined) {
    send(response, answer)
    return answer.status
  }
  const { [list]: items, ...others } = body
  const more = bytesPerItem === 0 ? {} : { description: 'x'.repeat(bytesPerItem) }
  const pieces = (items as readonly object[]).map((item) => JSON.stringify({ ...item, ...more }))
  const whole = pieces.join(',')
  response.writeHead(answer.status, { 'content-type': 'application/json; charset=UTF-8', ...answer.headers })
  response.write(`${JSON.stringify({ kind: '', ...others }).slice(0, -1)},"${list}":[`)
  for (let copy = 0; copy < copies && pieces.length > 0; copy += 1) {
    if (response.destroyed || stopped.aborted) return 0
    if (!response.write(copy === 0 ? whole : `,${whole}`)) await drained(call)
  }
  response.end(']}')
  return answer.status
}

/** Half of the answer, and then white space for as long as somebody reads. */
async function flood(call: Call, start: Buffer, stopped: AbortSignal): Promise<void> {
  const { response } = call.raw
  response.write(start)
  for (let sent = 0; sent < ENDLESS_BYTES_MAX; sent += ENDLESS_CHUNK.length) {
    if (response.destroyed || stopped.aborted) break
    const roomLeft = response.write(ENDLESS_CHUNK)
    // A turn of the event loop at least, so that other calls are answered meanwhile.
    await (roomLeft ? pause(1, stopped) : drained(call))
  }
  response.destroy()
}

function drained(call: Call): Promise<void> {
  const { response } = call.raw
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

/** The whole answer, slowly; false when the client left before its end. */
async function trickle(
  call: Call,
  payload: Buffer,
  bytesPerSecond: number,
  stopped: AbortSignal,
): Promise<boolean> {
  const { response } = call.raw
  const step = Math.max(1, Math.floor((bytesPerSecond * TRICKLE_TICK_MS) / 1000))
  for (let at = 0; at < payload.length; at += step) {
    if (response.destroyed || stopped.aborted) return false
    response.write(payload.subarray(at, at + step))
    await pause((1000 * step) / bytesPerSecond, stopped)
  }
  response.end()
  return !response.destroyed
}

function headersOf(headers: Readonly<Record<string, string>> | undefined) {
  return headers ? { headers } : {}
}
