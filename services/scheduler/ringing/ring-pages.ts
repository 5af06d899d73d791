// The loop of every job that rings: page past closed gates, ring, mark. Invariant: a row is marked
// after its sync request is durable, so a crash in between rings twice and never not at all.
import type { RequestReason } from '#schemas/messages.gen.ts'
import { step, type Step } from '#shared/process/step.ts'
import type { DueConnection } from '#shared/store/due.ts'
import type { JobDeps } from '../deps.ts'
import { allowedPages, type Paging } from '../paging.ts'
import { mayRing, ring } from './ring.ts'

interface RingJob<Row extends DueConnection, Id extends keyof Row> extends Paging<Row, Id> {
  readonly reason: RequestReason
  /** Beside the gates that are asked for every sync request. */
  readonly isAllowed?: (row: Row) => boolean
  /** What it is called that they are rung and not yet marked. */
  readonly step?: Step
  /** Sees to it that what was rung is not due any more. */
  readonly mark: (db: JobDeps['db'], ids: readonly Row[Id][], rung: readonly Row[]) => Promise<unknown>
}

/**
 * Makes a job that rings what is due and not behind a closed gate.
 * @returns how many one run rang. Throws Failure; what was not rung stays due.
 */
export function ringPages<Row extends DueConnection, Id extends keyof Row>(
  job: RingJob<Row, Id>,
): (deps: JobDeps, signal: AbortSignal) => Promise<number> {
  const { reason, by, isAllowed = () => true, mark } = job
  return async (deps, signal) => {
    let rung = 0
    const isOpen = (row: Row) => mayRing(deps, row) && isAllowed(row)
    for await (const rows of allowedPages(deps, job, isOpen, signal)) {
      // No listing answers what the sweep finds but one that begins after its sync request.
      const due = rows.map((row) => ({ ...row, asOf: reason === 'sweep' ? null : row.readAt }))
      await ring(deps, reason, due)
      if (job.step) step(job.step)
      const ids = rows.map((row) => row[by])
      await mark(deps.db, ids, rows)
      rung += rows.length
    }
    return rung
  }
}
