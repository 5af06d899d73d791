// Every connection is checked now and then although nothing rang, since vendors lose notifications.
// The next time is set ± 20 %, so that connections made together spread out.
import { markReconciled, reconcilableConnections } from '#shared/store/due.ts'
import { ringPages } from './ring-pages.ts'

const EVERY_SECONDS = 15 * 60

/** Rings the connections whose time has come. */
export const reconcile = ringPages({
  reason: 'reconcile',
  pageSize: 200,
  // With a run every 2 s that is 100 connections a second,
  // and an outage's backlog does not become a herd.
  perRun: 200,
  read: reconcilableConnections,
  by: 'connectionId',
  step: 'scheduler.reconcile-rung',
  mark: (db, ids) => markReconciled(db, ids, EVERY_SECONDS),
})
