// The one way out to a vendor. Every call ends: at 30 s, at 16 MB, or when the caller gives up.
// Redirects are never followed (a bearer token would go with them) and nothing is tried twice: the
// sync service decides about retry. What arrives takes room of the process (room.ts); a wait for
// that is ours, so the vendor's time stands still meanwhile.
// Both SDKs buffer without limit (an endless body took 1.8 GB in 3 s),
// so the caps sit here, under them.
import { Failure } from '#shared/domain/failure.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'
import { ANSWER_BYTES_MAX, ANSWER_VALUES_MAX } from '#shared/domain/page-limits.ts'
import { inClientSpan } from '#shared/process/http-spans.ts'
import { metrics } from '#shared/process/metrics.ts'
import { VENDOR } from '#shared/process/semantic-names.ts'
import { createValueCounter } from './json-values.ts'
import { processRoom, type Holder, type Room } from './room.ts'

export const CALL_TIMEOUT_MS = 30_000
/** A vendor that names a date years away is wrong or hostile; a day keeps the connection alive. */
const RETRY_AFTER_MAX_MS = 24 * 60 * 60 * 1000

interface FetchLimits {
  /** Under whose name its requests are counted. */
  readonly vendor: VendorName
  readonly timeoutMs?: number
  readonly bytesMax?: number
  readonly room?: Room
}

type BoundedFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

/**
 * A fetch with a deadline for headers and body together, and a cap on the decoded body.
 * Its calls reject with a Failure (`vendor/unavailable`, `vendor/timeout`,
 * `vendor/unreadable-answer` for a redirect, a status that HTTP does not know or a body that breaks
 * off, `vendor/answer-too-large`, `sync/no-room`), or with the reason of `init.signal` when that
 * aborts. The same holds for reading the body of the answer.
 */
export function createBoundedFetch(limits: FetchLimits): BoundedFetch {
  const { vendor, timeoutMs = CALL_TIMEOUT_MS, bytesMax = ANSWER_BYTES_MAX, room = processRoom } = limits
  return async (input, init = {}) => {
    const caller = init.signal ?? null
    const deadline = startDeadline(timeoutMs)
    const waits: Waits = { caller, deadline, timeoutMs }
    const signal = caller === null ? deadline.signal : AbortSignal.any([deadline.signal, caller])
    let response: Response
    try {
      const method = init.method ?? 'GET'
      const about = { method, url: addressOf(input), attributes: { [VENDOR]: vendor } }
      response = await inClientSpan(about, () => fetch(input, { ...init, signal, redirect: 'manual' }))
    } catch (error) {
      deadline.end()
      const reason = unreached(error, waits)
      metrics.vendorAnswers.add(1, { vendor, status: silenceOf(reason) })
      throw reason
    }
    metrics.vendorAnswers.add(1, { vendor, status: String(response.status) })
    const problem = problemOf(response, bytesMax)
    if (problem !== null) {
      deadline.end()
      await response.body?.cancel().catch(() => {})
      throw problem
    }
    if (response.body === null) {
      deadline.end()
      return response
    }
    const body = limitBody(response.body, { bytesMax, waits, holder: room.holder() })
    return new Response(body, { status: response.status, headers: response.headers })
  }
}

function addressOf(input: string | URL | Request): URL {
  return new URL(input instanceof Request ? input.url : input)
}

/** Why no answer came, in a word: its code, or that the caller gave up. */
function silenceOf(reason: unknown): string {
  return reason instanceof Failure ? reason.code.slice(reason.code.indexOf('/') + 1) : 'given-up'
}

/** Why the body of this answer is not read at all; null when it is. */
function problemOf({ status, headers }: Response, bytesMax: number): Failure | null {
  if (status >= 300 && status < 400 && status !== 304) {
    return new Failure(
      'vendor/unreadable-answer',
      `The vendor answered ${status}, a redirect, which is never followed. Check the vendor URL that is configured.`,
    )
  }
  // RFC 9110 §15; a Response of the platform cannot be made of others.
  if (status < 200 || status > 599) {
    return new Failure(
      'vendor/unreadable-answer',
      `The vendor answered ${status}, which is no status of a finished HTTP answer.`,
    )
  }
  return Number(headers.get('content-length')) > bytesMax ? new Failure('vendor/answer-too-large') : null
}

interface Deadline {
  readonly signal: AbortSignal
  /** Stops the clock while it is not the vendor whom we wait for. */
  pause(): void
  resume(): void
  /** At the end of the body: a timer that runs on holds 4 kB of its call for 30 s. */
  end(): void
}

function startDeadline(timeoutMs: number): Deadline {
  const over = new AbortController()
  let leftMs = timeoutMs
  let startedAt = performance.now()
  const start = () => setTimeout(() => over.abort(), leftMs).unref()
  let timer = start()
  let isEnded = false
  return {
    signal: over.signal,
    pause() {
      clearTimeout(timer)
      leftMs = Math.max(0, leftMs - (performance.now() - startedAt))
    },
    resume() {
      // The body may have been given up meanwhile.
      if (isEnded) return
      startedAt = performance.now()
      timer = start()
    },
    end() {
      isEnded = true
      clearTimeout(timer)
    },
  }
}

interface Waits {
  readonly caller: AbortSignal | null
  readonly deadline: Deadline
  readonly timeoutMs: number
}

interface BodyLimits {
  readonly bytesMax: number
  readonly waits: Waits
  readonly holder: Holder
}

function limitBody(source: ReadableStream<Uint8Array>, limits: BodyLimits): ReadableStream<Uint8Array> {
  const { bytesMax, waits, holder } = limits
  const reader = source.getReader()
  const countValues = createValueCounter()
  let bytes = 0
  let hasWaited = false
  const end = () => {
    waits.deadline.end()
    holder.end()
  }
  // A body that is never read to its end is held no longer than a call may take.
  waits.deadline.signal.addEventListener('abort', () => holder.end(), { once: true })
  const takeRoom = async (size: number) => {
    const wait = holder.take(size, waits.caller)
    if (wait === null) return
    hasWaited = true
    waits.deadline.pause()
    try {
      await wait
    } finally {
      waits.deadline.resume()
    }
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (done) {
          end()
          return controller.close()
        }
        bytes += value.byteLength
        if (bytes > bytesMax || countValues(value) > ANSWER_VALUES_MAX)
          throw new Failure('vendor/answer-too-large')
        await takeRoom(value.byteLength)
        controller.enqueue(value)
      } catch (error) {
        // A vendor that lost patience while we had no room did nothing wrong.
        const broken = brokenOff(error, waits)
        const isOurs = hasWaited && broken instanceof Failure && broken.code === 'vendor/unreadable-answer'
        const failure = isOurs ? new Failure('sync/no-room') : broken
        end()
        controller.error(failure)
        await reader.cancel(failure).catch(() => {})
      }
    },
    cancel: (reason) => {
      end()
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
  if (!deadline.signal.aborted) return undefined
  return new Failure('vendor/timeout', `The vendor did not answer within ${timeoutMs / 1000} s.`)
}

function networkCode(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null) return 'unknown reason'
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : ''
  return /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : 'connection lost'
}

/**
 * The moment before which the vendor asks not to be called, from a Retry-After header in
 * seconds or as an HTTP date (RFC 9110 §10.2.3), at most a day away; undefined if there is
 * none or it cannot be read.
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
