// What is seen in the whole database and broker alone: how many connections and channels are in
// which state, and how far the consumers are behind. One scheduler at a time reports it.
import { GROUPS, REQUESTED_TOPIC } from '#schemas/topics.ts'
import { FAILURE_CODES, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { groupLag } from '#shared/kafka/open.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Queryable } from '#shared/store/database.ts'
import { countIllCalendars } from '#shared/store/calendar-failures.ts'
import { channelHealth } from '#shared/store/channels.ts'
import { countConnections, countEndingGrants } from '#shared/store/status.ts'

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

/** Reports once. @returns how many values it set. Throws Failure `store/*` or `kafka/*`. */
export async function observe(db: Queryable, kafka: KafkaConfig): Promise<number> {
  const connections = await countConnections(db)
  const channels = await channelHealth(db)
  for (const name of ['connections', 'channels'] as const)
    for (const { vendor, ...states } of { connections, channels }[name])
      for (const [state, count] of Object.entries(states)) metrics[name].record(count, { vendor, state })
  const ending = await countEndingGrants(db)
  for (const { vendor, connections } of ending) metrics.grantsEnding.record(connections, { vendor })
  let set = connections.length + channels.length + (await reportIll(db)) + ending.length
  for (const [group, topics] of Object.entries(READ_BY)) {
    for (const [topic, lag] of await groupLag(kafka, group, topics)) {
      metrics.lag.record(lag, { group, topic })
      set += 1
    }
  }
  return set
}
