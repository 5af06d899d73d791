// The share of backfill: down quickly when the process is late, up slowly, never below one.
import { describe, expect, test } from 'vitest'
import { nextShare, openBackfillShare } from '../../../services/sync/backfill-share.ts'

const window = (ms: number) => Array.from({ length: 25 }, () => ms)

describe('the next share', () => {
  test('is one more when timers come in time, up to the maximum', () => {
    expect(nextShare(1, 8, window(1))).toBe(2)
    expect(nextShare(8, 8, window(0))).toBe(8)
  })

  test('is half when they come late, and never less than one', () => {
    expect(nextShare(8, 8, window(20))).toBe(4)
    expect(nextShare(3, 8, window(20))).toBe(1)
    expect(nextShare(1, 8, window(500))).toBe(1)
  })

  test('stays between the two, and for one long pause among many short ones', () => {
    expect(nextShare(4, 8, window(3))).toBe(4)
    expect(nextShare(4, 8, [...window(1).slice(1), 2_000])).toBe(5)
  })
})

describe('an open share', () => {
  test('begins with one slot, and grows while the process is not late', async () => {
    using share = openBackfillShare(8)
    expect(share.slots()).toBe(1)
    // Whether this process is late is the machine's business, so only the bounds are certain.
    await expect.poll(() => share.slots() >= 1 && share.slots() <= 8).toBe(true)
  })
})
