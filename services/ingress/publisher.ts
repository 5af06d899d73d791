// From a good notification to its record: the rate of its calendar, then a group commit to Kafka. A
// ring is answered `durable` only when Kafka has it on all in-sync replicas. It never carries
// calendar data, so a repeated or late ring costs an empty page and loses nothing.
//
// The rate: a calendar that rings more often lets rings wait for one another, at most 200 ms, and
// one ring is published for all that came. Invariants: a joined ring is published after the last
// that joined it arrived, and answers none of them before it is durable; it carries a delivery key
// only for notifications whose key it is, and with none no unit takes it for answered.
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import type { OutboundRecord, Producer } from '#shared/kafka/broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import { createGroupCommit, type Commitment } from './group-commit.ts'

/** What the ingress asks for: a sync of one connection, or of one of its calendars. */
export interface Ring {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly reason: 'webhook' | 'api'
  readonly calendarId: CalendarId | null
  readonly deliveryKey: string | null
  readonly asOf: Micros | null
}

export interface Publisher extends AsyncDisposable {
  /**
   * Never rejects for trouble of Kafka: the answer says whether the ring is durable.
   * A ring that fits no schema rejects.
   */
  ring(ring: Ring): Promise<Commitment>
}

interface PublisherDeps {
  readonly producer: Pick<Producer, 'send'>
  readonly codec: Pick<Codec, 'encode'>
  readonly clock: Clock
  readonly logger: Logger
}

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

/** 500 rings are some 200 kB: well below a broker's 1 MB message limit, and one round trip. */
const GROUP_MAX = 500
/**
 * Four seconds' worth at the 2 500 rings/s one partition leader takes with ease; beyond it a
 * refusal is kinder than a wait.
 */
const QUEUE_MAX = 10_000
/**
 * Vendors count a notification as failed after 3 s (Graph) or so; the rest is theirs and the
 * network's. With the wait of a joined ring no answer takes more than 2.5 s.
 */
const WAIT_MAX_MS = 2500 - JOIN_WAIT_MAX_MS

/** A publisher over an open producer, which the caller closes after it. */
export function createPublisher(deps: PublisherDeps): Publisher {
  const commits = createGroupCommit<OutboundRecord>({
    what: 'ring',
    write: (records) => deps.producer.send(records),
    groupMax: GROUP_MAX,
    queueMax: QUEUE_MAX,
    waitMaxMs: WAIT_MAX_MS,
    onFailure: (error, rings) => {
      deps.logger.warn({ err: error, rings }, 'Kafka did not take a group of rings; their callers come again')
    },
    onRefused: (error, { key }) => {
      deps.logger.error(
        { err: error, connectionId: key },
        'Kafka does not take a ring; its neighbours are published',
      )
    },
  })

  async function publish(ring: Ring): Promise<Commitment> {
    step('ingress.before-publish')
    const answer = commits.commit(
      syncRequested(ring, { ...ring, at: deps.clock.now() }, sentBy('ingress', deps.codec)),
    )
    metrics.ingressQueue.record(commits.depth())
    const commitment = await answer
    if (commitment === 'durable') step('ingress.published')
    metrics.ingressQueue.record(commits.depth())
    return commitment
  }

  const coalescer = createCoalescer(publish)
  return {
    ring: (ring) => coalescer.ring(ring),
    async [Symbol.asyncDispose]() {
      await coalescer[Symbol.asyncDispose]()
      await commits[Symbol.asyncDispose]()
    },
  }
}

interface Pending {
  /** What will be published, by delivery key. */
  rings: ReadonlyMap<string | null, Ring>
  readonly answer: Promise<Commitment>
  /** Publishes now. */
  readonly end: () => void
}

/**
 * The rate before `publish`: publishes a ring, or joins it to the next of its calendar. It holds
 * nothing but a timer for each calendar that is too fast. Rejects only as `publish` does.
 */
export function createCoalescer(publish: Publisher['ring']): Publisher {
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
