// One call of the Google Calendar API. The SDK builds the request; its retries, redirects and token
// refresh are off, and everything it throws is translated by errors.ts before it leaves.
import type { calendar_v3, MethodOptions } from 'googleapis/build/src/apis/calendar/index.js'
import type { Micros } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import {
  brokenLibrary,
  failureInside,
  pathSegment,
  type Answer,
  type CallSubject,
  type Outcome,
} from '../answer.ts'
import { createBoundedFetch } from '../fetch.ts'
import { sendAtOnce, type EachCall } from '../vendor.ts'
import { failureOfAnswer } from './errors.ts'

/** As failures name it. */
export const VENDOR = 'Google'

/** One call of a method of the port. Throws Failure when no answer came. */
export type Call = (
  subject: CallSubject,
  work: (api: calendar_v3.Calendar, options: MethodOptions) => Promise<{ readonly data: unknown }>,
) => Promise<Outcome>

/** Calls of the API at this origin; those of one method go with its token, through its `each`. */
export function createCaller(
  rootUrl: string,
  clock: Clock,
): (accessToken: string, signal: AbortSignal, each?: EachCall) => Call {
  const fetchImplementation = createBoundedFetch({ vendor: 'google' })
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
  return (accessToken, signal, each = sendAtOnce) =>
    (subject, work) =>
      each(async () => {
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
      })
}

/**
 * The SDK encodes it, and lets through what would lead elsewhere.
 * Throws Failure `vendor/rejected` for that.
 */
export function calendarParam(id: string): string {
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
