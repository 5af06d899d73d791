// The relay's wiring: leases decide which shards, the poll drains them, three loops drive it.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { startAdmin } from '#shared/process/admin.ts'
import { kafkaRoundTrip, openCommitWatch, openTransactionalProducer } from '#shared/kafka/open.ts'
import { createLogger } from '#shared/process/log.ts'
import { startLoop } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { openDatabase, type Queryable } from '#shared/store/database.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { outboxBacklog } from '#shared/store/relay.ts'
import type { RelayConfig } from './config.ts'
import { observePublished } from './observe.ts'
import { Poll } from './poll.ts'
import { Shards } from './shards.ts'

/**
 * The broker aborts what a dead relay left open after this long;
 * a successor's producer does it at once.
 */
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
  _signal: AbortSignal,
): Promise<AsyncDisposable & { readonly adminPort: number }> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'relay', level: config.LOG_LEVEL })
  const telemetry = started.use(startTelemetry({ service: 'relay', logger }))
  const db = started.use(
    openDatabase({ url: config.POSTGRES_URL, applicationName: 'calstream-relay', poolMax: POOL_MAX }, logger),
  )
  const owner = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
  const kafka = { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-relay' }
  // Disposed of after the poll, whose last batches it still answers.
  const watch = started.use(openCommitWatch(kafka))
  const poll = new Poll({
    db,
    owner,
    logger,
    openProducer: (shard) =>
      openTransactionalProducer(
        { ...kafka, transactionalId: `relay-${shard}`, timeoutMs: TRANSACTION_TIMEOUT_MS, watch },
        logger,
      ),
    published: observePublished,
    fenced: (lease) => shards.drop(lease),
  })
  const shards = new Shards({
    db,
    owner,
    logger,
    taken: (lease, previousOwner) => {
      if (previousOwner !== null) metrics.relayTakeovers.add(1)
      logger.debug({ ...lease, previousOwner }, 'shard taken')
      poll.take(lease)
    },
    lost: (lease) => void poll.end(lease),
    surrender: (lease) => poll.end(lease),
  })
  started.defer(() =>
    shards.leave().catch((error: unknown) => {
      logger.warn({ err: error }, 'the leases could not be given back; they run out by themselves')
    }),
  )
  started.defer(() => poll.close())
  const leases = started.use(
    startLoop("the relay's lease beat", () => shards.beat().then(() => shards.beatMs), logger),
  )
  const looks = started.use(startLoop("the relay's poll", () => poll.look(), logger))
  started.use(startLoop("the relay's backlog count", () => countBacklog(db, poll), logger))
  const admin = started.use(
    await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      checks: {
        postgres: async () => leases.problem() ?? looks.problem(),
        kafka: () => kafkaRoundTrip(kafka),
      },
      telemetry,
      logger,
    }),
  )
  const running = started.move()
  return { adminPort: admin.port, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

async function countBacklog(db: Queryable, poll: Poll): Promise<number> {
  const backlog = await outboxBacklog(db, poll.shards)
  metrics.outboxBacklog.record(backlog.rows)
  metrics.outboxOldestSeconds.record(backlog.oldestSeconds)
  return BACKLOG_EVERY_MS
}
