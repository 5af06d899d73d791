// Leases of the scheduler's jobs. Several schedulers may run: the holder of a job's lease does it,
// and the time of the last run is in the row, so a successor keeps the beat. Leases live on the
// unshifted clock_timestamp(). A job done twice is harmless, because sync requests are; the lease
// saves work, it guards nothing.
import type { Queryable } from './database.ts'

/**
 * Takes or renews the lease of a job.
 * @returns 'run' when this owner holds it and `everyMs` have passed since the last run, which is
 * counted from now on; 'wait' when it is ours and not yet time; 'other' when another one holds
 * it. Throws Failure `store/*`.
 */
export async function claimJob(
  db: Queryable,
  claim: { readonly job: string; readonly owner: string; readonly leaseMs: number; readonly everyMs: number },
): Promise<'run' | 'wait' | 'other'> {
  const { rows } = await db.query<{ due: boolean }>(
    `with before as (select last_run_at from job_leases where job = $1),
     lease as (
       insert into job_leases as held (job, owner, epoch, leased_until, last_run_at)
       values ($1, $2, 1, clock_timestamp() + $3 * interval '1 ms', clock_timestamp())
       on conflict (job) do update set
         owner = excluded.owner,
         epoch = held.epoch + (held.owner is distinct from excluded.owner)::int,
         leased_until = excluded.leased_until,
         last_run_at = case when held.last_run_at > clock_timestamp() - $4 * interval '1 ms'
                            then held.last_run_at else clock_timestamp() end
       where held.owner = excluded.owner or held.leased_until < clock_timestamp()
       returning last_run_at)
     select lease.last_run_at is distinct from (select last_run_at from before) as due from lease`,
    [claim.job, claim.owner, claim.leaseMs, claim.everyMs],
  )
  const [lease] = rows
  if (!lease) return 'other'
  return lease.due ? 'run' : 'wait'
}

/**
 * Gives a job back after a failed run or at the end,
 * so that the first scheduler that looks does it.
 */
export async function releaseJob(db: Queryable, job: string, owner: string, ran: boolean): Promise<void> {
  await db.query(
    `update job_leases set leased_until = '-infinity', last_run_at = case when $3 then last_run_at end
     where job = $1 and owner = $2`,
    [job, owner, ran],
  )
}
