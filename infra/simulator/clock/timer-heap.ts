// Timers in the order of their due time, equal ones in the order in which they were set: a binary
// heap, because a hundred thousand delayed deliveries may wait at once. A cancelled timer stays
// until its turn comes, and then nothing happens.
import TinyQueue from 'tinyqueue'

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
  const heap = new TinyQueue<Entry>([], (a, b) => a.at - b.at || a.order - b.order)
  let added = 0
  let live = 0
  const dropCancelled = (): Entry | undefined => {
    while (heap.peek()?.run === null) heap.pop()
    return heap.peek()
  }
  return {
    get size() {
      return live
    },
    add(at, run) {
      added += 1
      live += 1
      const entry: Entry = { at, order: added, run }
      heap.push(entry)
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
        heap.pop()
        // Taken means begun: cancelling afterwards must not count it a second time.
        if (first.run) taken.push(first.run)
        first.run = null
        live -= 1
      }
      return taken
    },
    clear() {
      for (let entry = heap.pop(); entry; entry = heap.pop()) entry.run = null
      live = 0
    },
  }
}
