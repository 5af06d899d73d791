// The one way out to a vendor. Every call ends: at 30 s, at 64 MB, or when the caller gives up. Redirects are never
// followed (a bearer token would go with them) and nothing is tried twice: the sync service decides about retry.
// Both SDKs buffer without limit (an endless body took 1.8 GB in 3 s), so the cap sits here, under them.
import { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'

export const CALL_TIMEOUT_MS = 30_000
export const ANSWER_BYTES_MAX = 64 * 1024 * 1024
/** A vendor that names a date years away is wrong or hostile; a day keeps the connection alive. */
export const RETRY_AFTER_MAX_MS = 24 * 60 * 60 * 1000

export interface FetchLimits {
  readonly timeoutMs?: number
  readonly bytesMax?: number
}

export type BoundedFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

/**
 * A fetch with a deadline for headers and body together, and a cap on the decoded body.
 * Its calls reject with a Failure (`vendor/unavailable`, `vendor/timeout`, `vendor/unreadable-answer` for a redirect or a
 * body that breaks off, `vendor/answer-too-large`), or with the reason of `init.signal` when that aborts. The same holds
 * for reading the body of the answer.
 */
export function createBoundedFetch(limits: FetchLimits = {}): BoundedFetch {
  const timeoutMs = limits.timeoutMs ?? CALL_TIMEOUT_MS
  const bytesMax = limits.bytesMax ?? ANSWER_BYTES_MAX
  return async (input, init = {}) => {
    const caller = init.signal ?? null
    const deadline = new AbortController()
    // Cleared at the end of the body: a timer that runs on holds 4 kB of its call for 30 s.
    const timer = setTimeout(() => deadline.abort(), timeoutMs).unref()
    const waits: Waits = { caller, deadline: deadline.signal, timeoutMs, end: () => clearTimeout(timer) }
    const signal = caller === null ? deadline.signal : AbortSignal.any([deadline.signal, caller])
    let response: Response
    try {
      response = await fetch(input, { ...init, signal, redirect: 'manual' })
    } catch (error) {
      waits.end()
      throw unreached(error, waits)
    }
    if (response.status >= 300 && response.status < 400 && response.status !== 304) {
      waits.end()
      await response.body?.cancel().catch(() => {})
      throw new Failure(
        'vendor/unreadable-answer',
        `The vendor answered ${response.status}, a redirect, which is never followed. Check the vendor URL that is configured.`,
      )
    }
    if (response.body === null) {
      waits.end()
      return response
    }
    const body = limitBody(response.body, bytesMax, waits)
    const { status, statusText, headers } = response
    return new Response(body, { status, statusText, headers })
  }
}

interface Waits {
  readonly caller: AbortSignal | null
  readonly deadline: AbortSignal
  readonly timeoutMs: number
  readonly end: () => void
}

function limitBody(source: ReadableStream<Uint8Array>, bytesMax: number, waits: Waits) {
  const reader = source.getReader()
  let bytes = 0
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (done) {
          waits.end()
          return controller.close()
        }
        bytes += value.byteLength
        if (bytes > bytesMax) throw new Failure('vendor/answer-too-large')
        controller.enqueue(value)
      } catch (error) {
        const failure = brokenOff(error, waits)
        waits.end()
        controller.error(failure)
        await reader.cancel(failure).catch(() => {})
      }
    },
    cancel: (reason) => {
      waits.end()
      return reader.cancel(reason)
    },
  })
}

/** Why no headers came. */
function unreached(error: unknown, waits: Waits): unknown {
  const ended = endedWait(waits)
  if (ended !== undefined) return ended
  const cause = error instanceof Error ? error.cause : undefined
  // Without a cause it is not the network but a mistake of ours (a malformed URL or header).
  if (cause === undefined) return error
  return new Failure('vendor/unavailable', `The vendor could not be reached (${networkCode(cause)}).`)
}

/** Why a body that had begun did not end. */
function brokenOff(error: unknown, waits: Waits): unknown {
  if (error instanceof Failure) return error
  const ended = endedWait(waits)
  if (ended !== undefined) return ended
  const cause = error instanceof Error ? error.cause : undefined
  return new Failure(
    'vendor/unreadable-answer',
    `The answer of the vendor broke off before its end (${networkCode(cause ?? error)}).`,
  )
}

function endedWait({ caller, deadline, timeoutMs }: Waits): unknown {
  if (caller?.aborted) return caller.reason
  if (!deadline.aborted) return undefined
  return new Failure('vendor/timeout', `The vendor did not answer within ${timeoutMs / 1000} s.`)
}

function networkCode(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null) return 'unknown reason'
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : ''
  return /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : 'connection lost'
}

/**
 * The moment before which the vendor asks not to be called, from a Retry-After header in seconds or as an HTTP date
 * (RFC 9110 §10.2.3), at most a day away; undefined if there is none or it cannot be read.
 */
export function retryAtOf(headers: Headers, now: Micros): Micros | undefined {
  const text = headers.get('retry-after')?.trim()
  if (!text) return undefined
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : httpDateMs(text) - now / 1000
  if (!Number.isFinite(waitMs)) return undefined
  return now + Math.round(Math.min(Math.max(waitMs, 0), RETRY_AFTER_MAX_MS) * 1000)
}

function httpDateMs(text: string): number {
  // Date.parse alone would read almost anything as a date.
  return /^[A-Z][a-z]{2,8},? .*GMT$/.test(text) ? Date.parse(text) : Number.NaN
}

export interface Limiter {
  /** Runs the work when fewer than the limit run for this key. Rejects with the signal's reason, or with a Failure when too many wait or the wait took as long as a call may take. */
  run<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

interface Gate {
  running: number
  readonly waiting: (() => void)[]
}

/**
 * At most `perKey` calls at a time for one key (vendors allow 4 per mailbox: Graph throttling limits), and at most
 * `waitingMax` more that wait, in their order. A key that is not used holds no memory.
 */
export function createLimiter(limits: { perKey: number; waitingMax: number; waitMs?: number }): Limiter {
  const gates = new Map<string, Gate>()
  const waitMs = limits.waitMs ?? CALL_TIMEOUT_MS
  return {
    async run(key, signal, work) {
      signal.throwIfAborted()
      const gate = gates.get(key) ?? { running: 0, waiting: [] }
      gates.set(key, gate)
      if (gate.running < limits.perKey) gate.running += 1
      else if (gate.waiting.length >= limits.waitingMax) {
        throw new Failure('vendor/throttled', 'Too many calls of calstream wait for this account already.')
      } else await turn(gate, signal, waitMs)
      try {
        return await work()
      } finally {
        // The slot is handed to the next in line, so `running` only falls when nobody waits.
        const next = gate.waiting.shift()
        if (next) next()
        else if (--gate.running === 0) gates.delete(key)
      }
    },
  }
}

function turn(gate: Gate, signal: AbortSignal, waitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => leave(new Failure('vendor/timeout', 'No slot for this account became free.')),
      waitMs,
    )
    const aborted = () => leave(signal.reason)
    const enter = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      resolve()
    }
    const leave = (reason: unknown) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      gate.waiting.splice(gate.waiting.indexOf(enter), 1)
      reject(reason)
    }
    signal.addEventListener('abort', aborted)
    gate.waiting.push(enter)
  })
}
