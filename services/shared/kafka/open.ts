// The adapter of the broker port on KafkaJS 2.2.4, in full: client.ts (settings, logs,
// errors), producer.ts, commit-watch.ts, consumer.ts and membership.ts. Only the
// functions here are for services.
import { Failure } from '#shared/domain/failure.ts'
import type { Consumer, ConsumerOptions, Producer, TransactionalProducer } from './broker.ts'
import { createClient, type KafkaConfig, settledWithin } from './client.ts'
import { isHungUp, kafkaFailure } from './trouble.ts'
import { SupervisedConsumer } from './consumer.ts'
import { type CommitWatch, openCommitWatch } from './commit-watch.ts'
import { PlainProducer, ShardProducer, type TransactionalConfig } from './producer.ts'
import type { Logger } from '#shared/process/log.ts'

const ROUND_TRIP_TIMEOUT_MS = 2_000
const LAG_TIMEOUT_MS = 10_000
const HUNG_UP = 'Where each connection ends so, the broker wants TLS or a login: see KAFKA_SECURITY_PROTOCOL.'
/** A group's first coordinator is found only after some tries. */
const LAG_RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }

/**
 * Connects, but does not insist: with the broker away it is returned all the same, and sends fail
 * until the broker is back.
 */
export async function openProducer(config: KafkaConfig, logger: Logger): Promise<Producer> {
  const producer = new PlainProducer(config, logger)
  await producer.warmUp()
  return producer
}

/**
 * Fences the former owner of this transactional id.
 * Throws Failure `kafka/unavailable` within 10 s when the broker is away.
 */
export async function openTransactionalProducer(
  config: TransactionalConfig,
  logger: Logger,
): Promise<TransactionalProducer> {
  return ShardProducer.open(config, logger)
}

export { type CommitWatch, openCommitWatch }

/**
 * Returns at once, and calls no handler before. The group is joined in the background,
 * as often and as long as it takes (see SupervisedConsumer).
 */
export function openConsumer(config: KafkaConfig, options: ConsumerOptions, logger: Logger): Consumer {
  return new SupervisedConsumer(config, options, logger)
}

/** @returns null when the cluster answered, else what is wrong, within 2 s. */
export async function kafkaRoundTrip(config: KafkaConfig): Promise<string | null> {
  return (await kafkaTrouble(config))?.message ?? null
}

/**
 * Asks the cluster for its brokers.
 * @returns null when it answered, else what is wrong, within 2 s.
 */
export async function kafkaTrouble(config: KafkaConfig): Promise<Failure | null> {
  const admin = createClient(config, { retries: 0 }, null).admin()
  try {
    await settledWithin(
      admin.connect().then(() => admin.describeCluster()),
      ROUND_TRIP_TIMEOUT_MS,
      'answer',
    )
    return null
  } catch (error) {
    const failure = kafkaFailure(error)
    return failure.code === 'kafka/unavailable' && isHungUp(error)
      ? new Failure(failure.code, `${failure.message} ${HUNG_UP}`, { cause: error })
      : failure
  } finally {
    void admin.disconnect().catch(() => {})
  }
}

/**
 * How many records of each topic a group has not committed yet. Never quite 0 where a topic has
 * transactions: their markers take offsets. Throws Failure `kafka/unavailable`.
 */
export async function groupLag(
  config: KafkaConfig,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const admin = createClient(config, LAG_RETRY, null).admin()
  try {
    return await settledWithin(
      admin.connect().then(() => readLag(admin, config.prefix, groupId, topics)),
      LAG_TIMEOUT_MS,
      'answer',
    )
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    void admin.disconnect().catch(() => {})
  }
}

/** How many partitions each of these topics has. Throws Failure `kafka/unavailable`. */
export async function partitionCounts(
  config: KafkaConfig,
  topics: readonly string[],
): Promise<Readonly<Record<string, number>>> {
  const admin = createClient(config, { retries: 0 }, null).admin()
  const names = topics.map((topic) => config.prefix + topic)
  try {
    const found = await settledWithin(
      admin.connect().then(() => admin.fetchTopicMetadata({ topics: names })),
      ROUND_TRIP_TIMEOUT_MS,
      'answer',
    )
    return Object.fromEntries(
      found.topics.map(({ name, partitions }) => [name.slice(config.prefix.length), partitions.length]),
    )
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    void admin.disconnect().catch(() => {})
  }
}

async function readLag(
  admin: ReturnType<ReturnType<typeof createClient>['admin']>,
  prefix: string,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const committed = await admin.fetchOffsets({
    groupId: prefix + groupId,
    topics: topics.map((topic) => prefix + topic),
  })
  const lag = new Map<string, number>()
  for (const { topic, partitions } of committed) {
    const ends = new Map((await admin.fetchTopicOffsets(topic)).map((end) => [end.partition, end]))
    const behind = partitions.map(({ partition, offset }) => {
      const end = ends.get(partition)
      // -1: nothing committed yet, so everything that is kept is ahead.
      const from = Number(offset) < 0 ? Number(end?.low ?? 0) : Number(offset)
      return Math.max(0, Number(end?.high ?? 0) - from)
    })
    lag.set(
      topic.slice(prefix.length),
      behind.reduce((sum, one) => sum + one, 0),
    )
  }
  return lag
}
