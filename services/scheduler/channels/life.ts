// How long a channel and its token live: pure. Invariant: a channel never outlives its token.
import { Failure } from '#shared/domain/failure.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'
import type { UnwatchedCalendar } from '#shared/store/channels.ts'

/**
 * What we ask for; the vendor may grant less (Graph: 10 070 minutes), and what it grants counts.
 */
export const LIFE_MS = 7 * 24 * 3600 * 1000
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

export type RenewableCalendar = UnwatchedCalendar & { readonly channelId: string }

/** Whether its channel is renewed. One that would outlive its token after that is replaced. */
export function isRenewable(calendar: UnwatchedCalendar, now: Micros): calendar is RenewableCalendar {
  if (calendar.channelId === null || calendar.isSilent || !RENEWS[calendar.vendor]) return false
  const { tokenEndsAt } = calendar
  return tokenEndsAt !== null && tokenEndsAt >= now + (LIFE_MS + TOKEN_GRACE_MS) * 1000
}

/** When a token made now is believed no more. */
export function tokenEnd(vendor: VendorName, now: Micros): Micros {
  return now + (TOKEN_LIFE_MS[vendor] + TOKEN_GRACE_MS) * 1000
}

/**
 * A vendor may grant less than we asked for, not more. Throws Failure for an end that has passed:
 * the channel would be opened again in every run.
 */
export function lifeEnd(expiresAt: Micros, now: Micros): Micros {
  if (!(expiresAt > now))
    throw new Failure('vendor/unreadable-answer', 'The vendor gave a channel an end that has passed.')
  return Math.min(expiresAt, now + LIFE_MS * 1000)
}
