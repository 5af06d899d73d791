// One call of the Google Calendar API. The SDK builds the request; its retries, redirects and token
// refresh are off, and everything it throws is translated by errors.ts before it leaves.
import type { calendar_v3, MethodOptions } from 'googleapis/build/src/apis/calendar/index.js'
import type { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import { brokenLibrary, failureInside, pathSegment, type Answer } from '../answer.ts'
import { createBoundedFetch } from '../fetch.ts'
import { sendAtOnce, type EachCall } from '../vendor.ts'
import { failureOfAnswer, type CallSubject } from './errors.ts'

/** As failures name it. */
export const VENDOR = 'Google'

export type Call = (
  who: { readonly accessToken: string; readonly subject: CallSubject },
  signal: AbortSignal,
  work: (api: calendar_v3.Calendar, options: MethodOptions) => Promise<{ readonly data: unknown }>,
) => Promise<Outcome>

/**
 * A refusal stays a value here, because some are expected: only the caller of `call` knows which.
 */
export type Outcome =
  | { readonly kind: 'ok'; readonly data: unknown }
  | { readonly kind: 'refused'; readonly answer: Answer; readonly failure: Failure }

/** Calls of the API at this origin. */
export function createCaller(rootUrl: string, clock: Clock): Call {
  const fetchImplementation = createBoundedFetch()
  let client: Promise<calendar_v3.Calendar> | undefined
  // The deep import takes 115 ms and 72 MB where the whole package takes 945 ms and
  // 168 MB; loaded when first used.
  const load = () =>
    import('googleapis/build/src/apis/calendar/index.js').then(({ calendar }) =>
      calendar({
        version: 'v3',
        rootUrl,
        retry: false,
        redirect: 'error',
        responseType: 'json',
        fetchImplementation,
      }),
    )
  return async ({ accessToken, subject }, signal, work) => {
    signal.throwIfAborted()
    const api = await (client ??= load())
    try {
      const { data } = await work(api, { signal, headers: { Authorization: `Bearer ${accessToken}` } })
      return { kind: 'ok', data }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      const answer = answerOf(error)
      if (answer === null) throw failureInside(error) ?? brokenLibrary('The Google SDK', error)
      return { kind: 'refused', answer, failure: failureOfAnswer(answer, subject, clock.now()) }
    }
  }
}

/** The same calls, each of them sent through `each`. */
export function through(call: Call, each: EachCall = sendAtOnce): Call {
  return (who, signal, work) => each(() => call(who, signal, work))
}

/**
 * The SDK encodes it, and lets through what would lead elsewhere.
 * Throws Failure `vendor/rejected` for that.
 */
export function calendarId(id: string): string {
  pathSegment(id, VENDOR)
  return id
}

/** An instant as Google's parameters take it. */
export function toRfc3339(micros: Micros): string {
  return new Date(Math.floor(micros / 1000)).toISOString()
}

/**
 * The HTTP answer inside an error of the SDK;
 * null if there was none, or none that could be read to its end.
 */
function answerOf(error: unknown): Answer | null {
  if (typeof error !== 'object' || error === null || !('response' in error)) return null
  const { response } = error
  if (!(response instanceof Response) || !('data' in response)) return null
  return { status: response.status, headers: response.headers, data: response.data }
}
