// What is seen in the whole database and broker alone: how many connections and channels are in
// which state, and what waits since when. One scheduler at a time reports it. Invariant: what
// another service tells of itself is told here of all of it, so that a service which stops takes
// no number with it.
import { GROUPS, REQUESTED_TOPIC } from '#schemas/topics.ts'
import { FAILURE_CODES, type FailureCode } from '#shared/domain/failure.ts'
import { GATES, type Admission } from '#shared/domain/gates.ts'
import { SHARDS } from '#shared/domain/ids.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { oldestUnread } from '#shared/kafka/oldest-unread.ts'
import { groupLag } from '#shared/kafka/open.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Queryable } from '#shared/store/database.ts'
import { countIllCalendars } from '#shared/store/calendar-failures.ts'
import { countCauses } from '#shared/store/cause-counts.ts'
import { channelHealth } from '#shared/store/channels.ts'
import { readVendorAges, readWaitingWork } from '#shared/store/observed.ts'
import { outboxBacklog } from '#shared/store/relay.ts'
import { countConnections, countEndingGrants } from '#shared/store/status.ts'
import type { JobDeps } from './deps.ts'

const READ_BY = {
  [GROUPS.sync]: Object.values(REQUESTED_TOPIC),
  [GROUPS.retry]: RETRY_TOPICS,
}

/**
 * Codes that a calendar can meet: each is reported, also at 0, or it would stay at its last value.
 */
const OF_CALENDARS = (Object.keys(FAILURE_CODES) as FailureCode[]).filter(
  (code) => settlementOf({ code }).isOfCalendar,
)

async function reportIll(db: Queryable): Promise<number> {
  const found = await countIllCalendars(db)
  for (const vendor of ['google', 'microsoft'] as const)
    for (const code of OF_CALENDARS) {
      const calendars = found.find((one) => one.vendor === vendor && one.code === code)?.calendars ?? 0
      metrics.illCalendars.record(calendars, { vendor, code })
    }
  return found.length
}

const ALL_SHARDS = Array.from({ length: SHARDS }, (_, shard) => shard)

/** What waits in Postgres. @returns how many values it set. */
async function reportWaiting(db: Queryable): Promise<number> {
  const outbox = await outboxBacklog(db, ALL_SHARDS)
  metrics.outboxBacklog.record(outbox.rows)
  metrics.outboxOldestSeconds.record(outbox.oldestSeconds)
  const { held, letters } = await readWaitingWork(db)
  const waits = new Map(held.map(({ gate, connections }) => [gate, connections]))
  metrics.heldConnections.replace(GATES.map((gate) => [waits.get(gate) ?? 0, { gate }]))
  metrics.deadLettersWaiting.replace(letters.map(({ code, letters: count }) => [count, { code }]))
  const ages = await readVendorAges(db)
  for (const { vendor, oldestSyncedSeconds, lastNotificationSeconds } of ages) {
    if (lastNotificationSeconds !== null)
      metrics.lastNotificationAge.happened(lastNotificationSeconds, { vendor })
    metrics.oldestSyncedSeconds.record(oldestSyncedSeconds ?? 0, { vendor })
  }
  return 2 + GATES.length + letters.length + 2 * ages.length
}

/** Why connections are not up to date. @returns how many values it set. */
async function reportCauses(db: Queryable, admission: Admission): Promise<number> {
  const causes = await countCauses(db, admission)
  metrics.causes.replace(causes.map(({ vendor, cause, connections }) => [connections, { vendor, cause }]))
  return causes.length
}

/** How old the oldest sync request is that is not done. @returns how many values it set. */
async function reportRings(kafka: KafkaConfig): Promise<number> {
  const ages = await oldestUnread(kafka, GROUPS.sync, Object.values(REQUESTED_TOPIC))
  for (const [vendor, topic] of Object.entries(REQUESTED_TOPIC))
    metrics.ringOldestSeconds.record((ages.get(topic) ?? 0) / 1000, { vendor })
  return ages.size
}

/** Reports once. @returns how many values it set. Throws Failure `store/*` or `kafka/*`. */
export async function observe(
  { db, admission }: Pick<JobDeps, 'db' | 'admission'>,
  kafka: KafkaConfig,
): Promise<number> {
  const connections = await countConnections(db)
  const channels = await channelHealth(db)
  for (const name of ['connections', 'channels'] as const)
    for (const { vendor, ...states } of { connections, channels }[name])
      for (const [state, count] of Object.entries(states)) metrics[name].record(count, { vendor, state })
  const ending = await countEndingGrants(db)
  for (const { vendor, connections } of ending) metrics.grantsEnding.record(connections, { vendor })
  let set = connections.length + channels.length + (await reportIll(db)) + ending.length
  set += await reportWaiting(db)
  set += await reportCauses(db, admission())
  set += await reportRings(kafka)
  for (const [group, topics] of Object.entries(READ_BY)) {
    for (const [topic, lag] of await groupLag(kafka, group, topics)) {
      metrics.lag.record(lag, { group, topic })
      set += 1
    }
  }
  return set
}
