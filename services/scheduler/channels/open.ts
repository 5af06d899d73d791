// A channel for one calendar. Invariant: the sync request comes after the vendor confirmed the
// channel (a change between the last listing and the watch had no notification) and before the row
// says open, so a crash in between leaves a row that is tried again, never a gap without a request.
import { randomUUID } from 'node:crypto'
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { readChannelId, readResourceId } from '#shared/domain/channel-ids.ts'
import { signChannelToken } from '#shared/domain/channel-token.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'
import {
  deleteChannel,
  insertOpening,
  markOpen,
  markPushNotSupported,
  type UnwatchedCalendar,
} from '#shared/store/channels.ts'
import type { OpenedChannel } from '#shared/vendors/vendor.ts'
import { webhookPath } from '#shared/vendors/our-addresses.ts'
import type { JobDeps } from '../deps.ts'
import { ring } from '../ringing/ring.ts'
import { silentReplaced } from './events.ts'
import { LIFE_MS, lifeEnd, tokenEnd } from './life.ts'
import { putOff, putOffLimited } from './put-off.ts'

/** ± a quarter, where the vendor offers no push for a calendar: vendors change their mind. */
const ASK_AGAIN_MS = 24 * 3600 * 1000

/** Opens one, in place of another too. Throws what is no fault of this calendar. */
export async function openChannel(
  deps: JobDeps,
  calendar: UnwatchedCalendar,
  signal: AbortSignal,
): Promise<'opened' | 'not-opened' | 'callback-refused'> {
  const id = randomUUID()
  const tokenEndsAt = tokenEnd(calendar.vendor, deps.clock.now())
  if (!(await insertOpening(deps.db, id, calendar))) return 'not-opened'
  try {
    const request = {
      channelId: id,
      vendorCalendarId: calendar.vendorCalendarId,
      callbackUrl: `${deps.publicUrl}${webhookPath(calendar.vendor)}`,
      token: signChannelToken(deps.keys, { ...calendar, endsAt: tokenEndsAt }),
      lifeMs: LIFE_MS,
    }
    const answer = await deps.mailboxes.of(calendar).openChannel(request, signal)
    if (answer.kind === 'push-not-supported') {
      const waitMs = ASK_AGAIN_MS * (0.75 + 0.5 * Math.random())
      await markPushNotSupported(deps.db, { calendarId: calendar.calendarId, channelId: id }, waitMs)
      return 'not-opened'
    }
    if (answer.kind === 'limit-reached') {
      await putOffLimited(deps, calendar, id)
      return 'not-opened'
    }
    const opened = wellFormed(answer, calendar.vendor, deps.clock.now())
    await ring(deps, 'connected', [calendar])
    await markOpen(deps.db, id, { ...opened, tokenEndsAt, replacesSilent: calendar.isSilent })
    if (calendar.isSilent) silentReplaced(deps, calendar)
    return 'opened'
  } catch (error) {
    // We are to stop, and do not know whether the vendor opened it: its first notification says so.
    if (signal.aborted) {
      await deleteChannel(deps.db, id)
      return 'not-opened'
    }
    const failure = asFailure(error)
    await putOff(deps, calendar, id, failure)
    return failure.code === 'vendor/callback-refused' ? 'callback-refused' : 'not-opened'
  }
}

/** What a vendor says of a channel is checked like what a notification says. Throws Failure. */
function wellFormed(
  answer: Extract<OpenedChannel, { kind: 'opened' }>,
  vendor: VendorName,
  now: Micros,
): { readonly channelId: string; readonly resourceId: string | null; readonly expiresAt: Micros } {
  const channelId = readChannelId(vendor, answer.channelId)
  const resourceId = answer.resourceId === null ? null : readResourceId(answer.resourceId)
  if (channelId === '' || resourceId === '')
    throw new Failure('vendor/unreadable-answer', 'The vendor opened a channel with ids of no known shape.')
  return { channelId, resourceId, expiresAt: lifeEnd(answer.expiresAt, now) }
}
