// The scheduler's wiring: leased jobs by time, and the reader of the dead-letter topic.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Gates } from '#shared/domain/gates.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { startAdmin } from '#shared/process/admin.ts'
import type { Consumer } from '#shared/kafka/broker.ts'
import { type Clock, systemClock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaRoundTrip, openConsumer, openProducer } from '#shared/kafka/open.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { startLoop } from '#shared/process/loop.ts'
import { openDatabase } from '#shared/store/database.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { type LiveGates, openGates } from '#shared/gates/unleash.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { loadCredentials, saveAccess } from '#shared/store/credentials.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { openVendorUses } from '#shared/vendors/uses.ts'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import type { SchedulerConfig } from './config.ts'
import { createDeadLetterIndex } from './dead-letter-index.ts'
import { REQUESTED_TOPICS } from './rings/doorbell.ts'
import type { JobDeps } from './deps.ts'
import { eraseDisconnected } from './erase.ts'
import { startJob, type Job } from './jobs.ts'
import { listCalendars } from './calendars/list.ts'
import { maintainChannels, openConnectionChannels } from './channels/maintain.ts'
import { observe } from './observe.ts'
import { poll } from './rings/poll-unwatched.ts'
import { probeParked } from './probe-parked.ts'
import { reconcile } from './rings/reconcile.ts'
import { forgetOld } from './retention.ts'
import { createRingRefused } from './rings/ring-refused.ts'
import { stopOrphans } from './channels/stop.ts'
import { sweep } from './rings/sweep.ts'

const POOL_MAX = 6
const OBSERVE = 'observe'

export interface SchedulerOverrides {
  readonly clock?: Clock
  readonly gates?: Gates
  /** No job runs by itself: `runJobs` alone does them. For tests that move the clock. */
  readonly onDemand?: boolean
}

export interface Scheduler extends AsyncDisposable {
  readonly adminPort: number
  /** Settles when its consumer died for good. */
  readonly crashed: Promise<unknown>
  /**
   * Runs every job once, one after the other, whoever holds the leases:
   * each does what is due by the database clock.
   * @returns how many things were done. Throws the first Failure.
   */
  runJobs(): Promise<number>
}

/** Starts a scheduler. Throws ConfigError or Failure. */
export async function startScheduler(
  config: SchedulerConfig,
  signal: AbortSignal,
  overrides: SchedulerOverrides = {},
): Promise<Scheduler> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'scheduler', level: config.LOG_LEVEL })
  const telemetry = started.use(startTelemetry({ service: 'scheduler', logger }))
  const { deps, live } = await openDeps(config, { logger, overrides, started }, signal)
  const crash = Promise.withResolvers<unknown>()
  const index = await startIndex(config, deps, crash.resolve)
  started.use(index)
  const owner = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
  const jobs = jobsOf(deps, kafkaOf(config))
  const loops = overrides.onDemand ? [] : jobs.map((job) => startJob({ db: deps.db, owner, logger }, job))
  // Side by side: with Postgres away each would wait for it.
  started.defer(async () => void (await Promise.all(loops.map((loop) => loop[Symbol.asyncDispose]()))))
  const admin = started.use(
    await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      checks: {
        kafka: () => kafkaRoundTrip(kafkaOf(config)),
        gates: async () => live?.problem() ?? null,
        jobs: async () => loops.map((loop) => loop.problem()).find((problem) => problem !== null) ?? null,
      },
      telemetry,
      logger,
    }),
  )
  const running = started.move()
  return {
    adminPort: admin.port,
    crashed: crash.promise,
    async runJobs() {
      let done = 0
      for (const job of jobs) if (job.name !== OBSERVE) done += await job.runOnce(signal)
      return done
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/**
 * Opens the channels of one connection now, for a command that has just connected it.
 * @returns how many were opened; 0 while a gate is closed. What is missing afterwards the job
 * opens. Throws ConfigError or Failure.
 */
export async function openChannelsFor(
  config: SchedulerConfig,
  connection: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'scheduler', level: 'warn' })
  const { deps } = await openDeps(config, { logger, overrides: {}, started }, signal)
  return openConnectionChannels(deps, connection, signal)
}

/**
 * In an order in which one run of all of them needs no second:
 * who ends comes first, then channels, then rings.
 */
function jobsOf(deps: JobDeps, kafka: KafkaConfig): readonly Job[] {
  const ringRefused = createRingRefused(deps)
  return [
    { name: 'channels', everyMs: 2000, runOnce: (signal) => maintainChannels(deps, signal) },
    { name: 'erasure', everyMs: 5000, runOnce: (signal) => eraseDisconnected(deps, signal) },
    { name: 'calendar-lists', everyMs: 5000, runOnce: (signal) => listCalendars(deps, signal) },
    { name: 'probes', everyMs: 5000, runOnce: (signal) => probeParked(deps, signal) },
    { name: 'ring-held', everyMs: 2000, runOnce: (signal) => ringRefused(signal) },
    { name: 'reconcile', everyMs: 2000, runOnce: (signal) => reconcile(deps, signal) },
    { name: 'poll', everyMs: 2000, runOnce: (signal) => poll(deps, signal) },
    { name: 'sweep', everyMs: 30_000, runOnce: (signal) => sweep(deps, signal) },
    { name: 'orphans', everyMs: 30_000, runOnce: (signal) => stopOrphans(deps, signal) },
    { name: OBSERVE, everyMs: 15_000, runOnce: () => observe({ db: deps.db, kafka }) },
    { name: 'retention', everyMs: 60_000, runOnce: (signal) => forgetOld(deps.db, signal) },
  ]
}

async function openDeps(
  config: SchedulerConfig,
  {
    logger,
    overrides,
    started,
  }: { logger: Logger; overrides: SchedulerOverrides; started: AsyncDisposableStack },
  signal: AbortSignal,
): Promise<{ readonly deps: JobDeps; readonly live: LiveGates | null }> {
  const clock = overrides.clock ?? systemClock
  const codec = await openCodec(
    {
      registryUrl: config.SCHEMA_REGISTRY_URL,
      prefix: config.KAFKA_PREFIX,
      topics: [...REQUESTED_TOPICS, TOPICS.connectionChanged],
    },
    signal,
  )
  const live = overrides.gates ? null : started.use(await openGates(gatesOf(config), logger, signal))
  const db = started.use(
    openDatabase(
      { url: config.POSTGRES_URL, applicationName: 'calstream-scheduler', poolMax: POOL_MAX },
      logger,
    ),
  )
  const producer = started.use(await openProducer(kafkaOf(config), logger))
  const credentialKeys = parseKeyring(config.CREDENTIALS_KEYS)
  const vendors = openVendorUses(createVendors(config, clock), {
    keyring: credentialKeys,
    clock,
    logger,
    quotas: config,
    load: (connection) => loadCredentials(db, connection),
    save: (update) => saveAccess(db, update),
    store: budgetStore(db),
  })
  const deps: JobDeps = {
    db,
    codec,
    producer,
    clock,
    logger,
    gates: overrides.gates ?? live!,
    vendors,
    keys: parseKeyring(config.CHANNEL_TOKEN_KEYS),
    credentialKeys,
    publicUrl: config.PUBLIC_URL,
  }
  return { deps, live }
}

async function startIndex(
  config: SchedulerConfig,
  { db, logger }: Pick<JobDeps, 'db' | 'logger'>,
  crashed: (error: unknown) => void,
): Promise<AsyncDisposable> {
  const consumerOf: { current: Consumer | null } = { current: null }
  const index = createDeadLetterIndex({ db, consumer: () => consumerOf.current, logger })
  const consumer = await openConsumer(
    kafkaOf(config),
    {
      groupId: GROUPS.deadLetterIndex,
      topics: [TOPICS.deadLetter],
      isolation: 'read-committed',
      handlers: { assigned: index.assigned, received: index.received, crashed },
    },
    logger,
  )
  consumerOf.current = consumer
  const both = new AsyncDisposableStack()
  both.use(consumer)
  both.use(startLoop('the dead-letter index', () => index.turn(), logger))
  return both
}

function kafkaOf(config: SchedulerConfig) {
  return { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-scheduler' }
}

function gatesOf(config: SchedulerConfig) {
  return {
    url: config.UNLEASH_URL,
    token: config.UNLEASH_TOKEN,
    caps: config,
    appName: 'calstream-scheduler',
  }
}
