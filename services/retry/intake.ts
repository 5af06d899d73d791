// From the retry topics into the heap, eagerly: a record that is due in an hour never stands before
// one that is due now. Invariant: a record is complete only when it was rung, was superseded by a
// later unit's for the same thing, or lies in the dead-letter topic; until then its offset holds
// the watermark, so a crash reads it again.
import { performance } from 'node:perf_hooks'
import type { SchemaTopic, TopicMessages } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { RETRY_TOPICS, type RetryTopic } from '#shared/messages/sync-retry-scheduled.ts'
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
import type { OffsetLedger } from '#shared/kafka/offset-ledger.ts'
import type { DueHeap } from './due-heap.ts'

type Scheduled = TopicMessages[RetryTopic]

/** What waits for its time: the message, and where its record stands. */
export interface Scheduling {
  readonly subject: string
  readonly epoch: number
  readonly dueAt: Micros
  readonly message: Scheduled & { readonly vendor: 'google' | 'microsoft' }
  readonly at: TopicPartition
  readonly offset: bigint
  /** The holding of the partition in which it was delivered. */
  readonly holding: number
  readonly traceparent: string | undefined
}

export interface IntakeDeps {
  readonly codec: Codec
  readonly producer: Producer
  readonly ledger: OffsetLedger
  readonly heap: DueHeap<Scheduling>
  readonly consumer: () => Pick<Consumer, 'pause' | 'resume' | 'held'>
  readonly clock: Clock
  readonly logger: Logger
  /** Records of one band held in memory before its partitions are paused. */
  readonly bandMax: number
}

interface Received {
  readonly record: InboundRecord
  readonly holding: number
}

/**
 * Fetched and not yet decoded, over all partitions;
 * beyond it everything is paused, below half of it resumed.
 */
const QUEUE_MAX = 10_000

export interface Intake extends Omit<ConsumerHandlers, 'crashed'> {
  /**
   * Puts what was received into the heap.
   * @returns ms until the next turn. Throws Failure while the registry or Kafka
   * is away; nothing is lost.
   */
  turn(): Promise<number>
}

export function createIntake(deps: IntakeDeps): Intake {
  const queue: Received[] = []
  let paused = ''

  async function turn(): Promise<number> {
    const until = performance.now() + 100
    while (queue.length > 0 && performance.now() < until) {
      const first = queue[0]!
      await take(first)
      // A rebalance may have emptied the queue while the record was decoded.
      if (queue[0] === first) queue.shift()
    }
    applyPauses()
    return queue.length > 0 ? 0 : 20
  }

  async function take({ record, holding }: Received): Promise<void> {
    const decoded = await deps.codec.decode(record.topic as RetryTopic & SchemaTopic, record.value)
    if (deps.ledger.holding(record) !== holding) return
    const problem = decoded.kind === 'unreadable' ? decoded.problem : problemOf(decoded.message)
    if (decoded.kind === 'unreadable' || problem !== null) {
      await buryRecord(deps, record, problem ?? 'unreadable')
      deps.ledger.complete(record, record.offset)
      return
    }
    crashPoint('retry.taken-in')
    const superseded = deps.heap.offer(
      schedulingOf({ record, holding }, decoded.message as Scheduling['message']),
    )
    if (superseded) deps.ledger.complete(superseded.at, superseded.offset)
  }

  function received(batch: Batch): void {
    for (const record of batch.records) {
      if (deps.ledger.add(record, record.offset)) queue.push({ record, holding: deps.ledger.holding(record) })
    }
    applyPauses()
  }

  function assigned(change: Parameters<ConsumerHandlers['assigned']>[0]): void {
    const lost = new Set(change.lost.map(nameOf))
    for (const at of change.lost) deps.ledger.drop(at)
    deps.heap.removeIf((item) => lost.has(nameOf(item.at)))
    const kept = queue.filter(({ record }) => !lost.has(nameOf(record)))
    queue.splice(0, queue.length, ...kept)
    // A new assignment starts with whatever the client makes of earlier pauses,
    // so both directions are told again.
    paused = 'unknown'
    applyPauses()
  }

  function applyPauses(): void {
    const queueFull = paused.startsWith('all') ? queue.length > QUEUE_MAX / 2 : queue.length > QUEUE_MAX
    const full = RETRY_TOPICS.filter((topic) => queueFull || deps.ledger.tracked(topic) >= deps.bandMax)
    const next = `${queueFull ? 'all' : 'bands'} ${full.join()}`
    if (next === paused) return
    paused = next
    const consumer = deps.consumer()
    const isFull = (at: TopicPartition) => (full as readonly string[]).includes(at.topic)
    consumer.pause(consumer.held().filter(isFull))
    consumer.resume(consumer.held().filter((at) => !isFull(at)))
  }

  return { turn, received, assigned }
}

/**
 * An enum value that a later schema version knows reads as `unknown` here:
 * nothing that we could ring.
 */
function problemOf(message: Scheduled): string | null {
  if (message.vendor === 'unknown') return 'vendor is unknown'
  return null
}

function schedulingOf({ record, holding }: Received, message: Scheduling['message']): Scheduling {
  return {
    subject: subjectOf(message),
    epoch: message.epoch,
    dueAt: message.dueAt,
    message,
    at: { topic: record.topic, partition: record.partition },
    offset: record.offset,
    holding,
    traceparent: record.headers.get('traceparent'),
  }
}

/**
 * A later unit speaks for an earlier one where both ring for the same: a calendar's ring says
 * nothing about its siblings, and a recheck nothing about a backoff.
 */
export function subjectOf({
  connectionId,
  calendarId,
  reason,
}: Pick<Scheduled, 'connectionId' | 'calendarId' | 'reason'>): string {
  return `${connectionId} ${calendarId ?? 'all'} ${reason}`
}

function nameOf(at: TopicPartition): string {
  return `${at.topic}/${at.partition}`
}
