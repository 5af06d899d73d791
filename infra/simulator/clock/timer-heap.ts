// Timers in the order of their due time, equal ones in the order in which they were set: a binary
// heap, because a hundred thousand delayed deliveries may wait at once. A cancelled timer stays
// until its turn comes, and then nothing happens.

interface Entry {
  readonly at: number
  readonly order: number
  run: (() => void) | null
}

export interface TimerHeap {
  /** Timers that wait and were not cancelled. */
  readonly size: number
  add(at: number, run: () => void): () => void
  /** When the earliest is due; null when none waits. */
  nextAt(): number | null
  /**
   * Takes out, earliest first, what is due by `at` at the time of the call;
   * what these add waits for the next call.
   */
  takeUntil(at: number): readonly (() => void)[]
  clear(): void
}

export function createTimerHeap(): TimerHeap {
  const heap: Entry[] = []
  let added = 0
  let live = 0
  const dropCancelled = (): Entry | undefined => {
    while (heap[0]?.run === null) pop(heap)
    return heap[0]
  }
  return {
    get size() {
      return live
    },
    add(at, run) {
      added += 1
      live += 1
      const entry: Entry = { at, order: added, run }
      push(heap, entry)
      return () => {
        if (entry.run === null) return
        entry.run = null
        live -= 1
      }
    },
    nextAt: () => dropCancelled()?.at ?? null,
    takeUntil(at) {
      const taken: (() => void)[] = []
      for (let first = dropCancelled(); first && first.at <= at; first = dropCancelled()) {
        pop(heap)
        // Taken means begun: cancelling afterwards must not count it a second time.
        if (first.run) taken.push(first.run)
        first.run = null
        live -= 1
      }
      return taken
    },
    clear() {
      for (const entry of heap) entry.run = null
      heap.length = 0
      live = 0
    },
  }
}

function before(a: Entry | undefined, b: Entry | undefined): boolean {
  if (!a || !b) return false
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

function push(heap: Entry[], entry: Entry): void {
  let at = heap.push(entry) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!before(heap[at], heap[parent])) return
    swap(heap, at, parent)
    at = parent
  }
}

function pop(heap: Entry[]): void {
  const last = heap.pop()
  if (!last || heap.length === 0) return
  heap[0] = last
  let at = 0
  for (;;) {
    const left = 2 * at + 1
    const smaller = before(heap[left + 1], heap[left]) ? left + 1 : left
    if (!before(heap[smaller], heap[at])) return
    swap(heap, at, smaller)
    at = smaller
  }
}

function swap(heap: Entry[], a: number, b: number): void {
  const held = heap[a]
  const other = heap[b]
  if (!held || !other) return
  heap[a] = other
  heap[b] = held
}
