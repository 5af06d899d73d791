// What waits to be rung, by due time; one record per connection. Invariant: of two records of a connection the one of the
// highest epoch stays (of the same unit the earlier), so a connection is rung for its latest unit and a stale record costs
// nothing. Every change is O(log n). Pure: it has no clock and knows no Kafka.
import type { ConnectionId, Micros } from '#shared/domain/ids.ts'

export interface Waiting {
  readonly connectionId: ConnectionId
  readonly epoch: number
  readonly dueAt: Micros
}

export interface DueHeap<T extends Waiting> {
  /** @returns the record that need not be rung any more: one that was replaced, or the offered one; null when the connection had none. */
  offer(item: T): T | null
  /** When the next one is due; null when nothing waits. */
  nextDueAt(): Micros | null
  /** Takes out what is due at `now`, earliest first, at most `max`. */
  takeDue(now: Micros, max: number): T[]
  /** Takes out everything that matches: records of a partition that went to somebody else. */
  removeIf(matches: (item: T) => boolean): void
  readonly size: () => number
}

export function createDueHeap<T extends Waiting>(): DueHeap<T> {
  const items: T[] = []
  const places = new Map<ConnectionId, number>()

  function offer(item: T): T | null {
    const place = places.get(item.connectionId)
    if (place === undefined) {
      set(items.length, item)
      rise(items.length - 1)
      return null
    }
    const before = items[place]!
    if (!wins(item, before)) return item
    set(place, item)
    sink(place)
    rise(places.get(item.connectionId)!)
    return before
  }

  function takeDue(now: Micros, max: number): T[] {
    const due: T[] = []
    while (due.length < max && items.length > 0 && items[0]!.dueAt <= now) due.push(removeFirst())
    return due
  }

  function removeFirst(): T {
    const first = items[0]!
    const last = items.pop()!
    places.delete(first.connectionId)
    if (items.length > 0) {
      set(0, last)
      sink(0)
    }
    return first
  }

  function removeIf(matches: (item: T) => boolean): void {
    const kept = items.filter((item) => !matches(item))
    items.length = 0
    places.clear()
    for (const item of kept) offer(item)
  }

  function rise(from: number): void {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (items[parent]!.dueAt <= items[place]!.dueAt) return
      swap(place, parent)
      place = parent
    }
  }

  function sink(from: number): void {
    let place = from
    for (;;) {
      let least = place
      for (const child of [2 * place + 1, 2 * place + 2]) {
        if (child < items.length && items[child]!.dueAt < items[least]!.dueAt) least = child
      }
      if (least === place) return
      swap(place, least)
      place = least
    }
  }

  function swap(a: number, b: number): void {
    const item = items[a]!
    set(a, items[b]!)
    set(b, item)
  }

  function set(place: number, item: T): void {
    items[place] = item
    places.set(item.connectionId, place)
  }

  return { offer, takeDue, removeIf, nextDueAt: () => items[0]?.dueAt ?? null, size: () => items.length }
}

function wins(item: Waiting, before: Waiting): boolean {
  return item.epoch === before.epoch ? item.dueAt < before.dueAt : item.epoch > before.epoch
}
