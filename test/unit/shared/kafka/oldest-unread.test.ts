// The age of the oldest record, found by asking whether one is older.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { oldestOf } from '#shared/kafka/oldest-unread.ts'

const MINUTE = 60_000
const DAY = 86_400_000

/** A topic whose oldest record is so many ms old. */
const of = (age: number) => async (asked: number) => asked <= age

test('is found to a sixteenth, and never too great', async () => {
  await fc.assert(
    fc.asyncProperty(fc.double({ min: 1_000, max: 7 * DAY, noNaN: true }), async (age) => {
      const found = await oldestOf(of(age))
      expect(found).toBeLessThanOrEqual(age)
      expect(found * (1 + 1 / 16)).toBeGreaterThanOrEqual(age)
    }),
  )
})

test('is nothing for what is on its way, and for nothing', async () => {
  expect(await oldestOf(of(999))).toBe(0)
  expect(await oldestOf(async () => false)).toBe(0)
})

test('is asked for in few questions, and ends where no topic keeps more', async () => {
  let questions = 0
  const count = (age: number) => (asked: number) => {
    questions += 1
    return of(age)(asked)
  }
  await oldestOf(count(3 * MINUTE))
  expect(questions).toBeLessThanOrEqual(13)
  questions = 0
  expect(await oldestOf(async () => ((questions += 1), true))).toBeGreaterThan(7 * DAY)
  expect(questions).toBeLessThanOrEqual(30)
})
