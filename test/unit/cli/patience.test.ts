// Jobs that run once wait for what begins at the same moment, and for nothing else.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { UserError } from '#shared/process/user-error.ts'
import { isAway, patiently } from '../../../services/cli/patience.ts'

const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })

describe('a job that runs once', () => {
  test.each([
    ['a store that does not answer', new Failure('store/unavailable')],
    ['a broker that does not answer', new Failure('kafka/unavailable')],
    ['a registry that does not answer', new Failure('registry/unavailable')],
    ['a socket', refused],
    ['what fetch hides in a cause', new TypeError('fetch failed', { cause: refused })],
    ['several addresses', new TypeError('fetch failed', { cause: new AggregateError([refused]) })],
    ['words for a person around it', new UserError('The toggles could not be made.', { cause: refused })],
  ])('waits for %s', (_what, error) => {
    expect(isAway(error)).toBe(true)
  })

  test.each([
    ['a mistake of a person', new UserError('The token is wrong.')],
    ['tables that are newer', new Failure('store/schema-newer')],
    ['a defect', new TypeError('x is not a function')],
    ['what is no error', 'ECONNREFUSED'],
  ])('does not wait for %s', (_what, error) => {
    expect(isAway(error)).toBe(false)
  })

  test('ends well once the other side answers', async () => {
    let tries = 0
    await patiently('60', async () => {
      tries += 1
      if (tries < 3) throw new Failure('store/unavailable')
    })
    expect(tries).toBe(3)
  })

  test('without --wait tries once, and so it does where waiting does not help', async () => {
    for (const [wait, error] of [
      ['0', new Failure('store/unavailable')],
      ['60', new UserError('The token is wrong.')],
    ] as const) {
      let tries = 0
      const work = async () => {
        tries += 1
        throw error
      }
      await expect(patiently(wait, work)).rejects.toBe(error)
      expect(tries).toBe(1)
    }
  })

  test.each(['a minute', '-1', '1e3', '99999'])('takes no wait of %s', async (wait) => {
    await expect(patiently(wait, async () => undefined)).rejects.toThrow(/--wait must be a number of seconds/)
  })
})
