// Whether a run gets anywhere, by what its pages say:
// no run that ends is broken off, and none that repeats itself goes on.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  keptProgress,
  KEPT_MAX,
  leadsNowhere,
  NO_PROGRESS_YET,
  progressOf,
  SEEN_MAX,
  TOLD_MAX,
  weighPage,
  type Progress,
  type Told,
} from '../../../../services/sync/unit/run-progress.ts'

/** More than tens of calls is too late. */
const TENS = 45

/** @returns how many pages a run takes until it is broken off; null when it never is. */
function brokenOffAfter(
  pages: Iterable<readonly Told[]>,
  keep: (progress: Progress) => Progress = (progress) => progress,
  from = NO_PROGRESS_YET,
) {
  let progress = from
  let count = 0
  for (const page of pages) {
    count += 1
    progress = keep(weighPage(progress, page))
    if (leadsNowhere(progress)) return count
  }
  return null
}

const things = (from: number, count: number, version = 'v'): Told[] =>
  Array.from({ length: count }, (_, i) => ({ id: `id ${from + i}`, version }))

function* forEver<T>(make: (n: number) => T): Generator<T> {
  for (let n = 0; n < 2_000; n += 1) yield make(n)
}

/** As a unit that ends between any two pages, and another that goes on. */
const overUnits = (progress: Progress) => progressOf(JSON.parse(JSON.stringify(keptProgress(progress))))

describe('a run is broken off after a few pages when', () => {
  test('the same page comes for ever', () => {
    expect(brokenOffAfter([things(0, 171), ...forEver(() => things(500, 106))])).toBe(4)
  })

  test('the same page comes for ever, and a unit ends after each', () => {
    expect(brokenOffAfter([things(0, 171), ...forEver(() => things(500, 106))], overUnits)).toBe(4)
  })

  test('its pages go round in a circle, or come in any order', () => {
    expect(brokenOffAfter(forEver((n) => things((n % 3) * 50, 50)))).toBe(5)
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 200, maxLength: 200 }), (order) => {
        const after = brokenOffAfter(order.map((n) => things(n * 20, 20)))
        return after !== null && after <= 10 * 2 + 2
      }),
      { numRuns: 50 },
    )
  })

  test('nothing comes for ever', () => {
    expect(brokenOffAfter(forEver(() => []))).toBe(40)
    expect(brokenOffAfter([things(0, 9), ...forEver(() => [])], overUnits)).toBe(41)
  })

  test('nothing comes of a plain listing for ever, after which nothing else is left to try', () => {
    let progress = NO_PROGRESS_YET
    for (let n = 1; n <= 99; n += 1) progress = weighPage(progress, [], { reading: 'plain' })
    expect(leadsNowhere(progress)).toBe(false)
    expect(leadsNowhere(weighPage(progress, [], { reading: 'plain' }))).toBe(true)
  })

  test.each<[string, (n: number) => readonly Told[]]>([
    ['nothing comes', () => []],
    ['nothing comes of a plain listing', () => []],
    ['the same comes', () => things(0, 50)],
    ['known things come with ever new versions', (n) => things(0, 50, `v${n}`)],
  ])('%s for ever, and it was so the last time: after four calls at most', (what, page) => {
    const reading = what.includes('plain') ? 'plain' : 'usual'
    let progress = NO_PROGRESS_YET
    let calls = 0
    for (; !leadsNowhere(progress) && calls < 100; calls += 1)
      progress = weighPage(progress, page(calls), { reading, isAgain: true })
    expect(calls).toBeLessThanOrEqual(4)
  })

  test('it names nothing but known things with ever new versions', () => {
    const after = brokenOffAfter(forEver((n) => things(0, 100, `v${n}`)))
    expect(after).toBeGreaterThan(TENS)
    expect(after).toBeLessThan(2 * TENS)
  })

  test('it names more than a window can hold', () => {
    const nearly = { ...NO_PROGRESS_YET, told: TOLD_MAX - 4_000 }
    expect(
      brokenOffAfter(
        forEver((n) => things(n * 500, 500)),
        overUnits,
        nearly,
      ),
    ).toBe(8)
  })
})

describe('a run goes on when', () => {
  test('each page brings one new thing, however long that takes', () => {
    expect(brokenOffAfter(forEver((n) => [...things(0, 5), ...things(1_000 + n, 1)]))).toBeNull()
    expect(
      brokenOffAfter(
        forEver((n) => things(n, 1)),
        overUnits,
      ),
    ).toBeNull()
  })

  test('it is any listing that ends: pages of any size, empty ones and repeated things between', () => {
    const size = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) }, fc.constant(0))
    fc.assert(
      fc.property(fc.array(fc.record({ size, again: fc.nat(30) }), { maxLength: 120 }), (plan) => {
        let at = 0
        let empty = 0
        const pages: Told[][] = []
        for (const { size: count, again } of plan) {
          // What Google documents is an empty page now and then.
          empty = count === 0 ? empty + 1 : 0
          if (empty > 10) continue
          pages.push(
            count === 0
              ? []
              : [...things(Math.max(0, at - again), Math.min(at, again)), ...things(at, count)],
          )
          at += count
        }
        return brokenOffAfter(pages, overUnits) === null
      }),
    )
  })

  test('it has 300 000 events', () => {
    const last = Array.from({ length: 100 }, (_, n) => things(n * 200, 200))
    expect(brokenOffAfter(last, overUnits, { ...NO_PROGRESS_YET, told: 280_000 })).toBeNull()
  })
})

test('what is kept of a run is bounded, in memory and in the row', () => {
  let progress = NO_PROGRESS_YET
  for (let n = 0; n < 12; n += 1) progress = weighPage(progress, things(n * 2_500, 2_500))
  expect(progress.seen.size).toBe(SEEN_MAX)
  const kept = keptProgress(progress)
  expect(kept.seen).toHaveLength(KEPT_MAX)
  expect(Buffer.byteLength(JSON.stringify(kept))).toBeLessThan(12_000)
  // The newest are kept: they are what a circle comes back to.
  expect(leadsNowhere([1, 2, 3].reduce((p) => weighPage(p, things(29_900, 100)), progressOf(kept)))).toBe(
    true,
  )
})
