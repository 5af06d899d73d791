// The simulated clock: timers run in the order of their due times and see these times,
// whether the clock runs or is moved.
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createClock } from '../../../infra/simulator/clock/clock.ts'
import { createTimerHeap } from '../../../infra/simulator/clock/timer-heap.ts'
import { createRandom } from '../../../infra/simulator/random.ts'

const START = Date.UTC(2026, 5, 1)
const DAY_MS = 86_400_000

function manual() {
  const clock = createClock({ mode: 'manual', startAt: START })
  onTestFinished(() => clock[Symbol.dispose]())
  return clock
}

describe('a manual clock', () => {
  it('stands still until it is moved, and then runs what is due at its own time', async () => {
    const clock = manual()
    const seen: [string, number][] = []
    const note = (name: string) => () => void seen.push([name, clock.now() - START])
    clock.after(2_000, note('second'))
    clock.after(1_000, note('first'))
    clock.after(DAY_MS, note('never'))
    const cancel = clock.after(1_500, note('cancelled'))
    cancel()
    expect([clock.now(), clock.waiting]).toEqual([START, 3])
    await clock.advance(10_000)
    expect(seen).toEqual([
      ['first', 1_000],
      ['second', 2_000],
    ])
    expect([clock.now() - START, clock.waiting]).toEqual([10_000, 1])
  })

  it('waits for what a timer began, so that a retry it sets falls due on the same way', async () => {
    const clock = manual()
    const attempts: number[] = []
    let working: Promise<void> = Promise.resolve()
    clock.onAdvance({ settled: () => working })
    const attempt = (): void => {
      attempts.push(clock.now() - START)
      working = new Promise((resolve) => {
        setImmediate(() => {
          if (attempts.length < 4) clock.after(1_000 * 2 ** attempts.length, attempt)
          resolve()
        })
      })
    }
    clock.after(1_000, attempt)
    await clock.advance(60_000)
    expect(attempts).toEqual([1_000, 3_000, 7_000, 15_000])
  })

  it('takes two moves one after the other, and tells where it is going before it goes', async () => {
    const clock = manual()
    const goals: number[] = []
    clock.onAdvance({ begin: (state) => void goals.push(state.at - START) })
    await Promise.all([clock.advance(1_000), clock.advance(500)])
    expect([goals, clock.now() - START]).toEqual([[1_000, 1_500], 1_500])
  })
})

describe('a running clock', () => {
  it('can be moved on, and stays ahead of the wall clock by that much', async () => {
    const clock = createClock({ mode: 'running' })
    onTestFinished(() => clock[Symbol.dispose]())
    const fired: string[] = []
    clock.after(30 * DAY_MS, () => void fired.push('month'))
    await clock.advance(29 * DAY_MS)
    expect(fired).toEqual([])
    await clock.advance(2 * DAY_MS)
    expect(fired).toEqual(['month'])
    expect(clock.now()).toBeGreaterThanOrEqual(Date.now() + 31 * DAY_MS - 1_000)
    const again = createClock({ mode: 'running' })
    onTestFinished(() => again[Symbol.dispose]())
    again.restore(clock.state)
    expect(again.now()).toBeGreaterThanOrEqual(Date.now() + 31 * DAY_MS - 1_000)
  })

  it('runs on while it is moved: what its timers take on the way is not lost to it', async () => {
    const clock = createClock({ mode: 'running' })
    onTestFinished(() => clock[Symbol.dispose]())
    const steps = 50
    clock.onAdvance({
      settled: async () => {
        const from = performance.now()
        await vi.waitUntil(() => performance.now() > from + 1, { interval: 1 })
      },
    })
    let left = 2 * steps
    const again = (): void => {
      if ((left -= 1) > 0) clock.after(30_000, again)
    }
    clock.after(30_000, again)
    for (let n = 0; n < steps; n += 1) await clock.advance(60_000)
    expect(left, 'timers that did not run on the way').toBeLessThan(steps)
    // Whoever moves another clock by as much, as tests and their services do, has the same time.
    expect(clock.state.aheadMs).toBe(steps * 60_000)
  })

  it('runs timers by itself as time passes', async () => {
    const clock = createClock({ mode: 'running' })
    onTestFinished(() => clock[Symbol.dispose]())
    const order: number[] = []
    await new Promise<void>((resolve) => {
      clock.after(20, () => {
        order.push(20)
        resolve()
      })
      clock.after(5, () => void order.push(5))
    })
    expect(order).toEqual([5, 20])
  })
})

describe('the heap of timers', () => {
  it('gives any timers back in order of time, equal ones in the order they came', () => {
    const random = createRandom('heap')
    const heap = createTimerHeap()
    const due = Array.from({ length: 2_000 }, () => random.below(300))
    const taken: [number, number][] = []
    const cancels = due.map((at, index) => heap.add(at, () => void taken.push([at, index])))
    for (let index = 0; index < due.length; index += 7) cancels[index]?.()
    for (let at = heap.nextAt(); at !== null; at = heap.nextAt()) for (const run of heap.takeUntil(at)) run()
    const expected = due
      .map((at, index) => [at, index] as [number, number])
      .filter(([, index]) => index % 7 !== 0)
      .toSorted(([a, i], [b, j]) => a - b || i - j)
    expect(taken).toEqual(expected)
    expect(heap.size).toBe(0)
  })
})
