// Calendars without a channel are polled: the vendor offers no push for them, the tenant allows no
// subscriptions, or the channel was lost and no other could be opened yet. Only those calendars are
// read, not the others of their connection.
import type { ConnectionId } from '#shared/domain/ids.ts'
import { markPolled, pollableCalendars } from '#shared/store/due.ts'
import { mayRing, ring } from './doorbell.ts'
import type { SweepDeps } from './sweep.ts'

const EVERY_SECONDS = 2 * 60
/** Connections. */
const PAGE = 200
/** Per run; with a run every 2 s that is 250 calendars a second. */
const RINGS_MAX = 500

/**
 * Rings the calendars whose time has come.
 * @returns how many. Throws Failure; what was not rung stays due.
 */
export async function poll(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  let rung = 0
  let after: ConnectionId | null = null
  while (rung < RINGS_MAX && !signal.aborted && deps.gates.jobs().state === 'on') {
    const page = await pollableCalendars(deps.db, after, PAGE)
    const open = page.filter((calendar) => mayRing(deps.gates, calendar))
    await ring(
      deps,
      'reconcile',
      open.map(({ connectionId, providerId, vendor, calendarId, readAt }) => ({
        connectionId,
        providerId,
        vendor,
        calendarId,
        asOf: readAt,
      })),
    )
    await markPolled(
      deps.db,
      open.map((calendar) => calendar.calendarId),
      EVERY_SECONDS,
    )
    rung += open.length
    after = page.at(-1)?.connectionId ?? null
    if (after === null) break
  }
  return rung
}
