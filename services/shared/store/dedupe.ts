// Delivery keys: which webhook deliveries a unit has answered. Invariant: a key is
// written only together with what its unit wrote; two units may write the same key, which
// proves nothing about either.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

/** Which of the keys are recorded. */
export async function recordedKeys(
  tx: Queryable,
  connection: ConnectionId,
  keys: readonly string[],
): Promise<ReadonlySet<string>> {
  if (keys.length === 0) return new Set()
  const { rows } = await tx.query<{ key: string }>(
    `select delivery_key as key from webhook_dedupe_keys
      where connection_id = $1 and delivery_key = any($2::text[])`,
    [connection, keys],
  )
  return new Set(rows.map((row) => row.key))
}

/** Records keys; those that are there already stay as they are. */
export async function recordKeys(
  tx: Queryable,
  connection: ConnectionId,
  keys: readonly string[],
): Promise<void> {
  if (keys.length === 0) return
  await tx.query(
    `insert into webhook_dedupe_keys (connection_id, delivery_key)
     select $1, key from unnest($2::text[]) as k (key)
     on conflict (connection_id, delivery_key) do nothing`,
    [connection, keys],
  )
}
