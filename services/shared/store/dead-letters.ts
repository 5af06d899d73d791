// The index of the dead-letter topic. Invariant: the topic holds the bytes, this table only finds them; the same record
// indexed again changes nothing.
import type { ConnectionId, Micros, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

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
  const column = <T>(pick: (entry: DeadLetterEntry) => T): T[] => entries.map(pick)
  const text = (value: bigint | null): string | null => value?.toString() ?? null
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
      column((entry) => entry.partition),
      column((entry) => entry.offset.toString()),
      column((entry) => entry.connectionId),
      column((entry) => entry.vendor),
      column((entry) => entry.code),
      column((entry) => entry.attempts),
      column((entry) => entry.firstFailedAt),
      column((entry) => entry.lastFailedAt),
      column((entry) => entry.originTopic),
      column((entry) => entry.originPartition),
      column((entry) => text(entry.originOffset)),
    ],
  )
}
