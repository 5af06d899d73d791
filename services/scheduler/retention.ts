// What is forgotten by age. Invariant: it keeps up: a run a minute forgets 1 600 rows a second of
// each table, more than notifications can be recorded, so the keys of 8 days are kept.
import type { Queryable } from '#shared/store/database.ts'
import { deleteOldBudgets } from '#shared/store/budgets.ts'
import { deleteOldInstances } from '#shared/store/service-instances.ts'
import { deleteOldDeadLetters, deleteOldDedupeKeys } from '#shared/store/retention.ts'

const CHUNK = 5000
/** Per run and table; the rest waits for the next run, so that a run stays short. */
const CHUNKS_MAX = 20

/** Forgets old rows in chunks. @returns how many. Throws Failure `store/*`. */
export async function forgetOld(db: Queryable, signal: AbortSignal): Promise<number> {
  let forgotten = 0
  for (const forget of [deleteOldDedupeKeys, deleteOldDeadLetters, deleteOldBudgets, deleteOldInstances]) {
    for (let chunk = 0; chunk < CHUNKS_MAX && !signal.aborted; chunk++) {
      const deleted = await forget(db, CHUNK)
      forgotten += deleted
      if (deleted < CHUNK) break
    }
  }
  return forgotten
}
