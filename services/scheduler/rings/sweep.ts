// The net under every other ring: whatever is owed and overdue is rung here, connections and single
// calendars, so that no state with work exists that nothing will ring. It finds what a lost retry
// record, a crash or a bug elsewhere left behind.
import type { Gates } from '#shared/domain/gates.ts'
import type { CalendarId, ConnectionId } from '#shared/domain/ids.ts'
import { crashPoint } from '#shared/process/crash-point.ts'
import type { Queryable } from '#shared/store/database.ts'
import { markCalendarsRung, markRung, overdueCalendars, overdueConnections } from '#shared/store/due.ts'
import { mayRing, ring, type DoorbellDeps } from './doorbell.ts'

const PAGE = 500

export interface SweepDeps extends DoorbellDeps {
  readonly db: Queryable
  readonly gates: Gates
}

/**
 * Rings each overdue connection and calendar once. One whose gate is closed is left as it is and
 * found again when the gate has opened.
 * @returns how many were rung. Throws Failure; what was not rung is overdue still.
 */
export async function sweep(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  return (await sweepConnections(deps, signal)) + (await sweepCalendars(deps, signal))
}

async function sweepCalendars(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  let rung = 0
  let after: CalendarId | null = null
  while (!signal.aborted && deps.gates.jobs().state === 'on') {
    const page = await overdueCalendars(deps.db, after, PAGE)
    const open = page.filter((calendar) => mayRing(deps.gates, calendar))
    await ring(
      deps,
      'sweep',
      open.map(({ connectionId, providerId, vendor, calendarId }) => ({
        connectionId,
        providerId,
        vendor,
        calendarId,
        asOf: null,
      })),
    )
    if (open.length > 0) crashPoint('scheduler.sweep-rung')
    await markCalendarsRung(
      deps.db,
      open.map(({ calendarId }) => calendarId),
    )
    rung += open.length
    after = page.at(-1)?.calendarId ?? null
    if (page.length < PAGE) break
  }
  return rung
}

async function sweepConnections(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  let rung = 0
  let after: ConnectionId | null = null
  while (!signal.aborted && deps.gates.jobs().state === 'on') {
    const page = await overdueConnections(deps.db, after, PAGE)
    const open = page.filter((connection) => mayRing(deps.gates, connection))
    await ring(
      deps,
      'sweep',
      open.map(({ connectionId, providerId, vendor }) => ({
        connectionId,
        providerId,
        vendor,
        calendarId: null,
        asOf: null,
      })),
    )
    if (open.length > 0) crashPoint('scheduler.sweep-rung')
    await markRung(
      deps.db,
      open.map((connection) => connection.connectionId),
    )
    rung += open.length
    after = page.at(-1)?.connectionId ?? null
    if (page.length < PAGE) break
  }
  return rung
}
