// The port to the message broker: what services know of Kafka. Comments are the contract;
// open.ts is the adapter. Topics are logical names here; the adapter puts KAFKA_PREFIX before
// topics, groups and transactional ids.

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** Where reading continues in a partition. */
export interface NextOffset extends TopicPartition {
  readonly next: bigint
}

/** A partition in one word, as a key. */
export function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

export interface InboundRecord extends TopicPartition {
  readonly offset: bigint
  /**
   * Milliseconds since 1970, by the clock that stamps the topic (the producer's, or the broker's
   * on LogAppendTime topics).
   */
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** A header that came several times keeps its last value. */
  readonly headers: ReadonlyMap<string, string>
}

export interface OutboundRecord {
  readonly topic: string
  readonly key: string
  /** null is a tombstone. */
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

/**
 * acks=-1, murmur2 of the key (as the Java client). Throws Failure `kafka/unavailable` (within
 * 10 s; the outcome is then unknown) or `kafka/rejected`. Heals when Kafka is back.
 */
export interface Producer extends AsyncDisposable {
  /**
   * Resolves when every record is durable on all in-sync replicas. One batch is outstanding at a
   * time; a further call waits for it.
   */
  send(records: readonly OutboundRecord[]): Promise<void>
}

/** One transactional id; opening fences its former owner (INVALID_PRODUCER_EPOCH). */
export interface TransactionalProducer extends AsyncDisposable {
  /**
   * All records in one transaction, visible to read_committed readers at once. Throws
   * `kafka/fenced` when a newer owner took over: nothing became visible; `kafka/rejected`
   * when a record is too large: nothing was sent; `kafka/unavailable` when the outcome is
   * unknown. After `fenced`, `unavailable` or a refusal by the broker itself every further
   * call throws `kafka/unavailable`: dispose of it, make sure that the shard is still
   * yours, and open a new one.
   */
  publish(records: readonly OutboundRecord[]): Promise<void>
}

export interface Batch extends TopicPartition {
  /** Number of the assignment that this batch belongs to; grows with every join. */
  readonly assignment: number
  /** Empty where nothing but markers of transactions lay. */
  readonly records: readonly InboundRecord[]
  /** Where reading continues: past the records, and past markers behind them. */
  readonly next: bigint
}

export interface ConsumerHandlers {
  /**
   * After each join, before any record of it: what we hold now, what we no longer hold, and what
   * stays (it will be delivered again from its committed offset).
   */
  assigned(change: {
    readonly assignment: number
    readonly owned: readonly TopicPartition[]
    readonly lost: readonly TopicPartition[]
    readonly kept: readonly TopicPartition[]
  }): void
  /**
   * Takes the records over and returns at once; it must not wait for their work. It may throw
   * nothing: a throw is a defect and crashes the consumer.
   */
  received(batch: Batch): void
  /**
   * The consumer died for good and is not being rebuilt: the process must exit for its supervisor.
   */
  crashed(error: unknown): void
}

export interface ConsumerOptions {
  readonly groupId: string
  readonly topics: readonly string[]
  /**
   * Topics of sync requests are read uncommitted:
   * an open transaction of a killed relay must not hold live sync requests back.
   */
  readonly isolation: 'read-committed' | 'read-uncommitted'
  readonly handlers: ConsumerHandlers
}

export interface Consumer extends AsyncDisposable {
  /**
   * Commits the next offset to read, for partitions we hold; others are left out silently. Throws
   * Failure `kafka/unavailable`.
   */
  commit(offsets: readonly NextOffset[]): Promise<void>
  /**
   * No further records after those already on their way to `received`. In force for kept partitions
   * over joins and rebuilds; a lost partition forgets it.
   */
  pause(partitions: readonly TopicPartition[]): void
  resume(partitions: readonly TopicPartition[]): void
  owned(): readonly TopicPartition[]
  /**
   * performance.now() at the sending of the last heartbeat (or at the last join) that the broker
   * acknowledged; 0 before the first. A fetch proves no membership.
   */
  lastAcknowledgedAt(): number
  /** Leaves the group; commits made before are kept, commits after are dropped. */
  [Symbol.asyncDispose](): Promise<void>
}
