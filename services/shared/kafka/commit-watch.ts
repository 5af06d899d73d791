// Whether committed records can be read. Invariant: `visible` resolves only when every reader of
// committed records gets past them. A broker that answers a commit has promised it, and Kafka 4.3.1
// was seen to break that promise while it stopped: it recorded the transaction as complete and
// wrote no marker into its partitions (ADR 12; KAFKA-20734 explains it). Such records are never
// delivered, and hold up all that come after them.
import { setTimeout as delay } from 'node:timers/promises'
import type { Admin } from 'kafkajs'
import { Failure } from '#shared/domain/failure.ts'
import { createClient, type KafkaConfig, settledWithin } from './client.ts'
import { kafkaFailure } from './trouble.ts'

/** The first record of a batch. */
export interface Position {
  /** With prefix. */
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

export interface CommitWatch extends AsyncDisposable {
  /**
   * Resolves when readers of committed records get past these. Throws Failure `kafka/unavailable`
   * when they do not in time or the broker is away: publish them again, under the same
   * transactional id, whose next marker frees what was held up.
   */
  visible(positions: readonly Position[]): Promise<void>
}

/**
 * Markers come a few ms after the answer; a relay that froze in a transaction holds the others up
 * until its successor has fenced it, after 5 s.
 */
const VISIBLE_WITHIN_MS = 8_000
const LOOK_EVERY_MS = 20
const LOOK_LIMIT_MS = 4_000
const DISCONNECT_LIMIT_MS = 1_000
const RETRY = { initialRetryTime: 50, maxRetryTime: 200, retries: 2 }

interface Waiting {
  readonly positions: readonly Position[]
  readonly deadline: number
  readonly resolve: () => void
  readonly reject: (failure: Failure) => void
}

/**
 * Watches for all producers of a process over one connection,
 * which it makes when it is first asked.
 */
export function openCommitWatch(config: KafkaConfig, withinMs = VISIBLE_WITHIN_MS): CommitWatch {
  return new StableOffsets(config, withinMs)
}

class StableOffsets implements CommitWatch {
  readonly #config: KafkaConfig
  readonly #withinMs: number
  readonly #waiting = new Set<Waiting>()
  /** Made when it is first needed; a failed look makes another. */
  #admin: Promise<Admin> | null = null
  #isLooking = false
  #isClosed = false

  constructor(config: KafkaConfig, withinMs: number) {
    this.#config = config
    this.#withinMs = withinMs
  }

  visible(positions: readonly Position[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed())
    return new Promise<void>((resolve, reject) => {
      this.#waiting.add({ positions, deadline: performance.now() + this.#withinMs, resolve, reject })
      void this.#look()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#rejectAll(closed())
    await this.#drop()
  }

  /** One loop for all, as long as one waits. */
  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    while (this.#waiting.size > 0) {
      try {
        await this.#lookOnce()
      } catch (error) {
        await this.#drop()
        this.#rejectAll(kafkaFailure(error))
      }
      if (this.#waiting.size > 0) await delay(LOOK_EVERY_MS)
    }
    this.#isLooking = false
  }

  async #lookOnce(): Promise<void> {
    const asked = [...this.#waiting]
    const topics = new Set(asked.flatMap(({ positions }) => positions.map(({ topic }) => topic)))
    const stable = new Map<string, ReadonlyMap<number, bigint>>()
    for (const topic of topics) stable.set(topic, await this.#stableOffsets(topic))
    for (const one of asked) {
      const [first] = one.positions.filter(
        ({ topic, partition, offset }) => (stable.get(topic)?.get(partition) ?? -1n) <= offset,
      )
      const isLate = performance.now() > one.deadline
      if (first !== undefined && !isLate) continue
      this.#waiting.delete(one)
      if (first === undefined) one.resolve()
      else one.reject(unseen(`${first.topic}/${first.partition}@${first.offset}`, this.#withinMs))
    }
  }

  /**
   * The last stable offset of each partition of a topic: KafkaJS asks for offsets as readers of
   * committed records see them.
   */
  async #stableOffsets(topic: string): Promise<ReadonlyMap<number, bigint>> {
    if (this.#isClosed) throw closed()
    this.#admin ??= this.#connect()
    const ask = this.#admin.then((admin) => admin.fetchTopicOffsets(topic))
    const found = await settledWithin(ask, LOOK_LIMIT_MS, 'say which records can be read')
    return new Map(found.map(({ partition, offset }) => [partition, BigInt(offset)]))
  }

  async #connect(): Promise<Admin> {
    const admin = createClient(this.#config, RETRY, null).admin()
    await admin.connect()
    return admin
  }

  #rejectAll(failure: Failure): void {
    for (const one of this.#waiting) {
      this.#waiting.delete(one)
      one.reject(failure)
    }
  }

  async #drop(): Promise<void> {
    const admin = this.#admin
    this.#admin = null
    // One that is still connecting is closed when it has: otherwise it would outlive us.
    const gone = admin?.then((one) => one.disconnect()).catch(() => {})
    if (gone) await settledWithin(gone, DISCONNECT_LIMIT_MS, 'close the connection').catch(() => {})
  }
}

function closed(): Failure {
  return new Failure('kafka/unavailable', 'The watch over commits is closed.')
}

function unseen(where: string, withinMs: number): Failure {
  return new Failure(
    'kafka/unavailable',
    `Kafka committed records that no reader can see after ${withinMs} ms (${where}); they are published again.`,
  )
}
