// One shard of the outbox on its way to Kafka: read in id order, publish in one transaction,
// delete. Invariant: a row is published only by a producer that was opened before the row was read.
// So a relay that froze and wakes holds rows that the broker refuses from it (its successor's
// producer fenced it), and one that reopens its producer reads again what is left. A crash between
// publish and delete repeats the batch with the same ce_ids and bytes: never loss, and within a
// connection first occurrences keep their order.
import { asFailure, type Failure } from '#shared/domain/failure.ts'
import type { TransactionalProducer } from '#shared/kafka/broker.ts'
import { step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Queryable } from '#shared/store/database.ts'
import { deleteOutbox, holdsShard, readOutbox, type OutboxRow, type ShardLease } from '#shared/store/relay.ts'
import { batchPublished, recordRefused, type RelayProgress } from './observe.ts'
import { REFUSALS_MAX, refusedRecord } from './refused.ts'
import { settleBatch } from './settle-batch.ts'
import { wholePairs } from './whole-pairs.ts'

const ROWS_MAX = 1000
/** Of a transaction: sixteen shards hold one each in memory. */
const BYTES_MAX = 2_000_000
/** Rows read beyond the batch, to see whether its last pair of change and state is torn apart. */
const LOOK_AHEAD = 16

export interface RelayDeps {
  readonly db: Queryable
  readonly owner: string
  /** From then on the broker refuses the producer that published for the shard before. */
  readonly openProducer: (shard: number) => Promise<TransactionalProducer>
  readonly logger: Logger
  readonly progress: RelayProgress
}

/** What one relay knows about a shard that it holds. */
export interface OwnedShard {
  readonly lease: ShardLease
  producer: TransactionalProducer | null
  /** Published and not yet deleted. */
  published: readonly number[]
  /** Narrows while Kafka refuses a batch, until the record that it refuses stands alone. */
  rowsMax: number
  /** The row that Kafka refused alone: what is published in its place gets smaller each time. */
  refused: { readonly id: number; readonly times: number } | null
}

export function ownedShard(lease: ShardLease): OwnedShard {
  return { lease, producer: null, published: [], rowsMax: ROWS_MAX, refused: null }
}

/**
 * Opens the shard's producer, which fences its predecessor. The lease is asked first, so that a
 * relay which lost the shard while it could not reach Kafka does not fence its successor.
 * @returns false when the lease is no longer ours. Throws Failure `kafka/*` or `store/*`.
 */
export async function openShard(deps: RelayDeps, shard: OwnedShard): Promise<boolean> {
  if (shard.producer) return true
  if (!(await holdsShard(deps.db, deps.owner, shard.lease))) return false
  shard.producer = await deps.openProducer(shard.lease.shard)
  step('relay.producer-opened')
  return true
}

/**
 * Publishes what waits in a shard, batch by batch, until less than a full batch is left or `signal`
 * asks to stop after the running batch.
 * @returns 'lost' when a newer owner took over: forget the shard. Throws Failure
 * `kafka/unavailable` or `store/*`: try again.
 */
export async function drainShard(
  deps: RelayDeps,
  shard: OwnedShard,
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
    step('relay.rows-read')
    const outcome = await publishBatch(deps, shard, batch)
    if (outcome === 'lost') return 'lost'
    if (outcome === 'published' && batch.length === read.length) {
      await deletePublished(deps, shard)
      return 'drained'
    }
  }
}

/** What its producer published and did not delete is repeated by the next owner. */
export async function closeShard(shard: OwnedShard): Promise<void> {
  const { producer } = shard
  shard.producer = null
  await producer?.[Symbol.asyncDispose]()
}

async function deletePublished(deps: RelayDeps, shard: OwnedShard): Promise<void> {
  if (shard.published.length === 0) return
  await deleteOutbox(deps.db, shard.published)
  step('relay.deleted')
  shard.published = []
}

async function publishBatch(
  deps: RelayDeps,
  shard: OwnedShard,
  batch: readonly OutboxRow[],
): Promise<'published' | 'refused' | 'lost'> {
  const { producer, refused } = shard
  if (!producer) throw new TypeError(`shard ${shard.lease.shard} has no producer`)
  try {
    const records = batch.map((row) => (row.id === refused?.id ? refusedRecord(row, refused.times) : row))
    await producer.publish(records)
  } catch (error) {
    // Whether the transaction committed is unknown: the next producer ends it, and what is still in
    // the outbox is repeated.
    await closeShard(shard)
    const failure = asFailure(error)
    const settled = settleBatch(failure)
    if (settled === 'lost') return 'lost'
    if (settled === 'throw') throw failure
    narrow(deps, shard, batch, failure)
    return 'refused'
  }
  batchPublished(batch, deps.progress)
  shard.published = batch.map((row) => row.id)
  shard.rowsMax = Math.min(ROWS_MAX, shard.rowsMax * 2)
  shard.refused = null
  return 'published'
}

/**
 * A record that Kafka will never take must not hold its shard back for ever: it is found by halves,
 * and a dead letter takes its place in the order.
 */
function narrow(deps: RelayDeps, shard: OwnedShard, batch: readonly OutboxRow[], failure: Failure): void {
  shard.rowsMax = Math.ceil(batch.length / 2)
  const [row] = batch
  if (!row || batch.length > 1) return
  const times = row.id === shard.refused?.id ? shard.refused.times + 1 : 1
  if (times > REFUSALS_MAX) throw failure
  shard.refused = { id: row.id, times }
  recordRefused(deps, row, failure)
}
