// The waiting room's wiring: intake fills the heap, the ring empties it, the commit loop
// tells Kafka how far we are. It has no database: whatever it holds lies in its topics, and
// a restart reads it again.
import { openService, type Overrides } from '#shared/boot/open-service.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import type { Consumer } from '#shared/kafka/broker.ts'
import { systemClock } from '#shared/process/clock.ts'
import { firstProblem } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { createOffsetLedger, type OffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import type { RetryConfig } from './config.ts'
import { DueHeap } from './due-heap.ts'
import { createIntake, type Scheduling } from './intake.ts'
import { ringDue } from './ring.ts'

const COMMIT_EVERY_MS = 300
/** Per band: 100 000 waiting records are some 60 MB. */
const BAND_MAX = 100_000

/**
 * Starts retry. `crashed` settles when its consumer died for good. Throws ConfigError or Failure.
 */
export async function startRetry(
  config: RetryConfig,
  signal: AbortSignal,
  overrides: Overrides = {},
): Promise<AsyncDisposable & { readonly adminPort: number; readonly crashed: Promise<unknown> }> {
  await using service = openService('retry', config, signal)
  const { logger } = service
  const codec = await service.codec([...RETRY_TOPICS, TOPICS.requestedGoogle, TOPICS.requestedMicrosoft])
  const gates = await service.gates(overrides.gates)
  const producer = await service.producer()
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
  const consumer = await service.consumer({
    groupId: GROUPS.retry,
    topics: RETRY_TOPICS,
    isolation: 'read-uncommitted',
    handlers: { assigned: intake.assigned, received: intake.received, crashed: crash.resolve },
  })
  consumerOf.current = consumer
  service.defer(() =>
    commitMoved(consumer, ledger).catch((error: unknown) => logger.info({ err: error }, 'read again later')),
  )
  const loops = [
    service.loop("retry's commit", () => commitMoved(consumer, ledger).then(() => observe(heap.size))),
    service.loop("retry's intake", () => intake.turn()),
    service.loop("retry's ring", () => ringDue({ codec, producer, ledger, heap, gates, clock })),
  ]
  const adminPort = await service.admin({ ...service.checks, work: async () => firstProblem(loops) })
  return service.running({ adminPort, crashed: crash.promise })
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
