// The waiting room's wiring: the intake fills the heap, ringing empties it. It keeps nothing in the
// database, where it only says that it lives: whatever waits lies in its topics, and a restart
// reads it again.
import { openService, type Overrides } from '#shared/boot/open-service.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { systemClock } from '#shared/process/clock.ts'
import { firstProblem } from '#shared/process/loop.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { RetryConfig } from './config.ts'
import { DueHeap } from './due-heap.ts'
import { openSchedulings, type Scheduling } from './intake.ts'
import { ringDue } from './ring.ts'

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
  const clock = overrides.clock ?? systemClock
  const deps = { codec, heap: new DueHeap<Scheduling>(), producer, gates, clock, logger }
  const intake = service.use(openSchedulings(service.consumer, deps))
  let lastProgressAt: Micros | null = null
  const ringing = service.loop("retry's ring", async () => {
    const waitMs = await ringDue(deps)
    // It looks again at once when it has rung.
    if (waitMs === 0) lastProgressAt = clock.now()
    return waitMs
  })
  const counts = service.partitionCounts(RETRY_TOPICS)
  const adminPort = await service.admin(
    { ...service.checks, work: async () => firstProblem([intake, ringing]) },
    () => ({ ...intake.facts(), partitionCounts: counts(), lastProgressAt }),
  )
  return service.running({ adminPort, crashed: intake.crashed })
}
