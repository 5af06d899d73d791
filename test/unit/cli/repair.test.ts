// What a person types for a repair.
import { describe, expect, test } from 'vitest'
import { sinceOf } from '../../../services/cli/repair.ts'

const NOW_MS = Date.UTC(2026, 4, 4, 9, 0, 0)

describe('--since', () => {
  test.each([
    ['2026-05-04T09:00:00Z', 0],
    ['2026-05-04T09:00Z', 0],
    ['2026-05-04T10:00:00.500+02:00', 60 * 60_000 - 500],
    ['30m', 30 * 60_000],
    ['6h', 6 * 3_600_000],
    ['2d', 2 * 86_400_000],
  ])('takes %s', (text, agoMs) => {
    expect(sinceOf(text, NOW_MS)).toBe((NOW_MS - agoMs) * 1000)
  })

  test.each([
    'yesterday',
    '2026-05-04',
    '2026-05-04T09:00:00',
    '2026-13-04T09:00:00Z',
    '6 h',
    '-6h',
    '6w',
    '',
  ])('refuses %j, and says what it takes', (text) => {
    expect(() => sinceOf(text, NOW_MS)).toThrow(/an instant with its offset, .*, or an age like 30m/)
  })
})
