// Held requests whose gates are open again. Google does not repeat a 403, so these rows are what
// keeps a change that was refused. Invariant: a row is deleted after its sync request is durable,
// at the seq that was read: a refusal in between survives.
import { countHeld, deleteHeld, heldConnections } from '#shared/store/held-requests.ts'
import type { JobDeps } from '../deps.ts'
import { ringPages } from './ring-pages.ts'

const REQUESTS_MIN = 100
/** With one every 2 s they take less than the minute that a reopened gate may take. */
const RUNS_PER_BACKLOG = 25

/**
 * Makes the job that rings held requests. It remembers the size of a backlog while that lasts, so
 * that the backlog is rung down evenly.
 */
export function createRingRefused(deps: JobDeps): (signal: AbortSignal) => Promise<number> {
  let peak = 0

  return async (signal) => {
    if (deps.gates.jobs().state !== 'on') return 0
    const held = await countHeld(deps.db)
    peak = held === 0 ? 0 : Math.max(peak, held)
    const quota = Math.max(REQUESTS_MIN, Math.ceil(peak / RUNS_PER_BACKLOG))
    const ringHeld = ringPages({
      reason: 'held',
      pageSize: 500,
      perRun: quota,
      read: heldConnections,
      by: 'connectionId',
      // The webhook gate is not asked before ringing, but what it refused stays refused while it is
      // closed: otherwise closing it would only delay.
      isAllowed: ({ gate }) => gate !== 'CALENDAR_WEBHOOK_ENABLED' || deps.gates.webhook().state === 'on',
      step: 'scheduler.held-rung',
      mark: (db, _ids, rung) => deleteHeld(db, rung),
    })
    return ringHeld(deps, signal)
  }
}
