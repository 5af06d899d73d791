// What processes share about calls to vendors: budgets and rests. Invariant: a budget never grants
// more than its room at once plus one call per step after that, however many processes ask; and
// while a key rests, nothing is granted to anybody.
import type { Queryable } from './database.ts'

/** A wish for calls out of one budget. */
export interface CallWish {
  readonly key: string
  /** 0 only asks whether the key rests. */
  readonly calls: number
  /** Microseconds in which one call is earned. */
  readonly stepMicros: number
  /** Microseconds of earned calls that may be spent at once. */
  readonly roomMicros: number
}

export interface CallGrant {
  readonly key: string
  /** As much as fits of what was wished. */
  readonly granted: number
  /** Microseconds until one call fits or the rest is over; 0 when something was granted. */
  readonly waitMicros: number
  /** The vendor asked for silence: nothing was taken from any budget. */
  readonly isResting: boolean
}

/**
 * Takes calls out of budgets, in the order given: name the narrower one first, so that locks are
 * taken in one order everywhere. When one of the keys rests, the answer holds only keys that rest.
 * Throws Failure `store/*`.
 */
export async function takeCalls(db: Queryable, wishes: readonly CallWish[]): Promise<readonly CallGrant[]> {
  const { rows } = await db.query<CallGrant>(
    `select budget as key, granted, wait_us as "waitMicros", resting as "isResting"
       from take_calls($1::text[], $2::integer[], $3::bigint[], $4::bigint[])`,
    [
      wishes.map(({ key }) => key),
      wishes.map(({ calls }) => calls),
      wishes.map(({ stepMicros }) => stepMicros),
      wishes.map(({ roomMicros }) => roomMicros),
    ],
  )
  return rows
}

/**
 * Remembers that a vendor wants no call for this key for so long; a rest is only ever lengthened.
 * Throws Failure `store/*`.
 */
export async function restFor(db: Queryable, key: string, micros: number): Promise<void> {
  await db.query(
    `insert into call_budgets as held (key, rest_until)
     values ($1, calstream_now() + $2::bigint * interval '1 microsecond')
     on conflict (key) do update set rest_until = greatest(held.rest_until, excluded.rest_until)`,
    [key, Math.ceil(micros)],
  )
}

/** Both, for one database. */
export function budgetStore(db: Queryable) {
  return {
    take: (wishes: readonly CallWish[]) => takeCalls(db, wishes),
    rest: (key: string, micros: number) => restFor(db, key, micros),
  }
}

/** Forgets budgets that were not used for a day. @returns how many, at most `limit`. */
export async function deleteOldBudgets(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from call_budgets where key = any(array(
       select key from call_budgets
        where greatest(taken_until, rest_until) < calstream_now() - interval '1 day' limit $1
          for update skip locked))`,
    [limit],
  )
  return rowCount
}
