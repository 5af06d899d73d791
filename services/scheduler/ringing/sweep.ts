// The net under all else that rings: whatever is owed and overdue is rung here, connections and
// single calendars, so that no state with work exists that nothing will ring. It finds what a lost
// retry record, a crash or a bug elsewhere left behind.
import { markCalendarsRung, markRung, overdueCalendars, overdueConnections } from '#shared/store/due.ts'
import type { JobDeps } from '../deps.ts'
import { ringPages } from './ring-pages.ts'

const SWEEP = { reason: 'sweep', pageSize: 500, perRun: Infinity, step: 'scheduler.sweep-rung' } as const

const sweepConnections = ringPages({
  ...SWEEP,
  read: overdueConnections,
  by: 'connectionId',
  mark: markRung,
})

const sweepCalendars = ringPages({
  ...SWEEP,
  read: overdueCalendars,
  by: 'calendarId',
  mark: markCalendarsRung,
})

/**
 * Rings each overdue connection and calendar once. One whose gate is closed is left as it is and
 * found again when the gate has opened.
 */
export async function sweep(deps: JobDeps, signal: AbortSignal): Promise<number> {
  return (await sweepConnections(deps, signal)) + (await sweepCalendars(deps, signal))
}
