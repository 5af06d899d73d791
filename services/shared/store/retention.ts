// What is forgotten by age, in chunks small enough for the statement timeout.
import type { Queryable } from './database.ts'

/**
 * Forgets delivery keys older than 8 days (vendors repeat a notification for hours at most).
 * @returns how many, at most `limit`.
 */
export async function deleteOldDedupeKeys(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from webhook_dedupe_keys where ctid = any(array(
       select ctid from webhook_dedupe_keys where seen_at < calstream_now() - interval '8 days' limit $1))`,
    [limit],
  )
  return rowCount
}

/**
 * Forgets index entries whose records the dead-letter topic no longer keeps (30 days).
 * @returns how many, at most `limit`.
 */
export async function deleteOldDeadLetters(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from dead_letters where ctid = any(array(
       select ctid from dead_letters where last_failed_at < calstream_now() - interval '30 days' limit $1))`,
    [limit],
  )
  return rowCount
}
