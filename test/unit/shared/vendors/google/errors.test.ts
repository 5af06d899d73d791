// Google's errors as Failures: what is throttling is never taken for lost consent, and nothing is
// given up on an odd page.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { CallSubject } from '#shared/vendors/answer.ts'
import { failureOfAnswer } from '#shared/vendors/google/errors.ts'

const NOW = Date.UTC(2026, 10, 20) * 1000

function answer(status: number, data: unknown, headers: Record<string, string> = {}) {
  return { status, data, headers: new Headers(headers) }
}

/** The body of Google's guide "Handle API errors". */
function body(code: number, reason: string, message = 'Something') {
  return { error: { errors: [{ domain: 'global', reason, message }], code, message } }
}

describe('an answer of the calendar API', () => {
  test.each([
    [400, 'timeRangeEmpty', 'calendar', 'vendor/rejected'],
    [400, 'channelIdNotUnique', 'calendar', 'vendor/rejected'],
    [401, 'authError', 'calendar', 'vendor/token-rejected'],
    [401, 'push.webhookUrlUnauthorized', 'calendar', 'vendor/callback-refused'],
    [400, 'push.webhookUrlNotHttps', 'calendar', 'vendor/callback-refused'],
    [403, 'userRateLimitExceeded', 'calendar', 'vendor/throttled'],
    [403, 'rateLimitExceeded', 'account', 'vendor/throttled'],
    [403, 'quotaExceeded', 'calendar', 'vendor/throttled'],
    [403, 'dailyLimitExceeded', 'calendar', 'vendor/quota-exhausted'],
    [403, 'insufficientPermissions', 'calendar', 'vendor/call-refused'],
    [403, 'accessNotConfigured', 'account', 'vendor/client-rejected'],
    [403, 'forbidden', 'calendar', 'vendor/calendar-gone'],
    [403, 'forbidden', 'account', 'vendor/call-refused'],
    [403, 'somethingNew', 'calendar', 'vendor/call-refused'],
    [404, 'notFound', 'calendar', 'vendor/calendar-gone'],
    [404, 'notFound', 'account', 'vendor/rejected'],
    [408, 'timeout', 'calendar', 'vendor/unavailable'],
    [429, 'rateLimitExceeded', 'calendar', 'vendor/throttled'],
    [500, 'backendError', 'calendar', 'vendor/unavailable'],
    [503, 'backendError', 'calendar', 'vendor/unavailable'],
  ] as const)('%i %s about the %s is %s', (status, reason, subject, code) => {
    expect(failureOfAnswer(answer(status, body(status, reason)), subject, NOW).code).toBe(code)
  })

  test('with the newer body names the missing scope', () => {
    const data = {
      error: {
        code: 403,
        message: 'Request had insufficient authentication scopes.',
        status: 'PERMISSION_DENIED',
        errors: [{ reason: 'insufficientPermissions' }],
        details: [{ reason: 'ACCESS_TOKEN_SCOPE_INSUFFICIENT' }],
      },
    }
    expect(failureOfAnswer(answer(403, data), 'calendar', NOW).code).toBe('vendor/access-denied')
  })

  test.each(['SERVICE_DISABLED', 'CONSUMER_SUSPENDED'])('with %s is about our project', (reason) => {
    const error = { code: 403, status: 'PERMISSION_DENIED', errors: [{ reason: 'forbidden' }] }
    const data = { error: { ...error, details: [{ reason: 'something' }, { reason }] } }
    expect(failureOfAnswer(answer(403, data), 'calendar', NOW).code).toBe('vendor/client-rejected')
  })

  test('that is a page of a proxy gives nothing up: it is tried again', () => {
    for (const status of [400, 401, 403, 404, 410]) {
      const failure = failureOfAnswer(answer(status, '<html>Forbidden</html>'), 'calendar', NOW)
      expect(failure.code).toBe('vendor/unreadable-answer')
      expect(settlementOf(failure).action).toBe('retry')
    }
    // Control: the same status in Google's own format does.
    const gone = failureOfAnswer(answer(404, body(404, 'notFound')), 'calendar', NOW)
    expect(settlementOf(gone).action).toBe('check-list')
  })

  test('carries the moment that the vendor named, and an hour for a quota without one', () => {
    const limited = body(403, 'rateLimitExceeded')
    expect(failureOfAnswer(answer(403, limited, { 'retry-after': '7' }), 'calendar', NOW).retryAt).toBe(
      NOW + 7_000_000,
    )
    expect(failureOfAnswer(answer(403, limited), 'calendar', NOW).retryAt).toBeUndefined()
    expect(failureOfAnswer(answer(403, body(403, 'quotaExceeded')), 'calendar', NOW).retryAt).toBe(
      NOW + 3_600_000_000,
    )
    expect(failureOfAnswer(answer(503, '', { 'retry-after': '9' }), 'calendar', NOW).retryAt).toBe(
      NOW + 9_000_000,
    )
  })

  test('never leaks its body into the text, and every one is a known code', () => {
    const subjects: CallSubject[] = ['account', 'calendar', 'channel']
    fc.assert(
      fc.property(
        fc.integer({ min: 400, max: 599 }),
        fc.constantFrom(...subjects),
        fc.oneof(
          fc.jsonValue(),
          fc.string().map((reason) => body(400, `${reason} ya29.SECRET`, 'ya29.SECRET')),
        ),
        (status, subject, data) => {
          const failure = failureOfAnswer(answer(status, data), subject, NOW)
          expect(failure.message).not.toContain('SECRET')
          expect(failure.message.length).toBeLessThan(120)
        },
      ),
    )
  })
})
