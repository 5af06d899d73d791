// Calendars without a channel are polled: the vendor offers no push for them, the tenant allows no
// subscriptions, or the channel was lost and no other could be opened yet. Only those calendars are
// read, not the others of their connection.
import { markPolled, pollableCalendars } from '#shared/store/due.ts'
import { ringPages } from './ring-pages.ts'

const EVERY_SECONDS = 2 * 60

/** Rings the calendars whose time has come. */
export const poll = ringPages({
  reason: 'reconcile',
  // Connections.
  pageSize: 200,
  // A run every 2 s, so 250 calendars a second at least: a page is whole.
  perRun: 500,
  // One unit reads the calendars of a connection, so they are rung together.
  isPageWhole: true,
  read: pollableCalendars,
  by: 'connectionId',
  mark(db, _connections, rung) {
    const ids = rung.map(({ calendarId }) => calendarId)
    return markPolled(db, ids, EVERY_SECONDS)
  },
})
