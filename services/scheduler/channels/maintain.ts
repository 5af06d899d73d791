// One run of the channels: every calendar that we sync gets one, which is renewed or replaced
// before it ends, and what is replaced is stopped.
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import { deleteLeftovers, unwatchedCalendars, type UnwatchedCalendar } from '#shared/store/channels.ts'
import { boundedEach } from '../bounded-each.ts'
import type { JobDeps } from '../deps.ts'
import { allowedRows, type Paging } from '../paging.ts'
import { mayRing } from '../rings/doorbell.ts'
import { isRenewable } from './life.ts'
import { applyNotices } from './notices.ts'
import { openChannel } from './open.ts'
import { renewChannel } from './renew.ts'
import { stopUnneeded } from './stop.ts'

/**
 * Graph opens no channel whose address does not answer,
 * and the webhook's door is shut while its gate is closed.
 */
const VALIDATES: Readonly<Record<VendorName, boolean>> = { google: false, microsoft: true }
const PAGE = 500
const AT_ONCE = 8
/** No further one begins after this, so that a run usually ends before its lease does. */
const RUN_MS = 8000

const UNWATCHED: Paging<UnwatchedCalendar, 'calendarId'> = {
  read: (db, after, limit) => unwatchedCalendars(db, { connectionId: null, after, limit }),
  by: 'calendarId',
  pageSize: PAGE,
  perRun: 500,
}

/**
 * One run: does what vendors told about channels,
 * opens and renews what is missing or about to end, stops what is replaced.
 * @returns how many were opened or renewed. Throws Failure `store/*` or `kafka/*`.
 */
export async function maintainChannels(deps: JobDeps, signal: AbortSignal): Promise<number> {
  if (deps.gates.jobs().state !== 'on') return 0
  await applyNotices(deps)
  const unnoticed = await deleteLeftovers(deps.db)
  if (unnoticed > 0) {
    metrics.channelsExpired.add(unnoticed)
    deps.logger.warn(
      { channels: unnoticed },
      'channels ended before others were open; their calendars were polled',
    )
  }
  const calendars = await allowedRows(deps, UNWATCHED, (calendar) => mayMaintain(deps, calendar), signal)
  const maintained = await maintainEach(deps, calendars, signal)
  await stopUnneeded(deps, signal)
  return maintained
}

/**
 * Opens the channels of one connection now, as far as they are missing and its gates are open.
 * @returns how many were opened; what failed is tried again by the job.
 * Throws Failure `store/*` or `kafka/*`.
 */
export async function openConnectionChannels(
  deps: JobDeps,
  connectionId: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  const calendars = await unwatchedCalendars(deps.db, { connectionId, after: null, limit: PAGE })
  return maintainEach(deps, calendars, signal)
}

function mayMaintain({ gates, mailboxes, clock }: JobDeps, calendar: UnwatchedCalendar): boolean {
  if (!mailboxes.vendors.has(calendar.vendor) || !mayRing(gates, calendar)) return false
  return isRenewable(calendar, clock.now()) || !VALIDATES[calendar.vendor] || gates.webhook().state === 'on'
}

async function maintainEach(
  deps: JobDeps,
  calendars: readonly UnwatchedCalendar[],
  signal: AbortSignal,
): Promise<number> {
  const limits = { atOnce: AT_ONCE, withinMs: RUN_MS, signal }
  // Vendors that did not like our address:
  // it is the same for all calendars, so in this run no other is asked for.
  const refusedBy = new Set<VendorName>()
  const maintained = await boundedEach(calendars, limits, async (calendar) => {
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
  for (const vendor of refusedBy) {
    deps.logger.warn(
      { vendor, code: 'vendor/callback-refused', address: deps.publicUrl },
      'the vendor does not accept our webhook address, so no channel can be opened; calendars are polled. Check PUBLIC_URL',
    )
  }
  return maintained
}
