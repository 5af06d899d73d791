// The rate of rings. A calendar that rings more often than its rate lets rings wait for one
// another, at most 200 ms, and one ring is published for all that came. Invariants: a joined ring
// is published after the last that joined it arrived, and answers none of them before it is
// durable; it carries a delivery key only for notifications whose key it is, and with none no
// unit takes it for answered.
import { metrics } from '#shared/process/metrics.ts'
import type { Commitment } from './group-commit.ts'
import type { Ring } from './ring.ts'

/** Rings of one calendar that are published as they come, after a pause. */
export const RINGS_AT_ONCE = 20
/** Beyond those, rings of one calendar are published at this rate: a unit rarely ends sooner. */
export const RINGS_PER_SECOND = 5
const STEP_MS = 1000 / RINGS_PER_SECOND
/** How long a ring may wait for others. */
export const JOIN_WAIT_MAX_MS = STEP_MS
/** Different delivery keys that are published together; of more a single ring without a key. */
export const KEYS_MAX = 4
/** Calendars whose rate is remembered, some 8 MB. Beyond it who rang longest ago is forgotten. */
const CALENDARS_MAX = 50_000
/** Callers that wait for joined rings; one more is refused at once. */
const WAITING_MAX = 10_000

export interface Coalescer extends AsyncDisposable {
  /**
   * Publishes the ring, or joins it to the next of its calendar. Rejects only as `publish` does.
   */
  ring(ring: Ring): Promise<Commitment>
}

interface Pending {
  /** What will be published, by delivery key. */
  rings: ReadonlyMap<string | null, Ring>
  readonly answer: Promise<Commitment>
  /** Publishes now. */
  readonly end: () => void
}

/**
 * A coalescer before `publish`. It holds nothing but a timer for each calendar that is too fast.
 */
export function createCoalescer(publish: (ring: Ring) => Promise<Commitment>): Coalescer {
  // GCRA: when the rings so far are earned again, performance.now() ms.
  // In the order of the last ring.
  const earnedAt = new Map<string, number>()
  const pending = new Map<string, Pending>()
  let waiting = 0

  /** When the rings so far are earned again: now for a calendar that has been quiet. */
  function earned(name: string, now: number): number {
    return Math.max(now, earnedAt.get(name) ?? now)
  }

  function take(name: string, now: number): void {
    const from = earned(name, now)
    earnedAt.delete(name)
    earnedAt.set(name, from + STEP_MS)
    const [oldest] = earnedAt.keys()
    if (earnedAt.size > CALENDARS_MAX && oldest !== undefined) earnedAt.delete(oldest)
  }

  function open(name: string, ring: Ring, waitMs: number): Pending {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, waitMs)
    const mine: Pending = {
      rings: new Map([[ring.deliveryKey, ring]]),
      end: () => {
        clearTimeout(timer)
        resolve()
      },
      answer: promise.then(async () => {
        // From here on nothing joins: what comes now may tell of something later.
        pending.delete(name)
        const answers = await Promise.all([...mine.rings.values()].map(publish))
        return answers.find((answer) => answer !== 'durable') ?? 'durable'
      }),
    }
    return mine
  }

  async function ring(one: Ring): Promise<Commitment> {
    const name = `${one.connectionId} ${one.calendarId} ${one.reason}`
    let next = pending.get(name)
    if (next === undefined) {
      const now = performance.now()
      // At most one step: while a ring is pending none is taken.
      const waitMs = earned(name, now) - now - (RINGS_AT_ONCE - 1) * STEP_MS
      if (waitMs <= 0) {
        take(name, now)
        return publish(one)
      }
      if (waiting >= WAITING_MAX) return 'overloaded'
      take(name, now)
      next = open(name, one, waitMs)
      pending.set(name, next)
    } else if (waiting >= WAITING_MAX) return 'overloaded'
    next.rings = joined(next.rings, one)
    metrics.ringsJoined.add(1, { reason: one.reason })
    waiting += 1
    try {
      return await next.answer
    } finally {
      waiting -= 1
    }
  }

  return {
    ring,
    async [Symbol.asyncDispose]() {
      const last = [...pending.values()]
      for (const one of last) one.end()
      await Promise.allSettled(last.map(({ answer }) => answer))
    },
  }
}

/** What is published for these and one more. */
function joined(rings: ReadonlyMap<string | null, Ring>, one: Ring): ReadonlyMap<string | null, Ring> {
  const all = [...rings.values(), one]
  const asOf = latest(all.map((ring) => ring.asOf))
  const known = rings.get(one.deliveryKey) ?? one
  const next = new Map(rings).set(one.deliveryKey, { ...known, asOf })
  // A ring without a key stands for all of them: it always makes a unit read.
  return next.size > KEYS_MAX || next.has(null)
    ? new Map([[null, { ...one, deliveryKey: null, asOf }]])
    : next
}

/** null where one of them may not be taken for answered. */
function latest(times: readonly Ring['asOf'][]): Ring['asOf'] {
  return times.includes(null) ? null : Math.max(...times.map(Number))
}
