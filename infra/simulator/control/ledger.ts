// A ledger: what happened, in order, oldest dropped beyond a cap and counted, so that a run of days
// cannot fill the memory and a checker can tell that it did not see everything.

export interface Ledger<T extends { readonly seq: number }> {
  append(entry: T): void
  /** Entries with a higher seq, oldest first. */
  after(seq: number): readonly T[]
  /** How many were dropped to stay below the cap. */
  readonly dropped: number
  readonly size: number
  clear(): void
}

/** A ledger of at most `weightMax`, an entry weighing 1 unless `weigh` says otherwise. */
export function createLedger<T extends { readonly seq: number }>(
  weightMax: number,
  weigh: (entry: T) => number = () => 1,
): Ledger<T> {
  let entries: T[] = []
  let head = 0
  let weight = 0
  let dropped = 0
  return {
    append(entry) {
      entries.push(entry)
      weight += weigh(entry)
      while (weight > weightMax && head < entries.length - 1) {
        weight -= weigh(entries[head] as T)
        head += 1
        dropped += 1
      }
      // Moving the rest only when half is dead keeps an append cheap on average.
      if (head > 1024 && head * 2 > entries.length) {
        entries = entries.slice(head)
        head = 0
      }
    },
    after(seq) {
      let low = head
      let high = entries.length
      while (low < high) {
        const middle = (low + high) >> 1
        if ((entries[middle]?.seq ?? 0) <= seq) low = middle + 1
        else high = middle
      }
      return entries.slice(low)
    },
    get dropped() {
      return dropped
    },
    get size() {
      return entries.length - head
    },
    clear() {
      entries = []
      head = 0
      weight = 0
    },
  }
}
