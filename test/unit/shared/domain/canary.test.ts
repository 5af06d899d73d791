// What a canary does next, and which leg it calls dead, as a model: the legs of a whole day are
// played, any of them may die and come back, and the verdict has to be the truth in time.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CanaryFacts, type CanaryLeg, deadLegs, nextCanaryStep } from '#shared/domain/canary.ts'

const SECOND = 1_000_000
const TICK = 5 * SECOND
/** A dead leg is told within five minutes; two of them are the alert's. */
const TOLD_WITHIN = 3 * 60 * SECOND

interface Legs {
  readonly dead: ReadonlySet<CanaryLeg>
}

/** The product as a canary sees it, in ticks of the job. */
class Played {
  now = 1_000_000 * SECOND
  facts: CanaryFacts = {
    begunAt: null,
    takenAt: null,
    rungAt: null,
    storedAt: null,
    arrivedAt: null,
    isStored: false,
    isWaiting: false,
    isNotified: false,
    silentSince: null,
    refusedSince: null,
  }
  writes = 0

  tick({ dead }: Legs): void {
    this.now += TICK
    this.#product(dead)
    const { facts, now } = this
    const step = nextCanaryStep(facts, now)
    switch (step) {
      case 'write': {
        this.writes += 1
        const silent = facts.isNotified ? null : (facts.silentSince ?? facts.begunAt)
        const silentSince = facts.storedAt === null ? facts.silentSince : silent
        const begun = {
          begunAt: now,
          rungAt: null,
          storedAt: null,
          arrivedAt: null,
          isNotified: false,
          silentSince,
        }
        this.facts = dead.has('vendor')
          ? { ...facts, ...begun, takenAt: null, isStored: false, refusedSince: facts.refusedSince ?? now }
          : { ...facts, ...begun, takenAt: now, isStored: false, refusedSince: null }
        return
      }
      case 'ring':
        this.facts = { ...facts, rungAt: now }
        return
      case 'stored':
        this.facts = { ...facts, storedAt: now }
        return
      case 'arrived':
        this.facts = { ...facts, arrivedAt: now }
        return
      case 'wait':
        return
    }
  }

  /** What the vendor, sync and the relay did since the last tick. */
  #product(dead: ReadonlySet<CanaryLeg>): void {
    const { facts } = this
    if (facts.takenAt === null) return
    const isRung = !dead.has('push') || facts.rungAt !== null
    if (!facts.isStored && isRung && !dead.has('sync'))
      this.facts = { ...facts, isStored: true, isNotified: !dead.has('push'), isWaiting: true }
    if (this.facts.isStored && !dead.has('relay')) this.facts = { ...this.facts, isWaiting: false }
  }

  /** Ticks for so long. @returns the legs that are called dead then. */
  pass(ms: number, ...dead: readonly CanaryLeg[]): readonly CanaryLeg[] {
    for (let at = 0; at < ms; at += TICK) this.tick({ dead: new Set(dead) })
    return deadLegs(this.facts, this.now).map(({ leg }) => leg)
  }
}

describe('a canary', () => {
  test('of a product that works beats once a minute and calls nothing dead (control)', () => {
    const played = new Played()
    const called = new Set<CanaryLeg>()
    for (let minute = 0; minute < 60; minute += 1) for (const leg of played.pass(60 * SECOND)) called.add(leg)
    expect([...called]).toEqual([])
    expect(played.writes).toBeGreaterThan(55)
    expect(played.writes).toBeLessThanOrEqual(60)
  })

  test.each(['vendor', 'push', 'sync', 'relay'] as const)(
    'names a dead %s and no other leg in time, and is calm once it is back',
    (leg) => {
      for (let offset = 0; offset < 60 * SECOND; offset += TICK) {
        const played = new Played()
        played.pass(120 * SECOND + offset)
        expect(played.pass(TOLD_WITHIN, leg), `died ${offset / SECOND} s into a minute`).toEqual([leg])
        expect(played.pass(TOLD_WITHIN)).toEqual([])
      }
    },
  )

  test('calls a leg dead only when it was, whatever dies when and for how long', () => {
    const outage = fc.record({
      leg: fc.constantFrom<CanaryLeg>('vendor', 'push', 'sync', 'relay'),
      wellMs: fc.integer({ min: 1, max: 60 }).map((ticks) => ticks * TICK),
      deadMs: fc.integer({ min: 1, max: 60 }).map((ticks) => ticks * TICK),
    })
    fc.assert(
      fc.property(fc.array(outage, { minLength: 1, maxLength: 6 }), (outages) => {
        const played = new Played()
        const recent = new Map<CanaryLeg, number>()
        for (const { leg, wellMs, deadMs } of outages)
          for (const [lasts, dead] of [
            [wellMs, []],
            [deadMs, [leg]],
          ] as const)
            for (let at = 0; at < lasts; at += TICK) {
              for (const one of dead) recent.set(one, played.now)
              for (const called of played.pass(TICK, ...dead))
                expect(played.now - (recent.get(called) ?? Number.NEGATIVE_INFINITY)).toBeLessThan(
                  TOLD_WITHIN,
                )
            }
      }),
    )
  })
})
