// Channels: one for every calendar that we sync, renewed or replaced before it ends. Invariant: the
// ring comes after the vendor confirmed the channel (a change between the last listing and the
// watch had no notification) and before the row says open, so a crash in between leaves a row that
// is tried again, never a gap that nobody rings for.
import { randomUUID } from 'node:crypto'
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { readChannelId, readResourceId } from '#shared/domain/channel-ids.ts'
import { signChannelToken } from '#shared/domain/channel-token.ts'
import type { CalendarId, ConnectionId, Micros, VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import {
  deleteChannel,
  deleteLeftovers,
  insertOpening,
  markOpen,
  markPushNotSupported,
  markRenewed,
  putOffOpening,
  putOffOpenings,
  unwatchedCalendars,
  type UnwatchedCalendar,
} from '#shared/store/channels.ts'
import type { OpenedChannel } from '#shared/vendors/vendor.ts'
import type { ChannelsDeps } from './deps.ts'
import { mayRing, ring, type Ring } from '../rings/doorbell.ts'
import { heedNotices } from './notices.ts'
import { settleJob } from '../settle-job.ts'
import { stopUnneeded } from './stop.ts'
import { workThrough } from '../bounded-each.ts'
import { channelAttempts, channelWaitMs, limitWaitMs } from '../wait-after.ts'

/**
 * What we ask for; the vendor may grant less (Graph: 10 070 minutes), and what it grants counts.
 */
const LIFE_MS = 7 * 24 * 3600 * 1000
/**
 * How long a channel may ring under one token, renewals included (ADR 14). Google renews nothing.
 * Graph gives no promise that a renewal can change clientState, so a subscription is renewed for a
 * week and then replaced; its last renewal may give it a week more.
 */
const TOKEN_LIFE_MS: Readonly<Record<VendorName, number>> = { google: LIFE_MS, microsoft: 2 * LIFE_MS }
/** A notification may come late: Graph repeats one for four hours. Clocks differ, too. */
const TOKEN_GRACE_MS = 24 * 3600 * 1000
/** Whether a channel can be given more life, or has to be replaced by another. */
const RENEWS: Readonly<Record<VendorName, boolean>> = { google: false, microsoft: true }
/**
 * Graph opens no channel whose address does not answer,
 * and the webhook's door is shut while its gate is closed.
 */
const VALIDATES: Readonly<Record<VendorName, boolean>> = { google: false, microsoft: true }
/**
 * A calendar whose vendor offers no push for it is asked again after a day, ± a quarter:
 * vendors change their mind.
 */
const ASK_AGAIN_MS = 24 * 3600 * 1000
/**
 * A channel whose renewal is refused so often in a row, in whatever words, is replaced by another.
 */
const RENEWALS_MAX = 3
const PER_RUN = 500
const PAGE = 500
const AT_ONCE = 8
/** No further one begins after this, so that a run usually ends before its lease does. */
const RUN_MS = 8000

/**
 * One run: does what vendors told about channels,
 * opens and renews what is missing or about to end, stops what is replaced.
 * @returns how many were opened or renewed. Throws Failure `store/*` or `kafka/*`.
 */
export async function tendChannels(deps: ChannelsDeps, signal: AbortSignal): Promise<number> {
  if (deps.gates.jobs().state !== 'on') return 0
  await heedNotices(deps)
  const unnoticed = await deleteLeftovers(deps.db)
  if (unnoticed > 0) {
    metrics.channelsExpired.add(unnoticed)
    deps.logger.warn(
      { channels: unnoticed },
      'channels ended before others were open; their calendars were polled',
    )
  }
  const tended = await tendEach(deps, await tendable(deps), signal)
  await stopUnneeded(deps, signal)
  return tended
}

/**
 * Opens the channels of one connection now, as far as they are missing and its gates are open.
 * @returns how many were opened; what failed is tried again by the job.
 * Throws Failure `store/*` or `kafka/*`.
 */
export async function openConnectionChannels(
  deps: ChannelsDeps,
  connectionId: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  const calendars = await unwatchedCalendars(deps.db, { connectionId, after: null, limit: PAGE })
  return tendEach(deps, calendars, signal)
}

/**
 * Calendars of a run; those behind closed gates are passed over page by page, so that they do not
 * stand before the others.
 */
async function tendable(deps: ChannelsDeps): Promise<readonly UnwatchedCalendar[]> {
  const found: UnwatchedCalendar[] = []
  let after: CalendarId | null = null
  for (;;) {
    const page: readonly UnwatchedCalendar[] = await unwatchedCalendars(deps.db, {
      connectionId: null,
      after,
      limit: PAGE,
    })
    found.push(...page.filter((calendar) => mayTend(deps, calendar)))
    after = page.at(-1)?.calendarId ?? null
    if (page.length < PAGE || found.length >= PER_RUN) return found.slice(0, PER_RUN)
  }
}

function mayTend({ gates, mailboxes, clock }: ChannelsDeps, calendar: UnwatchedCalendar): boolean {
  if (!mailboxes.vendors.has(calendar.vendor) || !mayRing(gates, calendar)) return false
  return isRenewable(calendar, clock.now()) || !VALIDATES[calendar.vendor] || gates.webhook().state === 'on'
}

/** A channel never outlives its token: one that would after a renewal is replaced. */
function isRenewable(
  calendar: UnwatchedCalendar,
  now: Micros,
): calendar is UnwatchedCalendar & { readonly channelId: string } {
  if (calendar.channelId === null || calendar.isSilent || !RENEWS[calendar.vendor]) return false
  const { tokenEndsAt } = calendar
  return tokenEndsAt !== null && tokenEndsAt >= now + (LIFE_MS + TOKEN_GRACE_MS) * 1000
}

async function tendEach(
  deps: ChannelsDeps,
  calendars: readonly UnwatchedCalendar[],
  signal: AbortSignal,
): Promise<number> {
  const limits = { atOnce: AT_ONCE, withinMs: RUN_MS, signal }
  // Vendors that did not like our address:
  // it is the same for all calendars, so in this run no other is asked for.
  const refusedBy = new Set<VendorName>()
  const tended = await workThrough(calendars, limits, async (calendar) => {
    if (!mayTend(deps, calendar)) return false
    const renewed = isRenewable(calendar, deps.clock.now()) ? await renewOne(deps, calendar, signal) : 'gone'
    if (renewed !== 'gone') return renewed === 'renewed'
    if (refusedBy.has(calendar.vendor)) return false
    const opened = await openOne(deps, calendar, signal)
    if (opened === 'callback-refused') refusedBy.add(calendar.vendor)
    return opened === 'opened'
  })
  for (const vendor of refusedBy) {
    deps.logger.warn(
      { vendor, code: 'vendor/callback-refused', address: deps.publicUrl },
      'the vendor does not accept our webhook address, so no channel can be opened; calendars are polled. Check PUBLIC_URL',
    )
  }
  return tended
}

async function renewOne(
  deps: ChannelsDeps,
  calendar: UnwatchedCalendar & { readonly channelId: string },
  signal: AbortSignal,
): Promise<'renewed' | 'gone' | 'failed'> {
  const { channelId } = calendar
  const mailbox = deps.mailboxes.of(calendar)
  try {
    const answer = await mailbox.renewChannel({ channelId, lifeMs: LIFE_MS }, signal)
    if (answer.kind === 'gone') {
      await deleteChannel(deps.db, channelId)
      return 'gone'
    }
    // A channel that was to be reauthorized may have been silent for a while.
    if (calendar.isAsked) await ring(deps, 'reconcile', [ringOf(calendar)])
    await markRenewed(deps.db, channelId, lifeEnd(deps, answer.expiresAt))
    return 'renewed'
  } catch (error) {
    if (signal.aborted) return 'failed'
    const failure = asFailure(error)
    // What is said of a channel in odd words may be about this one: another is asked for, and the
    // old one goes when that is open.
    const isOdd = settleJob(failure) !== 'later'
    if (isOdd && channelAttempts(failure, calendar.attempts) >= RENEWALS_MAX) return 'gone'
    await putOff(deps, calendar, null, failure)
    return 'failed'
  }
}

async function openOne(
  deps: ChannelsDeps,
  calendar: UnwatchedCalendar,
  signal: AbortSignal,
): Promise<'opened' | 'not-opened' | 'callback-refused'> {
  const mailbox = deps.mailboxes.of(calendar)
  const id = randomUUID()
  const tokenEndsAt = deps.clock.now() + (TOKEN_LIFE_MS[calendar.vendor] + TOKEN_GRACE_MS) * 1000
  if (!(await insertOpening(deps.db, id, calendar))) return 'not-opened'
  try {
    const request = {
      channelId: id,
      vendorCalendarId: calendar.vendorCalendarId,
      callbackUrl: `${deps.publicUrl}/api/webhooks/calendar/${calendar.vendor}`,
      token: signChannelToken(deps.keys, { ...calendar, endsAt: tokenEndsAt }),
      lifeMs: LIFE_MS,
    }
    const answer = await mailbox.openChannel(request, signal)
    if (answer.kind === 'push-not-supported') {
      const waitMs = ASK_AGAIN_MS * (0.75 + 0.5 * Math.random())
      await markPushNotSupported(deps.db, { calendarId: calendar.calendarId, channelId: id }, waitMs)
      return 'not-opened'
    }
    if (answer.kind === 'limit-reached') {
      await putOffLimited(deps, calendar, id)
      return 'not-opened'
    }
    const opened = wellFormed(deps, calendar.vendor, answer)
    await ring(deps, 'connected', [ringOf(calendar)])
    await markOpen(deps.db, id, { ...opened, tokenEndsAt, replacesSilent: calendar.isSilent })
    if (calendar.isSilent) tellSilent(deps, calendar)
    return 'opened'
  } catch (error) {
    // We are asked to stop: whether the vendor opened it is not known.
    // If it did, it is found by its first notification.
    if (signal.aborted) {
      await deleteChannel(deps.db, id)
      return 'not-opened'
    }
    const failure = asFailure(error)
    await putOff(deps, calendar, id, failure)
    return failure.code === 'vendor/callback-refused' ? 'callback-refused' : 'not-opened'
  }
}

/**
 * The calendar waits for its next try, longer each time; meanwhile it is polled.
 * Throws what is no fault of this calendar.
 */
async function putOff(
  deps: ChannelsDeps,
  calendar: UnwatchedCalendar,
  openingId: string | null,
  failure: Failure,
): Promise<void> {
  // Kafka or Postgres is away: the row in opening is what remembers,
  // and is tried again two minutes later.
  const settled = settleJob(failure)
  const { code } = failure
  metrics.channelFailures.add(1, { vendor: calendar.vendor, code })
  deps.logger.info(
    { code, connectionId: calendar.connectionId },
    'a channel could not be opened or renewed; tried again',
  )
  const attempts = channelAttempts(failure, calendar.attempts)
  const waitMs = channelWaitMs(failure, attempts, deps.clock)
  await putOffOpening(deps.db, calendar.calendarId, { openingId, attempts, waitMs })
  // A calendar that is gone, or an account that lets nobody in,
  // is for a unit to find out and to record.
  if (settled === 'gone' || settled === 'locked-out') await ring(deps, 'reconcile', [ringOf(calendar)])
}

/**
 * The account has all the channels that it may have:
 * none of its calendars asks for another for a long time.
 */
async function putOffLimited(
  deps: ChannelsDeps,
  { connectionId, vendor, attempts }: UnwatchedCalendar,
  openingId: string,
): Promise<void> {
  metrics.channelFailures.add(1, { vendor, code: 'limit-reached' })
  deps.logger.info(
    { connectionId, vendor },
    'the vendor allows no further channel for this account; its calendars are polled, and it is asked again later',
  )
  const put = { openingId, attempts: attempts + 1, waitMs: limitWaitMs(attempts + 1) }
  await putOffOpenings(deps.db, connectionId, put)
}

function tellSilent({ logger }: ChannelsDeps, { vendor, connectionId, calendarId }: UnwatchedCalendar): void {
  metrics.channelsSilent.add(1, { vendor })
  logger.warn(
    { vendor, connectionId, calendarId },
    'a channel told nothing of changes that reads found; another was opened, and the calendar is polled until it rings',
  )
}

/** What a vendor says of a channel is checked like what a notification says. Throws Failure. */
function wellFormed(
  deps: Pick<ChannelsDeps, 'clock'>,
  vendor: VendorName,
  answer: Extract<OpenedChannel, { kind: 'opened' }>,
): { readonly channelId: string; readonly resourceId: string | null; readonly expiresAt: Micros } {
  const channelId = readChannelId(vendor, answer.channelId)
  const resourceId = answer.resourceId === null ? null : readResourceId(answer.resourceId)
  if (channelId === '' || resourceId === '')
    throw new Failure('vendor/unreadable-answer', 'The vendor opened a channel with ids of no known shape.')
  return { channelId, resourceId, expiresAt: lifeEnd(deps, answer.expiresAt) }
}

/**
 * A vendor may grant less than we asked for, not more. Throws Failure for an end that has passed:
 * the channel would be opened again in every run.
 */
function lifeEnd({ clock }: Pick<ChannelsDeps, 'clock'>, expiresAt: Micros): Micros {
  const now = clock.now()
  if (!(expiresAt > now))
    throw new Failure('vendor/unreadable-answer', 'The vendor gave a channel an end that has passed.')
  return Math.min(expiresAt, now + LIFE_MS * 1000)
}

function ringOf({ connectionId, providerId, vendor, calendarId }: UnwatchedCalendar): Ring {
  return { connectionId, providerId, vendor, calendarId, asOf: null }
}
