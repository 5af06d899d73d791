// A consumer that outlives the broker: it supervises one Membership after the other. What it
// promises over their ends: assignment numbers only grow, each join is announced as a difference to
// the join before (in whatever life that was), pauses that the caller wants are in force, and
// commits reach only partitions that are owned now. A partition whose records begin anew (its topic
// was deleted and made again, or its offsets were reset) is announced as lost and given again: what
// stands there now under a known offset was never seen.
import { Failure } from '#shared/domain/failure.ts'
import {
  nameOf,
  type Consumer,
  type ConsumerOptions,
  type NextOffset,
  type TopicPartition,
} from './broker.ts'
import { type KafkaConfig, settledWithin } from './client.ts'
import { isBrokerTrouble, kafkaFailure, protocolErrors, refusalOf } from './trouble.ts'
import { Membership, type MembershipEvents } from './membership.ts'
import type { Logger } from '#shared/process/log.ts'
import { pause } from '#shared/process/loop.ts'

const COMMIT_TIMEOUT_MS = 10_000
/** Leaving must not wait for a broker that is away: the process has 10 s to end. */
const LAST_COMMIT_TIMEOUT_MS = 2_000
const COMMITS_WAITING_MAX = 100
const REBUILD_MIN_MS = 250
const REBUILD_MAX_MS = 5_000
/** Defects (not a broker that is away) in a row for so long mean that a new process must try. */
const DEFECTS_FOR_MS = 60_000
/** A life of this length after its join was a good one: counting starts anew. */
const GOOD_LIFE_MS = 60_000
/**
 * The group moved on. What we wanted to commit will be delivered again, to us or to another member.
 */
const GROUP_MOVED_ON = new Set(['ILLEGAL_GENERATION', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID'])

/**
 * Joins in the background and never gives up on a broker that is away: it tries again after 0.25 s,
 * growing to 5 s. Ends of another kind (a handler that throws, a refused group) are tried again
 * likewise, but for a minute; then `handlers.crashed`.
 */
export class SupervisedConsumer implements Consumer {
  readonly #config: KafkaConfig
  readonly #options: ConsumerOptions
  readonly #logger: Logger
  readonly #disposal = new AbortController()
  readonly #supervision: Promise<void>
  /** The partitions that the caller wants paused, by name. */
  readonly #paused = new Map<string, TopicPartition>()
  #membership: Membership | null = null
  #owned: ReadonlyMap<string, TopicPartition> = new Map()
  /** What the last join gave us, also after that life ended. */
  #lastOwned: ReadonlyMap<string, TopicPartition> = new Map()
  /** Where the next record of this join stands at least, by name of the partition. */
  readonly #next = new Map<string, bigint>()
  /** The same over joins, for as long as the partition is ours. */
  readonly #seen = new Map<string, bigint>()
  /**
   * What the broker has acknowledged of our commits, by name of the partition,
   * over joins for as long as it is ours.
   */
  readonly #committed = new Map<string, bigint>()
  /** A topic was missing since the last join: when it is there again it may be another one. */
  #missedTopic = false
  #assignment = 0
  #joinedAt: number | null = null
  #acknowledgedAt = 0
  #commits: Promise<unknown> = Promise.resolve()
  #commitsWaiting = 0

  constructor(config: KafkaConfig, options: ConsumerOptions, logger: Logger) {
    this.#config = config
    this.#options = options
    this.#logger = logger
    this.#supervision = this.#supervise()
  }

  async commit(offsets: readonly NextOffset[]): Promise<void> {
    if (this.#disposal.signal.aborted) return
    if (this.#commitsWaiting >= COMMITS_WAITING_MAX)
      throw new Failure('kafka/unavailable', `${COMMITS_WAITING_MAX} commits wait for Kafka already.`)
    this.#commitsWaiting += 1
    const committed = this.#commits
      .then(() => this.#commitNow(offsets))
      .finally(() => {
        this.#commitsWaiting -= 1
      })
    this.#commits = committed.catch(() => {})
    await committed
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#paused.set(nameOf(partition), partition)
    this.#membership?.pause(partitions.filter((partition) => this.#owned.has(nameOf(partition))))
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const partition of partitions) this.#paused.delete(nameOf(partition))
    this.#membership?.resume(partitions.filter((partition) => this.#owned.has(nameOf(partition))))
  }

  owned(): readonly TopicPartition[] {
    return [...this.#owned.values()]
  }

  lastAcknowledgedAt(): number {
    return this.#acknowledgedAt
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal.abort()
    await settledWithin(this.#commits, LAST_COMMIT_TIMEOUT_MS, 'take the last offsets').catch(() => {})
    await this.#membership?.leave()
    await this.#supervision
  }

  async #supervise(): Promise<void> {
    const patience = new Patience()
    while (!this.#disposal.signal.aborted) {
      const end = await this.#live()
      const reason = refusalOf(end) ?? end
      if (this.#disposal.signal.aborted) return
      const lived = this.#joinedAt === null ? 0 : performance.now() - this.#joinedAt
      const verdict = patience.judge({
        trouble: isBrokerTrouble(reason),
        livedMs: lived,
        now: performance.now(),
      })
      if (verdict === 'give-up') {
        this.#logger.error(
          { err: reason, groupId: this.#options.groupId },
          'The consumer fails again and again',
        )
        this.#options.handlers.crashed(reason)
        return
      }
      this.#report(reason, verdict)
      this.#missedTopic ||= protocolErrors(reason).includes('UNKNOWN_TOPIC_OR_PARTITION')
      await pause(verdict, this.#disposal.signal)
    }
  }

  /** One membership from its beginning to its end. @returns why it ended */
  async #live(): Promise<unknown> {
    this.#joinedAt = null
    const membership: Membership = new Membership(
      this.#config,
      this.#options,
      {
        joined: (owned) => this.#onJoined(membership, owned),
        received: (partition, batch) => this.#onReceived(membership, partition, batch),
        acknowledged: (at) => {
          this.#acknowledgedAt = Math.max(this.#acknowledgedAt, at)
        },
      },
      this.#logger,
    )
    this.#membership = membership
    const reason = await membership.ended
    // No member, no right to commit; what the caller knows as owned stays so until
    // it hears of the next join.
    this.#owned = new Map()
    this.#membership = null
    await membership.leave()
    return reason
  }

  #onJoined(membership: Membership, owned: readonly TopicPartition[]): void {
    this.#next.clear()
    const missed = this.#missedTopic ? this.#announce([]) : []
    this.#missedTopic = false
    const lost = [...missed, ...this.#announce(owned)]
    this.#joinedAt = performance.now()
    // The library keeps pauses over a rebalance, also of lost partitions, and knows none in a new
    // life: state all of them.
    membership.pause(owned.filter((partition) => this.#paused.has(nameOf(partition))))
    membership.resume([...owned, ...lost].filter((partition) => !this.#paused.has(nameOf(partition))))
  }

  /** Announces what is owned from now on. @returns what no longer is. */
  #announce(owned: readonly TopicPartition[]): readonly TopicPartition[] {
    const change = assignmentChange(this.#lastOwned, owned)
    this.#owned = this.#lastOwned = new Map(owned.map((partition) => [nameOf(partition), partition]))
    this.#assignment += 1
    for (const name of change.lost.map(nameOf)) {
      // A lost partition that comes back starts without a pause.
      this.#paused.delete(name)
      this.#next.delete(name)
      this.#seen.delete(name)
      this.#committed.delete(name)
    }
    this.#options.handlers.assigned({ assignment: this.#assignment, owned, ...change })
    return change.lost
  }

  #onReceived(
    membership: Membership,
    at: TopicPartition,
    { records, next, end }: Parameters<MembershipEvents['received']>[1],
  ): void {
    const [first] = records
    const name = nameOf(at)
    // Within a join the library never goes back, a join begins at what was committed, and
    // no log ends before what it held.
    const least = this.#next.get(name) ?? this.#committed.get(name) ?? 0n
    const isBehind = first !== undefined && first.offset < least
    if (isBehind || end < (this.#seen.get(name) ?? 0n)) this.#beginAnew(membership, at)
    this.#next.set(name, next)
    if (next > (this.#seen.get(name) ?? 0n)) this.#seen.set(name, next)
    const { topic, partition } = at
    this.#options.handlers.received({ topic, partition, assignment: this.#assignment, records, next })
  }

  #beginAnew(membership: Membership, at: TopicPartition): void {
    const owned = this.owned()
    this.#logger.warn(at, 'A partition begins anew: its topic was made again, or its offsets were reset')
    this.#announce(owned.filter((one) => nameOf(one) !== nameOf(at)))
    this.#announce(owned)
    membership.resume([at])
  }

  async #commitNow(offsets: readonly NextOffset[]): Promise<void> {
    const membership = this.#membership
    const ours = offsets.filter((offset) => this.#owned.has(nameOf(offset)))
    if (membership === null || ours.length === 0) return
    try {
      await settledWithin(membership.commit(ours), COMMIT_TIMEOUT_MS, 'take the offsets')
      for (const one of ours) if (this.#owned.has(nameOf(one))) this.#committed.set(nameOf(one), one.next)
    } catch (error) {
      if (protocolErrors(error).some((type) => GROUP_MOVED_ON.has(type))) return
      throw kafkaFailure(error)
    }
  }

  #report(reason: unknown, delayMs: number): void {
    const fields = { err: reason, groupId: this.#options.groupId, delayMs }
    if (isBrokerTrouble(reason)) this.#logger.warn(fields, 'The consumer lost Kafka and joins again')
    else this.#logger.error(fields, 'The consumer failed and is built anew')
  }
}

/** Decides after the end of each life how long to wait, or that it is enough. */
export class Patience {
  #delayMs = REBUILD_MIN_MS
  #defectsSince: number | null = null

  /**
   * `livedMs`: since the join; 0 if there was none. `now`: performance.now().
   * @returns ms to wait before the next life, or 'give-up'
   */
  judge(end: {
    readonly trouble: boolean
    readonly livedMs: number
    readonly now: number
  }): number | 'give-up' {
    if (end.livedMs >= GOOD_LIFE_MS) {
      this.#delayMs = REBUILD_MIN_MS
      this.#defectsSince = null
    }
    if (end.trouble) this.#defectsSince = null
    else this.#defectsSince ??= end.now
    if (this.#defectsSince !== null && end.now - this.#defectsSince > DEFECTS_FOR_MS) return 'give-up'
    const delayMs = this.#delayMs
    this.#delayMs = Math.min(delayMs * 2, REBUILD_MAX_MS)
    return delayMs
  }
}

/**
 * What a join changed: `lost` was owned and no longer is,
 * `kept` was owned and still is (and will be delivered again).
 */
export function assignmentChange(
  before: ReadonlyMap<string, TopicPartition>,
  owned: readonly TopicPartition[],
): { lost: readonly TopicPartition[]; kept: readonly TopicPartition[] } {
  const now = new Set(owned.map(nameOf))
  return {
    lost: [...before].filter(([name]) => !now.has(name)).map(([, partition]) => partition),
    kept: owned.filter((partition) => before.has(nameOf(partition))),
  }
}
