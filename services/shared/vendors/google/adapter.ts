// Google Calendar API v3 behind the vendor port. Concrete occurrences are read (singleEvents=true),
// and the window is named on a full read only: Google forbids it beside a sync token.
// Source: https://developers.google.com/workspace/calendar/api/guides/sync and …/guides/push
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import type { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import { shrunkSize } from '#shared/domain/page-limits.ts'
import { PLAIN_END, type Reading } from '#shared/domain/reading.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { systemClock, type Clock } from '#shared/process/clock.ts'
import { ConfigError } from '#shared/process/settings.ts'
import type { Secret } from '#shared/process/secret.ts'
import { boundedItems, pathSegment, readAs, storableToken, wholeList, type Answer } from '../answer.ts'
import { clampMicros, isAccountId, mapAll, standsThere } from '../storable.ts'
import { createOAuth, type OAuthSettings } from '../oauth.ts'
import type {
  ChannelRequest,
  CursorExpired,
  LookUpRequest,
  OpenedChannel,
  Page,
  PageRequest,
  Vendor,
  VendorAccount,
} from '../vendor.ts'
import { googleMask } from '../wire-fields.ts'
import { calendarParam, createCaller, toRfc3339, VENDOR, type Call } from './call.ts'
import { readProblem, saysFullSync, saysGone } from './errors.ts'
import { mapCalendar, mapEvent } from './map.ts'
import { fetchSeries, touchedSeries } from './series.ts'
import { wireCalendar, wireCalendarPage, wireChannel, wireEvent, wireEventPage } from './wire.ts'

/** 2 500 is the most that events.list gives; fewer and empty pages are normal. */
const EVENTS_PER_PAGE: Readonly<Record<Reading, number>> = {
  usual: 2500,
  'other-pages': 1000,
  'small-pages': 250,
  plain: 500,
}
/**
 * What is read, and nothing else: descriptions, other attendees and attachments are never sent.
 * They are filtered after the query, so tokens of before stay good.
 */
const FIELDS = {
  event: googleMask(wireEvent),
  events: `nextPageToken,nextSyncToken,items(${googleMask(wireEvent)})`,
  calendars: `nextPageToken,items(${googleMask(wireCalendar)})`,
  calendar: googleMask(wireCalendar),
  channel: googleMask(wireChannel),
} as const
/** The most that calendarList.list gives. */
const CALENDARS_PER_PAGE = 250
/** All that we read: the calendar list, events and their channels. */
const CALENDAR_SCOPE = 'https://www.googleapis.com/auth/calendar.readonly'
/**
 * `openid` brings the identity token: its `sub` stays when the person's address changes.
 * Source, read 2026-11-29:
 * https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
 */
const SCOPE = `openid ${CALENDAR_SCOPE}`
const ISSUERS = ['https://accounts.google.com', 'accounts.google.com']

interface GoogleConfig {
  /** Origin of the API, without a path: the SDK drops one silently. */
  readonly apiUrl: string
  readonly authUrl: string
  readonly tokenUrl: string
  readonly revokeUrl: string
  readonly clientId: string
  readonly clientSecret: Secret
}

/** The Google adapter. Throws ConfigError at once if `apiUrl` is not a bare origin. */
export function createGoogle(config: GoogleConfig, clock: Clock = systemClock): Vendor {
  const origin = new URL(config.apiUrl)
  if (origin.pathname !== '/' || origin.search !== '') {
    throw new ConfigError(['GOOGLE_API_URL cannot be used: it must be an origin without a path or query.'])
  }
  const callAs = createCaller(origin.href, clock)
  return {
    name: 'google',
    ...createOAuth(oauthSettings(config), clock),
    account: (...as) => account(callAs(...as)),
    listCalendars: (...as) => listCalendars(callAs(...as)),
    fetchPage: (token, request, ...how) => fetchPage(callAs(token, ...how), request),
    fetchSeries: (token, request, ...how) => fetchSeries(callAs(token, ...how), request),
    lookUp: (token, request, ...how) => lookUp(callAs(token, ...how), request),
    async changeEvent(token, change, ...how) {
      const { changeEvent } = await import('./write-event.ts')
      return changeEvent(callAs(token, ...how), change)
    },
    openChannel: (token, request, signal) => openChannel(callAs(token, signal), clock, request),
    // Google has no renewal: developers.google.com/workspace/calendar/api/guides/push#renew
    renewChannel: async () => ({ kind: 'gone' }),
    stopChannel: (token, channel, signal) => stopChannel(callAs(token, signal), channel),
  }
}

function oauthSettings(config: GoogleConfig): OAuthSettings {
  return {
    name: 'google',
    vendor: VENDOR,
    approvalUrl: null,
    subjectIssuers: ISSUERS,
    plainScope: (scope) => scope.toLowerCase(),
    authUrl: config.authUrl,
    tokenUrl: config.tokenUrl,
    revokeUrl: config.revokeUrl,
    clientId: config.clientId,
    clientSecret: config.clientSecret,
    scope: SCOPE,
    needed: [{ scope: CALENDAR_SCOPE, widerScopes: ['https://www.googleapis.com/auth/calendar'] }],
    // Without prompt=consent a second consent brings no refresh token. Without
    // include_granted_scopes the token may read calendars and nothing else that the person ever
    // gave to the same client.
    consent: { access_type: 'offline', prompt: 'consent' },
    tokenParameters: {},
  }
}

/** The primary calendar's id is the address of the account; `sub` of the grant is what stays. */
async function account(call: Call): Promise<VendorAccount> {
  const outcome = await call('account', (api, options) =>
    api.calendarList.get({ calendarId: 'primary', fields: FIELDS.calendar }, options),
  )
  if (outcome.kind === 'refused') {
    // Where Calendar was never opened, or is switched off, there is no primary calendar.
    const isMissing = outcome.answer.status === 404 && readProblem(outcome.answer.data) !== null
    throw isMissing
      ? new Failure('vendor/no-mailbox', 'Google knows no primary calendar of this account.')
      : outcome.failure
  }
  const primary = mapCalendar(outcome.data)
  // `primary` is an alias of every account: taken as an id it would make all of them one.
  const id = primary?.vendorCalendarId ?? 'primary'
  if (id === 'primary' || !isAccountId(id)) {
    throw new Failure('vendor/unreadable-answer', 'Google named no primary calendar of this account.')
  }
  return { id, label: id, isAddress: true }
}

function listCalendars(call: Call): Promise<readonly VendorCalendar[]> {
  return wholeList(async (pageToken) => {
    const params = {
      maxResults: CALENDARS_PER_PAGE,
      // A person hides a calendar to tidy a list; it exists on, and its events with it.
      showHidden: true,
      fields: FIELDS.calendars,
      ...(pageToken === null ? {} : { pageToken }),
    }
    const outcome = await call('account', (api, options) => api.calendarList.list(params, options))
    if (outcome.kind === 'refused') throw outcome.failure
    const page = readAs(wireCalendarPage, outcome.data, { vendor: VENDOR, what: 'calendar list' })
    const items = boundedItems(page.items ?? []).flatMap((item) => mapCalendar(item) ?? [])
    return { items, next: page.nextPageToken }
  })
}

async function fetchPage(call: Call, request: PageRequest): Promise<Page | CursorExpired> {
  const outcome = await call('calendar', (api, options) => api.events.list(pageParams(request), options))
  if (outcome.kind === 'refused') {
    if (isCursorExpired(outcome.answer, request)) return { kind: 'cursor-expired' }
    throw outcome.failure
  }
  const page = readAs(wireEventPage, outcome.data, { vendor: VENDOR, what: 'page of events' })
  const rows = boundedItems(page.items ?? [])
  // A full read shows what there is of each series.
  const { touched, masters } = touchedSeries(request.cursor === null ? [] : rows)
  const mapped = mapAll(rows, mapEvent)
  return {
    kind: 'page',
    items: mapped.items.filter((item) => item.kind !== 'event' || !masters.has(item.event.vendorEventId)),
    unreadable: mapped.unreadable,
    touched,
    named: namedIn(rows),
    next: nextOf(page, request),
  }
}

/** The rows of a page as they came: some are left to the reading of their series. */
function namedIn(rows: readonly unknown[]): NonNullable<Page['named']> {
  return rows.flatMap((raw) => {
    const { id, etag, status } = wireEvent.safeParse(raw).data ?? {}
    return id === undefined ? [] : [{ id, version: `${status ?? ''} ${etag ?? ''}` }]
  })
}

function pageParams(request: PageRequest): calendar_v3.Params$Resource$Events$List {
  const { vendorCalendarId, pageToken, window, shrunk = 0, reading = 'usual' } = request
  const cursor = reading === 'plain' ? null : request.cursor
  return {
    calendarId: calendarParam(vendorCalendarId),
    singleEvents: true,
    maxResults: shrunkSize(EVENTS_PER_PAGE[reading], shrunk),
    fields: FIELDS.events,
    // "If there are more than the specified number of attendees, only the participant is returned."
    maxAttendees: 1,
    ...(cursor === null
      ? { timeMin: toRfc3339(window.from), timeMax: toRfc3339(window.to) }
      : { syncToken: cursor }),
    ...(pageToken === null ? {} : { pageToken }),
  }
}

/**
 * Any 410, Google's words for an expired token under another number, or a 400 about the token that
 * we sent: one that Google no longer knows, for example after it slept in a checkpoint.
 * Source: developers.google.com/workspace/calendar/api/guides/errors, "410: Gone", seen 2026-11.
 */
function isCursorExpired(answer: Answer, { cursor, pageToken }: PageRequest): boolean {
  if (answer.status === 410) return true
  if (cursor === null && pageToken === null) return false
  if (saysFullSync(answer.data)) return true
  const problem = readProblem(answer.data)
  if (problem === null || answer.status !== 400) return false
  return (
    /^(?:page|sync)Token$/.test(problem.location) || /\binvalid (?:page|sync) ?token\b/i.test(problem.message)
  )
}

function nextOf(page: z.output<typeof wireEventPage>, request: PageRequest): Page['next'] {
  const { nextPageToken, nextSyncToken } = page
  if (nextPageToken) {
    if (nextPageToken === request.pageToken) {
      throw new Failure('vendor/no-progress', 'Google named the page that it just sent as the next one.')
    }
    return { kind: 'more', pageToken: storableToken(nextPageToken, VENDOR) }
  }
  // A plain listing is taken when tokens lead nowhere, so none of it is kept.
  if (request.reading === 'plain') return { kind: 'end', cursor: PLAIN_END }
  if (nextSyncToken) return { kind: 'end', cursor: storableToken(nextSyncToken, VENDOR) }
  // Seen when a filter forbids sync tokens;
  // without a cursor every later change would be missed in silence.
  throw new Failure(
    'vendor/unreadable-answer',
    'Google ended the list with neither a page token nor a sync token.',
  )
}

/**
 * The port's `lookUp`. A deleted event is shown as cancelled for a while, and then is not known any
 * more.
 */
async function lookUp(
  call: Call,
  { vendorCalendarId, vendorEventId, window }: LookUpRequest,
): ReturnType<Vendor['lookUp']> {
  pathSegment(vendorEventId, VENDOR)
  const params = {
    calendarId: calendarParam(vendorCalendarId),
    eventId: vendorEventId,
    maxAttendees: 1,
    fields: FIELDS.event,
  }
  const outcome = await call('calendar', (api, options) => api.events.get(params, options))
  if (outcome.kind === 'ok') return standsThere(mapEvent(outcome.data), window) ? 'there' : 'gone'
  if (saysGone(outcome.answer)) return 'gone'
  throw outcome.failure
}

/** Limits of channels, not of the reads that the mailbox's budget is about. */
const CHANNEL_LIMITS: ReadonlySet<string> = new Set(['quotaExceeded', 'calendarUsageLimitsExceeded'])

async function openChannel(call: Call, clock: Clock, request: ChannelRequest): Promise<OpenedChannel> {
  const requestBody = {
    id: request.channelId,
    type: 'web_hook',
    address: request.callbackUrl,
    token: request.token,
    params: { ttl: String(Math.floor(request.lifeMs / 1000)) },
  }
  const params = { calendarId: calendarParam(request.vendorCalendarId), fields: FIELDS.channel, requestBody }
  const outcome = await call('calendar', (api, options) => api.events.watch(params, options))
  if (outcome.kind === 'refused') {
    const reason = readProblem(outcome.answer.data)?.reason ?? ''
    if (reason === 'pushNotSupportedForRequestedResource') return { kind: 'push-not-supported' }
    if (CHANNEL_LIMITS.has(reason)) return { kind: 'limit-reached' }
    throw outcome.failure
  }
  const channel = readAs(wireChannel, outcome.data, { vendor: VENDOR, what: 'channel' })
  const { id, resourceId, expiration } = channel
  if (id !== request.channelId) {
    throw new Failure(
      'vendor/unreadable-answer',
      'Google opened a channel with another id than the one asked for.',
    )
  }
  // Without an end in the answer it has the life that was asked for, which is no longer than
  // Google's default of seven days.
  const expiresAt = clampMicros(expiration ? expiration * 1000 : clock.now() + request.lifeMs * 1000)
  return { kind: 'opened', channelId: id, resourceId, expiresAt }
}

async function stopChannel(
  call: Call,
  { channelId, resourceId }: { channelId: string; resourceId: string | null },
): Promise<void> {
  const params = { requestBody: { id: channelId, resourceId } }
  const outcome = await call('channel', (api, options) => api.channels.stop(params, options))
  if (outcome.kind === 'refused' && !saysGone(outcome.answer)) throw outcome.failure
}
