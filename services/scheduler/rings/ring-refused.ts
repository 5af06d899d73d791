// Held requests whose gates are open again. Google does not repeat a 403, so these rows are what
// keeps a change that was refused. Invariant: a row is deleted after its ring is durable, at the
// seq that was read: a refusal in between survives.
import type { Gates } from '#shared/domain/gates.ts'
import { step } from '#shared/process/step.ts'
import { countHeld, deleteHeld, heldConnections, type HeldConnection } from '#shared/store/held-rings.ts'
import { ringPages, type PagedRings, type RingDeps } from './ring-pages.ts'

const RINGS_MIN = 100
/**
 * Runs in which a backlog is rung down:
 * with one every 2 s it takes less than the minute that a reopened gate may take.
 */
const RUNS_PER_BACKLOG = 25

/**
 * Rings held requests, one run a call; remembers the size of the backlog while it lasts,
 * so that it is rung down evenly.
 * @returns how many were rung. Throws Failure; what was not rung is held still.
 */
export function createRingRefused(deps: RingDeps): (signal: AbortSignal) => Promise<number> {
  let peak = 0

  return async (signal) => {
    if (deps.gates.jobs().state !== 'on') return 0
    const held = await countHeld(deps.db)
    peak = held === 0 ? 0 : Math.max(peak, held)
    const quota = Math.max(RINGS_MIN, Math.ceil(peak / RUNS_PER_BACKLOG))
    return ringPages(deps, refused(deps.gates, quota), signal)
  }
}

const refused = (gates: Gates, perRun: number): PagedRings<HeldConnection, 'connectionId'> => ({
  reason: 'held',
  asOf: ({ readAt }) => readAt,
  pageSize: 500,
  perRun,
  read: heldConnections,
  by: 'connectionId',
  // The webhook gate is not asked by a ring, but what it refused stays refused while it is closed:
  // otherwise closing it would only delay.
  isAllowed: ({ gate }) => gate !== 'CALENDAR_WEBHOOK_ENABLED' || gates.webhook().state === 'on',
  mark(db, rung) {
    step('scheduler.held-rung')
    return deleteHeld(db, rung)
  },
})
