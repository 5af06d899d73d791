// Every connection is checked now and then although nothing rang, since vendors lose notifications.
// The next time is set ± 20 %, so that connections made together spread out.
import { step } from '#shared/process/step.ts'
import { markReconciled, reconcilableConnections, type DueConnection } from '#shared/store/due.ts'
import { ringPages, type PagedRings, type RingDeps } from './ring-pages.ts'

const EVERY_SECONDS = 15 * 60

const RECONCILE: PagedRings<DueConnection, 'connectionId'> = {
  reason: 'reconcile',
  asOf: ({ readAt }) => readAt,
  pageSize: 200,
  // With a run every 2 s that is 100 connections a second,
  // and an outage's backlog does not become a herd.
  perRun: 200,
  read: reconcilableConnections,
  by: 'connectionId',
  mark(db, rung) {
    step('scheduler.reconcile-rung')
    const ids = rung.map(({ connectionId }) => connectionId)
    return markReconciled(db, ids, EVERY_SECONDS)
  },
}

/**
 * Rings the connections whose time has come.
 * @returns how many, at most 200. Throws Failure; what was not rung stays due.
 */
export async function reconcile(deps: RingDeps, signal: AbortSignal): Promise<number> {
  return ringPages(deps, RECONCILE, signal)
}
