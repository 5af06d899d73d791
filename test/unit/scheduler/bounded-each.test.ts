// Several at a time, for a bounded time.
import { expect, test } from 'vitest'
import { boundedEach } from '../../../services/scheduler/bounded-each.ts'

const LIMITS = { atOnce: 2, withinMs: 60_000, signal: new AbortController().signal }

/** Work that ends when it is told to. */
function byHand() {
  const begun: number[] = []
  const ends = new Map<number, PromiseWithResolvers<boolean>>()
  const work = (item: number) => {
    begun.push(item)
    const end = Promise.withResolvers<boolean>()
    ends.set(item, end)
    return end.promise
  }
  return { begun, work, end: (item: number) => ends.get(item)! }
}

test('so many are under way at once, in their order, and those that did something are counted', async () => {
  const { begun, work, end } = byHand()
  const done = boundedEach([1, 2, 3], LIMITS, work)
  expect(begun).toEqual([1, 2])
  end(2).resolve(true)
  await expect.poll(() => begun).toEqual([1, 2, 3])
  end(1).resolve(false)
  end(3).resolve(true)
  expect(await done).toBe(2)
})

test('nothing begins after the time is over or the process is to end', async () => {
  const { begun, work } = byHand()
  expect(await boundedEach([1], { ...LIMITS, withinMs: 0 }, work)).toBe(0)
  expect(await boundedEach([1], { ...LIMITS, signal: AbortSignal.abort() }, work)).toBe(0)
  expect(begun).toEqual([])
})

test('the first rejection lets no other begin, and is thrown when what was begun has ended', async () => {
  const { begun, work, end } = byHand()
  let isOver = false
  const done = boundedEach([1, 2, 3], LIMITS, work).finally(() => (isOver = true))
  const thrown = expect(done).rejects.toThrow('the first')
  end(1).reject(new Error('the first'))
  await new Promise((resolve) => setImmediate(resolve))
  expect(isOver).toBe(false)
  end(2).reject(new Error('the second'))
  await thrown
  expect(begun).toEqual([1, 2])
})
