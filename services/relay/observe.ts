// What happens in a relay, as people and drills see it. Labels carry no ids.
import type { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import type { Queryable } from '#shared/store/database.ts'
import { outboxBacklog, type OutboxRow, type ShardLease } from '#shared/store/relay.ts'

/** When this relay published last; for its heartbeat. */
export interface RelayProgress {
  lastAt: Micros | null
}

interface Logs {
  readonly logger: Logger
}

/** `previousOwner` is set when its lease ran out instead of being given back. */
export function shardTaken({ logger }: Logs, lease: ShardLease, previousOwner: string | null): void {
  if (previousOwner !== null) metrics.relayTakeovers.add(1)
  logger.debug({ ...lease, previousOwner }, 'shard taken')
}

/**
 * A change that was read since a cursor carries its time at the vendor in µs (ce_changedat); the
 * events of a first listing do not, since they were changed long before we were asked to look.
 */
export function batchPublished(batch: readonly OutboxRow[], progress: RelayProgress): void {
  step('relay.published')
  const nowMs = Date.now()
  progress.lastAt = nowMs * 1000
  metrics.outboxPublished.add(batch.length)
  for (const row of batch) {
    metrics.outboxDelaySeconds.record(Math.max(0, nowMs - row.createdAt / 1000) / 1000)
    const changedAt = row.headers['ce_changedat']
    if (changedAt !== undefined)
      metrics.freshnessSeconds.record(Math.max(0, nowMs - Number(changedAt) / 1000) / 1000)
  }
}

export function recordRefused({ logger }: Logs, { topic, bytes, headers }: OutboxRow, err: Failure): void {
  logger.error(
    { topic, bytes, ceId: headers['ce_id'], err },
    'Kafka refused a record of the outbox; a dead letter takes its place, and readers of the topic miss this record',
  )
}

/** What waits in these shards. Throws Failure `store/*`. */
export async function measureBacklog(db: Queryable, shards: readonly number[]): Promise<void> {
  const backlog = await outboxBacklog(db, shards)
  metrics.outboxBacklog.record(backlog.rows)
  metrics.outboxOldestSeconds.record(backlog.oldestSeconds)
}
