import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  BACKOFF_BASE_MS,
  BACKOFF_CAP_MS,
  backoffMs,
  calendarBackoffMs,
  floorMs,
} from '#shared/domain/backoff.ts'

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const attempt = fc.integer({ min: 1, max: 10_000 })

describe('the backoff', () => {
  test.each([
    [1, 0, 2_500],
    [1, 0.999_999, 5_000],
    [2, 0, 5_000],
    [3, 0.5, 15_000],
    [10, 0, 1_280_000],
    [11, 0, 1_800_000],
    [40, 0, 1_800_000],
    [5_000, 0.999_999_99, 3_600_000],
  ])('attempt %i with random %d waits %i ms', (n, r, ms) => {
    expect(backoffMs({ attempt: n, floorMs: 0, random: r })).toBe(ms)
  })

  test('waits at least half of its step and at most the cap, however often it failed', () => {
    fc.assert(
      fc.property(attempt, random, (n, r) => {
        const step = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (n - 1))
        const ms = backoffMs({ attempt: n, floorMs: 0, random: r })
        expect(ms).toBeGreaterThanOrEqual(step / 2)
        expect(ms).toBeLessThanOrEqual(step)
      }),
    )
  })

  test('never waits less than the vendor asked for, also beyond the cap, and spreads those who were told the same', () => {
    fc.assert(
      fc.property(attempt, random, fc.integer({ min: 1, max: 86_400_000 }), (n, r, floorMs) => {
        expect(backoffMs({ attempt: n, floorMs, random: r })).toBeGreaterThanOrEqual(floorMs)
      }),
    )
    const told = (r: number) => backoffMs({ attempt: 1, floorMs: 60_000, random: r })
    expect([told(0), told(0.5), told(0.9)]).toEqual([60_000, 62_500, 64_500])
  })

  test('spreads those whom the vendor throttled together, with and without a time that it named', () => {
    const spread = (n: number, floorMs: number) => {
      const at = (r: number) => backoffMs({ attempt: n, floorMs, random: r, isThrottled: true })
      return [at(0), at(0.5), at(0.999_999_99)]
    }
    expect(spread(1, 60_000)).toEqual([60_000, 67_500, 75_000])
    expect(spread(1, 0)).toEqual([2_500, 10_000, 17_500])
    // A long step spreads more than that by itself.
    expect(spread(10, 0)).toEqual([1_280_000, 1_920_000, 2_560_000])
  })
})

describe('the backoff of one ill calendar', () => {
  const HOUR_MS = 3_600_000
  /** When it is tried, in ms from its first failure, which is the first try. */
  const triesWith = (r: number): readonly number[] => {
    const tries = [0]
    for (let n = 1; n < 40; n += 1)
      tries.push(tries.at(-1)! + calendarBackoffMs({ attempt: n, floorMs: 0, random: r }))
    return tries
  }

  test('lets it be tried six times in its first hour at most, and twice in any later one', () => {
    const tries = triesWith(0)
    const within = (from: number) => tries.filter((at) => at >= from && at < from + HOUR_MS).length
    expect(within(0)).toBe(6)
    for (const at of tries) expect(within(at)).toBeLessThanOrEqual(at === 0 ? 6 : 5)
    for (const at of tries.slice(6, -2)) expect(within(at)).toBe(2)
  })

  test('never lets an hour pass without a try, and heeds a floor of the vendor', () => {
    const tries = triesWith(0.999_999)
    for (const [n, at] of tries.slice(1).entries()) expect(at - tries[n]!).toBeLessThanOrEqual(HOUR_MS)
    expect(calendarBackoffMs({ attempt: 1, floorMs: 2 * HOUR_MS, random: 0 })).toBe(2 * HOUR_MS)
  })
})

test.each([
  ['of a failure that names no time', undefined, 0],
  ['that has passed', 999_000, 0],
  ['in whole milliseconds, never too early', 2_000_001, 1_001],
])('a floor %s', (_which, retryAt, ms) => {
  expect(floorMs({ retryAt }, 1_000_000)).toBe(ms)
})
