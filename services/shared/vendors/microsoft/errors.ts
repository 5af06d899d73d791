// What went wrong at Microsoft Graph, as a Failure: the one place that knows Graph's statuses and
// codes. Its texts carry the status and a code word, never an answer's body and never a token.
// Nothing that cannot be undone (parking a connection, disabling a calendar) follows from an answer
// that is not in Graph's documented format: proxies send 403 and 404 pages of their own.
// Source: https://learn.microsoft.com/graph/errors, …/graph/throttling,
// …/graph/delta-query-overview
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { reasonWord, type Answer, type CallSubject } from '../answer.ts'
import { retryAtOf } from '../fetch.ts'
import { wireError } from './wire.ts'

interface Problem {
  readonly code: string
  readonly message: string
}

/** The code and message of a Graph error body; null if the body is something else. */
export function readProblem(data: unknown): Problem | null {
  const parsed = wireError.safeParse(data)
  if (!parsed.success) return null
  const { code, message } = parsed.data.error
  return { code: code ?? 'unknown', message: message ?? '' }
}

/** Any answer that is not a success, as a Failure. `now` in µs: the base of Retry-After. */
export function failureOfAnswer(answer: Answer, subject: CallSubject, now: Micros): Failure {
  const problem = readProblem(answer.data)
  return new Failure(
    codeOf(answer.status, problem, subject),
    `Microsoft answered ${answer.status} ${reasonWord(problem?.code)}.`,
    { retryAt: retryAtOf(answer.headers, now) },
  )
}

/**
 * Graph's words for a sync state that it no longer has. Source:
 * learn.microsoft.com/graph/delta-query-overview, seen 2026-11.
 */
const EXPIRY =
  /^(?:resync(?:Required|ChangesApplyDifferences|ChangesUploadDifferences)|fullSyncRequired|(?:Error)?syncState(?:NotFound|Invalid|Expired|Corrupt))$/i
/** More than any answer nests. */
const INNER_MAX = 8

/** The codes of an error and of the errors inside it, the outermost first. */
function codesOf(data: unknown): readonly string[] {
  const parsed = wireError.safeParse(data)
  if (!parsed.success) return []
  const codes = [parsed.data.error.code ?? '']
  let at: unknown = parsed.data.error.innerError ?? parsed.data.error.innererror
  for (let depth = 0; depth < INNER_MAX && typeof at === 'object' && at !== null; depth += 1) {
    const { code, innerError, innererror } = at as Record<string, unknown>
    if (typeof code === 'string') codes.push(code)
    at = innerError ?? innererror
  }
  return codes
}

/**
 * Whether Graph no longer knows the token of a delta link. Outlook's tokens live as long as its
 * cache has room. The documented answer is 410, whatever its body; the words for it also come under
 * other numbers and inside other errors.
 */
export function isTokenExpired({ status, data }: Answer): boolean {
  if (status === 410 || codesOf(data).some((code) => EXPIRY.test(code))) return true
  const problem = readProblem(data)
  if (problem === null || (status !== 400 && status !== 404)) return false
  // A bad access token is a 401, so a message about a token is about the one in the link.
  return /sync ?state|resync|fullsync|token/i.test(`${problem.code} ${problem.message}`)
}

function codeOf(status: number, problem: Problem | null, subject: CallSubject): FailureCode {
  // A mailbox that has four calls in flight says so with a 503 as well as with a 429.
  if (status === 429 || status === 509 || isThrottling(problem)) return 'vendor/throttled'
  if (status === 408 || status >= 500) return 'vendor/unavailable'
  if (problem === null) return 'vendor/unreadable-answer'
  if (/^Mailbox(?:NotEnabled|NotSupported)ForRESTAPI$/i.test(problem.code)) return 'vendor/no-mailbox'
  switch (status) {
    case 401:
      return 'vendor/token-rejected'
    case 403:
      return codeOfForbidden(problem.code, subject)
    case 404:
      return subject === 'calendar' && isNotFoundCode(problem.code)
        ? 'vendor/calendar-gone'
        : 'vendor/rejected'
    // 412 comes without any If-Match of ours too (ErrorIrresolvableConflict) and passes.
    case 409:
    case 412:
    case 423:
      return 'vendor/unavailable'
    default:
      return 'vendor/rejected'
  }
}

function isThrottling(problem: Problem | null): boolean {
  if (problem === null) return false
  return (
    /^(?:ApplicationThrottled|TooManyRequests|activityLimitReached|ErrorExceededConnectionCount)$/i.test(
      problem.code,
    ) || /MailboxConcurrency/i.test(problem.message)
  )
}

/**
 * Outlook's own "access denied" is also said of a calendar that is no longer shared; no other is
 * documented to be about the grant.
 */
function codeOfForbidden(code: string, subject: CallSubject): FailureCode {
  return subject === 'calendar' && /^Error(?:AccessDenied|ItemNotFound|FolderNotFound)$/i.test(code)
    ? 'vendor/calendar-gone'
    : 'vendor/call-refused'
}

/** Whether an answer says in Graph's own words that the thing is not there. */
export function isNotFound({ status, data }: Answer): boolean {
  return (status === 404 || status === 410) && isNotFoundCode(readProblem(data)?.code ?? '')
}

function isNotFoundCode(code: string): boolean {
  return /^(?:ErrorItemNotFound|ErrorFolderNotFound|ErrorCalendarNotFound|ResourceNotFound|itemNotFound|NotFound)$/i.test(
    code,
  )
}
