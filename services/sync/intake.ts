// From the doorbell topics into the lanes, and back as committed offsets. Invariants: an offset is
// committed only when the effect of its record, or its failure, is durable; a record that cannot be
// read goes to the dead-letter topic and costs its neighbours nothing; trouble with registry,
// broker or database is no fault of a record, so it pauses and waits.
import { performance } from 'node:perf_hooks'
import { REQUESTED_TOPIC, type TopicMessages } from '#schemas/topics.ts'
import { calendarId, connectionId, isUuid, type VendorName } from '#shared/domain/ids.ts'
import type {
  Batch,
  Consumer,
  ConsumerHandlers,
  InboundRecord,
  Producer,
  TopicPartition,
} from '#shared/kafka/broker.ts'
import { buryRecord } from '#shared/kafka/bury-record.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { crashPoint } from '#shared/process/crash-point.ts'
import type { Logger } from '#shared/process/log.ts'
import { until } from '#shared/process/loop.ts'
import type { OffsetLedger } from '#shared/kafka/offset-ledger.ts'
import type { LaneRequest, Lanes } from './lanes.ts'
import type { UnitRequest } from './unit/unit.ts'

export const DOORBELL_TOPICS = Object.values(REQUESTED_TOPIC)
type DoorbellTopic = (typeof DOORBELL_TOPICS)[number]

/** A vendor told of a change, or did and could not show it yet. */
const LIVE_REASONS: ReadonlySet<string> = new Set(['webhook', 'recheck'])

/** A sync request in its lane. */
export interface Doorbell extends LaneRequest, UnitRequest {}

export interface IntakeDeps {
  readonly codec: Codec
  readonly producer: Producer
  readonly ledger: OffsetLedger
  readonly lanes: Pick<Lanes<Doorbell>, 'add' | 'withdraw'>
  readonly consumer: () => Pick<Consumer, 'commit' | 'pause' | 'resume' | 'held'>
  readonly clock: Clock
  readonly logger: Logger
}

export interface Intake extends Omit<ConsumerHandlers, 'crashed'> {
  /**
   * Waits for records and puts them into their lanes.
   * Throws Failure while registry or Kafka are away; nothing is lost.
   */
  turn(signal: AbortSignal): Promise<number>
  /** Commits what moved. @returns ms until the next look. Throws Failure `kafka/unavailable`. */
  commit(): Promise<number>
  /** The effect of these doorbells, or its failure, is durable. */
  completed(doorbells: readonly Doorbell[]): void
  /** While the database is away nothing can be done, so nothing more is read. */
  suspend(isSuspended: boolean): void
}

const COMMIT_EVERY_MS = 200
/**
 * Records of one partition that are not finished, or stand behind one that is not;
 * reading goes on at half of it.
 */
const PARTITION_MAX = 2000
/** Long enough to work through a batch, short enough to let other loops speak. */
const TURN_MS = 50

interface Received {
  readonly record: InboundRecord
  readonly holding: number
}

export function createIntake(deps: IntakeDeps): Intake {
  const queue: Received[] = []
  const pauses = createPauses(deps)
  let arrival = Promise.withResolvers<void>()

  async function turn(signal: AbortSignal): Promise<number> {
    if (queue.length === 0) await until(arrival.promise, signal)
    const endAt = performance.now() + TURN_MS
    try {
      while (queue.length > 0 && performance.now() < endAt) {
        const first = queue[0]!
        await take(deps, first)
        // A rebalance may have emptied the queue meanwhile.
        if (queue[0] === first) queue.shift()
      }
      pauses.isTroubled = false
    } catch (error) {
      pauses.isTroubled = true
      throw error
    } finally {
      pauses.apply()
    }
    return 0
  }

  function received(batch: Batch): void {
    for (const record of batch.records) {
      if (deps.ledger.add(record, record.offset)) queue.push({ record, holding: deps.ledger.holding(record) })
    }
    arrival.resolve()
    arrival = Promise.withResolvers()
    pauses.apply()
  }

  function assigned({ lost }: Parameters<ConsumerHandlers['assigned']>[0]): void {
    const names = new Set(lost.map(nameOf))
    pauses.forget(names)
    for (const at of lost) {
      deps.ledger.drop(at)
      deps.lanes.withdraw(nameOf(at))
    }
    const stay = queue.filter(({ record }) => !names.has(nameOf(record)))
    queue.splice(0, queue.length, ...stay)
    pauses.apply()
  }

  function completed(doorbells: readonly Doorbell[]): void {
    for (const { record } of doorbells) deps.ledger.complete(record, record.offset)
    pauses.apply()
  }

  async function commit(): Promise<number> {
    const moved = deps.ledger.movedWatermarks()
    if (moved.length === 0) return COMMIT_EVERY_MS
    crashPoint('sync.before-offset-commit')
    await deps.consumer().commit(moved)
    crashPoint('sync.offset-committed')
    deps.ledger.committed(moved)
    return COMMIT_EVERY_MS
  }

  function suspend(isSuspended: boolean): void {
    pauses.isSuspended = isSuspended
    pauses.apply()
  }

  return { turn, received, assigned, completed, commit, suspend }
}

interface Pauses {
  /** The database is away, or we are stopping. */
  isSuspended: boolean
  /** Registry or broker are away. */
  isTroubled: boolean
  /** Partitions that went away start without a pause when they come back. */
  forget(names: ReadonlySet<string>): void
  /** Pauses and resumes what has to change. */
  apply(): void
}

function createPauses({ consumer, ledger }: Pick<IntakeDeps, 'consumer' | 'ledger'>): Pauses {
  const paused = new Set<string>()
  const mustRest = (at: TopicPartition): boolean =>
    pauses.isSuspended ||
    pauses.isTroubled ||
    ledger.trackedAt(at) >= (paused.has(nameOf(at)) ? PARTITION_MAX / 2 : PARTITION_MAX)
  const pauses: Pauses = {
    isSuspended: false,
    isTroubled: false,
    forget(names) {
      for (const name of names) paused.delete(name)
    },
    apply() {
      const change = consumer()
        .held()
        .filter((at) => mustRest(at) !== paused.has(nameOf(at)))
      const going = change.filter((at) => paused.delete(nameOf(at)))
      const resting = change.filter((at) => !going.includes(at))
      for (const at of resting) paused.add(nameOf(at))
      if (resting.length > 0) consumer().pause(resting)
      if (going.length > 0) consumer().resume(going)
    },
  }
  return pauses
}

/** One record into its lane, or into the dead-letter topic. */
async function take(deps: IntakeDeps, { record, holding }: Received): Promise<void> {
  const topic = record.topic as DoorbellTopic
  const decoded = await deps.codec.decode(topic, record.value)
  if (deps.ledger.holding(record) !== holding) return
  const problem = decoded.kind === 'unreadable' ? decoded.problem : problemOf(topic, decoded.message)
  if (decoded.kind === 'unreadable' || problem !== null) {
    await buryRecord(deps, record, problem ?? 'unreadable')
    crashPoint('sync.buried')
    deps.ledger.complete(record, record.offset)
    return
  }
  const message = messageOf(decoded.message)
  deps.lanes.add({
    key: message.connectionId,
    bulkhead: message.vendor,
    source: nameOf(record),
    urgency: LIVE_REASONS.has(message.reason) ? 'live' : 'asked',
    message,
    record,
  })
}

/**
 * What is wrong with a message that its schema accepts;
 * an enum value of a later version reads as `unknown`.
 */
function problemOf(topic: DoorbellTopic, message: TopicMessages[DoorbellTopic]): string | null {
  if (message.vendor === 'unknown' || REQUESTED_TOPIC[message.vendor] !== topic) {
    return `the vendor ${message.vendor} does not belong on this topic`
  }
  if (!isUuid(message.connectionId)) return 'connectionId is not a uuid'
  if (message.calendarId !== null && !isUuid(message.calendarId)) return 'calendarId is not a uuid'
  // Postgres text holds no NUL, and its index rows are bounded.
  const key = message.deliveryKey ?? ''
  return key.includes('\0') || Buffer.byteLength(key) > 1024 ? 'deliveryKey cannot be stored' : null
}

function messageOf(message: TopicMessages[DoorbellTopic]): UnitRequest['message'] {
  return {
    ...message,
    vendor: message.vendor as VendorName,
    connectionId: connectionId(message.connectionId),
    calendarId: message.calendarId === null ? null : calendarId(message.calendarId),
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
