// Work that met a closed gate, one row per connection. Invariant: every refusal writes, also where
// a row exists, so that the scheduler, which deletes a row at the seq it rang, never deletes a
// refusal that came after it rang.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

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
