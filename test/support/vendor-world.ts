// The vendor as the contract suite sees it: a world that is changed from outside, and readers of
// what an adapter made of it.
import { expect } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { isOutside } from '#shared/domain/window.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Page, Vendor } from '#shared/vendors/vendor.ts'

export interface VendorFeatures {
  /** A throttled account may be told so by a 403 as well as by a 429. */
  readonly throttlesWith403: boolean
  /** A token without the scope is refused in a word that is about nothing else. */
  readonly tellsMissingScopes: boolean
  /** Some calendars never ring. */
  readonly hasCalendarsWithoutPush: boolean
  /** A grant can be given back. */
  readonly revokes: boolean
  /** An access token ends with its grant, and not only at its own end. */
  readonly accessEndsWithGrant: boolean
  /** A channel's life can be lengthened. */
  readonly renewsChannels: boolean
  /** Opening a channel calls the address that it will ring. */
  readonly validatesCallbacks: boolean
}

export interface TestAccount {
  readonly accountId: string
  readonly email: string
  readonly refreshToken: string
  readonly accessToken: string
  readonly calendar: string
  /** null where the vendor has no such calendars. */
  readonly calendarWithoutPush: string | null
  /** Calendar ids in all. */
  readonly calendars: readonly string[]
}

export type Trouble =
  | 'token-rejected'
  | 'throttled'
  | 'throttled-403'
  | 'scope-missing'
  | 'calendar-gone'
  | 'server-error'
  | 'html'
  | 'connection-reset'
  | 'truncated'
  | 'malformed-request'

export interface EventSpec {
  readonly title?: string
  readonly allDay?: { readonly start: string; readonly end: string }
  /** ms since 1970; it lasts an hour. */
  readonly at?: number
}

export type ConsentAnswer =
  | {
      readonly kind: 'granted'
      readonly code: { readonly code: string; readonly codeVerifier: string; readonly redirectUri: string }
    }
  | { readonly kind: 'denied'; readonly error: string }

/** The vendor's world and the hand that changes it. Ids are the vendor's. */
export interface VendorWorld extends AsyncDisposable {
  readonly vendor: Vendor
  /** Where `vendor` finds it, without a trailing slash. */
  readonly origin: string
  /** An adapter that talks to another origin, for answers that no simulator would give. */
  vendorAt(origin: string): Vendor
  account(spec: { events: number; calendars?: number }): Promise<TestAccount>
  create(account: TestAccount, event?: EventSpec): Promise<string>
  /** A daily series of this many occurrences; the ids that a reader has to see. */
  createSeries(account: TestAccount, occurrences: number): Promise<readonly string[]>
  /** Turns a single into a daily series; the ids that a reader has to see in its place. */
  makeSeries(account: TestAccount, id: string, occurrences: number): Promise<readonly string[]>
  change(account: TestAccount, id: string, event: EventSpec): Promise<void>
  remove(account: TestAccount, id: string): Promise<void>
  /** What a reader has to end up with: id → etag. */
  truth(account: TestAccount): Promise<ReadonlyMap<string, string>>
  expireCursors(account: TestAccount): Promise<void>
  revoke(account: TestAccount): Promise<void>
  /** A person at the consent page: gives all, a part, or nothing. */
  consent(account: TestAccount, mode: 'grant' | 'partial' | 'deny'): Promise<ConsentAnswer>
  /** Whether a refresh brings a new refresh token, where the vendor leaves that open. */
  rotate(on: boolean): Promise<void>
  /**
   * The next list of this account's events meets this trouble, once.
   * `retryAfter` goes with throttling.
   */
  trouble(account: TestAccount, trouble: Trouble, retryAfter?: string): Promise<void>
  /** Pages of at most this size, short ones among them; every other one empty if asked for. */
  smallPages(size: number, everyOtherEmpty: boolean): Promise<void>
  /** Calls of the API that the vendor has seen from this account. */
  calls(account: TestAccount): Promise<number>
  /** One call of the simulator's admin API, for what only one vendor has. */
  admin<T>(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<T>
}

const DAY = 86_400_000_000
const now = Date.now() * 1000
export const WINDOW = { from: now - 30 * DAY, to: now + 365 * DAY }
/**
 * Tests have limits of their own; one clock for a whole file would fail them all on a busy machine.
 */
export const signal = new AbortController().signal

export interface Run {
  readonly pages: readonly Page[]
  readonly items: readonly PageItem[]
  readonly cursor: string
}

/** Reads to the end, from the start or on from a page. */
export async function readOn(
  vendor: Vendor,
  account: TestAccount,
  cursor: string | null,
  after?: Page,
): Promise<Run> {
  const pages: Page[] = []
  let pageToken = after ? tokenOf(after) : null
  for (;;) {
    const page = await onePage(vendor, account, cursor, pageToken)
    pages.push(page)
    if (page.next.kind === 'end') {
      return { pages, items: pages.flatMap(({ items }) => items), cursor: page.next.cursor }
    }
    pageToken = page.next.pageToken
    expect(pages.length).toBeLessThan(1000)
  }
}

export async function onePage(
  vendor: Vendor,
  account: TestAccount,
  cursor: string | null,
  pageToken: string | null,
): Promise<Page> {
  const request = { vendorCalendarId: account.calendar, cursor, pageToken, window: WINDOW }
  const page = await vendor.fetchPage(account.accessToken, request, signal)
  if (page.kind !== 'page') return expect.unreachable('the cursor expired')
  expect(page.unreadable).toEqual([])
  return page
}

export function tokenOf(page: Page): string {
  return page.next.kind === 'more' ? page.next.pageToken : expect.unreachable('there is no further page')
}

/** The id of an event; a series' own id for a series as a whole. */
export function idOf(item: PageItem): string {
  if (item.kind === 'series') return item.seriesId
  return item.kind === 'event' ? item.event.vendorEventId : item.vendorEventId
}

/** Without the statements about series as a whole. */
export function eventsOf(items: readonly PageItem[]): readonly Exclude<PageItem, { kind: 'series' }>[] {
  return items.filter((item) => item.kind !== 'series')
}

export function etagOf(item: PageItem): string | null {
  return item.kind === 'event' ? item.event.etag : null
}

/** What a reader holds after these items: id → etag. */
export function fold(items: readonly PageItem[]): Map<string, string | null> {
  const held = new Map<string, { etag: string | null; seriesId: string | null }>()
  for (const item of items) {
    if (item.kind === 'event' && !isOutside(item.event, WINDOW))
      held.set(idOf(item), { etag: etagOf(item), seriesId: item.event.seriesId })
    else if (item.kind !== 'series') held.delete(idOf(item))
    else {
      const isGone = ([id, { seriesId }]: readonly [string, { seriesId: string | null }]) =>
        seriesId === item.seriesId && !item.vendorEventIds.includes(id)
      for (const [id] of [...held].filter(isGone)) held.delete(id)
    }
  }
  return new Map([...held].map(([id, { etag }]) => [id, etag]))
}

export function describeItems(items: readonly PageItem[]): string[] {
  return eventsOf(items)
    .map((item) =>
      item.kind === 'event' ? `event ${idOf(item)} ${item.event.title}` : `removed ${idOf(item)}`,
    )
    .toSorted()
}

/** Ids of events that belong to no series. */
export function singlesOf(items: readonly PageItem[]): string[] {
  return items.flatMap((item) => (item.kind === 'event' && item.event.seriesId === null ? [idOf(item)] : []))
}

export async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => expect.unreachable('the call should have failed'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Failure)
  return error as Failure
}

export function everythingIn(failure: Failure): string {
  return [
    failure.message,
    failure.stack,
    JSON.stringify(failure),
    JSON.stringify(failure.cause ?? null),
  ].join('\n')
}

export function dayFromNow(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10)
}
