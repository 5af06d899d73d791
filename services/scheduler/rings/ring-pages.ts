// The loop of every job that rings: page past closed gates, ring, mark. Invariant: a row is marked
// after its ring is durable, so a crash in between rings twice and never not at all.
import type { RequestReason } from '#schemas/messages.gen.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { JobDeps } from '../deps.ts'
import { allowedPages, type Paging } from '../paging.ts'
import { mayRing, ring, ringOf, type DoorbellDeps, type RingRow } from './doorbell.ts'

export type RingDeps = DoorbellDeps & Pick<JobDeps, 'db' | 'gates'>

export interface PagedRings<Row extends RingRow, Id extends keyof Row> extends Paging<Row, Id> {
  readonly reason: RequestReason
  readonly asOf: (row: Row) => Micros | null
  /** Beside the gates that are asked for every ring. */
  readonly isAllowed?: (row: Row) => boolean
  /** Sees to it that what was rung is not due any more. */
  readonly mark: (db: JobDeps['db'], rung: readonly Row[]) => Promise<unknown>
}

/**
 * Rings what is due and not behind a closed gate.
 * @returns how many. Throws Failure; what was not rung stays due.
 */
export async function ringPages<Row extends RingRow, Id extends keyof Row>(
  deps: RingDeps,
  rings: PagedRings<Row, Id>,
  signal: AbortSignal,
): Promise<number> {
  const { reason, asOf, isAllowed = () => true, mark } = rings
  const isOpen = (row: Row) => mayRing(deps.gates, row) && isAllowed(row)
  let rung = 0
  for await (const rows of allowedPages(deps, rings, isOpen, signal)) {
    const due = rows.map((row) => ringOf(row, asOf(row)))
    await ring(deps, reason, due)
    await mark(deps.db, rows)
    rung += rows.length
  }
  return rung
}
