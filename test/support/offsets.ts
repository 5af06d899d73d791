// How far a topic goes and how far a group has committed,
// asked of the broker by the library's own admin client.
import { type Admin, Kafka, logLevel } from 'kafkajs'

export interface KafkaPlace {
  /** One or more, separated by commas. */
  readonly brokers: string
  readonly prefix: string
}

/** Runs `work` with an admin client, which is closed afterwards. */
export async function withAdmin<T>({ brokers }: KafkaPlace, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Where a topic ends, all partitions together. */
export function endOf(kafka: KafkaPlace, topic: string): Promise<number> {
  return withAdmin(kafka, async (admin) =>
    (await admin.fetchTopicOffsets(kafka.prefix + topic)).reduce((sum, { high }) => sum + Number(high), 0),
  )
}

/** What a group has committed of a topic, all partitions together. */
export function committedOf(kafka: KafkaPlace, group: string, topic: string): Promise<number> {
  return withAdmin(kafka, async (admin) => {
    const topics = [kafka.prefix + topic]
    const [offsets] = await admin.fetchOffsets({ groupId: kafka.prefix + group, topics })
    return (offsets?.partitions ?? []).reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
  })
}
