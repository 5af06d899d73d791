// The waiting room's wiring: the intake fills the heap and tells Kafka how far we are, the ring
// empties it. It has no database: whatever it holds lies in its topics, and a restart reads it
// again.
import type { Gates } from '#shared/domain/gates.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { startAdmin } from '#shared/process/admin.ts'
import { type Clock, systemClock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { kafkaRoundTrip, openConsumer, openProducer } from '#shared/kafka/open.ts'
import { createLogger } from '#shared/process/log.ts'
import { startLoop } from '#shared/process/loop.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { openGates } from '#shared/gates/unleash.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { RetryConfig } from './config.ts'
import { DueHeap } from './due-heap.ts'
import { openSchedulings, type Scheduling } from './intake.ts'
import { ringDue } from './ring.ts'

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
  const clock = overrides.clock ?? systemClock
  const heap = new DueHeap<Scheduling>()
  const intake = started.use(
    openSchedulings((options) => openConsumer(kafka, options, logger), {
      codec,
      heap,
      producer,
      clock,
      logger,
    }),
  )
  const ring = started.use(
    startLoop("retry's ring", () => ringDue({ codec, producer, heap, gates, clock }), logger),
  )
  const admin = started.use(
    await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      checks: {
        kafka: () => kafkaRoundTrip(kafka),
        gates: async () => live?.problem() ?? null,
        work: async () => intake.problem() ?? ring.problem(),
      },
      telemetry,
      logger,
    }),
  )
  const running = started.move()
  return {
    adminPort: admin.port,
    crashed: intake.crashed,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function codecOf(config: RetryConfig) {
  const topics = [...RETRY_TOPICS, TOPICS.requestedGoogle, TOPICS.requestedMicrosoft]
  return { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: config.KAFKA_PREFIX, topics }
}

function gatesOf(config: RetryConfig) {
  return { url: config.UNLEASH_URL, token: config.UNLEASH_TOKEN, caps: config, appName: 'calstream-retry' }
}
