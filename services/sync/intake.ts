// From the topics of sync requests into the lanes. Invariant: what is wrong with a request that its
// schema accepts is found here, so that lanes and units see only what they can work on.
import { GROUPS, REQUESTED_TOPIC, type TopicMessages } from '#schemas/topics.ts'
import { calendarId, connectionId, isUuid } from '#shared/domain/ids.ts'
import type { Codec, RecordReading } from '#shared/kafka/codec.ts'
import {
  type Delivery,
  type Intake,
  type IntakeDeps,
  type OpenConsumer,
  openIntake,
  type Receipt,
} from '#shared/kafka/intake.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { LaneRequest, Lanes } from './lanes.ts'
import type { UnitRequest } from './unit/unit.ts'

const REQUESTED_TOPICS = Object.values(REQUESTED_TOPIC)
type RequestedTopic = (typeof REQUESTED_TOPICS)[number]

/** A vendor told of a change, or did and could not show it yet. */
const LIVE_REASONS: ReadonlySet<string> = new Set(['webhook', 'recheck'])
/** Unfinished requests of one partition; reading continues at half of it. */
const PARTITION_MAX = 2000

/** A sync request in its lane. */
export interface QueuedRequest extends LaneRequest, UnitRequest {
  readonly receipt: Receipt
}

export interface SyncRequestDeps extends IntakeDeps {
  readonly codec: Codec
  readonly lanes: Pick<Lanes<QueuedRequest>, 'add' | 'withdraw' | 'counts' | 'waits'>
}

/** Puts what rings into its lane, and takes back what came from a partition that was lost. */
export function openSyncRequests(open: OpenConsumer, deps: SyncRequestDeps): Intake {
  const { codec, lanes } = deps
  return openIntake<UnitRequest['message']>(open, {
    ...deps,
    owner: "the sync's",
    groupId: GROUPS.sync,
    topics: REQUESTED_TOPICS,
    isolation: 'read-uncommitted',
    capacity: { per: 'partition', max: PARTITION_MAX, resumeBelow: PARTITION_MAX / 2 },
    read: async ({ topic, value }) => {
      const decoded = await codec.decode(topic as RequestedTopic, value)
      return decoded.kind === 'message' ? requestOf(topic, decoded.message) : decoded
    },
    accept: (delivery) => lanes.add(queuedRequest(delivery)),
    lost: (sources) => sources.forEach((source) => lanes.withdraw(source)),
    observe(oldestMadeAt) {
      for (const [vendor, topic] of Object.entries(REQUESTED_TOPIC)) {
        const madeAt = oldestMadeAt(topic)
        const age = madeAt === null ? 0 : Math.max(0, Date.now() - madeAt) / 1000
        metrics.ringOldestSeconds.record(age, { vendor })
      }
      for (const [state, count] of Object.entries(lanes.counts())) metrics.lanes.record(count, { state })
      for (const [slot, ms] of Object.entries(lanes.waits()))
        metrics.slotWaitSeconds.record(ms / 1000, { slot })
    },
    steps: {
      buried: 'sync.buried',
      beforeCommit: 'sync.before-offset-commit',
      committed: 'sync.offset-committed',
    },
  })
}

function queuedRequest({ message, record, receipt }: Delivery<UnitRequest['message']>): QueuedRequest {
  return {
    key: message.connectionId,
    bulkhead: message.vendor,
    source: receipt.source,
    urgency: LIVE_REASONS.has(message.reason) ? 'live' : 'asked',
    message,
    record,
    receipt,
  }
}

/** An enum value of a later version reads as `unknown`. */
function requestOf(
  topic: string,
  message: TopicMessages[RequestedTopic],
): RecordReading<UnitRequest['message']> {
  const { vendor } = message
  if (vendor === 'unknown' || REQUESTED_TOPIC[vendor] !== topic)
    return { kind: 'unreadable', problem: `the vendor ${vendor} does not belong on this topic` }
  if (!isUuid(message.connectionId)) return { kind: 'unreadable', problem: 'connectionId is not a uuid' }
  if (message.calendarId !== null && !isUuid(message.calendarId))
    return { kind: 'unreadable', problem: 'calendarId is not a uuid' }
  // Postgres text holds no NUL, and its index rows are bounded.
  const key = message.deliveryKey ?? ''
  if (key.includes('\0') || Buffer.byteLength(key) > 1024)
    return { kind: 'unreadable', problem: 'deliveryKey cannot be stored' }
  const calendar = message.calendarId === null ? null : calendarId(message.calendarId)
  return {
    kind: 'message',
    message: { ...message, vendor, connectionId: connectionId(message.connectionId), calendarId: calendar },
  }
}
