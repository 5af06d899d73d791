// Work that met a closed gate, one row per connection. Invariant: every refusal writes, also where
// a row exists, and a row is deleted only at the seq that was rung. So a refusal that came after
// the scheduler read the row survives, and is rung again.
import type { ConnectionId } from '#shared/domain/ids.ts'
import { columnsOf, type Queryable } from './database.ts'
import type { DueConnection } from './due.ts'

export interface HeldRow {
  readonly connectionId: ConnectionId
  /** The gate that refused. */
  readonly gate: string
}

/**
 * Records refusals in one statement; a connection that comes several times counts once, with its
 * last gate. One that is gone or disconnected has nothing to hold and is left out: it must not fail
 * its neighbours. Throws Failure store/*.
 */
export async function holdRequests(db: Queryable, rows: readonly HeldRow[]): Promise<void> {
  const gates = new Map(rows.map(({ connectionId, gate }) => [connectionId, gate]))
  if (gates.size === 0) return
  // Rows are locked in the order of their ids,
  // so that two processes holding the same connections cannot deadlock.
  await db.query(
    `insert into held_requests (connection_id, gate)
     select c.id, refused.gate
       from unnest($1::uuid[], $2::text[]) as refused (connection_id, gate)
       join external_calendar_connections c on c.id = refused.connection_id and c.status <> 'disconnected'
      order by c.id
     on conflict (connection_id) do update set gate = excluded.gate, seq = excluded.seq`,
    [[...gates.keys()], [...gates.values()]],
  )
}

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
