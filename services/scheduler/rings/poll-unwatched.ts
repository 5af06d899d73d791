// Calendars without a channel are polled: the vendor offers no push for them, the tenant allows no
// subscriptions, or the channel was lost and no other could be opened yet. Only those calendars are
// read, not the others of their connection.
import { markPolled, pollableCalendars, type DueCalendar } from '#shared/store/due.ts'
import { ringPages, type PagedRings, type RingDeps } from './ring-pages.ts'

const EVERY_SECONDS = 2 * 60

const POLL: PagedRings<DueCalendar, 'connectionId'> = {
  reason: 'reconcile',
  asOf: ({ readAt }) => readAt,
  // Connections.
  pageSize: 200,
  // With a run every 2 s that is 250 calendars a second.
  perRun: 500,
  // One unit reads the calendars of a connection, so they are rung together.
  isPageWhole: true,
  read: pollableCalendars,
  by: 'connectionId',
  mark(db, rung) {
    const ids = rung.map(({ calendarId }) => calendarId)
    return markPolled(db, ids, EVERY_SECONDS)
  },
}

/**
 * Rings the calendars whose time has come.
 * @returns how many. Throws Failure; what was not rung stays due.
 */
export async function poll(deps: RingDeps, signal: AbortSignal): Promise<number> {
  return ringPages(deps, POLL, signal)
}
