// Where a batch of the outbox may end.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wholePairs } from '../../../services/relay/whole-pairs.ts'

const row = (id: number, key: string, sequence?: number) => ({
  id,
  topic: 't',
  key,
  value: null,
  headers: sequence === undefined ? {} : { ce_sequence: String(sequence) },
  bytes: 1,
  createdAt: 0,
})
const ids = (rows: readonly { id: number }[]) => rows.map((one) => one.id)

describe('a batch of the outbox', () => {
  test('takes everything when everything fits', () => {
    expect(ids(wholePairs([row(1, 'a', 1), row(2, 'a/c/e', 1)], 2))).toEqual([1, 2])
  })

  test('ends before a change whose state record would be left out', () => {
    const rows = [row(1, 'a', 1), row(2, 'a/c/e', 1), row(3, 'a', 2), row(4, 'a/c/e', 2)]
    expect(ids(wholePairs(rows, 3))).toEqual([1, 2])
    // Control: with other connections the same numbers are no pair.
    expect(ids(wholePairs([...rows.slice(0, 3), row(4, 'b/c/e', 2)], 3))).toEqual([1, 2, 3])
  })

  test('ends before both changes when pairs of two connections lie into each other', () => {
    const rows = [row(1, 'x', 9), row(2, 'a', 1), row(3, 'b', 1), row(4, 'a/c/e', 1), row(5, 'b/c/e', 1)]
    expect(ids(wholePairs(rows, 4))).toEqual([1])
  })

  test('is cut anyway when a single pair does not fit, because torn is better than stuck', () => {
    expect(ids(wholePairs([row(1, 'a', 1), row(2, 'a/c/e', 1)], 1))).toEqual([1])
  })

  test('is never empty, never longer than allowed, and always a beginning of the rows', () => {
    const rowsOf = fc.array(
      fc.tuple(fc.constantFrom('a', 'b', 'c/d'), fc.option(fc.nat(5), { nil: undefined })),
      { minLength: 1, maxLength: 40 },
    )
    fc.assert(
      fc.property(rowsOf, fc.integer({ min: 1, max: 40 }), (specs, rowsMax) => {
        const rows = specs.map(([key, sequence], index) => row(index, key, sequence))
        const batch = wholePairs(rows, rowsMax)
        expect(batch.length).toBeGreaterThan(0)
        expect(batch.length).toBeLessThanOrEqual(rowsMax)
        expect(ids(batch)).toEqual(ids(rows.slice(0, batch.length)))
      }),
    )
  })
})
