// Held requests from the side that rings them. Invariant: a row is deleted only at the seq that was
// rung, so a refusal that came after the read survives and is rung again.
import type { ConnectionId } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'
import type { DueConnection } from './due.ts'

export interface HeldConnection extends DueConnection {
  /** The gate that refused. */
  readonly gate: string
  readonly seq: number
}

/**
 * Held connections in id order from after `after`.
 * `readAt` is no earlier than any refusal that is in the row.
 */
export async function heldConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly HeldConnection[]> {
  const { rows } = await db.query<HeldConnection>(
    `select connection.id as "connectionId", connection.provider_id as "providerId", connection.vendor,
       to_micros(calstream_now()) as "readAt", held.gate, held.seq
     from held_requests held join external_calendar_connections connection on connection.id = held.connection_id
     where $1::uuid is null or held.connection_id > $1
     order by held.connection_id limit $2`,
    [after, limit],
  )
  return rows
}

/** How many requests are held. */
export async function countHeld(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ held: number }>('select count(*)::int as held from held_requests')
  return rows[0]?.held ?? 0
}

/** Deletes what was rung, at the seq that was rung. @returns how many rows had no later refusal. */
export async function deleteHeld(
  db: Queryable,
  rung: readonly { readonly connectionId: ConnectionId; readonly seq: number }[],
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from held_requests held using unnest($1::uuid[], $2::bigint[]) as rung (connection_id, seq)
     where held.connection_id = rung.connection_id and held.seq = rung.seq`,
    columnsOf(rung, 'connectionId', 'seq'),
  )
  return rowCount
}
