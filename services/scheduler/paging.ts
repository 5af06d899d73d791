// Pages of what is due, past closed gates. Invariant: what a closed gate keeps back is passed over
// page by page, so that it does not stand before the others.
import type { JobDeps } from './deps.ts'

export interface Paging<Row extends object, Id extends keyof Row> {
  readonly by: Id
  /** The rows of the next `limit` ids after `after`, in the order of the ids. */
  readonly read: (db: JobDeps['db'], after: Row[Id] | null, limit: number) => Promise<readonly Row[]>
  readonly pageSize: number
  /** Rows of one run; the others stay due. */
  readonly perRun: number
  /** A page is not cut where a run ends: that run takes more than `perRun`. */
  readonly isPageWhole?: true
}

type PagingDeps = Pick<JobDeps, 'db' | 'gates'>

/**
 * The rows that are allowed, page by page, until the run has enough, `signal` aborts or the gate of
 * the jobs closes. Throws what `read` throws.
 */
export async function* allowedPages<Row extends object, Id extends keyof Row>(
  { db, gates }: PagingDeps,
  { by, read, pageSize, perRun, isPageWhole }: Paging<Row, Id>,
  isAllowed: (row: Row) => boolean,
  signal: AbortSignal,
): AsyncGenerator<readonly Row[], void, void> {
  let left = perRun
  let after: Row[Id] | null = null
  while (left > 0 && !signal.aborted && gates.jobs().state === 'on') {
    const page: readonly Row[] = await read(db, after, pageSize)
    const allowed = page.filter(isAllowed).slice(0, isPageWhole ? undefined : left)
    if (allowed.length > 0) yield allowed
    left -= allowed.length
    const last = page.at(-1)
    if (last === undefined || page.length < pageSize) return
    after = last[by]
  }
}

/** The rows of `allowedPages` at once, for work that does not go by pages. */
export async function allowedRows<Row extends object, Id extends keyof Row>(
  deps: PagingDeps,
  paging: Paging<Row, Id>,
  isAllowed: (row: Row) => boolean,
  signal: AbortSignal,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  for await (const page of allowedPages(deps, paging, isAllowed, signal)) rows.push(...page)
  return rows
}
