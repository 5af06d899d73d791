// Repairs: rows that the scheduler works off. Invariants: what a batch does and how far the repair
// has come are one transaction, so nothing is done twice and nothing left out, whatever dies; of
// two schedulers one has the row; what has ended is never changed again and stays as the audit.
import type { Micros } from '#shared/domain/ids.ts'
import type { RepairFilter, RepairKind, RepairState } from '#shared/domain/repair.ts'
import type { Database, Queryable } from './database.ts'
import { countMatches } from './repair-matches.ts'
import type { Admission } from './status.ts'

export interface Repair {
  readonly id: string
  readonly kind: RepairKind
  readonly filter: RepairFilter
  /** Who asked. */
  readonly by: string
  readonly askedAt: Micros
  readonly ratePerS: number
  readonly state: RepairState
  /** How many matched when it was asked for. */
  readonly total: number
  readonly done: number
  /** Those that could not be done: a dead letter whose bytes are gone. */
  readonly failed: number
  /** Why the last that failed did. */
  readonly lastError: string | null
  /** What keeps it from going on, as a sentence; null: nothing does. */
  readonly waitsFor: string | null
  /** When a scheduler last looked at it; null: none has. */
  readonly workedAt: Micros | null
  readonly endedAt: Micros | null
  /** Who aborted it. */
  readonly endedBy: string | null
  /** Database clock of this statement. */
  readonly now: Micros
}

const REPAIR = `id, kind, filter, asked_by as "by", to_micros(asked_at) as "askedAt", rate_per_s as "ratePerS", state, total,
  done, failed, last_error as "lastError", waits_for as "waitsFor", to_micros(worked_at) as "workedAt", to_micros(ended_at) as "endedAt",
  ended_by as "endedBy", to_micros(calstream_now()) as now`

/** More at a time would be no repair but a second scheduler. */
const RUNNING_MAX = 20

export interface RepairAsked {
  readonly kind: RepairKind
  readonly filter: RepairFilter
  /** Who asks, for the audit. */
  readonly by: string
  readonly ratePerS: number
}

export type RepairStart =
  | { readonly kind: 'started'; readonly repair: Repair }
  /** The same is being done already. */
  | { readonly kind: 'running'; readonly repair: Repair }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'too-many'; readonly running: number }

/**
 * Asks for a repair: a scheduler begins within seconds. The filter has passed `filterProblem`. The
 * same repair twice at a time is one. Throws Failure `store/*`: nothing was asked for.
 */
export async function startRepair(
  db: Database,
  { kind, filter, by, ratePerS }: RepairAsked,
  admission: Admission,
): Promise<RepairStart> {
  const total = await countMatches(db, kind, filter, admission)
  if (total === 0) return { kind: 'nothing' }
  return db.transaction(async (tx) => {
    // Two clicks at once would both see that nothing runs.
    await tx.query(`select pg_advisory_xact_lock(hashtext('calstream.repairs'))`)
    const { rows: running } = await tx.query<Repair & { isSame: boolean }>(
      `select ${REPAIR}, kind = $1 and filter = $2::jsonb as "isSame" from repairs where state = 'running'`,
      [kind, JSON.stringify(filter)],
    )
    const same = running.find(({ isSame }) => isSame)
    if (same) return { kind: 'running', repair: same }
    if (running.length >= RUNNING_MAX) return { kind: 'too-many', running: running.length }
    const { rows } = await tx.query<Repair>(
      `insert into repairs (kind, filter, asked_by, rate_per_s, total) values ($1, $2::jsonb, $3, $4, $5) returning ${REPAIR}`,
      [kind, JSON.stringify(filter), by, ratePerS, total],
    )
    const [repair] = rows
    if (!repair) throw new Error('an insert of one row returns it')
    return { kind: 'started', repair }
  })
}

/**
 * Ends a running repair where it is; what was done stays done.
 * @returns as it is afterwards; null when there is no such. Throws Failure `store/*`.
 */
export async function abortRepair(db: Queryable, id: string, by: string): Promise<Repair | null> {
  await db.query(
    `update repairs set state = 'aborted', waits_for = null, ended_at = calstream_now(), ended_by = $2 where id = $1 and state = 'running'`,
    [id, by],
  )
  return readRepair(db, id)
}

/** One repair; null when there is no such. Throws Failure `store/*`. */
export async function readRepair(db: Queryable, id: string): Promise<Repair | null> {
  const { rows } = await db.query<Repair>(`select ${REPAIR} from repairs where id = $1`, [id])
  return rows[0] ?? null
}

/** Repairs, those that run first, then the youngest; at most `limit`. Throws Failure `store/*`. */
export async function readRepairs(
  db: Queryable,
  { state = null, limit }: { readonly state?: RepairState | null; readonly limit: number },
): Promise<readonly Repair[]> {
  const { rows } = await db.query<Repair>(
    `select ${REPAIR} from repairs where $1::text is null or state = $1
      order by state = 'running' desc, asked_at desc, id limit $2`,
    [state, limit],
  )
  return rows
}

/** Those that run, the oldest first, each marked as looked at. Throws Failure `store/*`. */
export async function takeRunning(db: Queryable): Promise<readonly Repair[]> {
  const { rows } = await db.query<Repair>(
    `with looked as (
       update repairs set worked_at = calstream_now()
        where id in (select id from repairs where state = 'running' order by id for update skip locked) returning id)
     select ${REPAIR} from repairs where state = 'running' and id in (select id from looked) order by asked_at, id`,
  )
  return rows
}

export interface TakenRepair {
  /** The last that was worked off; null before the first. */
  readonly reached: string | null
  /** How many may be done now by the rate. */
  readonly allowed: number
  /** Database clock. */
  readonly now: Micros
}

/** No more than the work of so many seconds is done at once; $2 is the burst in seconds. */
const WINDOW = `greatest($2::float8, 1 / rate_per_s) * interval '1 second'`
/** Since when work is earned. A moment far ahead was written before the clock went back. */
const EARNED_SINCE = `case when paced_at > clock.now + ${WINDOW} then clock.now - ${WINDOW}
         else greatest(least(paced_at, clock.now), clock.now - ${WINDOW}) end`

/**
 * Locks a running repair until the transaction ends, and says what is due: at most what the rate
 * earns in `burstSeconds`. null when another scheduler has it or it has ended. Throws Failure
 * `store/*`.
 */
export async function lockRepair(
  tx: Queryable,
  id: string,
  burstSeconds: number,
): Promise<TakenRepair | null> {
  const { rows } = await tx.query<TakenRepair>(
    `select reached, to_micros(clock.now) as now,
       floor(extract(epoch from clock.now - ${EARNED_SINCE}) * rate_per_s
             -- What a float loses must not put off one that is due.
             + 0.001)::int as allowed
       from repairs, (select calstream_now() as now) clock where id = $1 and state = 'running' for update of repairs skip locked`,
    [id, burstSeconds],
  )
  return rows[0] ?? null
}

export interface Progress {
  /** The last that was worked off. */
  readonly reached: string | null
  readonly done: number
  readonly failed: number
  /** Why the last that failed did. */
  readonly why: string | null
  readonly isEnd: boolean
}

/** Moves a locked repair on; part of the transaction of its effects. Throws Failure `store/*`. */
export async function saveProgress(
  tx: Queryable,
  id: string,
  burstSeconds: number,
  { reached, done, failed, why, isEnd }: Progress,
): Promise<void> {
  await tx.query(
    `update repairs
        set reached = coalesce($3, reached), done = done + $4, failed = failed + $5,
            last_error = coalesce($6, last_error), waits_for = null,
            paced_at = ${EARNED_SINCE}
              + ($4 + $5) / rate_per_s * interval '1 second',
            worked_at = clock.now, state = case when $7 then 'done' else state end,
            ended_at = case when $7 then clock.now end
       from (select calstream_now() as now) clock where id = $1`,
    [id, burstSeconds, reached, done, failed, why, isEnd],
  )
}

/** Says what a running repair waits for. Throws Failure `store/*`. */
export async function noteWait(db: Queryable, id: string, why: string): Promise<void> {
  await db.query(`update repairs set waits_for = $2 where id = $1 and state = 'running'`, [id, why])
}

/** Ends a repair that cannot be done. Throws Failure `store/*`. */
export async function failRepair(db: Queryable, id: string, why: string): Promise<void> {
  await db.query(
    `update repairs set state = 'failed', last_error = $2, waits_for = null, ended_at = calstream_now() where id = $1 and state = 'running'`,
    [id, why],
  )
}
