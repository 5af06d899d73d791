// An ill calendar gives way to a sibling that waits, and only then.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { GIVE_WAY_MS, ownTurn } from '../../../../services/sync/unit/give-way.ts'
import type { Turn } from '../../../../services/sync/lanes.ts'

const ILL = { failures: 1 }
const WELL = { failures: 0 }

function turnWith() {
  const abort = new AbortController()
  const rung = new AbortController()
  const turn: Turn = {
    slot: 'live',
    stopping: new AbortController().signal,
    signal: abort.signal,
    rung: rung.signal,
  }
  return { turn, abort, rung }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('the turn of an ill calendar', () => {
  test.each(['while it is read', 'before it is read'])(
    'is over a little after a ring that came %s',
    (when) => {
      const { turn, rung } = turnWith()
      if (when.startsWith('before')) rung.abort()
      using own = ownTurn(turn, ILL, [ILL, WELL])
      rung.abort()
      vi.advanceTimersByTime(GIVE_WAY_MS - 1)
      expect(own.turn.signal.aborted).toBe(false)
      vi.advanceTimersByTime(1)
      expect(own.turn.signal.reason).toMatchObject({ code: 'sync/gave-way' })
      // Only its own: the next calendar of the unit has all its time.
      expect(turn.signal.aborted).toBe(false)
    },
  )

  test('lasts while nobody rings, and is taken away with the unit', () => {
    const { turn, abort } = turnWith()
    using own = ownTurn(turn, ILL, [ILL, WELL])
    vi.advanceTimersByTime(100 * GIVE_WAY_MS)
    expect(own.turn.signal.aborted).toBe(false)
    abort.abort()
    expect(own.turn.signal.aborted).toBe(true)
  })

  test.each([
    ['every third try of it', { failures: 2 }, [{ failures: 2 }, WELL], false],
    ['the try after that', { failures: 3 }, [{ failures: 3 }, WELL], true],
    ['a calendar that is well', WELL, [ILL, WELL], false],
    ['one without a sibling that is well', ILL, [ILL, ILL], false],
  ])('of %s', (_which, calendar, calendars, givesWay) => {
    const { turn, rung } = turnWith()
    rung.abort()
    using own = ownTurn(turn, calendar, calendars)
    vi.advanceTimersByTime(100 * GIVE_WAY_MS)
    expect(own.turn.signal.aborted).toBe(givesWay)
  })

  test('leaves no timer and no listener behind', () => {
    const { turn, rung } = turnWith()
    const ended = ownTurn(turn, ILL, [ILL, WELL])
    ended[Symbol.dispose]()
    rung.abort()
    expect(vi.getTimerCount()).toBe(0)
    ownTurn(turn, ILL, [ILL, WELL])[Symbol.dispose]()
    expect(vi.getTimerCount()).toBe(0)
  })
})
