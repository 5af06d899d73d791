// The sync's wiring: sync requests come in through the intake, wait in lanes, and are worked by
// units. Stopping runs upwards: nothing more is read, running units hand over, offsets are
// committed, the group is left, and then all else is closed.
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { openService } from '#shared/boot/open-service.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { firstProblem } from '#shared/process/loop.ts'
import { openBackfillShare } from './backfill-share.ts'
import { laneLimits, type SyncConfig } from './config.ts'
import { openSyncRequests, type QueuedRequest } from './intake.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { runUnit } from './unit/sync-connection.ts'
import { watchOutage } from './outage.ts'
import { openUnitDeps, type UnitOverrides } from './unit/deps.ts'

/**
 * With the 0.5 s after it, the last commit and the farewell to the group, a stop stays within 10 s.
 */
const DRAIN_MS = 6000

export interface Sync extends AsyncDisposable {
  readonly adminPort: number
  /** Settles when the consumer died for good. */
  readonly crashed: Promise<unknown>
}

/** Starts a sync; the group is joined in the background. Throws ConfigError or Failure. */
export async function startSync(
  config: SyncConfig,
  signal: AbortSignal,
  overrides: UnitOverrides = {},
): Promise<Sync> {
  await using service = openService('sync', config, signal)
  const { logger } = service
  const deps = await openUnitDeps(service, overrides)
  let lastProgressAt: Micros | null = null
  const producer = await service.producer()
  const lanes: Lanes<QueuedRequest> = service.use(
    createLanes<QueuedRequest>({
      run: (requests, permit) => runUnit(deps, requests, permit),
      completed(requests) {
        lastProgressAt = deps.clock.now()
        for (const { receipt } of requests) receipt.done()
      },
      blocked: () => outage.begin(),
      acknowledgedAt: () => intake.lastAcknowledgedAt(),
      limits: laneLimits(config),
      backfillShare: service.use(openBackfillShare(config.SYNC_BACKFILL_SLOTS)).slots,
    }),
  )
  const suspend = (isAway: boolean) => intake.suspend(isAway)
  const outage = service.use(watchOutage({ db: deps.db, suspend, resume: () => lanes.resume(), logger }))
  const intake = service.use(openSyncRequests(service.consumer, { ...deps, producer, lanes }))
  const counts = service.partitionCounts(Object.values(REQUESTED_TOPIC))
  const checks = {
    kafka: service.checks.kafka,
    postgres: () => deps.db.query('select 1').then(() => null),
    tables: service.checks.tables,
    gates: service.checks.gates,
    registry: service.checks.registry,
    work: async () => firstProblem([outage, intake]),
  }
  const adminPort = await service.admin(checks, () => ({
    ...intake.facts(),
    partitionCounts: counts(),
    breakers: deps.mailboxes.openBreakers(),
    lastProgressAt,
  }))
  service.defer(async () => {
    suspend(true)
    await lanes.drain(DRAIN_MS)
  })
  return service.running({ adminPort, crashed: intake.crashed })
}
