// Held requests whose gates are open again. Google does not repeat a 403, so these rows are what
// keeps a change that was refused. Invariant: a row is deleted after its ring is durable, at the
// seq that was read: a refusal in between survives.
import type { Gates } from '#shared/domain/gates.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { crashPoint } from '#shared/process/crash-point.ts'
import { countHeld, deleteHeld, heldConnections, type HeldConnection } from '#shared/store/held-rings.ts'
import { mayRing, ring } from './doorbell.ts'
import type { SweepDeps } from './sweep.ts'

const PAGE = 500
const RINGS_MIN = 100
/**
 * Runs in which a backlog is rung down:
 * with one every 2 s it takes less than the minute that a reopened gate may take.
 */
const RUNS_PER_BACKLOG = 25

export interface RingHeld {
  /** One run. @returns how many were rung. Throws Failure; what was not rung is held still. */
  (signal: AbortSignal): Promise<number>
}

/**
 * Rings held requests; remembers the size of the backlog while it lasts,
 * so that it is rung down evenly.
 */
export function createRingHeld(deps: SweepDeps): RingHeld {
  let peak = 0

  return async (signal) => {
    if (deps.gates.jobs().state !== 'on') return 0
    const held = await countHeld(deps.db)
    peak = held === 0 ? 0 : Math.max(peak, held)
    const quota = Math.max(RINGS_MIN, Math.ceil(peak / RUNS_PER_BACKLOG))
    let rung = 0
    let after: ConnectionId | null = null
    while (rung < quota && !signal.aborted) {
      const page = await heldConnections(deps.db, after, PAGE)
      rung += await ringOpen(deps, page, quota - rung)
      after = page.at(-1)?.connectionId ?? null
      if (page.length < PAGE) break
    }
    return rung
  }
}

async function ringOpen(deps: SweepDeps, page: readonly HeldConnection[], max: number): Promise<number> {
  const open = page.filter((held) => mayRing(deps.gates, held) && gateOpen(deps.gates, held)).slice(0, max)
  if (open.length === 0) return 0
  await ring(
    deps,
    'held',
    open.map(({ connectionId, providerId, vendor, readAt }) => ({
      connectionId,
      providerId,
      vendor,
      calendarId: null,
      asOf: readAt,
    })),
  )
  crashPoint('scheduler.held-rung')
  await deleteHeld(deps.db, open)
  return open.length
}

/**
 * The webhook gate is not asked by a ring, but what it refused stays refused while it is closed:
 * otherwise closing it would only delay.
 */
function gateOpen(gates: Gates, held: HeldConnection): boolean {
  return held.gate !== 'CALENDAR_WEBHOOK_ENABLED' || gates.webhook().state === 'on'
}
