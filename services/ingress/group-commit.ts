// Group commit: one write is outstanding at a time and everything that arrives meanwhile forms
// the next group. An item is answered `durable` only after the write that carried it has
// succeeded; it joins only a group whose write has not been sent. Every wait has an end: a full
// queue and the deadline answer without waiting for the other side. An item that is refused
// for what it is never fails its group.
import { atMost } from '#shared/process/loop.ts'
import { writeApart } from '#shared/process/put-aside.ts'
import { outsideSpans } from '#shared/process/telemetry.ts'

/**
 * `durable`, or why not: nothing of it is certain to be stored then, and the caller is told to come
 * again. `refused`: this item alone was refused for what it is; coming again will not help.
 */
export type Commitment = 'durable' | 'overloaded' | 'late' | 'failed' | 'refused' | 'closing'

export interface GroupCommitOptions<T> {
  /** What is written, as a label of the metric of what is put aside. */
  readonly what: string
  /**
   * Stores a group whole or throws; called with at most `groupMax` items, never twice at a time.
   * Repeatable: after a refusal it gets the group again in parts.
   */
  readonly write: (group: readonly T[]) => Promise<void>
  readonly groupMax: number
  /** Items waiting for their group; one more is refused at once. */
  readonly queueMax: number
  /** How long one item may take from arrival to its answer. */
  readonly waitMaxMs: number
  /** How long closing waits for what is queued and under way; 1 000 as if left out. */
  readonly drainMaxMs?: number
  readonly onFailure: (error: unknown, items: number) => void
  /** One item was put aside. */
  readonly onRefused: (error: unknown, item: T) => void
}

interface GroupCommit<T> extends AsyncDisposable {
  /** Never rejects. An item answered `late` or `failed` may still turn out to be stored. */
  commit(item: T): Promise<Commitment>
  /** Items that wait or are being written. */
  depth(): number
  /** Takes nothing new, finishes what it holds within `drainMaxMs`, answers the rest `closing`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** Callers have their answers when closing begins: what is left came too late for them. */
const DRAIN_MAX_MS = 1000

interface Waiting<T> {
  readonly item: T
  readonly answer: (commitment: Commitment) => void
}

/**
 * A group commit over `write`; it starts idle and holds no resource of its own but
 * timers of waiting items.
 */
export function createGroupCommit<T>(options: GroupCommitOptions<T>): GroupCommit<T> {
  // A Set keeps arrival order and lets an item that ran out of time leave in constant time.
  const queue = new Set<Waiting<T>>()
  let sending = new Set<Waiting<T>>()
  let loop: Promise<void> | null = null
  let closing = false

  async function drain(): Promise<void> {
    while (queue.size > 0) {
      const group = take()
      sending = new Set(group)
      await writeGroup(options, group)
      sending = new Set()
    }
    loop = null
  }

  function take(): Waiting<T>[] {
    const group: Waiting<T>[] = []
    for (const waiting of queue) {
      if (group.length === options.groupMax) break
      group.push(waiting)
      queue.delete(waiting)
    }
    return group
  }

  function commit(item: T): Promise<Commitment> {
    if (closing) return Promise.resolve('closing')
    if (queue.size >= options.queueMax) return Promise.resolve('overloaded')
    const { promise, resolve } = Promise.withResolvers<Commitment>()
    const timer = setTimeout(() => {
      // Out of the queue it will not be written;
      // already sent it may be, and the caller's repeat is then a duplicate.
      queue.delete(waiting)
      resolve('late')
    }, options.waitMaxMs)
    const waiting: Waiting<T> = {
      item,
      answer: (commitment) => {
        clearTimeout(timer)
        resolve(commitment)
      },
    }
    queue.add(waiting)
    // It writes for all who come meanwhile, so it belongs to the trace of none of them.
    loop ??= outsideSpans(drain)
    return promise
  }

  async function close(): Promise<void> {
    closing = true
    if (loop) await atMost(loop, options.drainMaxMs ?? DRAIN_MAX_MS, undefined)
    for (const waiting of [...queue, ...sending]) waiting.answer('closing')
    queue.clear()
  }

  return { commit, depth: () => queue.size + sending.size, [Symbol.asyncDispose]: close }
}

/** Writes a group and answers each of its items. */
async function writeGroup<T>(options: GroupCommitOptions<T>, group: readonly Waiting<T>[]): Promise<void> {
  try {
    const aside = await writeApart(options.what, group, (part) => options.write(part.map(({ item }) => item)))
    for (const { item: waiting, error } of aside) {
      options.onRefused(error, waiting.item)
      waiting.answer('refused')
    }
    // An answer is given once: those put aside have theirs.
    for (const waiting of group) waiting.answer('durable')
  } catch (error) {
    options.onFailure(error, group.length)
    for (const waiting of group) waiting.answer('failed')
  }
}
