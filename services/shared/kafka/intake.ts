// From topics to the worker of their records, and back as committed offsets. Invariants: an
// offset is committed only when its worker said that its record is done, or when it cannot be read
// (bury-record.ts); a record that cannot be read costs its neighbours nothing; trouble with
// registry or broker is no fault of a record, so it pauses and waits; once a partition was lost,
// what is said of its records counts for nothing, also when it comes back.
import { performance } from 'node:perf_hooks'
import type { Micros } from '#shared/domain/ids.ts'
import type { BlockedRecord, OwnedPartition } from '#shared/domain/service-instances.ts'
import type { Clock } from '#shared/process/clock.ts'
import { type Step, step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import { startLoop, until } from '#shared/process/loop.ts'
import {
  nameOf,
  type Batch,
  type Consumer,
  type ConsumerHandlers,
  type ConsumerOptions,
  type InboundRecord,
  type Producer,
  type TopicPartition,
} from './broker.ts'
import { buryRecord } from './bury-record.ts'
import type { RecordReading } from './codec.ts'
import { createOffsetLedger, type OffsetLedger } from './offset-ledger.ts'

/** What is kept of a delivery while it is worked on: neither its bytes nor its message. */
export interface Receipt {
  /** Names the partition that it came from. */
  readonly source: string
  /** Its effect, or its failure, is durable. Says nothing once its partition was lost. */
  done(): void
  /** false for good once its partition was lost: the new owner gets the record anew. */
  isOurs(): boolean
}

/** A record that was read, for its worker. */
export interface Delivery<M> {
  readonly message: M
  readonly record: InboundRecord
  readonly receipt: Receipt
}

/** Of records that are not done, or stand behind one that is not. */
interface Capacity {
  /** What is counted together, and paused together. */
  readonly per: 'partition' | 'topic'
  /** With so many, reading pauses. */
  readonly max: number
  /** With fewer than so many, it continues. */
  readonly resumeBelow: number
}

export interface IntakeDeps {
  readonly producer: Pick<Producer, 'send'>
  readonly clock: Clock
  readonly logger: Logger
}

export interface IntakeOptions<M> extends IntakeDeps, Omit<ConsumerOptions, 'handlers'> {
  /** Whose it is, for log lines: "the sync's". */
  readonly owner: string
  /**
   * Throws Failure while it is not known whether the record is readable: it is asked again then.
   * `problem` of what is unreadable: one sentence, without the record's content.
   */
  readonly read: (record: InboundRecord) => Promise<RecordReading<M>>
  /** Takes a delivery over and returns at once. Must not throw. */
  readonly accept: (delivery: Delivery<M>) => void
  /** These sources are ours no longer; neither is what was accepted from them. */
  readonly lost: (sources: ReadonlySet<string>) => void
  readonly capacity: Capacity
  /**
   * Called before each look for what is to be committed. `oldestMadeAt`: when the oldest record of
   * a topic was made that is not done, ms since 1970; null when there is none.
   */
  readonly observe?: (oldestMadeAt: OffsetLedger['oldestMadeAt']) => void
  /** What this consumer calls them. */
  readonly steps?: Readonly<Record<'buried' | 'beforeCommit' | 'committed', Step>>
}

/** Opens the consumer of these handlers; it calls none of them before it has returned. */
export type OpenConsumer = (options: ConsumerOptions) => Consumer

/** What an intake has in hand, for the heartbeat. */
export interface IntakeFacts {
  readonly partitions: readonly OwnedPartition[]
  readonly blocked: readonly BlockedRecord[]
}

/** Disposed of, it takes nothing more, commits what is done and leaves the group. */
export interface Intake extends AsyncDisposable {
  /** While nothing can be done, nothing more is read. */
  suspend(isSuspended: boolean): void
  /** See `Consumer`. */
  lastAcknowledgedAt(): number
  /** Why it does not continue; null while it works. For readiness. */
  problem(): string | null
  facts(): IntakeFacts
  /** Settles when the consumer died for good. */
  readonly crashed: Promise<unknown>
}

const COMMIT_EVERY_MS = 200
/**
 * Fetched and not yet read, over all partitions, with their bytes: beyond it everything is paused,
 * at half of it resumed.
 */
const QUEUE_MAX = 10_000
/** Long enough to work through a batch, short enough to let other loops run. */
const ROUND_MS = 50

/** Opens a consumer, reads what it receives and commits what is done. Returns at once. */
export function openIntake<M>(open: OpenConsumer, options: IntakeOptions<M>): Intake {
  const { owner, logger } = options
  const { consumer, crashed, round, commit, suspend, facts, oldestMadeAt } = createIntake(open, options)
  const commits = startLoop(
    `${owner} commit`,
    async () => {
      options.observe?.(oldestMadeAt)
      await commit()
      return COMMIT_EVERY_MS
    },
    logger,
  )
  const rounds = startLoop(`${owner} intake`, (signal) => round(signal), logger)
  return {
    suspend,
    crashed,
    facts,
    lastAcknowledgedAt: () => consumer.lastAcknowledgedAt(),
    problem: () => commits.problem() ?? rounds.problem(),
    async [Symbol.asyncDispose]() {
      await rounds[Symbol.asyncDispose]()
      await commits[Symbol.asyncDispose]()
      await commit().catch((error: unknown) =>
        logger.info({ err: error }, 'the last offsets are read again later'),
      )
      await consumer[Symbol.asyncDispose]()
    },
  }
}

interface Received {
  readonly record: InboundRecord
  readonly receipt: Receipt
}

/** The parts of an intake, without the loops that drive them. */
export function createIntake<M>(open: OpenConsumer, options: IntakeOptions<M>) {
  const ledger = createOffsetLedger()
  const crash = Promise.withResolvers<unknown>()
  let queue: Received[] = []
  let arrival = Promise.withResolvers<void>()
  let blocked: BlockedRecord | null = null

  /** Waits for records and hands them over. Throws Failure while registry or Kafka are away. */
  async function round(signal: AbortSignal): Promise<number> {
    if (queue.length === 0) await until(arrival.promise, signal)
    const endAt = performance.now() + ROUND_MS
    try {
      while (queue.length > 0 && performance.now() < endAt) {
        const first = queue[0]!
        await take(options, first)
        blocked = null
        // A rebalance may have emptied the queue meanwhile.
        if (queue[0] === first) queue.shift()
      }
      pauses.isTroubled = false
    } catch (error) {
      pauses.isTroubled = true
      blocked = blockedBy(queue[0], { error, before: blocked, at: options.clock.now() })
      throw error
    } finally {
      pauses.apply()
    }
    return 0
  }

  function received({ records, next, topic, partition }: Batch): void {
    for (const record of records)
      if (ledger.add(record, record.offset, record.timestampMs))
        queue.push({ record, receipt: new PlaceInLedger(record, ledger, pauses) })
    ledger.passed({ topic, partition }, next)
    arrival.resolve()
    arrival = Promise.withResolvers()
    pauses.apply()
  }

  function assigned({ lost }: Parameters<ConsumerHandlers['assigned']>[0]): void {
    const names = new Set(lost.map(nameOf))
    pauses.forget(names)
    for (const at of lost) ledger.drop(at)
    if (names.size > 0) options.lost(names)
    queue = queue.filter(({ receipt }) => receipt.isOurs())
    pauses.apply()
  }

  /** Commits what moved. Throws Failure `kafka/unavailable`. */
  async function commit(): Promise<void> {
    const moved = ledger.movedWatermarks()
    if (moved.length === 0) return
    pass(options, 'beforeCommit')
    await consumer.commit(moved)
    pass(options, 'committed')
    ledger.committed(moved)
  }

  function suspend(isSuspended: boolean): void {
    pauses.isSuspended = isSuspended
    pauses.apply()
  }

  const { groupId, topics, isolation, capacity } = options
  const handlers = { assigned, received, crashed: crash.resolve }
  const consumer = open({ groupId, topics, isolation, handlers })
  const facts = () => factsOf(consumer, queue[0], blocked)
  const pauses = createPauses({ consumer, ledger, capacity, waiting: () => queue.length })
  const oldestMadeAt = (topic: string) => ledger.oldestMadeAt(topic)
  return { consumer, crashed: crash.promise, round, commit, suspend, facts, oldestMadeAt }
}

function factsOf(
  consumer: Pick<Consumer, 'owned'>,
  first: Received | undefined,
  blocked: BlockedRecord | null,
): IntakeFacts {
  const partitions = consumer.owned().map(({ topic, partition }) => ({ topic, partition }))
  // Nothing waits behind a record whose partition went away.
  return { partitions, blocked: blocked !== null && first?.receipt.isOurs() === true ? [blocked] : [] }
}

/** The record that could not be taken, since the first time that it could not. */
function blockedBy(
  first: Received | undefined,
  now: { readonly error: unknown; readonly before: BlockedRecord | null; readonly at: Micros },
): BlockedRecord | null {
  if (first === undefined) return null
  const { topic, partition, offset } = first.record
  const place = { topic, partition, offset: String(offset) }
  const { error, before } = now
  const isSame = before !== null && nameOf(before) === nameOf(place) && before.offset === place.offset
  const problem = error instanceof Error ? error.message : String(error)
  return { ...place, since: isSame ? before.since : now.at, problem }
}

/** One record to its worker, or into the dead-letter topic. */
async function take<M>(options: IntakeOptions<M>, { record, receipt }: Received): Promise<void> {
  const reading = await options.read(record)
  if (!receipt.isOurs()) return
  if (reading.kind === 'message') return options.accept({ message: reading.message, record, receipt })
  await buryRecord(options, record, reading.problem)
  pass(options, 'buried')
  receipt.done()
}

function pass(
  { steps }: Pick<IntakeOptions<never>, 'steps'>,
  reached: keyof NonNullable<IntakeOptions<never>['steps']>,
): void {
  if (steps) step(steps[reached])
}

/** Small, and without the record: retry keeps hundreds of thousands of them. */
class PlaceInLedger implements Receipt {
  readonly topic: string
  readonly partition: number
  readonly #offset: bigint
  /** The tenure of the partition in which it was delivered. */
  readonly #tenure: number
  readonly #ledger: OffsetLedger
  readonly #pauses: Pauses

  constructor({ topic, partition, offset }: InboundRecord, ledger: OffsetLedger, pauses: Pauses) {
    this.topic = topic
    this.partition = partition
    this.#offset = offset
    this.#tenure = ledger.tenure(this)
    this.#ledger = ledger
    this.#pauses = pauses
  }

  get source(): string {
    return nameOf(this)
  }

  isOurs(): boolean {
    return this.#ledger.tenure(this) === this.#tenure
  }

  done(): void {
    if (!this.isOurs()) return
    this.#ledger.complete(this, this.#offset)
    this.#pauses.relieve(this)
  }
}

interface Pauses {
  /** Nothing can be done with what would be read. */
  isSuspended: boolean
  /** Registry or broker are away. */
  isTroubled: boolean
  /** Partitions that went away start without a pause when they come back. */
  forget(names: ReadonlySet<string>): void
  /** Pauses and resumes what has to change. */
  apply(): void
  /** The same after something of this partition was done: nothing new has to pause. */
  relieve(at: TopicPartition): void
}

function createPauses({
  consumer,
  ledger,
  capacity,
  waiting,
}: {
  readonly consumer: Pick<Consumer, 'pause' | 'resume' | 'owned'>
  readonly ledger: OffsetLedger
  readonly capacity: Capacity
  readonly waiting: () => number
}): Pauses {
  const paused = new Set<string>()
  let isQueueFull = false
  const isFull = (at: TopicPartition): boolean => {
    const unfinished = capacity.per === 'topic' ? ledger.tracked(at.topic) : ledger.trackedAt(at)
    return unfinished >= (paused.has(nameOf(at)) ? capacity.resumeBelow : capacity.max)
  }
  const mustPause = (at: TopicPartition): boolean =>
    pauses.isSuspended || pauses.isTroubled || isQueueFull || isFull(at)
  const pauses: Pauses = {
    isSuspended: false,
    isTroubled: false,
    forget(names) {
      for (const name of names) paused.delete(name)
    },
    apply() {
      isQueueFull = waiting() > (isQueueFull ? QUEUE_MAX / 2 : QUEUE_MAX)
      const change = consumer.owned().filter((at) => mustPause(at) !== paused.has(nameOf(at)))
      const going = change.filter((at) => paused.delete(nameOf(at)))
      const stopping = change.filter((at) => !going.includes(at))
      for (const at of stopping) paused.add(nameOf(at))
      if (stopping.length > 0) consumer.pause(stopping)
      if (going.length > 0) consumer.resume(going)
    },
    relieve(at) {
      if (paused.size > 0 && paused.has(nameOf(at)) && !mustPause(at)) pauses.apply()
    },
  }
  return pauses
}
