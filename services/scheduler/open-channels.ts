// Channels: one for every calendar that we sync, opened before the last one ends. Invariant: the ring comes after the vendor
// confirmed the channel (a change between the last listing and the watch had no notification) and before the row says open,
// so a crash in between leaves a row that is tried again, never a gap that nobody rings for.
import { randomUUID } from 'node:crypto'
import { asFailure } from '#shared/domain/failure.ts'
import { signChannelToken, type ChannelKeys } from '#shared/domain/channel-token.ts'
import type { CalendarId, ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Logger } from '#shared/platform/log.ts'
import { metrics } from '#shared/platform/metrics.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import {
  countOpenChannels,
  deleteChannel,
  deleteLeftovers,
  insertOpening,
  markOpen,
  markPushNotSupported,
  takeUnneeded,
  unwatchedCalendars,
  type Channel,
  type UnwatchedCalendar,
} from '#shared/store/channels.ts'
import type { Access } from '#shared/vendors/access.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { mayRing, ring, type DoorbellDeps } from './doorbell.ts'

/** Google's maximum for events is 7 days in practice; it may grant less, and what it grants counts. */
const LIFE_MS = 7 * 24 * 3600 * 1000
const PER_RUN = 50
const PAGE = 500
const AT_ONCE = 4
/** A run ends before the lease does; what is left waits for the next. */
const RUN_DEADLINE_MS = 12_000

export interface ChannelsDeps extends DoorbellDeps {
  readonly db: Queryable
  readonly gates: Gates
  readonly vendors: ReadonlyMap<VendorName, { readonly vendor: Vendor; readonly access: Access }>
  readonly keys: ChannelKeys
  /** Base of our own address as the vendor sees it, without a slash at the end. */
  readonly publicUrl: string
  readonly logger: Logger
}

/** One run: opens what is missing or about to end, stops what is replaced. @returns channels opened. Throws Failure `store/*`. */
export async function tendChannels(deps: ChannelsDeps, signal: AbortSignal): Promise<number> {
  const stop = AbortSignal.any([signal, AbortSignal.timeout(RUN_DEADLINE_MS)])
  if (deps.gates.jobs().state !== 'on') return 0
  await deleteLeftovers(deps.db)
  const opened = await openEach(deps, await openable(deps), stop)
  await stopUnneeded(deps, stop)
  metrics.channels.record(await countOpenChannels(deps.db), { state: 'open' })
  return opened
}

/**
 * Opens the channels of one connection now, as far as they are missing and its gates are open. @returns how many were opened;
 * what failed is tried again by the job. Throws Failure `store/*` or `kafka/*`.
 */
export async function openConnectionChannels(
  deps: ChannelsDeps,
  connectionId: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  const calendars = await unwatchedCalendars(deps.db, { connectionId, after: null, limit: PAGE })
  return openEach(deps, calendars, signal)
}

/** Calendars of a run; those behind closed gates are passed over page by page, so that they do not stand before the others. */
async function openable(deps: ChannelsDeps): Promise<readonly UnwatchedCalendar[]> {
  const found: UnwatchedCalendar[] = []
  let after: CalendarId | null = null
  for (;;) {
    const page: readonly UnwatchedCalendar[] = await unwatchedCalendars(deps.db, {
      connectionId: null,
      after,
      limit: PAGE,
    })
    found.push(...page.filter((calendar) => mayRing(deps.gates, calendar)))
    after = page.at(-1)?.calendarId ?? null
    if (page.length < PAGE || found.length >= PER_RUN) return found.slice(0, PER_RUN)
  }
}

async function openEach(
  deps: ChannelsDeps,
  calendars: readonly UnwatchedCalendar[],
  signal: AbortSignal,
): Promise<number> {
  const waiting = [...calendars]
  let opened = 0
  async function worker(): Promise<void> {
    for (let calendar = waiting.shift(); calendar && !signal.aborted; calendar = waiting.shift()) {
      if (mayRing(deps.gates, calendar) && (await openOne(deps, calendar, signal))) opened += 1
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return opened
}

async function openOne(
  deps: ChannelsDeps,
  calendar: UnwatchedCalendar,
  signal: AbortSignal,
): Promise<boolean> {
  const use = deps.vendors.get(calendar.vendor)
  if (!use) return false
  const id = randomUUID()
  await insertOpening(deps.db, id, calendar)
  try {
    const answer = await use.access.withToken(calendar.connectionId, signal, (accessToken) =>
      use.vendor.openChannel(
        accessToken,
        {
          channelId: id,
          vendorCalendarId: calendar.vendorCalendarId,
          callbackUrl: `${deps.publicUrl}/api/webhooks/calendar/${calendar.vendor}`,
          token: signChannelToken(deps.keys, calendar),
          lifeMs: LIFE_MS,
        },
        signal,
      ),
    )
    if (answer.kind === 'push-not-supported') {
      await markPushNotSupported(deps.db, calendar.calendarId, id)
      return false
    }
    const { connectionId, providerId, vendor, calendarId } = calendar
    await ring(deps, 'connected', [{ connectionId, providerId, vendor, calendarId, asOf: null }])
    await markOpen(deps.db, id, answer)
    return true
  } catch (error) {
    // The row stays as `opening` for two minutes: that is the pause before the next try.
    const failure = asFailure(error)
    if (failure.scope === 'process') throw failure
    deps.logger.info(
      { code: failure.code, connectionId: calendar.connectionId },
      'a channel could not be opened; tried again',
    )
    return false
  }
}

async function stopUnneeded(deps: ChannelsDeps, signal: AbortSignal): Promise<void> {
  for (const channel of await takeUnneeded(deps.db, PER_RUN)) {
    if (signal.aborted) return
    if (await stopOne(deps, channel, signal)) await deleteChannel(deps.db, channel.id)
  }
}

/** @returns false when the vendor should be asked again; the row goes at the latest an hour after the channel ended by itself. */
async function stopOne(deps: ChannelsDeps, channel: Channel, signal: AbortSignal): Promise<boolean> {
  const use = deps.vendors.get(channel.vendor)
  if (!use) return false
  try {
    const { id: channelId, resourceId } = channel
    await use.access.withToken(channel.connectionId, signal, (accessToken) =>
      use.vendor.stopChannel(accessToken, { channelId, resourceId }, signal),
    )
    return true
  } catch (error) {
    const failure = asFailure(error)
    if (failure.scope === 'process') throw failure
    // Without a way in nobody can stop it: it ends by itself, and its notifications find nothing to do.
    return failure.kind === 'unauthorized' || failure.kind === 'gone'
  }
}
