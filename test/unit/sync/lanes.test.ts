// Lanes with units that the test ends by hand.
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import {
  createLanes,
  type LaneEnd,
  type LaneLimits,
  type LaneRequest,
  type Lanes,
  type Permit,
} from '../../../services/sync/lanes.ts'
import { LANE_ENDS } from '../../../services/sync/unit/unit.ts'
import { eventually } from '../../support/eventually.ts'

interface Ring extends LaneRequest {
  readonly name: string
}

interface RunningUnit {
  readonly names: readonly string[]
  readonly permit: Permit
  readonly end: (end: LaneEnd) => Promise<void>
}

const DONE: LaneEnd = { requests: 'done', when: 'slot' }
const RETURNED: LaneEnd = { requests: 'again', when: 'member' }
const BACKFILL: LaneEnd = { requests: 'again', when: 'backfill-slot' }
const BLOCKED: LaneEnd = { requests: 'again', when: 'resumed' }
const early = (waitMs: number): LaneEnd => ({ requests: 'again', when: 'due', waitMs })
const WIDE: LaneLimits = { slots: 100, bulkheadSlots: 100, backfillSlots: 100, slotWaitMs: 60_000 }

const open: Lanes<Ring>[] = []
afterEach(() => {
  for (const lanes of open.splice(0)) lanes[Symbol.dispose]()
})

function world(limits: Partial<LaneLimits> = {}, backfillShare?: () => number) {
  const running: RunningUnit[] = []
  const completed: string[] = []
  const seen = { blocked: 0, acknowledgedAt: 0, started: [] as string[] }
  const lanes = createLanes<Ring>({
    run: (requests, permit) => {
      const { promise, resolve } = Promise.withResolvers<LaneEnd>()
      const names = requests.map(({ name }) => name)
      const unit: RunningUnit = {
        names,
        permit,
        async end(end) {
          running.splice(running.indexOf(unit), 1)
          resolve(end)
          // The lanes hear of it some microtasks later.
          await new Promise(setImmediate)
        },
      }
      running.push(unit)
      seen.started.push(names.join('+'))
      return promise
    },
    completed: (requests) => completed.push(...requests.map(({ name }) => name)),
    blocked: () => (seen.blocked += 1),
    acknowledgedAt: () => seen.acknowledgedAt,
    limits: { ...WIDE, ...limits },
    ...(backfillShare && { backfillShare }),
  })
  open.push(lanes)
  const ring = (name: string, { key = name.slice(0, 1), bulkhead = 'google', source = 'p0' } = {}) =>
    lanes.add({ name, key, bulkhead, source, urgency: 'live' })
  const ask = (name: string) =>
    lanes.add({ name, key: name.slice(0, 1), bulkhead: 'google', source: 'p0', urgency: 'asked' })
  const names = () => running.map((unit) => unit.names.join('+'))
  return { lanes, ring, ask, running, completed, seen, names }
}

describe('a lane', () => {
  test('runs one unit at a time, and what arrives during it causes another, coalesced into one', async () => {
    const { ring, running, completed, names } = world()
    ring('a1')
    ring('a2')
    ring('a3')
    expect(names()).toEqual(['a1'])
    await running[0]!.end(DONE)
    expect(completed).toEqual(['a1'])
    expect(names()).toEqual(['a2+a3'])
    await running[0]!.end(DONE)
    expect(completed).toEqual(['a1', 'a2', 'a3'])
    expect(names()).toEqual([])
  })

  test('runs beside the lanes of other keys', () => {
    const { ring, names } = world()
    ring('a1')
    ring('b1')
    expect(names()).toEqual(['a1', 'b1'])
  })

  test('keeps the requests of a unit that gave them back, until the membership is confirmed after that', async () => {
    const { ring, running, seen, names, completed, lanes } = world()
    ring('a1')
    await running[0]!.end(RETURNED)
    ring('a2')
    seen.acknowledgedAt = performance.now() - 60_000
    await settle(lanes)
    expect(names()).toEqual([])
    seen.acknowledgedAt = performance.now()
    await eventually('a new permit', () => names().length === 1)
    expect(names()).toEqual(['a1+a2'])
    expect(completed).toEqual([])
  })

  test('waits with a ring that came early, and no longer than until news arrives', async () => {
    const { ring, running, names } = world()
    ring('a1')
    await running[0]!.end(early(120))
    expect(names()).toEqual([])
    await eventually('its time', () => names().length === 1)
    await running[0]!.end(early(3_600_000))
    ring('a2')
    expect(names()).toEqual(['a1+a2'])
  })

  test('rests with all others while a unit is blocked, until resumed', async () => {
    const { lanes, ring, running, names, seen } = world()
    ring('a1')
    ring('b1')
    await running[0]!.end(BLOCKED)
    await running[0]!.end(BLOCKED)
    ring('c1')
    expect(names()).toEqual([])
    expect(seen.blocked).toBe(1)
    lanes.resume()
    expect(names().toSorted()).toEqual(['a1', 'b1', 'c1'])
    await running[0]!.end(BLOCKED)
    expect(seen.blocked).toBe(2)
  })

  test('tells how long the one that waits longest for a slot has waited, and nothing while all pause', async () => {
    const { lanes, ring, ask, running } = world({ slots: 1 })
    ring('a1')
    expect(lanes.waits()).toEqual({ live: 0, asked: 0, backfill: 0 })
    ring('b1')
    await eventually('b has waited', () => lanes.waits().live > 50)
    ring('c1')
    ask('d1')
    const { live, asked, backfill } = lanes.waits()
    expect(live).toBeGreaterThan(50)
    expect(asked).toBeLessThan(live)
    expect(backfill).toBe(0)
    await running[0]!.end(BLOCKED)
    expect(lanes.waits()).toEqual({ live: 0, asked: 0, backfill: 0 })
  })
})

describe('the end of a unit', () => {
  test.each(['done', 'failed', 'partly', 'held', 'handed-over'] as const)(
    'that is %s is the end of its requests',
    async (kind) => {
      const { ring, running, completed, names } = world()
      ring('a1')
      ring('a2')
      await running[0]!.end(LANE_ENDS[kind])
      expect(completed).toEqual(['a1'])
      expect(names()).toEqual(['a2'])
    },
  )

  test.each(['abandoned', 'early', 'backfill', 'blocked'] as const)(
    'that is %s leaves its requests to the next one',
    async (kind) => {
      const { lanes, ring, running, seen, completed } = world()
      ring('a1')
      await running[0]!.end(LANE_ENDS[kind])
      expect(completed).toEqual([])
      seen.acknowledgedAt = performance.now()
      lanes.resume()
      await eventually('the next unit', () => seen.started.length === 2)
      expect(seen.started).toEqual(['a1', 'a1'])
    },
  )
})

describe('slots', () => {
  test('limit all units, and go to the keys in turn, however much one of them asks', async () => {
    const { ring, running, seen } = world({ slots: 1 })
    for (const name of ['a1', 'a2', 'b1', 'a3', 'c1']) ring(name)
    for (let i = 0; i < 4; i++) await running[0]!.end(DONE)
    expect(seen.started).toEqual(['a1', 'b1', 'c1', 'a2+a3'])
  })

  test('of one vendor do not take those of another', () => {
    const { ring, names } = world({ bulkheadSlots: 1 })
    ring('a1')
    ring('b1')
    ring('m1', { bulkhead: 'microsoft' })
    expect(names()).toEqual(['a1', 'm1'])
  })

  test('for backfill are limited by themselves, and live work goes past', async () => {
    const { ring, running, names } = world({ backfillSlots: 1 })
    for (const name of ['a1', 'b1', 'c1']) ring(name)
    await running[0]!.end(BACKFILL)
    await running.find((unit) => unit.names[0] === 'b1')!.end(BACKFILL)
    expect(names()).toEqual(['c1', 'a1'])
    expect(running.map((unit) => unit.permit.slot)).toEqual(['live', 'backfill'])
    await running[1]!.end(DONE)
    expect(names()).toEqual(['c1', 'b1'])
  })

  test('for backfill may be fewer for a while, and are used again when there are more', async () => {
    let share = 1
    const { ring, running, names } = world({ backfillSlots: 3 }, () => share)
    for (const name of ['a1', 'b1', 'c1', 'd1']) {
      ring(name)
      await running.at(-1)!.end(BACKFILL)
    }
    expect(names()).toEqual(['a1'])
    share = 5
    await eventually('the share is seen', () => names().length === 3)
    expect(names()).toEqual(['a1', 'b1', 'c1'])
    share = 1
    await running[0]!.end(DONE)
    expect(names()).toEqual(['b1', 'c1'])
  })

  test('go to notifications before what is only asked, and a notification takes its lane along', async () => {
    const { ring, ask, running, seen } = world({ slots: 1 })
    for (const name of ['a1', 'b1', 'c1', 'd1']) ask(name)
    ring('e1')
    ring('c2')
    for (let i = 0; i < 4; i++) await running[0]!.end(DONE)
    expect(seen.started).toEqual(['a1', 'e1', 'c1+c2', 'b1', 'd1'])
  })

  test('for what is asked follow the share of a backfill, four for one; a notification needs none of them', async () => {
    let share = 1
    const { ring, ask, names, running } = world({ backfillSlots: 2 }, () => share)
    for (const name of ['a1', 'b1', 'c1', 'd1', 'e1', 'f1']) ask(name)
    expect(names()).toEqual(['a1', 'b1', 'c1', 'd1'])
    expect(running.map((unit) => unit.permit.slot)).toEqual(['live', 'live', 'live', 'live'])
    ring('g1')
    expect(names()).toEqual(['a1', 'b1', 'c1', 'd1', 'g1'])
    await running[0]!.end(DONE)
    expect(names()).toEqual(['b1', 'c1', 'd1', 'g1', 'e1'])
    share = 2
    await eventually('the share is seen', () => names().length === 6)
  })

  test('are given by what waits in a lane when its unit is over', async () => {
    const { ring, ask, running, seen } = world({ slots: 1 })
    ring('a1')
    ask('a2')
    ask('b1')
    ring('c1')
    for (let i = 0; i < 3; i++) await running[0]!.end(DONE)
    expect(seen.started).toEqual(['a1', 'c1', 'b1', 'a2'])
  })

  test('for backfill always have the next in line at hand: only who stands behind them hands over', async () => {
    const { ring, running } = world({ backfillSlots: 1, slotWaitMs: 50 })
    for (let i = 0; i < 8; i += 1) {
      ring(`x${i}`, { key: `k${i}` })
      await running.at(-1)!.end(BACKFILL)
    }
    await eventually('the hand-overs', () => running.length === 4)
    expect(running.map((unit) => [unit.names[0], unit.permit.slot])).toEqual([
      ['x0', 'backfill'],
      ['x5', 'none'],
      ['x6', 'none'],
      ['x7', 'none'],
    ])
    expect(running[1]!.permit.waiting).toBeGreaterThanOrEqual(5)
  })

  test('are not needed to hand over what waited for one too long', async () => {
    const { ring, running, names, completed } = world({ slots: 1, slotWaitMs: 50 })
    ring('a1')
    ring('b1')
    await eventually('the hand-over', () => names().length === 2)
    expect(running[1]!.permit.slot).toBe('none')
    await running[1]!.end(DONE)
    expect(completed).toEqual(['b1'])
    expect(names()).toEqual(['a1'])
  })
})

describe('a source that went away', () => {
  test('takes its queued requests with it, and the permit of the unit that works on one', async () => {
    const { lanes, ring, running, completed, names } = world({ slots: 2 })
    ring('a1', { source: 'p1' })
    ring('b1', { source: 'p0' })
    ring('c1', { source: 'p1' })
    ring('d1', { source: 'p0' })
    const [a, b] = running
    lanes.withdraw('p1')
    expect([a!.permit.signal.aborted, b!.permit.signal.aborted]).toEqual([true, false])
    await a!.end(RETURNED)
    expect(names()).toEqual(['b1', 'd1'])
    await b!.end(DONE)
    expect(completed).toEqual(['b1'])
  })
})

test('a unit hears of a live request that came into its lane while it runs, not of others', async () => {
  const { ring, ask, running } = world()
  ring('a1')
  const unit = running[0]!
  ask('a2')
  ring('b1')
  expect(unit.permit.rung?.aborted).toBe(false)
  ring('a3')
  expect(unit.permit.rung?.aborted).toBe(true)
  await unit.end(DONE)
  expect(running.at(-1)?.names).toEqual(['a2', 'a3'])
  expect(running.at(-1)?.permit.rung?.aborted).toBe(false)
})

describe('draining', () => {
  test('asks units to hand over, waits for them, and starts nothing more', async () => {
    const { lanes, ring, running, completed, names } = world({ slots: 1 })
    ring('a1')
    ring('b1')
    const [a] = running
    const drained = lanes.drain(60_000)
    expect(a!.permit.stopping.aborted).toBe(true)
    expect(a!.permit.signal.aborted).toBe(false)
    await a!.end(DONE)
    await drained
    expect(completed).toEqual(['a1'])
    expect(names()).toEqual([])
  })

  test('takes the permit of a unit that does not come to an end', async () => {
    const { lanes, ring, running } = world()
    ring('a1')
    await lanes.drain(20)
    expect(running[0]!.permit.signal.aborted).toBe(true)
  })
})

describe('whatever happens', () => {
  const ends = fc.constantFrom<LaneEnd>(DONE, RETURNED, BACKFILL, early(0), BLOCKED)
  const step = fc.oneof(
    fc.record({
      do: fc.constantFrom('ring' as const, 'ask' as const),
      key: fc.constantFrom('a', 'b', 'c', 'd'),
    }),
    fc.record({ do: fc.constant('end' as const), at: fc.nat(9), end: ends }),
  )

  test('every request is completed exactly once, in the order of its key, by units that never overlap', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { lanes, ring, ask, running, completed, seen } = world({ slots: 2, backfillSlots: 1 })
        const asked: string[] = []
        for (const one of steps) {
          if (one.do !== 'end') {
            asked.push(`${one.key}${asked.length}`)
            if (one.do === 'ring') ring(asked.at(-1)!)
            else ask(asked.at(-1)!)
          } else if (running.length > 0) await running[one.at % running.length]!.end(one.end)
          const keys = running.map((unit) => unit.names[0]!.slice(0, 1))
          expect(new Set(keys).size).toBe(keys.length)
          expect(running.length).toBeLessThanOrEqual(2)
        }
        await eventually('everything is done', async () => {
          seen.acknowledgedAt = performance.now()
          lanes.resume()
          for (const unit of running.slice()) await unit.end(DONE)
          return completed.length === asked.length
        })
        const ofKey = (names: readonly string[], key: string) => names.filter((name) => name.startsWith(key))
        for (const key of ['a', 'b', 'c', 'd']) expect(ofKey(completed, key)).toEqual(ofKey(asked, key))
        expect(lanes.counts()).toEqual({ ready: 0, running: 0, resting: 0 })
      }),
      { numRuns: 40 },
    )
  })
})

/** Lets the lanes look around twice. */
async function settle(lanes: Lanes<Ring>): Promise<void> {
  const before = performance.now()
  await eventually('two ticks', () => lanes.counts() && performance.now() - before > 250)
}
