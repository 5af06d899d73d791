// How old the oldest record is that a group has not done: an age, because a number of offsets says
// nothing about time. Asked of the broker, so it is known also while no member of the group lives.
// A group commits past the markers of transactions (consumer.ts), so what lies ahead of its place
// is a record, but for the moment between a marker and the next commit.
import type { Admin } from 'kafkajs'
import type { KafkaConfig } from './client.ts'
import { createClient, settledWithin } from './client.ts'
import { kafkaFailure } from './trouble.ts'

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }
const WITHIN_MS = 10_000
/** Topics of requests keep a week (schemas/topics.json). */
const AGE_MAX_MS = 8 * 86_400_000
/** Below it nothing is called waiting: it is on its way. */
const AGE_MIN_MS = 1_000
/** An age is found to a sixteenth of itself. */
const CLOSE = 1 + 1 / 16

/**
 * The age in ms of the oldest record of each topic (logical names) that the group has not
 * committed, at least: the true one is greater by a sixteenth of it at most. 0 when all is done or
 * less than a second old. Throws Failure `kafka/unavailable` within 10 s.
 */
export async function oldestUnread(
  config: KafkaConfig,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const admin = createClient(config, RETRY, null).admin()
  const ages = async () => {
    await admin.connect()
    const places = await placesOf(admin, config.prefix, groupId, topics)
    const found = new Map<string, number>()
    for (const topic of topics)
      found.set(topic, await oldestOf(beginsBefore(admin, config.prefix + topic, places.get(topic) ?? [])))
    return found
  }
  try {
    return await settledWithin(ages(), WITHIN_MS, 'answer')
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    void admin.disconnect().catch(() => {})
  }
}

/** Whether a record that is not done is at least so many ms old. */
type IsOlder = (ageMs: number) => Promise<boolean>

/**
 * The greatest age that a record has, found by halves between powers of two: `isOlder` is true up
 * to it and false beyond. Pure but for the question.
 */
export async function oldestOf(isOlder: IsOlder): Promise<number> {
  if (!(await isOlder(AGE_MIN_MS))) return 0
  let [known, beyond] = [AGE_MIN_MS, AGE_MIN_MS * 2]
  while (beyond < AGE_MAX_MS && (await isOlder(beyond))) [known, beyond] = [beyond, beyond * 2]
  while (beyond / known > CLOSE) {
    const middle = (known + beyond) / 2
    if (await isOlder(middle)) known = middle
    else beyond = middle
  }
  return known
}

interface Place {
  readonly partition: number
  /** The first offset that is not done. */
  readonly next: bigint
}

/** Where the group stands in the partitions that hold more. */
async function placesOf(
  admin: Admin,
  prefix: string,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, readonly Place[]>> {
  const places = new Map<string, readonly Place[]>()
  const names = topics.map((topic) => prefix + topic)
  for (const { topic, partitions } of await admin.fetchOffsets({
    groupId: prefix + groupId,
    topics: names,
  })) {
    const ends = new Map((await admin.fetchTopicOffsets(topic)).map((end) => [end.partition, end]))
    const behind = partitions.flatMap(({ partition, offset }) => {
      const end = ends.get(partition)
      if (end === undefined) return []
      // -1: nothing was committed yet, so all that is kept is ahead.
      const next = BigInt(offset) < BigInt(end.low) ? BigInt(end.low) : BigInt(offset)
      return next < BigInt(end.high) ? [{ partition, next }] : []
    })
    places.set(topic.slice(prefix.length), behind)
  }
  return places
}

/** The broker names the first offset that is younger; what lies before it is older. */
function beginsBefore(admin: Admin, topic: string, places: readonly Place[]): IsOlder {
  const now = Date.now()
  return async (ageMs) => {
    if (places.length === 0) return false
    const younger = await admin.fetchTopicOffsetsByTimestamp(topic, Math.floor(now - ageMs) + 1)
    const first = new Map(younger.map(({ partition, offset }) => [partition, BigInt(offset)]))
    return places.some(({ partition, next }) => next < (first.get(partition) ?? 0n))
  }
}
