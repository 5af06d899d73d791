// The port to a vendor. Its comments are the contract that every adapter is held to by one suite.
// An adapter keeps no state between calls except HTTP connections; it never retries (one place decides about retry), never
// follows a redirect, and translates everything unexpected into a Failure before it leaves. When the caller's signal aborts, a
// call rejects with the signal's reason. `vendor/token-rejected` asks for a fresh access token: access.ts handles it.
import type { CalendarEvent } from '#shared/domain/event.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'

export interface Window {
  readonly from: Micros
  readonly to: Micros
}

export interface VendorCalendar {
  readonly vendorCalendarId: string
  readonly name: string | null
  readonly timeZone: string | null
  readonly accessRole: string | null
  readonly primary: boolean
}

export interface PageRequest {
  readonly vendorCalendarId: string
  /** null asks for a full read of the window; otherwise the changes since this cursor. */
  readonly cursor: string | null
  /** The vendor's page token of an unfinished run, with the same cursor and window as its first page. */
  readonly pageToken: string | null
  readonly window: Window
}

export type PageItem =
  | { readonly kind: 'event'; readonly event: CalendarEvent }
  | { readonly kind: 'removed'; readonly vendorEventId: string; readonly reason: 'deleted' | 'cancelled' }

export interface Page {
  readonly kind: 'page'
  /** In the vendor's order; ids may repeat within and across pages. */
  readonly items: readonly PageItem[]
  /** Items that could not be read: quarantined and counted, never a reason to drop the page. */
  readonly unreadable: readonly { readonly vendorEventId: string | null; readonly problem: string }[]
  readonly next:
    | { readonly kind: 'more'; readonly pageToken: string }
    | { readonly kind: 'end'; readonly cursor: string }
}

/** The vendor discarded the cursor: an expected outcome, not a failure. */
export interface CursorExpired {
  readonly kind: 'cursor-expired'
}

export interface Grant {
  readonly accessToken: string
  readonly accessExpiresAt: Micros
  /** Set when the vendor rotated it: store it before the access token is used. */
  readonly refreshToken: string | null
  readonly scope: string | null
}

export interface ChannelRequest {
  readonly channelId: string
  readonly vendorCalendarId: string
  readonly callbackUrl: string
  readonly token: string
  readonly lifeMs: number
}

export type OpenedChannel =
  | {
      readonly kind: 'opened'
      readonly channelId: string
      readonly resourceId: string | null
      readonly expiresAt: Micros
    }
  /** This calendar never supports push (holiday calendars and the like): poll it, do not ask again. */
  | { readonly kind: 'push-not-supported' }

export interface Vendor {
  readonly name: VendorName
  /** All calendars that the account can read. Throws Failure. */
  listCalendars(accessToken: string, signal: AbortSignal): Promise<readonly VendorCalendar[]>
  /** One page of changes. Throws Failure. */
  fetchPage(accessToken: string, request: PageRequest, signal: AbortSignal): Promise<Page | CursorExpired>
  /** A fresh access token. Throws Failure `vendor/grant-revoked` when the person has to connect again. */
  refresh(refreshToken: string, signal: AbortSignal): Promise<Grant>
  openChannel(accessToken: string, request: ChannelRequest, signal: AbortSignal): Promise<OpenedChannel>
  /** Stops a channel; one that is already gone counts as stopped. */
  stopChannel(
    accessToken: string,
    channel: { channelId: string; resourceId: string | null },
    signal: AbortSignal,
  ): Promise<void>
}
