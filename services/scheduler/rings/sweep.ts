// The net under every other ring: whatever is owed and overdue is rung here, connections and single
// calendars, so that no state with work exists that nothing will ring. It finds what a lost retry
// record, a crash or a bug elsewhere left behind.
import { step } from '#shared/process/step.ts'
import {
  markCalendarsRung,
  markRung,
  overdueCalendars,
  overdueConnections,
  type DueConnection,
  type DueCalendar,
} from '#shared/store/due.ts'
import { ringPages, type PagedRings, type RingDeps } from './ring-pages.ts'

const SWEEP = { reason: 'sweep', asOf: () => null, pageSize: 500, perRun: Infinity } as const

const CONNECTIONS: PagedRings<DueConnection, 'connectionId'> = {
  ...SWEEP,
  read: overdueConnections,
  by: 'connectionId',
  mark(db, rung) {
    step('scheduler.sweep-rung')
    const ids = rung.map(({ connectionId }) => connectionId)
    return markRung(db, ids)
  },
}

const CALENDARS: PagedRings<DueCalendar, 'calendarId'> = {
  ...SWEEP,
  read: overdueCalendars,
  by: 'calendarId',
  mark(db, rung) {
    step('scheduler.sweep-rung')
    const ids = rung.map(({ calendarId }) => calendarId)
    return markCalendarsRung(db, ids)
  },
}

/**
 * Rings each overdue connection and calendar once. One whose gate is closed is left as it is and
 * found again when the gate has opened.
 * @returns how many were rung. Throws Failure; what was not rung is overdue still.
 */
export async function sweep(deps: RingDeps, signal: AbortSignal): Promise<number> {
  return (await ringPages(deps, CONNECTIONS, signal)) + (await ringPages(deps, CALENDARS, signal))
}
