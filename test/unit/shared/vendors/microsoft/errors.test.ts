// Graph's errors as Failures: what is throttling is never taken for lost consent, and nothing is
// given up on an odd page.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { CallSubject } from '#shared/vendors/answer.ts'
import { failureOfAnswer, isTokenExpired } from '#shared/vendors/microsoft/errors.ts'

const NOW = Date.UTC(2026, 10, 20) * 1000

function answer(status: number, data: unknown, headers: Record<string, string> = {}) {
  return { status, data, headers: new Headers(headers) }
}

/** The body of learn.microsoft.com/graph/errors. */
function body(code: string, message = 'Something') {
  return { error: { code, message, innerError: { date: '2026-01-01T00:00:00', 'request-id': 'r' } } }
}

describe('an answer of Graph', () => {
  test.each([
    [400, 'ErrorInvalidIdMalformed', 'calendar', 'vendor/rejected'],
    [401, 'InvalidAuthenticationToken', 'calendar', 'vendor/token-rejected'],
    [401, 'InvalidAuthenticationToken', 'channel', 'vendor/token-rejected'],
    [403, 'Authorization_RequestDenied', 'calendar', 'vendor/call-refused'],
    [403, 'insufficient_claims', 'calendar', 'vendor/call-refused'],
    [403, 'ErrorAccessDenied', 'account', 'vendor/call-refused'],
    [403, 'ErrorAccessDenied', 'calendar', 'vendor/calendar-gone'],
    [404, 'ErrorItemNotFound', 'calendar', 'vendor/calendar-gone'],
    [404, 'ErrorFolderNotFound', 'calendar', 'vendor/calendar-gone'],
    [404, 'ResourceNotFound', 'calendar', 'vendor/calendar-gone'],
    [404, 'ResourceNotFound', 'channel', 'vendor/rejected'],
    [404, 'MailboxNotEnabledForRESTAPI', 'calendar', 'vendor/no-mailbox'],
    [404, 'MailboxNotEnabledForRESTAPI', 'account', 'vendor/no-mailbox'],
    [404, 'SomethingElse', 'calendar', 'vendor/rejected'],
    [409, 'Conflict', 'channel', 'vendor/unavailable'],
    [412, 'ErrorIrresolvableConflict', 'channel', 'vendor/unavailable'],
    [429, 'ApplicationThrottled', 'calendar', 'vendor/throttled'],
    [429, 'TooManyRequests', 'calendar', 'vendor/throttled'],
    [509, 'activityLimitReached', 'calendar', 'vendor/throttled'],
    [500, 'ErrorInternalServerTransientError', 'calendar', 'vendor/unavailable'],
    [502, 'UnknownError', 'calendar', 'vendor/unavailable'],
    [503, 'serviceNotAvailable', 'calendar', 'vendor/unavailable'],
    [504, 'UnknownError', 'calendar', 'vendor/unavailable'],
  ] as const)('%i %s about a(n) %s is %s', (status, code, subject, expected) => {
    expect(failureOfAnswer(answer(status, body(code)), subject, NOW).code).toBe(expected)
  })

  test('a mailbox with too many calls says so in a 503 as well', () => {
    const data = body('ServiceUnavailable', 'Application is over its MailboxConcurrency limit.')
    expect(failureOfAnswer(answer(503, data), 'calendar', NOW).code).toBe('vendor/throttled')
  })

  test.each([
    ['30', NOW + 30_000_000],
    ['Fri, 20 Nov 2026 00:01:00 GMT', NOW + 60_000_000],
    ['Thu, 19 Nov 2026 00:00:00 GMT', NOW],
    ['999999999', NOW + 86_400_000_000],
    ['soon', undefined],
    ['', undefined],
  ])('Retry-After %j is read', (header, retryAt) => {
    const failure = failureOfAnswer(
      answer(429, body('TooManyRequests'), { 'retry-after': header }),
      'calendar',
      NOW,
    )
    expect(failure.retryAt).toBe(retryAt)
  })

  test('in a format of its own never ends anything for good', () => {
    const subject = fc.constantFrom<CallSubject>('account', 'calendar', 'channel')
    const data = fc.oneof(fc.constant(undefined), fc.jsonValue())
    fc.assert(
      fc.property(fc.integer({ min: 400, max: 599 }), subject, data, (status, about, raw) => {
        const failure = failureOfAnswer(answer(status, raw), about, NOW)
        expect(['park', 'check-list']).not.toContain(settlementOf(failure).action)
      }),
    )
  })

  test('is never repeated in the text, only its code if that is a word', () => {
    const failure = failureOfAnswer(answer(400, body('SE CRET\n', 'SECRET')), 'calendar', NOW)
    expect(failure.message).toBe('Microsoft answered 400 (no reason given).')
  })
})

const inner = (innerError: unknown) => ({ error: { code: 'UnknownError', message: '', innerError } })
const nested = (depth: number, at: object): object =>
  depth === 0 ? at : { innerError: nested(depth - 1, at) }

describe('the token of a delta', () => {
  test.each([
    [410, body('SyncStateNotFound'), true],
    [410, body('resyncRequired'), true],
    [410, body('anything'), true],
    [400, body('SyncStateInvalid'), true],
    [400, body('fullSyncRequired'), true],
    [404, body('syncStateNotFound'), true],
    [400, body('BadRequest', 'The delta token is not valid.'), true],
    [400, body('ErrorInvalidIdMalformed', 'Id is malformed.'), false],
    [404, body('ErrorItemNotFound'), false],
    [410, '<html>', true],
    [410, undefined, true],
    [403, body('SyncStateNotFound'), true],
    [500, body('SyncStateNotFound'), true],
    [503, inner({ code: 'resyncRequired' }), true],
    [500, inner({ innererror: { innerError: { code: 'syncStateInvalid' } } }), true],
    [400, { error: { code: 'x', message: '', innererror: { code: 'ErrorSyncStateNotFound' } } }, true],
    [500, inner({ code: 'ErrorInternalServerError' }), false],
    [403, body('ErrorAccessDenied', 'The sync state token says resync.'), false],
    [500, inner('resyncRequired'), false],
    [500, inner(nested(40, { code: 'resyncRequired' })), false],
  ])('%i %j is gone: %s', (status, data, expired) => {
    expect(isTokenExpired(answer(status, data))).toBe(expired)
  })
})
