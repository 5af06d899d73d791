// A wait of the demo: it says what it waits for and until when, tries again what failed, and ends
// by its deadline or the signal.
import { describe, expect, test } from 'vitest'
import { briefly, Wait } from '../../../../infra/stack/patience.ts'
import { UserError } from '#shared/process/user-error.ts'

const never = new AbortController().signal

function waitFor(withinMs: number, signal: AbortSignal = never) {
  const said: string[] = []
  const wait = new Wait({ what: 'the table', withinMs, say: (line) => said.push(line), signal })
  return { wait, said }
}

describe('an attempt', () => {
  test('is repeated until it works, and says its trouble once, in one line', async () => {
    const { wait, said } = waitFor(60_000)
    let calls = 0
    const found = await wait.attempt(() => {
      calls += 1
      return calls < 3
        ? Promise.reject(new Error('timeout exceeded when trying to connect\n    at pool.js:1'))
        : Promise.resolve(7)
    })
    expect([found, calls]).toEqual([7, 3])
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(
      /^ {2}Waiting for the table, tried again until \d\d:\d\d:\d\d: timeout exceeded .* at pool\.js:1$/,
    )
  })

  test('ends as a UserError once the time is over, with what was waited for and the last reason', async () => {
    const { wait } = waitFor(0)
    const ended = await wait.attempt(() => Promise.reject(new Error('no'))).catch((error: unknown) => error)
    expect(ended).toBeInstanceOf(UserError)
    expect((ended as UserError).message).toBe('Waited 0.0 s for the table: no')
  })

  test('ends at the signal, whatever the time', async () => {
    const stop = new AbortController()
    const { wait, said } = waitFor(60_000, stop.signal)
    const ended = wait.attempt(() => {
      stop.abort(new UserError('stopped'))
      return Promise.reject(new Error('no'))
    })
    await expect(ended).rejects.toThrow('stopped')
    expect(said).toEqual([])
  })
})

test.each([
  [new Error('a\n  b'), 'a b'],
  [
    new Error('fetch failed', { cause: new Error('connect ECONNREFUSED') }),
    'fetch failed: connect ECONNREFUSED',
  ],
  [
    new Error('fetch failed', { cause: new AggregateError([new Error('connect ECONNREFUSED ::1')]) }),
    'fetch failed: connect ECONNREFUSED ::1',
  ],
  ['text', 'text'],
])('%s is told in one line', (error, line) => {
  expect(briefly(error)).toBe(line)
})
