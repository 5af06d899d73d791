// The index of the dead-letter topic. Invariant: the topic holds the bytes, this table only finds
// them; the same record indexed again changes nothing.
import type { ConnectionId, Micros, VendorName } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'

export interface DeadLetterEntry {
  readonly partition: number
  readonly offset: bigint
  readonly connectionId: ConnectionId | null
  readonly vendor: VendorName | null
  readonly code: string
  readonly attempts: number
  readonly firstFailedAt: Micros | null
  readonly lastFailedAt: Micros
  readonly originTopic: string
  /** null when the record never lay in a topic: Kafka refused it. */
  readonly originPartition: number | null
  readonly originOffset: bigint | null
}

/** Indexes dead letters. Throws Failure `store/*`. */
export async function indexDeadLetters(db: Queryable, entries: readonly DeadLetterEntry[]): Promise<void> {
  await db.query(
    `insert into dead_letters (partition, topic_offset, connection_id, vendor, code, attempts, first_failed_at, last_failed_at,
       origin_topic, origin_partition, origin_offset)
     select partition, topic_offset, connection_id, vendor, code, attempts, from_micros(first_failed), from_micros(last_failed),
       origin_topic, origin_partition, origin_offset
     from unnest($1::int[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::bigint[], $9::text[],
         $10::int[], $11::bigint[])
       as letter (partition, topic_offset, connection_id, vendor, code, attempts, first_failed, last_failed, origin_topic,
         origin_partition, origin_offset)
     on conflict (partition, topic_offset) do nothing`,
    [
      ...columnsOf(
        entries,
        'partition',
        'offset',
        'connectionId',
        'vendor',
        'code',
        'attempts',
        'firstFailedAt',
      ),
      ...columnsOf(entries, 'lastFailedAt', 'originTopic', 'originPartition', 'originOffset'),
    ],
  )
}

/** What narrows a list of dead letters; what is not named does not narrow. */
export interface DeadLetterFilter {
  readonly code?: string | undefined
  readonly vendor?: string | undefined
  readonly topic?: string | undefined
  readonly connection?: string | undefined
  /** Those that came back already are left out unless this says otherwise. */
  readonly replayed: boolean
  /** `partition/offset` of each; null for all. */
  readonly ids: readonly string[] | null
}

export interface DeadLetterRow {
  readonly id: string
  readonly partition: number
  readonly offset: bigint
  readonly code: string
  readonly attempts: number
  readonly connectionId: ConnectionId | null
  readonly originTopic: string
  readonly originPartition: number | null
  readonly originOffset: string | null
  readonly firstFailedAt: Date | null
  readonly lastFailedAt: Date
  readonly replayedAt: Date | null
}

/** Dead letters, the oldest first. Throws Failure `store/*`. */
export async function listDeadLetters(
  db: Queryable,
  filter: DeadLetterFilter,
  limit: number,
): Promise<readonly DeadLetterRow[]> {
  const { rows } = await db.query<Omit<DeadLetterRow, 'offset'> & { offset: string }>(
    `select partition || '/' || topic_offset as id, partition, topic_offset::text as offset, code, attempts,
            connection_id as "connectionId", origin_topic as "originTopic", origin_partition as "originPartition",
            origin_offset::text as "originOffset", first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt",
            replayed_at as "replayedAt"
       from dead_letters
      where ($1::text is null or code = $1) and ($2::text is null or vendor = $2) and ($3::text is null or origin_topic = $3)
        and ($4::uuid is null or connection_id = $4) and ($5 or replayed_at is null)
        and ($6::text[] is null or partition || '/' || topic_offset = any($6))
      order by last_failed_at, partition, topic_offset limit $7`,
    [
      filter.code ?? null,
      filter.vendor ?? null,
      filter.topic ?? null,
      filter.connection ?? null,
      filter.replayed,
      filter.ids,
      limit,
    ],
  )
  return rows.map((row) => ({ ...row, offset: BigInt(row.offset) }))
}

/** Remembers that these came back to their topics. Throws Failure `store/*`. */
export async function markReplayed(db: Queryable, ids: readonly string[]): Promise<void> {
  await db.query(
    `update dead_letters set replayed_at = calstream_now() where partition || '/' || topic_offset = any($1::text[])`,
    [ids],
  )
}

/**
 * Marks those that did not come back yet as coming back, in the transaction that puts them back.
 * @returns which. Throws Failure `store/*`.
 */
export async function claimReplays(
  tx: Queryable,
  letters: readonly Pick<DeadLetterEntry, 'partition' | 'offset'>[],
): Promise<ReadonlySet<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `update dead_letters d set replayed_at = calstream_now()
       from unnest($1::int[], $2::bigint[]) as back (partition, topic_offset)
      where d.partition = back.partition and d.topic_offset = back.topic_offset and d.replayed_at is null
      returning d.partition || '/' || d.topic_offset as id`,
    columnsOf(letters, 'partition', 'offset'),
  )
  return new Set(rows.map(({ id }) => id))
}

/**
 * Takes entries off the index for good; the records stay where they are. Throws Failure `store/*`.
 */
export async function forgetDeadLetters(db: Queryable, ids: readonly string[]): Promise<void> {
  await db.query(`delete from dead_letters where partition || '/' || topic_offset = any($1::text[])`, [ids])
}
