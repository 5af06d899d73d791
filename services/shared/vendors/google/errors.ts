// What went wrong at Google, as a Failure: the one place that knows Google's statuses and reasons.
// Its texts carry the status and a reason word, never an answer's body and never a token. Nothing
// that cannot be undone (parking a connection, disabling a calendar) follows from an answer that is
// not in Google's documented format: proxies send 403 and 404 pages of their own.
// Source: https://developers.google.com/workspace/calendar/api/guides/errors
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { reasonWord, type Answer, type CallSubject } from '../answer.ts'
import { retryAtOf } from '../fetch.ts'
import { SCOPE_INSUFFICIENT } from '../grant-words.ts'
import { wireError } from './wire.ts'

interface Problem {
  readonly reason: string
  readonly message: string
  /** The parameter that the error is about, or ''. */
  readonly location: string
}

/**
 * The project of our client, and no account. Source, read 2026-11-29: google.rpc.ErrorReason,
 * https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
 */
const OUR_PROJECT: ReadonlySet<string> = new Set([
  'accessNotConfigured',
  'SERVICE_DISABLED',
  'BILLING_DISABLED',
  'CONSUMER_SUSPENDED',
  'CONSUMER_INVALID',
])

/** Google asks for hours of silence after these two; without Retry-After an hour is the floor. */
const LONG_WAIT_MICROS = 3_600_000_000

/** The reason and message of a Google error body; null if the body is something else. */
export function readProblem(data: unknown): Problem | null {
  const parsed = wireError.safeParse(data)
  if (!parsed.success) return null
  const { errors, details, status, message } = parsed.data.error
  const detail = details?.find(
    ({ reason }) => reason === SCOPE_INSUFFICIENT || OUR_PROJECT.has(reason ?? ''),
  )?.reason
  const reason = detail ?? errors?.[0]?.reason ?? status ?? 'unknown'
  const [first] = errors ?? []
  return { reason, message: first?.message ?? message ?? '', location: first?.location ?? '' }
}

/** Whether an answer says in Google's own form that the thing is not there. */
export function saysGone({ status, data }: Answer): boolean {
  return (status === 404 || status === 410) && readProblem(data) !== null
}

/** Whether an error says in any of its reasons that a full sync is due, whatever its number. */
export function saysFullSync(data: unknown): boolean {
  const parsed = wireError.safeParse(data)
  if (!parsed.success) return false
  const { errors, details } = parsed.data.error
  return [...(errors ?? []), ...(details ?? [])].some(({ reason }) =>
    /^(?:fullSyncRequired|updatedMinTooLongAgo)$/i.test(reason ?? ''),
  )
}

/** Any answer that is not a success, as a Failure. `now` in µs: the base of Retry-After. */
export function failureOfAnswer(answer: Answer, subject: CallSubject, now: Micros): Failure {
  const problem = readProblem(answer.data)
  const code = codeOf(answer.status, problem, subject)
  const long = problem !== null && /^(?:quotaExceeded|dailyLimitExceeded)$/.test(problem.reason)
  const retryAt = retryAtOf(answer.headers, now) ?? (long ? now + LONG_WAIT_MICROS : undefined)
  return new Failure(code, `Google answered ${answer.status} ${reasonWord(problem?.reason)}.`, { retryAt })
}

function codeOf(status: number, problem: Problem | null, subject: CallSubject): FailureCode {
  if (status === 429) return 'vendor/throttled'
  if (status === 408 || status >= 500) return 'vendor/unavailable'
  if (problem === null) return 'vendor/unreadable-answer'
  if (problem.reason.startsWith('push.webhookUrl')) return 'vendor/callback-refused'
  switch (status) {
    case 401:
      return 'vendor/token-rejected'
    case 403:
      return codeOfForbidden(problem.reason, subject)
    case 404:
      return subject === 'calendar' && /^(?:notFound|NOT_FOUND)$/.test(problem.reason)
        ? 'vendor/calendar-gone'
        : 'vendor/rejected'
    default:
      return 'vendor/rejected'
  }
}

function codeOfForbidden(reason: string, subject: CallSubject): FailureCode {
  if (OUR_PROJECT.has(reason)) return 'vendor/client-rejected'
  switch (reason) {
    case 'rateLimitExceeded':
    case 'userRateLimitExceeded':
    case 'calendarUsageLimitsExceeded':
    case 'quotaExceeded':
    case 'RESOURCE_EXHAUSTED':
      return 'vendor/throttled'
    case 'dailyLimitExceeded':
    case 'dailyLimitExceededUnreg':
      return 'vendor/quota-exhausted'
    case SCOPE_INSUFFICIENT:
      return 'vendor/access-denied'
    case 'notACalendarUser':
      return 'vendor/no-mailbox'
    // Of a user, a domain or a project, and not of this grant:
    // they pass, or last, and are judged then.
    case 'insufficientPermissions':
    case 'domainPolicy':
      return 'vendor/call-refused'
    case 'forbidden':
    case 'requiredAccessLevel':
      if (subject === 'series') return 'vendor/rejected'
      return subject === 'account' ? 'vendor/call-refused' : 'vendor/calendar-gone'
    default:
      return 'vendor/call-refused'
  }
}
