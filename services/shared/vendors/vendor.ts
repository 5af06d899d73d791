// The port to a vendor. Its comments are the contract that every adapter is held to by one suite.
// An adapter keeps no state between calls except HTTP connections; it never retries (one place
// decides about retry), never follows a redirect, and translates everything unexpected into a
// Failure before it leaves. When the caller's signal aborts, a call rejects with the signal's
// reason. `vendor/token-rejected` asks for a fresh access token. A method takes the token itself
// and knows no connection, since a consent has a token before there is a connection; what has one
// calls through its mailbox (mailbox.ts), which binds the token and the limits.
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Reading } from '#shared/domain/reading.ts'
import type { Window } from '#shared/domain/window.ts'

export interface PageRequest {
  readonly vendorCalendarId: string
  /** null asks for a full read of the window; otherwise the changes since this cursor. */
  readonly cursor: string | null
  /**
   * The vendor's page token of an unfinished run,
   * with the same cursor and window as its first page.
   */
  readonly pageToken: string | null
  readonly window: Window
  /**
   * How far the page is shrunk, 0 … PAGE_SHRINKS_MAX:
   * a tenth of the items for each 1. 0 unless given.
   */
  readonly shrunk?: number
  /**
   * How the calendar is listed; `usual` unless given. A page token belongs to the way of its run.
   * `plain` takes no cursor.
   */
  readonly reading?: Reading
}

export interface Page {
  readonly kind: 'page'
  /** In the vendor's order; ids may repeat within and across pages. */
  readonly items: readonly PageItem[]
  /** Items that could not be read: quarantined and counted, never a reason to drop the page. */
  readonly unreadable: readonly { readonly vendorEventId: string | null; readonly problem: string }[]
  /**
   * Series of which the page may tell only a part: to be read whole by `fetchSeries`.
   * None where items tell all.
   */
  readonly touched?: readonly SeriesTouch[]
  /**
   * Something that is removed here lives elsewhere in the account,
   * and the list of its new calendar need not tell of it.
   */
  readonly hasMoved?: boolean
  /**
   * What the answer named, also where no items come of it: by this a run sees whether it gets
   * anywhere. The items unless given.
   */
  readonly named?: readonly { readonly id: string; readonly version: string | null }[]
  /**
   * It completes a page before it, as details do:
   * that it brings nothing new says nothing of the run.
   */
  readonly completes?: boolean
  readonly next:
    | { readonly kind: 'more'; readonly pageToken: string }
    /** `cursor` is PLAIN_END after a plain listing, which has none. */
    | { readonly kind: 'end'; readonly cursor: string }
}

export interface SeriesTouch {
  readonly seriesId: string
  /**
   * The page shows something that lives of it. Else it matters only where some of it is stored.
   */
  readonly isLive: boolean
  /** The page says that the series itself was deleted. */
  readonly isEnded: boolean
}

export interface SeriesRequest {
  readonly vendorCalendarId: string
  readonly seriesId: string
  readonly window: Window
  /**
   * The vendor said that the series itself was deleted:
   * then not to know it is no second word, but the same.
   */
  readonly isEnded: boolean
  /**
   * An occurrence that is stored and would go with the series, and its start: looked for before the
   * series is taken for gone.
   */
  readonly witness: { readonly vendorEventId: string; readonly at: Micros } | null
}

export interface LookUpRequest {
  readonly vendorCalendarId: string
  readonly vendorEventId: string
  readonly window: Window
}

/** What a canary's event becomes. */
export interface EventChange {
  readonly vendorCalendarId: string
  /** null, or one that is gone: it is made. */
  readonly vendorEventId: string | null
  readonly title: string
  /** When it begins; it lasts half an hour and blocks no time. */
  readonly at: Micros
}

export type SeriesAnswer =
  /** All that there is of the series in the window; nothing, when it is gone. */
  | { readonly kind: 'whole'; readonly items: readonly PageItem[]; readonly unreadable: Page['unreadable'] }
  /**
   * Two answers contradict each other, or there is more than is worth reading:
   * only what the page told counts.
   */
  | { readonly kind: 'unsure' }

/**
 * The vendor discarded the cursor or the page token, whichever was sent last: an
 * expected outcome, not a failure. Any 410 says so, and the vendor's words for it say so
 * wherever they stand in an error.
 */
export interface CursorExpired {
  readonly kind: 'cursor-expired'
}

export interface Grant {
  readonly accessToken: string
  readonly accessExpiresAt: Micros
  /** Set when the vendor rotated it: store it before the access token is used. */
  readonly refreshToken: string | null
  readonly scope: string | null
  /** The account, where the vendor names it in the grant: stable for ever, unlike an address. */
  readonly subject?: string | null
  /** When the grant ends whatever is done, where the vendor says so. */
  readonly endsAt?: Micros | null
}

/** What a person sees of the account that they connect. */
export interface VendorAccount {
  /** The same account connected again is the same connection. */
  readonly id: string
  /**
   * The id is an address, which may change:
   * the subject of the grant counts before it, where there is one.
   */
  readonly isAddress?: boolean
  /** An address or a name, for people. */
  readonly label: string | null
}

export interface ConsentRequest {
  readonly redirectUri: string
  readonly state: string
  /** PKCE S256 (RFC 7636). */
  readonly codeChallenge: string
  /** The account to offer first, for a reconnect. */
  readonly loginHint: string | null
}

export interface CodeGrant extends Grant {
  readonly refreshToken: string
  /** Scopes that we need and the person did not give; empty when the grant is whole. */
  readonly missingScopes: readonly string[]
}

export interface ChannelRequest {
  /**
   * Google takes it as the id of the channel; Graph gives its own, which `OpenedChannel` carries.
   */
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
  /**
   * This calendar never supports push (holiday calendars and the like): poll it, do not ask again.
   */
  | { readonly kind: 'push-not-supported' }
  /**
   * The mailbox, the tenant or our app there has as many channels as the vendor
   * allows: poll, and ask rarely.
   */
  | { readonly kind: 'limit-reached' }

export type RenewedChannel =
  | { readonly kind: 'renewed'; readonly expiresAt: Micros }
  /** The vendor does not know it any more, or never renews (Google): open another. */
  | { readonly kind: 'gone' }

/**
 * Sends one call of a method that may need several: at once, later, or not at all, when the
 * promise rejects and the method with it. An adapter sends each of them through this, also those
 * that run at the same time.
 */
export type EachCall = <T>(send: () => Promise<T>) => Promise<T>

/** For callers without limits. */
export const sendAtOnce: EachCall = (send) => send()

export interface Vendor {
  readonly name: VendorName
  /**
   * Where an administrator approves the app for a whole organization;
   * null where there is no such page.
   */
  readonly approvalUrl?: string | null
  /** Where the person's browser goes to consent. Pure. */
  consentUrl(request: ConsentRequest): string
  /**
   * Exchanges the code of a callback. Throws Failure `vendor/grant-revoked` for a code that is
   * used, expired or foreign.
   */
  exchangeCode(
    code: { readonly code: string; readonly codeVerifier: string; readonly redirectUri: string },
    signal: AbortSignal,
  ): Promise<CodeGrant>
  /** The account behind a token. Throws Failure. */
  account(accessToken: string, signal: AbortSignal): Promise<VendorAccount>
  /**
   * Gives a grant back; one that is already gone counts as given back, and a vendor without
   * revocation does nothing. Throws Failure.
   */
  revoke(refreshToken: string, signal: AbortSignal): Promise<void>
  /** All calendars that the account can read. Throws Failure. */
  listCalendars(accessToken: string, signal: AbortSignal, each?: EachCall): Promise<readonly VendorCalendar[]>
  /**
   * One page of changes; a few calls of the vendor at most, so that a gate may be asked
   * between pages. Throws Failure; `vendor/not-yet-readable` when the vendor tells of a change
   * that it does not show yet, `vendor/answer-too-large` when the page is to be asked for
   * again with a larger `shrunk`.
   */
  fetchPage(
    accessToken: string,
    request: PageRequest,
    signal: AbortSignal,
    each?: EachCall,
  ): Promise<Page | CursorExpired>
  /**
   * A series as a whole, in a bounded number of calls.
   * Only where pages name series as touched. Throws Failure.
   */
  fetchSeries?(
    accessToken: string,
    request: SeriesRequest,
    signal: AbortSignal,
    each?: EachCall,
  ): Promise<SeriesAnswer>
  /**
   * Whether an event that a list did not name stands in its calendar, inside the window; one that
   * cannot be read does. One call.
   * Throws Failure.
   */
  lookUp(
    accessToken: string,
    request: LookUpRequest,
    signal: AbortSignal,
    each?: EachCall,
  ): Promise<'there' | 'gone'>
  /**
   * Changes an event, or makes it: the one thing that is ever written, in a canary's calendar. The
   * grant needs a scope that no person is asked for.
   * @returns the vendor's id of it. Throws Failure.
   */
  changeEvent?(
    accessToken: string,
    change: EventChange,
    signal: AbortSignal,
    each?: EachCall,
  ): Promise<string>
  /**
   * A fresh access token. Throws Failure: `vendor/grant-revoked` or `vendor/admin-required` on the
   * documented words of grant-words.ts alone, `vendor/token-refused` on any others.
   */
  refresh(refreshToken: string, signal: AbortSignal): Promise<Grant>
  /**
   * Throws Failure; `vendor/callback-refused` when the vendor tried our address and
   * did not like the answer.
   */
  openChannel(accessToken: string, request: ChannelRequest, signal: AbortSignal): Promise<OpenedChannel>
  /**
   * Lengthens the life of a channel, which also answers a demand to reauthorize it. Throws Failure.
   */
  renewChannel(
    accessToken: string,
    channel: { channelId: string; lifeMs: number },
    signal: AbortSignal,
  ): Promise<RenewedChannel>
  /** Stops a channel; one that is already gone counts as stopped. */
  stopChannel(
    accessToken: string,
    channel: { channelId: string; resourceId: string | null },
    signal: AbortSignal,
  ): Promise<void>
}
