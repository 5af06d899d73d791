// What a person is told of an error.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { ConfigError } from '#shared/process/settings.ts'
import { explain, UserError } from '#shared/process/user-error.ts'

describe('what a person is told of an error', () => {
  test.each([
    new UserError('The port is taken.'),
    new ConfigError(['A is not set.']),
    new Failure('kafka/unavailable'),
  ])('of a $name: its message, and no stack', (error) => {
    expect(explain(error)).toBe(error.message)
  })

  test('of a defect: its stack', () => {
    const defect = new TypeError('x is not a function')
    expect(explain(defect)).toBe(defect.stack)
    expect(explain('odd')).toBe('odd')
  })
})
