// One run of the channels: every calendar that we sync gets one, which is renewed or replaced
// before it ends, and what is replaced is stopped.
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import { deleteLeftovers, unwatchedCalendars, type UnwatchedCalendar } from '#shared/store/channels.ts'
import { boundedEach } from '../bounded-each.ts'
import type { JobDeps } from '../deps.ts'
import { allowedRows, type Paging } from '../paging.ts'
import { mayAsk } from '../ringing/ring.ts'
import { addressRefused, channelsExpired } from './events.ts'
import { isRenewable } from './life.ts'
import { applyNotices } from './notices.ts'
import { openChannel } from './open.ts'
import { renewChannel } from './renew.ts'
import { stopUnneeded } from './stop.ts'

/** Graph opens no channel whose address does not answer: ours, while the webhook gate is closed. */
const VALIDATES: Readonly<Record<VendorName, boolean>> = { google: false, microsoft: true }
const PAGE = 500
const AT_ONCE = 8

const UNWATCHED: Paging<UnwatchedCalendar, 'calendarId'> = {
  read: (db, after, limit) => unwatchedCalendars(db, { connectionId: null, after, limit }),
  by: 'calendarId',
  pageSize: PAGE,
  perRun: PAGE,
}

/** One run. @returns how many were opened or renewed. Throws Failure `store/*` or `kafka/*`. */
export async function maintainChannels(deps: JobDeps, signal: AbortSignal): Promise<number> {
  if (deps.gates.jobs().state !== 'on') return 0
  await applyNotices(deps)
  const expired = await deleteLeftovers(deps.db)
  if (expired > 0) channelsExpired(deps, expired)
  const calendars = await allowedRows(deps, UNWATCHED, (calendar) => mayMaintain(deps, calendar), signal)
  const maintained = await maintainEach(deps, calendars, signal)
  await stopUnneeded(deps, signal)
  return maintained
}

/** The same for one connection alone. The job tries again what failed. */
export async function openConnectionChannels(
  deps: JobDeps,
  connectionId: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  const calendars = await unwatchedCalendars(deps.db, { connectionId, after: null, limit: PAGE })
  return maintainEach(deps, calendars, signal)
}

function mayMaintain(deps: JobDeps, calendar: UnwatchedCalendar): boolean {
  if (!mayAsk(deps, calendar)) return false
  if (isRenewable(calendar, deps.clock.now()) || !VALIDATES[calendar.vendor]) return true
  return deps.gates.webhook().state === 'on'
}

async function maintainEach(
  deps: JobDeps,
  calendars: readonly UnwatchedCalendar[],
  signal: AbortSignal,
): Promise<number> {
  // Vendors that did not like our address, which is the same for all calendars of this run.
  const refusedBy = new Set<VendorName>()
  const maintained = await boundedEach(calendars, { signal, atOnce: AT_ONCE }, async (calendar) => {
    if (!mayMaintain(deps, calendar)) return false
    const renewed = isRenewable(calendar, deps.clock.now())
      ? await renewChannel(deps, calendar, signal)
      : 'gone'
    if (renewed !== 'gone') return renewed === 'renewed'
    if (refusedBy.has(calendar.vendor)) return false
    const opened = await openChannel(deps, calendar, signal)
    if (opened === 'callback-refused') refusedBy.add(calendar.vendor)
    return opened === 'opened'
  })
  for (const vendor of refusedBy) addressRefused(deps, vendor)
  return maintained
}
