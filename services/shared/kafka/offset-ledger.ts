// Which offsets of the partitions we hold are still to be done. Invariant: the committed offset
// never passes a record whose effect is not durable, and a record delivered again (after a
// rebalance its partition is read from the committed offset) is recognised while we hold the
// partition. Offsets have gaps (transaction markers take some): only records seen are waited for,
// and what is told as passed holds nothing back.
import { nameOf, type NextOffset, type TopicPartition } from './broker.ts'

interface Tracked {
  readonly at: TopicPartition
  readonly tenure: number
  /** Offsets from the lowest incomplete one on, in delivery order. */
  readonly offsets: bigint[]
  /** When each of them was made, ms since 1970. */
  readonly times: number[]
  /** Index of the lowest incomplete in `offsets`; the part before is cut off now and then. */
  head: number
  readonly done: Set<bigint>
  /** The highest offset seen. */
  last: bigint
  committed: bigint
}

const CUT_AT = 1024

export interface OffsetLedger {
  /**
   * Notes a record. `madeAtMs`: ms since 1970, as its topic stamps it.
   * @returns false when it was delivered before in this assignment: leave it alone.
   */
  add(at: TopicPartition, offset: bigint, madeAtMs: number): boolean
  /** Reading continues at this offset: what lies before it and is no record of ours is done. */
  passed(at: TopicPartition, next: bigint): void
  /**
   * The effect of the record, or its failure, is durable. Unknown offsets and partitions are
   * ignored: they were lost meanwhile.
   */
  complete(at: TopicPartition, offset: bigint): void
  /** The next offset to read of each partition where it moved since the last `committed`. */
  movedWatermarks(): readonly NextOffset[]
  committed(offsets: readonly NextOffset[]): void
  /**
   * Which tenure of the partition this is;
   * it changes when the partition was lost and came back. 0 while it is not owned.
   */
  tenure(at: TopicPartition): number
  /** Forgets a partition that went to another member. */
  drop(at: TopicPartition): void
  /** Records between the watermark and the newest, done or not, over all partitions of a topic. */
  tracked(topic: string): number
  /** The same for one partition. */
  trackedAt(at: TopicPartition): number
  /** When the oldest record of a topic was made that is not done, ms since 1970; null: none. */
  oldestMadeAt(topic: string): number | null
}

export function createOffsetLedger(): OffsetLedger {
  const partitions = new Map<string, Tracked>()
  let tenures = 0

  /** Begins with the first that is told of a partition. */
  function trackedOf(at: TopicPartition): Tracked {
    const known = partitions.get(nameOf(at))
    if (known) return known
    tenures += 1
    const { topic, partition } = at
    const places = { offsets: [], times: [], head: 0, done: new Set<bigint>(), last: -1n, committed: -1n }
    const fresh: Tracked = { at: { topic, partition }, tenure: tenures, ...places }
    partitions.set(nameOf(at), fresh)
    return fresh
  }

  function add(at: TopicPartition, offset: bigint, madeAtMs: number): boolean {
    const known = trackedOf(at)
    if (offset <= known.last) return false
    known.last = offset
    known.offsets.push(offset)
    known.times.push(madeAtMs)
    return true
  }

  function passed(at: TopicPartition, next: bigint): void {
    const known = trackedOf(at)
    if (next - 1n > known.last) known.last = next - 1n
  }

  function complete(at: TopicPartition, offset: bigint): void {
    const known = partitions.get(nameOf(at))
    if (!known || offset > known.last || offset < (known.offsets[known.head] ?? known.last + 1n)) return
    known.done.add(offset)
    while (known.head < known.offsets.length && known.done.delete(known.offsets[known.head]!)) known.head += 1
    if (known.head < CUT_AT) return
    known.offsets.splice(0, known.head)
    known.times.splice(0, known.head)
    known.head = 0
  }

  return {
    add,
    passed,
    complete,
    movedWatermarks: () =>
      [...partitions.values()]
        .map((known) => ({ ...known.at, next: watermarkOf(known), before: known.committed }))
        .filter(({ next, before }) => next > before)
        .map(({ topic, partition, next }) => ({ topic, partition, next })),
    committed(offsets) {
      for (const { next, ...at } of offsets) {
        const known = partitions.get(nameOf(at))
        if (known && next > known.committed) known.committed = next
      }
    },
    tenure: (at) => partitions.get(nameOf(at))?.tenure ?? 0,
    drop: (at) => void partitions.delete(nameOf(at)),
    tracked: (topic) =>
      [...partitions.values()]
        .filter((known) => known.at.topic === topic)
        .reduce((sum, known) => sum + known.offsets.length - known.head, 0),
    oldestMadeAt: (topic) => oldestOf([...partitions.values()].filter(({ at }) => at.topic === topic)),
    trackedAt(at) {
      const known = partitions.get(nameOf(at))
      return known ? known.offsets.length - known.head : 0
    },
  }
}

function oldestOf(partitions: readonly Tracked[]): number | null {
  const heads = partitions.flatMap(({ head, times }) => times[head] ?? [])
  return heads.length === 0 ? null : Math.min(...heads)
}

function watermarkOf(known: Tracked): bigint {
  return known.offsets[known.head] ?? known.last + 1n
}
