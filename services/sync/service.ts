// The sync's wiring: doorbells come in through the intake, wait in lanes, and are worked by units.
// Stopping runs upwards: nothing more is read, running units hand over, offsets are committed, the
// group is left, and then the rest is let go.
import type { Gates } from '#shared/domain/gates.ts'
import { rulesWith } from '#shared/domain/judged-by.ts'
import { startAdmin } from '#shared/process/admin.ts'
import type { Consumer } from '#shared/kafka/broker.ts'
import { systemClock, type Clock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaRoundTrip, openConsumer, openProducer } from '#shared/kafka/open.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { startLoop, type Loop } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { openGates, type LiveGates } from '#shared/gates/unleash.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { loadCredentials, saveAccess } from '#shared/store/credentials.ts'
import { createVendors, type Vendors } from '#shared/vendors/index.ts'
import { withPrivateTitles } from '#shared/vendors/private-titles.ts'
import { openMailboxes } from '#shared/vendors/mailbox.ts'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { openBackfillShare } from './backfill-share.ts'
import type { SyncConfig } from './config.ts'
import { createIntake, DOORBELL_TOPICS, type Doorbell, type Intake } from './intake.ts'
import { createLanes, type LaneLimits, type Lanes } from './lanes.ts'
import { countFromZero, runUnit } from './unit/observe.ts'
import { watchOutage } from './outage.ts'
import type { UnitDeps } from './unit/unit.ts'

/**
 * Units spend their time at vendors; 16 connections carried 32 units on two cores without a wait.
 */
const POOL_MAX = 16
const SLOT_WAIT_MS = 5000
/**
 * With the 0.5 s after it, the last commit and the farewell to the group, a stop stays within 10 s.
 */
const DRAIN_MS = 6000

export interface SyncOverrides {
  /** Instead of Unleash's. */
  readonly gates?: Gates
  /** Instead of the vendors that the configuration names. */
  readonly vendors?: Vendors
  readonly clock?: Clock
}

export interface Sync extends AsyncDisposable {
  readonly adminPort: number
  /** Settles when the consumer died for good. */
  readonly crashed: Promise<unknown>
}

/** Starts a sync; the group is joined in the background. Throws ConfigError or Failure. */
export async function startSync(
  config: SyncConfig,
  signal: AbortSignal,
  overrides: SyncOverrides = {},
): Promise<Sync> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'sync', level: config.LOG_LEVEL })
  const telemetry = started.use(startTelemetry({ service: 'sync', logger }))
  const kafka = { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-sync' }
  const { deps, live } = await openDeps(config, { logger, overrides, started }, signal)
  countFromZero(deps.mailboxes.vendors)
  const producer = started.use(await openProducer(kafka, logger))
  const crash = Promise.withResolvers<unknown>()
  const ledger = createOffsetLedger()
  const consumerOf: { current: Consumer | null } = { current: null }

  const lanes: Lanes<Doorbell> = started.use(
    createLanes<Doorbell>({
      run: (doorbells, turn) => runUnit(deps, doorbells, turn),
      completed: (doorbells) => intake.completed(doorbells),
      blocked: () => outage.begin(),
      acknowledgedAt: () => consumerOf.current?.lastAcknowledgedAt() ?? 0,
      limits: limitsOf(config),
      backfillShare: started.use(openBackfillShare(config.SYNC_BACKFILL_SLOTS)).slots,
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
  const outage = watchOutage({
    db: deps.db,
    suspend: (isAway) => intake.suspend(isAway),
    resume: () => lanes.resume(),
    logger,
  })
  started.use(outage)
  const { assigned, received } = intake
  const handlers = { assigned, received, crashed: crash.resolve }
  const consumer = await openConsumer(
    kafka,
    { groupId: GROUPS.sync, topics: DOORBELL_TOPICS, isolation: 'read-uncommitted', handlers },
    logger,
  )
  consumerOf.current = started.use(consumer)
  const loops = [outage, ...startLoops(intake, lanes, { logger, started })]
  const checks = checksOf({ ...deps, kafka, live, loops })
  const admin = started.use(
    await startAdmin({ port: config.ADMIN_PORT, host: config.ADMIN_HOST, checks, telemetry, logger }),
  )
  started.defer(async () => {
    intake.suspend(true)
    await lanes.drain(DRAIN_MS)
  })
  const running = started.move()
  return {
    adminPort: admin.port,
    crashed: crash.promise,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
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

function checksOf(parts: {
  readonly db: Pick<Database, 'query'>
  readonly kafka: KafkaConfig
  readonly live: LiveGates | null
  readonly loops: readonly { problem(): string | null }[]
}) {
  return {
    kafka: () => kafkaRoundTrip(parts.kafka),
    postgres: () => parts.db.query('select 1').then(() => null),
    gates: async () => parts.live?.problem() ?? null,
    work: async () => parts.loops.map((loop) => loop.problem()).find((problem) => problem !== null) ?? null,
  }
}

function startLoops(
  intake: Intake,
  lanes: Lanes<Doorbell>,
  { logger, started }: { readonly logger: Logger; readonly started: AsyncDisposableStack },
): readonly Loop[] {
  started.defer(async () => {
    await intake
      .commit()
      .catch((error: unknown) => logger.info({ err: error }, 'the last offsets are read again later'))
  })
  const commit = started.use(
    startLoop(
      "the sync's commit",
      () => {
        for (const [state, count] of Object.entries(lanes.counts())) metrics.lanes.record(count, { state })
        return intake.commit()
      },
      logger,
    ),
  )
  return [commit, started.use(startLoop("the sync's intake", (stop) => intake.turn(stop), logger))]
}

async function openDeps(
  config: SyncConfig,
  { logger, overrides, started }: { logger: Logger; overrides: SyncOverrides; started: AsyncDisposableStack },
  signal: AbortSignal,
): Promise<{ readonly deps: UnitDeps; readonly live: LiveGates | null }> {
  const live = overrides.gates ? null : started.use(await openGates(gatesOf(config), logger, signal))
  const db = started.use(
    openDatabase({ url: config.POSTGRES_URL, applicationName: 'calstream-sync', poolMax: POOL_MAX }, logger),
  )
  const { deadLetter: _bytes, ...topics } = TOPICS
  const codec = await openCodec(
    { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: config.KAFKA_PREFIX, topics: Object.values(topics) },
    signal,
  )
  const clock = overrides.clock ?? systemClock
  const keyring = parseKeyring(config.CREDENTIALS_KEYS)
  const titles = config.PRIVATE_TITLES
  const adapters = withPrivateTitles(overrides.vendors ?? createVendors(config, clock), titles)
  const mailboxes = openMailboxes(adapters, {
    keyring,
    clock,
    logger,
    quotas: config,
    load: (connection) => loadCredentials(db, connection),
    save: (update) => saveAccess(db, update),
    store: budgetStore(db),
  })
  const deps = {
    db,
    codec,
    clock,
    logger,
    gates: overrides.gates ?? live!,
    mailboxes,
    rules: rulesWith(titles),
  }
  return { deps, live }
}

function limitsOf(config: SyncConfig): LaneLimits {
  return {
    slots: config.SYNC_SLOTS,
    bulkheadSlots: config.SYNC_VENDOR_SLOTS,
    backfillSlots: config.SYNC_BACKFILL_SLOTS,
    slotWaitMs: SLOT_WAIT_MS,
  }
}

function gatesOf(config: SyncConfig) {
  return { url: config.UNLEASH_URL, token: config.UNLEASH_TOKEN, caps: config, appName: 'calstream-sync' }
}
