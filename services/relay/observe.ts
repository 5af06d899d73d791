// What the relay measures of the rows it published. Labels carry no ids.
import { TOPICS } from '#schemas/topics.ts'
import { metrics } from '#shared/platform/metrics.ts'
import type { OutboxRow } from '#shared/store/relay.ts'

/** Counts published rows and, for changes of events, how old the change was when it became visible. */
export function observePublished(rows: readonly OutboxRow[]): void {
  const nowMs = Date.now()
  metrics.outboxPublished.add(rows.length)
  for (const row of rows) {
    metrics.outboxDelaySeconds.record(Math.max(0, nowMs - row.createdAt / 1000) / 1000)
    if (row.topic !== TOPICS.eventChanged) continue
    const happenedMs = Date.parse(row.headers['ce_time'] ?? '')
    if (Number.isFinite(happenedMs)) metrics.freshnessSeconds.record(Math.max(0, nowMs - happenedMs) / 1000)
  }
}
