import { describe, expect, test } from 'vitest'
import {
  asFailure,
  countsAsAttempt,
  disposition,
  Failure,
  FAILURE_CODES,
  worstOf,
  type FailureCode,
} from '#shared/domain/failure.ts'

const CODES = Object.keys(FAILURE_CODES) as FailureCode[]

describe('a failure', () => {
  test.each([
    ['vendor/unavailable', 'retry', true],
    ['vendor/throttled', 'retry', false],
    ['vendor/quota-exhausted', 'retry', false],
    ['vendor/grant-revoked', 'park', true],
    ['vendor/admin-required', 'park', true],
    ['vendor/account-refused', 'judge', false],
    ['vendor/token-refused', 'judge', false],
    ['vendor/call-refused', 'retry', true],
    ['vendor/client-rejected', 'retry', false],
    ['vendor/refusing-all', 'retry', false],
    ['vendor/calendar-gone', 'disable', true],
    ['vendor/cursor-expired-again', 'retry', true],
    ['store/unavailable', 'retry', false],
    ['store/fence-lost', 'abandon', true],
    ['store/outcome-unknown', 'abandon', true],
    ['store/rejected-data', 'retry', true],
    ['message/unreadable', 'dead-letter', true],
    ['sync/unfinished', 'retry', true],
  ] as const)('%s is answered by %s', (code, answer, counts) => {
    const failure = new Failure(code)
    expect(disposition(failure)).toBe(answer)
    expect(countsAsAttempt(failure)).toBe(counts)
  })

  test.each(CODES)('%s has a disposition and a text that tells a person what to do', (code) => {
    expect(disposition(new Failure(code))).toMatch(/^(?:retry|park|judge|disable|abandon|dead-letter|crash)$/)
    expect(FAILURE_CODES[code].text.length).toBeGreaterThan(20)
  })

  test('an unknown error is a defect, with its cause', () => {
    const error = new TypeError('x is undefined')
    expect(asFailure(error)).toMatchObject({ code: 'internal/defect', cause: error })
    expect(asFailure('text').message).toBe('text')
  })
})

describe('of several failures', () => {
  const transient = new Failure('vendor/unavailable')
  const throttled = new Failure('vendor/throttled', undefined, { retryAt: 50 })
  const revoked = new Failure('vendor/grant-revoked')

  test('the one a person has to act on counts', () => {
    expect(worstOf([transient, revoked, throttled]).code).toBe('vendor/grant-revoked')
    expect(worstOf([transient]).code).toBe('vendor/unavailable')
  })

  test('the latest floor of all is kept, whichever counts', () => {
    const later = new Failure('vendor/unavailable', undefined, { retryAt: 90 })
    expect(worstOf([later, throttled])).toMatchObject({ code: 'vendor/throttled', retryAt: 90 })
    expect(worstOf([transient, revoked]).retryAt).toBeUndefined()
  })
})
