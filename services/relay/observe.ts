// What the relay measures of the rows it published. Labels carry no ids.
import { metrics } from '#shared/process/metrics.ts'
import type { OutboxRow } from '#shared/store/relay.ts'

/**
 * Counts published rows. A change that was read since a cursor carries its time at the vendor
 * in µs (ce_changedat); the events of a first listing do not, since they were changed long
 * before we were asked to look.
 */
export function observePublished(rows: readonly OutboxRow[]): void {
  const nowMs = Date.now()
  metrics.outboxPublished.add(rows.length)
  for (const row of rows) {
    metrics.outboxDelaySeconds.record(Math.max(0, nowMs - row.createdAt / 1000) / 1000)
    const changedAt = row.headers['ce_changedat']
    if (changedAt !== undefined)
      metrics.freshnessSeconds.record(Math.max(0, nowMs - Number(changedAt) / 1000) / 1000)
  }
}
