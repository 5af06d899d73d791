// Every connection is checked now and then although nothing rang, since vendors lose notifications.
// The next time is set ± 20 %, so that connections made together spread out.
import type { ConnectionId } from '#shared/domain/ids.ts'
import { crashPoint } from '#shared/process/crash-point.ts'
import { markReconciled, reconcilableConnections } from '#shared/store/due.ts'
import { mayRing, ring } from './doorbell.ts'
import type { SweepDeps } from './sweep.ts'

const EVERY_SECONDS = 15 * 60
const PAGE = 200
/**
 * Per run; with a run every 2 s that is 100 connections a second,
 * and an outage's backlog does not become a herd.
 */
const RINGS_MAX = 200

/**
 * Rings the connections whose time has come.
 * @returns how many, at most 200. Throws Failure; what was not rung stays due.
 */
export async function reconcile(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  let rung = 0
  let after: ConnectionId | null = null
  while (rung < RINGS_MAX && !signal.aborted && deps.gates.jobs().state === 'on') {
    const page = await reconcilableConnections(deps.db, after, PAGE)
    const open = page.filter((connection) => mayRing(deps.gates, connection)).slice(0, RINGS_MAX - rung)
    await ring(
      deps,
      'reconcile',
      open.map(({ connectionId, providerId, vendor, readAt }) => ({
        connectionId,
        providerId,
        vendor,
        calendarId: null,
        asOf: readAt,
      })),
    )
    if (open.length > 0) crashPoint('scheduler.reconcile-rung')
    await markReconciled(
      deps.db,
      open.map((connection) => connection.connectionId),
      EVERY_SECONDS,
    )
    rung += open.length
    after = page.at(-1)?.connectionId ?? null
    if (page.length < PAGE) break
  }
  return rung
}
