// The low watermark of the offsets we hold.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'

const at = { topic: 't', partition: 0 }
const moved = (ledger: ReturnType<typeof createOffsetLedger>) =>
  ledger.movedWatermarks().map((one) => one.next)

describe('the offset ledger', () => {
  test('never passes the lowest incomplete record and jumps over gaps in the offsets', () => {
    const ledger = createOffsetLedger()
    for (const offset of [5n, 6n, 9n, 12n]) ledger.add(at, offset, 0)
    ledger.complete(at, 6n)
    ledger.complete(at, 12n)
    expect(moved(ledger)).toEqual([5n])
    ledger.complete(at, 5n)
    expect(moved(ledger)).toEqual([9n])
    ledger.complete(at, 9n)
    expect(moved(ledger)).toEqual([13n])
  })

  test('reports a watermark only while it is ahead of what was committed', () => {
    const ledger = createOffsetLedger()
    ledger.add(at, 1n, 0)
    ledger.complete(at, 1n)
    expect(moved(ledger)).toEqual([2n])
    ledger.committed([{ ...at, next: 2n }])
    expect(moved(ledger)).toEqual([])
  })

  test('recognises a record delivered again, and takes it as new once the partition was lost', () => {
    const ledger = createOffsetLedger()
    expect(ledger.add(at, 7n, 0)).toBe(true)
    const first = ledger.tenure(at)
    expect(ledger.add(at, 7n, 0)).toBe(false)
    ledger.drop(at)
    expect(ledger.tenure(at)).toBe(0)
    expect(ledger.add(at, 7n, 0)).toBe(true)
    expect(ledger.tenure(at)).not.toBe(first)
  })

  test('passes markers, but no record that is not done', () => {
    const ledger = createOffsetLedger()
    ledger.add(at, 5n, 0)
    ledger.passed(at, 8n)
    expect(moved(ledger)).toEqual([5n])
    ledger.complete(at, 5n)
    expect(moved(ledger)).toEqual([8n])
    ledger.passed(at, 9n)
    expect(moved(ledger)).toEqual([9n])
    // A partition of which nothing but markers was seen.
    const other = { topic: 't', partition: 1 }
    ledger.passed(other, 3n)
    expect(ledger.add(other, 2n, 0)).toBe(false)
    expect(ledger.add(other, 3n, 0)).toBe(true)
  })

  test('knows when the oldest record of a topic was made that is not done', () => {
    const ledger = createOffsetLedger()
    const other = { topic: 't', partition: 1 }
    expect(ledger.oldestMadeAt('t')).toBeNull()
    ledger.add(at, 1n, 100)
    ledger.add(at, 2n, 300)
    ledger.add(other, 1n, 200)
    ledger.complete(at, 2n)
    expect(ledger.oldestMadeAt('t')).toBe(100)
    ledger.complete(at, 1n)
    expect(ledger.oldestMadeAt('t')).toBe(200)
    ledger.complete(other, 1n)
    expect(ledger.oldestMadeAt('t')).toBeNull()
    expect(ledger.oldestMadeAt('another')).toBeNull()
  })

  test('completing what is not held, or twice, changes nothing', () => {
    const ledger = createOffsetLedger()
    ledger.complete(at, 1n)
    ledger.add(at, 1n, 0)
    ledger.add(at, 2n, 0)
    ledger.complete(at, 1n)
    ledger.complete(at, 1n)
    ledger.complete(at, 9n)
    expect(moved(ledger)).toEqual([2n])
    expect(ledger.tracked('t')).toBe(1)
  })

  test('ends behind the last record after any order of completions', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(5000), { minLength: 1, maxLength: 3000 }),
        fc.infiniteStream(fc.nat()),
        (numbers, random) => {
          const offsets = [...numbers].sort((x, y) => x - y).map(BigInt)
          const ledger = createOffsetLedger()
          for (const offset of offsets) ledger.add(at, offset, 0)
          const left = [...offsets]
          while (left.length > 0) {
            const index = random.next().value! % left.length
            const [offset] = left.splice(index, 1)
            ledger.complete(at, offset!)
            if (left.length % 500 === 1)
              expect(moved(ledger)).toEqual([left.reduce((x, y) => (x < y ? x : y))])
          }
          expect(moved(ledger)).toEqual([offsets.at(-1)! + 1n])
          expect(ledger.tracked('t')).toBe(0)
        },
      ),
      { numRuns: 30 },
    )
  })
})
