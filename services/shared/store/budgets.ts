// What processes share about calls to vendors: budgets and cool-downs. Invariant: a budget never
// grants more than its room at once plus one call per step after that, however many processes ask;
// and while a key cools down, nothing is granted to any of them.
import type { BudgetStore, CallGrant } from '#shared/domain/call-budget.ts'
import { columnsOf, type Queryable } from './database.ts'

/** The budgets and cool-downs in one database. */
export function budgetStore(db: Queryable): BudgetStore {
  return {
    async take(wishes) {
      const { rows } = await db.query<CallGrant>(
        `select budget as key, granted, wait_us as "waitMicros", resting as "isCoolingDown"
           from take_calls($1::text[], $2::integer[], $3::bigint[], $4::bigint[])`,
        columnsOf(wishes, 'key', 'calls', 'stepMicros', 'roomMicros'),
      )
      return rows
    },
    async coolDown(key, micros) {
      await db.query(
        `insert into call_budgets as held (key, rest_until)
         values ($1, calstream_now() + $2::bigint * interval '1 microsecond')
         on conflict (key) do update set rest_until = greatest(held.rest_until, excluded.rest_until)`,
        [key, Math.ceil(micros)],
      )
    },
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
