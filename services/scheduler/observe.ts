// What only somebody who sees everything can tell: how many connections and channels are in which
// state, and how far the consumers are behind. One scheduler at a time reports it.
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { FAILURE_CODES, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { groupLag } from '#shared/kafka/open.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Queryable } from '#shared/store/database.ts'
import { countIllCalendars } from '#shared/store/calendar-failures.ts'
import { channelHealth } from '#shared/store/channels.ts'
import { countConnections, countEndingGrants } from '#shared/store/status.ts'

const READ_BY = {
  [GROUPS.sync]: [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft],
  [GROUPS.retry]: [TOPICS.retry30s, TOPICS.retry10m, TOPICS.retry6h],
} as const

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
export async function observe(deps: {
  readonly db: Queryable
  readonly kafka: KafkaConfig
}): Promise<number> {
  const counts = await countConnections(deps.db)
  for (const { vendor, ...states } of counts) {
    for (const [state, count] of Object.entries(states)) metrics.connections.record(count, { vendor, state })
  }
  const health = await channelHealth(deps.db)
  for (const { vendor, ...states } of health) {
    for (const [state, count] of Object.entries(states)) metrics.channels.record(count, { vendor, state })
  }
  const ending = await countEndingGrants(deps.db)
  for (const { vendor, connections } of ending) metrics.grantsEnding.record(connections, { vendor })
  let set = counts.length + health.length + (await reportIll(deps.db)) + ending.length
  for (const [group, topics] of Object.entries(READ_BY)) {
    for (const [topic, lag] of await groupLag(deps.kafka, group, topics)) {
      metrics.lag.record(lag, { group, topic })
      set += 1
    }
  }
  return set
}
