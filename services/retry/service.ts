// The waiting room's wiring: intake fills the heap, the ring empties it, the commit loop
// tells Kafka how far we are. It has no database: whatever it holds lies in its topics, and
// a restart reads it again.
import type { Gates } from '#shared/domain/gates.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { startAdmin } from '#shared/process/admin.ts'
import type { Consumer } from '#shared/kafka/broker.ts'
import { type Clock, systemClock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { kafkaRoundTrip, openConsumer, openProducer } from '#shared/kafka/open.ts'
import { createLogger } from '#shared/process/log.ts'
import { startLoop } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { createOffsetLedger, type OffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { openGates } from '#shared/gates/unleash.ts'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import type { RetryConfig } from './config.ts'
import { DueHeap } from './due-heap.ts'
import { createIntake, type Scheduling } from './intake.ts'
import { ringDue } from './ring.ts'

const COMMIT_EVERY_MS = 300
/** Per band: 100 000 waiting records are some 60 MB. */
const BAND_MAX = 100_000

export interface RetryOverrides {
  readonly clock?: Clock
  readonly gates?: Gates
}

/**
 * Starts retry. `crashed` settles when its consumer died for good. Throws ConfigError or Failure.
 */
export async function startRetry(
  config: RetryConfig,
  signal: AbortSignal,
  overrides: RetryOverrides = {},
): Promise<AsyncDisposable & { readonly adminPort: number; readonly crashed: Promise<unknown> }> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'retry', level: config.LOG_LEVEL })
  const telemetry = started.use(startTelemetry({ service: 'retry', logger }))
  const kafka = { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-retry' }
  const codec = await openCodec(codecOf(config), signal)
  const live = overrides.gates ? null : started.use(await openGates(gatesOf(config), logger, signal))
  const gates = overrides.gates ?? live!
  const producer = started.use(await openProducer(kafka, logger))
  const crash = Promise.withResolvers<unknown>()
  const clock = overrides.clock ?? systemClock
  const ledger = createOffsetLedger()
  const heap = new DueHeap<Scheduling>()
  const consumerOf: { current: Consumer | null } = { current: null }
  const intake = createIntake({
    codec,
    producer,
    ledger,
    heap,
    clock,
    logger,
    bandMax: BAND_MAX,
    consumer: () => consumerOf.current ?? NOT_YET,
  })
  const consumer = await openConsumer(
    kafka,
    {
      groupId: GROUPS.retry,
      topics: RETRY_TOPICS,
      isolation: 'read-uncommitted',
      handlers: { assigned: intake.assigned, received: intake.received, crashed: crash.resolve },
    },
    logger,
  )
  consumerOf.current = consumer
  started.use(consumer)
  started.defer(() =>
    commitMoved(consumer, ledger).catch((error: unknown) => logger.info({ err: error }, 'read again later')),
  )
  const loops = [
    startLoop("retry's commit", () => commitMoved(consumer, ledger).then(() => observe(heap.size)), logger),
    startLoop("retry's intake", () => intake.turn(), logger),
    startLoop("retry's ring", () => ringDue({ codec, producer, ledger, heap, gates, clock }), logger),
  ]
  for (const loop of loops) started.use(loop)
  const admin = started.use(
    await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      checks: {
        kafka: () => kafkaRoundTrip(kafka),
        gates: async () => live?.problem() ?? null,
        work: async () => loops.map((loop) => loop.problem()).find((problem) => problem !== null) ?? null,
      },
      telemetry,
      logger,
    }),
  )
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
const NOT_YET: Pick<Consumer, 'pause' | 'resume' | 'held'> = {
  pause: () => {},
  resume: () => {},
  held: () => [],
}

async function commitMoved(consumer: Consumer, ledger: OffsetLedger): Promise<void> {
  const offsets = ledger.movedWatermarks()
  if (offsets.length === 0) return
  await consumer.commit(offsets)
  ledger.committed(offsets)
}

function observe(held: number): number {
  metrics.retryHeld.record(held)
  return COMMIT_EVERY_MS
}

function codecOf(config: RetryConfig) {
  const topics = [...RETRY_TOPICS, TOPICS.requestedGoogle, TOPICS.requestedMicrosoft]
  return { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: config.KAFKA_PREFIX, topics }
}

function gatesOf(config: RetryConfig) {
  return { url: config.UNLEASH_URL, token: config.UNLEASH_TOKEN, caps: config, appName: 'calstream-retry' }
}
