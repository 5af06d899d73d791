import { describe, expect, test } from 'vitest'
import { callsInsideBackoffs } from '../../support/backoff-calls.ts'

const BACKOFF = { connectionId: 'a', from: 1_000, to: 5_000 }
const found = (at: number, connectionId = 'a', jumps: { from: number; to: number }[] = []) =>
  callsInsideBackoffs([{ connectionId, at }], [BACKOFF], jumps).length

describe('the judge of backoffs', () => {
  test('finds a call inside of one', () => {
    expect(found(1_001)).toBe(1)
    expect(found(4_999)).toBe(1)
  })

  test('leaves out the call that met the failure, those after the end, and those of others', () => {
    expect(found(1_000)).toBe(0)
    expect(found(5_000)).toBe(0)
    expect(found(2_000, 'b')).toBe(0)
  })

  test('says nothing of a call that was made while the clocks were moved, and all the same of one right after', () => {
    expect(found(2_000, 'a', [{ from: 1_500, to: 2_500 }])).toBe(0)
    expect(found(2_501, 'a', [{ from: 1_500, to: 2_500 }])).toBe(1)
  })
})
