// The relay's wiring: leases decide which shards, the shard loops drain them.
import { openService } from '#shared/boot/open-service.ts'
import { transactionalIdOf } from '#shared/domain/ids.ts'
import { openCommitWatch, openTransactionalProducer } from '#shared/kafka/open.ts'
import { leaseOwner } from '#shared/process/identity.ts'
import { firstProblem } from '#shared/process/loop.ts'
import type { RelayConfig } from './config.ts'
import { measureBacklog, type RelayProgress } from './observe.ts'
import { ShardLoops } from './shard-loops.ts'
import { Shards } from './shards.ts'

/** Then the broker aborts what a dead relay left open; a successor's producer does it at once. */
const TRANSACTION_TIMEOUT_MS = 15_000
const BACKLOG_EVERY_MS = 5000
/** Reads and deletes are short; the shards spend their time at Kafka. */
const POOL_MAX = 4

/**
 * Starts a relay. Returns when its loops run; shards are taken within a second.
 * Throws ConfigError or Failure.
 */
export async function startRelay(
  config: RelayConfig,
  signal: AbortSignal,
): Promise<AsyncDisposable & { readonly adminPort: number }> {
  await using service = openService('relay', config, signal)
  const { logger, kafka } = service
  const db = await service.database(POOL_MAX)
  const owner = leaseOwner()
  // Disposed of after the loops, whose last batches it still answers.
  const watch = service.use(openCommitWatch(kafka))
  const progress: RelayProgress = { lastAt: null }
  const loops = new ShardLoops({
    db,
    owner,
    logger,
    progress,
    openProducer: (shard) =>
      openTransactionalProducer(
        { ...kafka, transactionalId: transactionalIdOf(shard), timeoutMs: TRANSACTION_TIMEOUT_MS, watch },
        logger,
      ),
    fenced: (lease) => shards.drop(lease),
  })
  const shards = new Shards({ db, owner, logger, loops })
  service.defer(() =>
    shards.leave().catch((error: unknown) => {
      logger.warn({ err: error }, 'the leases could not be given back; they run out by themselves')
    }),
  )
  service.defer(() => loops.close())
  const leases = service.loop("the relay's lease beat", () => shards.beat())
  const looks = service.loop("the relay's look", () => loops.look())
  service.loop("the relay's backlog count", async () => {
    await measureBacklog(db, loops.shards)
    return BACKLOG_EVERY_MS
  })
  const checks = {
    postgres: async () => firstProblem([leases, looks]),
    tables: service.checks.tables,
    kafka: service.checks.kafka,
  }
  const adminPort = await service.admin(checks, () => ({
    shards: loops.shards,
    lastProgressAt: progress.lastAt,
  }))
  return service.running({ adminPort })
}
