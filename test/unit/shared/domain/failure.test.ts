import { describe, expect, test } from 'vitest'
import { asFailure, Failure, FAILURE_CODES, worstOf, type FailureCode } from '#shared/domain/failure.ts'

const CODES = Object.keys(FAILURE_CODES) as FailureCode[]

describe('a failure', () => {
  test.each(CODES)('%s has a text that tells a person what to do', (code) => {
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
