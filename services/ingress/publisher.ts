// From a good notification to its record: the rate of its calendar, then a group commit to Kafka. A
// sync request is answered `durable` only when Kafka has it on all in-sync replicas. It never
// carries calendar data, so a repeated or late one costs an empty page and loses nothing.
//
// The rate: the sync requests of a calendar that rings more often wait for one another, at most
// 200 ms, and one is published for all that came. Invariants: the joined request is published after
// the last of them arrived. None of them is answered before it is durable. It carries a delivery
// key only for notifications whose key it is. One without a key always makes a unit read.
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import type { OutboundRecord, Producer } from '#shared/kafka/broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { inCreateSpan, LINKS_MAX } from '#shared/kafka/spans.ts'
import { step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import { currentTraceparent, outsideSpans } from '#shared/process/telemetry.ts'
import { createGroupCommit, type Commitment } from './group-commit.ts'

/** What the ingress asks for: a sync of one connection, or of one of its calendars. */
export interface SyncRequest {
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
   * Never rejects for trouble of Kafka or the registry: the answer says whether the request is
   * durable. One that fits no schema rejects.
   */
  ring(request: SyncRequest): Promise<Commitment>
  /** When Kafka last took a request; null: not since the start. */
  lastDurableAt(): Micros | null
}

interface PublisherDeps {
  readonly producer: Pick<Producer, 'send'>
  readonly codec: Pick<Codec, 'encode'>
  readonly clock: Clock
  readonly logger: Logger
}

/** Requests for one calendar that are published as they come, after a pause. */
export const REQUESTS_AT_ONCE = 20
/**
 * Beyond those, requests for one calendar are published at this rate: a unit rarely ends sooner.
 */
export const REQUESTS_PER_SECOND = 5
const STEP_MS = 1000 / REQUESTS_PER_SECOND
/** How long a request may wait for others. */
export const JOIN_WAIT_MAX_MS = STEP_MS
/** Different delivery keys that are published together; of more a single request without a key. */
export const KEYS_MAX = 4
/** Calendars whose rate is remembered, some 8 MB. Beyond it who rang longest ago is forgotten. */
const CALENDARS_MAX = 50_000
/** Callers that wait for joined requests; one more is refused at once. */
const WAITING_MAX = 10_000

/** 500 requests are some 200 kB: well below a broker's 1 MB message limit, and one round trip. */
const GROUP_MAX = 500
/**
 * Four seconds' worth at the 2 500 requests/s one partition leader takes with ease; beyond it a
 * refusal is kinder than a wait.
 */
const QUEUE_MAX = 10_000
/**
 * Vendors count a notification as failed after 3 s (Graph) or so; the rest is theirs and the
 * network's. With the wait of a joined request no answer takes more than 2.5 s.
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
    onFailure: (error, requests) => {
      deps.logger.warn(
        { err: error, rings: requests },
        'Kafka did not take a group of rings; their callers come again',
      )
    },
    onRefused: (error, { key }) => {
      deps.logger.error(
        { err: error, connectionId: key },
        'Kafka does not take a ring; its neighbours are published',
      )
    },
  })

  let lastDurableAt: Micros | null = null

  async function publish(request: SyncRequest): Promise<Commitment> {
    step('ingress.before-publish')
    const record = recordOf(request)
    if (record === null) return 'failed'
    const answer = commits.commit(record)
    metrics.ingressQueue.record(commits.depth())
    const commitment = await answer
    if (commitment === 'durable') {
      step('ingress.published')
      lastDurableAt = deps.clock.now()
    }
    metrics.ingressQueue.record(commits.depth())
    return commitment
  }

  /** null without the ids of our schemas; readiness and the log say why. */
  function recordOf(request: SyncRequest): OutboundRecord | null {
    try {
      return syncRequested(request, { ...request, at: deps.clock.now() }, sentBy('ingress', deps.codec))
    } catch (error) {
      if (error instanceof Failure && error.code === 'registry/unavailable') return null
      throw error
    }
  }

  const coalescer = createCoalescer(publish)
  return {
    ring: (request) => coalescer.ring(request),
    lastDurableAt: () => lastDurableAt,
    async [Symbol.asyncDispose]() {
      await coalescer[Symbol.asyncDispose]()
      await commits[Symbol.asyncDispose]()
    },
  }
}

interface Pending {
  /** What will be published, by delivery key. */
  requests: ReadonlyMap<string | null, SyncRequest>
  /** Traces of those who asked, the last ones. */
  readonly traces: Set<string>
  readonly answer: Promise<Commitment>
  /** Publishes now. */
  readonly end: () => void
}

/**
 * The rate before `publish`: publishes a request, or joins it to the next of its calendar. It holds
 * nothing but a timer for each calendar that is too fast. Rejects only as `publish` does.
 */
export function createCoalescer(publish: Publisher['ring']): Omit<Publisher, 'lastDurableAt'> {
  // GCRA: when the requests so far are earned again, performance.now() ms.
  // In the order of the last request.
  const earnedAt = new Map<string, number>()
  const pending = new Map<string, Pending>()
  let waiting = 0

  /** When the requests so far are earned again: now for a calendar that has been quiet. */
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

  function open(name: string, request: SyncRequest, waitMs: number): Pending {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, waitMs)
    const mine: Pending = {
      requests: new Map([[request.deliveryKey, request]]),
      traces: new Set(),
      end: () => {
        clearTimeout(timer)
        resolve()
      },
      answer: promise.then(async () => {
        // From here on nothing joins: what comes now may tell of something later.
        pending.delete(name)
        return publishTogether(mine, REQUESTED_TOPIC[request.vendor], publish)
      }),
    }
    return mine
  }

  async function ring(one: SyncRequest): Promise<Commitment> {
    const name = `${one.connectionId} ${one.calendarId} ${one.reason}`
    let next = pending.get(name)
    if (next === undefined) {
      const now = performance.now()
      // At most one step: while a request is pending none is taken.
      const waitMs = earned(name, now) - now - (REQUESTS_AT_ONCE - 1) * STEP_MS
      if (waitMs <= 0) {
        take(name, now)
        return publish(one)
      }
      if (waiting >= WAITING_MAX) return 'overloaded'
      take(name, now)
      next = open(name, one, waitMs)
      pending.set(name, next)
    } else if (waiting >= WAITING_MAX) return 'overloaded'
    next.requests = joined(next.requests, one)
    remember(next.traces, currentTraceparent())
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

/** In a span that is linked to all who asked, since it is the request of none of them. */
function publishTogether(
  { requests, traces }: Pending,
  topic: string,
  publish: Publisher['ring'],
): Promise<Commitment> {
  const publishAll = async (): Promise<Commitment> => {
    const answers = await Promise.all([...requests.values()].map(publish))
    return answers.find((answer) => answer !== 'durable') ?? 'durable'
  }
  return outsideSpans(() => inCreateSpan([topic], [...traces], publishAll))
}

function remember(traces: Set<string>, trace: string | undefined): void {
  if (trace === undefined) return
  traces.add(trace)
  const [oldest] = traces
  if (traces.size > LINKS_MAX && oldest !== undefined) traces.delete(oldest)
}

/** What is published for these and one more. */
function joined(requests: Pending['requests'], one: SyncRequest): Pending['requests'] {
  const all = [...requests.values(), one]
  const asOf = latest(all.map((request) => request.asOf))
  const known = requests.get(one.deliveryKey) ?? one
  const next = new Map(requests).set(one.deliveryKey, { ...known, asOf })
  // One without a key stands for all of them: it always makes a unit read.
  return next.size > KEYS_MAX || next.has(null)
    ? new Map([[null, { ...one, deliveryKey: null, asOf }]])
    : next
}

/** null where one of them may not be taken for answered. */
function latest(times: readonly SyncRequest['asOf'][]): SyncRequest['asOf'] {
  return times.includes(null) ? null : Math.max(...times.map(Number))
}
