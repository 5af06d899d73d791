// The sync's wiring: doorbells come in through the intake, wait in lanes, and are worked by units.
// Stopping runs upwards: nothing more is read, running units hand over, offsets are committed, the
// group is left, and then the rest is let go.
import { openService } from '#shared/boot/open-service.ts'
import type { Consumer } from '#shared/kafka/broker.ts'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { firstProblem } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { GROUPS } from '#schemas/topics.ts'
import { openBackfillShare } from './backfill-share.ts'
import { laneLimits, type SyncConfig } from './config.ts'
import { createIntake, DOORBELL_TOPICS, type Doorbell } from './intake.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { runUnit } from './unit/observe.ts'
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
  const producer = await service.producer()
  const crash = Promise.withResolvers<unknown>()
  const ledger = createOffsetLedger()
  const consumerOf: { current: Consumer | null } = { current: null }

  const lanes: Lanes<Doorbell> = service.use(
    createLanes<Doorbell>({
      run: (doorbells, turn) => runUnit(deps, doorbells, turn),
      completed: (doorbells) => intake.completed(doorbells),
      blocked: () => outage.begin(),
      acknowledgedAt: () => consumerOf.current?.lastAcknowledgedAt() ?? 0,
      limits: laneLimits(config),
      backfillShare: service.use(openBackfillShare(config.SYNC_BACKFILL_SLOTS)).slots,
    }),
  )
  const intake = createIntake({
    codec: deps.codec,
    producer,
    ledger,
    lanes,
    clock: deps.clock,
    logger,
    consumer: () => consumerOf.current ?? NOT_YET,
  })
  const suspend = (isAway: boolean) => intake.suspend(isAway)
  const outage = service.use(watchOutage({ db: deps.db, suspend, resume: () => lanes.resume(), logger }))
  const { assigned, received } = intake
  consumerOf.current = await service.consumer({
    groupId: GROUPS.sync,
    topics: DOORBELL_TOPICS,
    isolation: 'read-uncommitted',
    handlers: { assigned, received, crashed: crash.resolve },
  })
  service.defer(async () => {
    await intake
      .commit()
      .catch((error: unknown) => logger.info({ err: error }, 'the last offsets are read again later'))
  })
  const loops = [
    outage,
    service.loop("the sync's commit", () => {
      for (const [state, count] of Object.entries(lanes.counts())) metrics.lanes.record(count, { state })
      return intake.commit()
    }),
    service.loop("the sync's intake", (stop) => intake.turn(stop)),
  ]
  const adminPort = await service.admin({
    kafka: service.checks.kafka,
    postgres: () => deps.db.query('select 1').then(() => null),
    gates: service.checks.gates,
    work: async () => firstProblem(loops),
  })
  service.defer(async () => {
    intake.suspend(true)
    await lanes.drain(DRAIN_MS)
  })
  return service.running({ adminPort, crashed: crash.promise })
}

/**
 * While the consumer is being opened it may already hand over its first records;
 * it has not paused anything then.
 */
const NOT_YET: Pick<Consumer, 'commit' | 'pause' | 'resume' | 'held'> = {
  commit: async () => {},
  pause: () => {},
  resume: () => {},
  held: () => [],
}
