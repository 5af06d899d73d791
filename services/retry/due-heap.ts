// What waits to be rung, by due time; one record per thing that is rung. Invariant: of two records
// of the same thing the one of the highest epoch stays (of the same unit the earlier), so it is
// rung for its latest unit and a stale record costs nothing. Every change is O(log n). Pure: it has
// no clock and knows no Kafka.
import type { Micros } from '#shared/domain/ids.ts'

export interface Waiting {
  /** What is rung: a connection, or one calendar of it, for one kind of reason. */
  readonly subject: string
  readonly epoch: number
  readonly dueAt: Micros
}

export class DueHeap<T extends Waiting> {
  readonly #items: T[] = []
  readonly #places = new Map<string, number>()

  get size(): number {
    return this.#items.length
  }

  /** When the next one is due; null when nothing waits. */
  get nextDueAt(): Micros | null {
    return this.#items[0]?.dueAt ?? null
  }

  /**
   * @returns the record that need not be rung any more: one that was replaced, or the offered one;
   * null when there was none.
   */
  offer(item: T): T | null {
    const place = this.#places.get(item.subject) ?? this.#items.length
    const before = this.#items[place] ?? null
    if (before && !wins(item, before)) return item
    this.#set(place, item)
    this.#sink(place)
    this.#rise(this.#places.get(item.subject)!)
    return before
  }

  /** Takes out what is due at `now`, earliest first, at most `max`. */
  takeDue(now: Micros, max: number): T[] {
    const due: T[] = []
    while (due.length < max && (this.nextDueAt ?? Infinity) <= now) due.push(this.#removeFirst())
    return due
  }

  /** Takes out everything that matches: records of a partition that went to another process. */
  removeIf(matches: (item: T) => boolean): void {
    const kept = this.#items.filter((item) => !matches(item))
    this.#items.length = 0
    this.#places.clear()
    for (const item of kept) this.offer(item)
  }

  #removeFirst(): T {
    const first = this.#items[0]!
    const last = this.#items.pop()!
    this.#places.delete(first.subject)
    if (this.#items.length > 0) {
      this.#set(0, last)
      this.#sink(0)
    }
    return first
  }

  #rise(from: number): void {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (this.#items[parent]!.dueAt <= this.#items[place]!.dueAt) return
      this.#swap(place, parent)
      place = parent
    }
  }

  #sink(from: number): void {
    let place = from
    for (;;) {
      let least = place
      for (const child of [2 * place + 1, 2 * place + 2]) {
        if (child < this.#items.length && this.#items[child]!.dueAt < this.#items[least]!.dueAt) least = child
      }
      if (least === place) return
      this.#swap(place, least)
      place = least
    }
  }

  #swap(a: number, b: number): void {
    const item = this.#items[a]!
    this.#set(a, this.#items[b]!)
    this.#set(b, item)
  }

  #set(place: number, item: T): void {
    this.#items[place] = item
    this.#places.set(item.subject, place)
  }
}

function wins(item: Waiting, before: Waiting): boolean {
  return item.epoch === before.epoch ? item.dueAt < before.dueAt : item.epoch > before.epoch
}
