// The heap against a model that sorts: same winners, same order.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DueHeap, type Waiting } from '../../../services/retry/due-heap.ts'

const a = 'a'
const b = 'b'
const item = (subject: string, epoch: number, dueAt: number): Waiting => ({ subject, epoch, dueAt })

describe('the due-time heap', () => {
  test('gives what is due, earliest first, and nothing before its time', () => {
    const heap = new DueHeap<Waiting>()
    heap.offer(item(a, 1, 300))
    heap.offer(item(b, 1, 100))
    expect(heap.takeDue(99, 10)).toEqual([])
    expect(heap.nextDueAt).toBe(100)
    expect(heap.takeDue(300, 10).map((due) => due.dueAt)).toEqual([100, 300])
    expect(heap.nextDueAt).toBeNull()
  })

  test('keeps the record of the highest epoch, whether it comes first or last, and names the superseded one', () => {
    const heap = new DueHeap<Waiting>()
    const older = item(a, 1, 10)
    const newer = item(a, 2, 900)
    expect(heap.offer(older)).toBeNull()
    expect(heap.offer(newer)).toBe(older)
    expect(heap.offer(older)).toBe(older)
    expect(heap.takeDue(10, 10)).toEqual([])
    expect(heap.takeDue(900, 10)).toEqual([newer])
  })

  test('keeps the earlier of two records of one unit', () => {
    const heap = new DueHeap<Waiting>()
    const late = item(a, 1, 900)
    const early = item(a, 1, 10)
    heap.offer(late)
    expect(heap.offer(early)).toBe(late)
    expect(heap.offer(late)).toBe(late)
    expect(heap.size).toBe(1)
  })

  test('agrees with a sorted list for any sequence of offers, takes and removals', () => {
    const offer = fc.record({
      kind: fc.constant('offer' as const),
      id: fc.nat(20),
      epoch: fc.nat(5),
      dueAt: fc.nat(1000),
    })
    const take = fc.record({ kind: fc.constant('take' as const), now: fc.nat(1000), max: fc.nat(5) })
    const remove = fc.record({ kind: fc.constant('remove' as const), id: fc.nat(20) })
    fc.assert(
      fc.property(fc.array(fc.oneof(offer, take, remove), { maxLength: 200 }), (steps) => {
        const heap = new DueHeap<Waiting>()
        const model = new Map<string, Waiting>()
        for (const step of steps) {
          if (step.kind === 'offer') {
            const offered = item(`c${step.id}`, step.epoch, step.dueAt)
            const before = model.get(offered.subject)
            const wins =
              !before ||
              offered.epoch > before.epoch ||
              (offered.epoch === before.epoch && offered.dueAt < before.dueAt)
            expect(heap.offer(offered)).toBe(wins ? (before ?? null) : offered)
            if (wins) model.set(offered.subject, offered)
          } else if (step.kind === 'take') {
            const taken = heap.takeDue(step.now, step.max)
            const due = [...model.values()]
              .filter((one) => one.dueAt <= step.now)
              .sort((x, y) => x.dueAt - y.dueAt)
            expect(taken.map((one) => one.dueAt)).toEqual(due.slice(0, step.max).map((one) => one.dueAt))
            for (const one of taken) expect(model.delete(one.subject)).toBe(true)
          } else {
            heap.removeIf((one) => one.subject === `c${step.id}`)
            model.delete(`c${step.id}`)
          }
          expect(heap.size).toBe(model.size)
          expect(heap.nextDueAt).toBe(
            model.size === 0 ? null : Math.min(...[...model.values()].map((one) => one.dueAt)),
          )
        }
      }),
    )
  })
})
