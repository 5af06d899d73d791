// The adapter of the broker port on KafkaJS 2.2.4, in full: kafkajs-client.ts (settings, logs, errors),
// kafkajs-producer.ts, kafkajs-consumer.ts and kafkajs-membership.ts. Only the functions here are for services.
import type { Consumer, ConsumerOptions, Producer, TransactionalProducer } from './broker.ts'
import { createClient, type KafkaConfig, kafkaFailure, settledWithin } from './kafkajs-client.ts'
import { SupervisedConsumer } from './kafkajs-consumer.ts'
import { PlainProducer, ShardProducer, type TransactionalConfig } from './kafkajs-producer.ts'
import type { Logger } from './log.ts'

const ROUND_TRIP_TIMEOUT_MS = 2_000

/** Connects, but does not insist: with the broker away it is returned all the same, and sends fail until the broker is back. */
export async function openProducer(config: KafkaConfig, logger: Logger): Promise<Producer> {
  const producer = new PlainProducer(config, logger)
  await producer.warmUp()
  return producer
}

/** Fences whoever held this transactional id. Throws Failure `kafka/unavailable` within 10 s when the broker is away. */
export async function openTransactionalProducer(
  config: TransactionalConfig,
  logger: Logger,
): Promise<TransactionalProducer> {
  return ShardProducer.open(config, logger)
}

/** Returns at once; the group is joined in the background, as often and as long as it takes (see SupervisedConsumer). */
export async function openConsumer(
  config: KafkaConfig,
  options: ConsumerOptions,
  logger: Logger,
): Promise<Consumer> {
  return new SupervisedConsumer(config, options, logger)
}

/** Asks the cluster for its brokers. @returns null when it answered, else what is wrong, within 2 s. */
export async function kafkaRoundTrip(config: KafkaConfig): Promise<string | null> {
  const admin = createClient(config, { retries: 0 }, null).admin()
  try {
    await settledWithin(
      admin.connect().then(() => admin.describeCluster()),
      ROUND_TRIP_TIMEOUT_MS,
      'answer',
    )
    return null
  } catch (error) {
    return kafkaFailure(error).message
  } finally {
    void admin.disconnect().catch(() => {})
  }
}
