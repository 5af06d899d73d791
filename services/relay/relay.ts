// One shard of the outbox on its way to Kafka: read in id order, publish in one transaction, delete. Invariant: a row is
// published only by a producer that was opened before the row was read. So a relay that froze and wakes holds rows that the
// broker refuses from it (its successor's producer fenced it), and one that reopens its producer reads again what is left.
// A crash between publish and delete repeats the batch with the same ce_ids and bytes: never loss, and within a connection
// first occurrences keep their order.
import { asFailure } from '#shared/domain/failure.ts'
import type { TransactionalProducer } from '#shared/platform/broker.ts'
import type { Logger } from '#shared/platform/log.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { deleteOutbox, holdsShard, readOutbox, type OutboxRow, type ShardLease } from '#shared/store/relay.ts'
import { refusedRecords } from './refused.ts'
import { wholePairs } from './whole-pairs.ts'

const ROWS_MAX = 1000
/** Kafka limits a batch per partition to 1 048 588 bytes, and a quiet evening may send a whole transaction to one partition. */
const BYTES_MAX = 900_000
/** Rows read beyond the batch, to see whether the last pair of change and state would be torn apart. */
const LOOK_AHEAD = 16

export interface RelayDeps {
  readonly db: Queryable
  readonly owner: string
  /** Opens the producer of a shard; from then on the broker refuses whoever published for the shard before. */
  readonly openProducer: (shard: number) => Promise<TransactionalProducer>
  readonly published: (rows: readonly OutboxRow[]) => void
  readonly logger: Logger
}

/** What one relay knows about a shard that it holds. */
export interface HeldShard {
  readonly lease: ShardLease
  producer: TransactionalProducer | null
  /** Published and not yet deleted. */
  published: readonly number[]
  /** Narrows while Kafka refuses a batch, until the record that it refuses stands alone. */
  rowsMax: number
}

export function heldShard(lease: ShardLease): HeldShard {
  return { lease, producer: null, published: [], rowsMax: ROWS_MAX }
}

/**
 * Opens the shard's producer, which fences its predecessor. The lease is asked first, so that a relay which lost the shard
 * while it could not reach Kafka does not fence its successor.
 * @returns false when the lease is no longer ours. Throws Failure `kafka/*` or `store/*`.
 */
export async function openShard(deps: RelayDeps, shard: HeldShard): Promise<boolean> {
  if (shard.producer) return true
  if (!(await holdsShard(deps.db, deps.owner, shard.lease))) return false
  shard.producer = await deps.openProducer(shard.lease.shard)
  return true
}

/**
 * Publishes what waits in a shard, batch by batch, until less than a full batch is left or `signal` asks to stop after the
 * running batch.
 * @returns 'lost' when a newer owner took over: forget the shard. Throws Failure `kafka/unavailable` or `store/*`: try again.
 */
export async function drainShard(
  deps: RelayDeps,
  shard: HeldShard,
  signal: AbortSignal,
): Promise<'drained' | 'stopped' | 'lost'> {
  for (;;) {
    await deletePublished(deps, shard)
    if (signal.aborted) return 'stopped'
    if (!(await openShard(deps, shard))) return 'lost'
    const limit = { rows: shard.rowsMax + LOOK_AHEAD, bytes: BYTES_MAX }
    const read = await readOutbox(deps.db, shard.lease.shard, limit)
    const batch = wholePairs(read, shard.rowsMax)
    if (batch.length === 0) return 'drained'
    const outcome = await publishBatch(deps, shard, batch)
    if (outcome === 'lost') return 'lost'
    if (outcome === 'published' && batch.length === read.length) {
      await deletePublished(deps, shard)
      return 'drained'
    }
  }
}

/** Closes the shard's producer; what it published and did not delete is repeated by the next owner. */
export async function closeShard(shard: HeldShard): Promise<void> {
  const { producer } = shard
  shard.producer = null
  await producer?.[Symbol.asyncDispose]()
}

async function deletePublished(deps: RelayDeps, shard: HeldShard): Promise<void> {
  if (shard.published.length === 0) return
  await deleteOutbox(deps.db, shard.published)
  shard.published = []
}

async function publishBatch(
  deps: RelayDeps,
  shard: HeldShard,
  batch: readonly OutboxRow[],
): Promise<'published' | 'narrowed' | 'lost'> {
  const { producer } = shard
  if (!producer) throw new TypeError(`shard ${shard.lease.shard} has no producer`)
  try {
    await producer.publish(batch)
  } catch (error) {
    const failure = asFailure(error)
    if (failure.code === 'kafka/fenced') {
      await closeShard(shard)
      return 'lost'
    }
    if (failure.code !== 'kafka/rejected') {
      // Whether the transaction committed is unknown: a new producer ends it either way, and what is still in the outbox is repeated.
      await closeShard(shard)
      throw failure
    }
    if (batch.length > 1) {
      shard.rowsMax = Math.ceil(batch.length / 2)
      return 'narrowed'
    }
    await publishRefused(deps, producer, batch[0]!, failure.message)
  }
  shard.published = batch.map((row) => row.id)
  shard.rowsMax = Math.min(ROWS_MAX, shard.rowsMax * 2)
  deps.published(batch)
  return 'published'
}

/** A record that Kafka will never take must not hold its shard back for ever: a dead letter takes its place in the order. */
async function publishRefused(
  deps: RelayDeps,
  producer: TransactionalProducer,
  row: OutboxRow,
  reason: string,
): Promise<void> {
  deps.logger.error(
    { topic: row.topic, bytes: row.bytes, ceId: row.headers['ce_id'], reason },
    'Kafka refused a record of the outbox; a dead letter takes its place, readers of the topic miss this record',
  )
  const [whole, withoutValue] = refusedRecords(row)
  try {
    await producer.publish([whole])
  } catch (error) {
    if (asFailure(error).code !== 'kafka/rejected') throw error
    await producer.publish([withoutValue])
  }
}
