// Rings doorbells: a sync request is answered `durable` only when Kafka has it on all in-sync
// replicas (group commit). Those of a calendar that is faster than its rate are published
// together (`coalesce.ts`).
// It never carries calendar data, so a repeated or late ring costs an empty page and loses nothing.
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import type { OutboundRecord, Producer } from '#shared/kafka/broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import { createCoalescer, JOIN_WAIT_MAX_MS } from './coalesce.ts'
import { createGroupCommit, type Commitment } from './group-commit.ts'
import type { Ring } from './ring.ts'

export interface Publisher extends AsyncDisposable {
  /**
   * Never rejects for trouble of Kafka: the answer says whether the ring is durable.
   * A ring that fits no schema rejects.
   */
  ring(ring: Ring): Promise<Commitment>
}

export interface PublisherDeps {
  readonly producer: Pick<Producer, 'send'>
  readonly codec: Pick<Codec, 'encode'>
  readonly clock: Clock
  readonly logger: Logger
}

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
/** Callers have their answers when this begins: what is left came too late for them. */
const DRAIN_MAX_MS = 1000

/** A publisher over an open producer, which the caller closes after it. */
export function createPublisher(deps: PublisherDeps): Publisher {
  const commits = createGroupCommit<OutboundRecord>({
    what: 'ring',
    write: (records) => deps.producer.send(records),
    groupMax: GROUP_MAX,
    queueMax: QUEUE_MAX,
    waitMaxMs: WAIT_MAX_MS,
    drainMaxMs: DRAIN_MAX_MS,
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
