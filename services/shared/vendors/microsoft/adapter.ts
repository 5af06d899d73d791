// Microsoft Graph v1.0 behind the vendor port, with the person's delegated consent. What reads
// calendars is loaded when first used. Subscriptions are one per calendar: `me/events` rings for
// the default calendar only.
// Source: https://learn.microsoft.com/graph/api/overview and
// https://learn.microsoft.com/graph/change-notifications-overview
import { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { withoutEndSlashes } from '#shared/process/address.ts'
import { systemClock, type Clock } from '#shared/process/clock.ts'
import type { Secret } from '#shared/process/secret.ts'
import { boundedItems, pathSegment, readAs, wholeList, type Refused } from '../answer.ts'
import { cleanLine, isAccountId, isPresent, LABEL_MAX, parseInstant } from '../storable.ts'
import { createOAuth, type OAuthSettings } from '../oauth.ts'
import type { ChannelRequest, OpenedChannel, RenewedChannel, Vendor, VendorAccount } from '../vendor.ts'
import { odataSelect } from '../wire-fields.ts'
import { createGraph, type Graph } from './call.ts'
import { readProblem } from './errors.ts'
import { wireCalendar, wireMailbox, wirePage, wireSubscription, wireUser } from './wire.ts'

const VENDOR = 'Microsoft'
const GRAPH_SCOPES = ['User.Read', 'Calendars.Read']
/** In which zone the days of the mailbox lie. Nothing stops without it. */
const ZONE_SCOPE = 'MailboxSettings.Read'
/**
 * Graph of the national clouds. There a scope is asked for with its resource, since a bare one
 * means the worldwide Graph.
 * Source, read 2026-11-29: https://learn.microsoft.com/graph/deployments
 */
const NATIONAL_GRAPHS = new Set([
  'graph.microsoft.us',
  'dod-graph.microsoft.us',
  'microsoftgraph.chinacloudapi.cn',
])
const CALENDARS_PER_PAGE = 100
/**
 * The documentation says 10 080, the service answers "can only be 10070 minutes in the
 * future". It counts them by its own clock and refuses what ends later, so an hour is
 * left for ours being ahead.
 */
const CHANNEL_LIFE_MAX_MS = (10_070 - 60) * 60_000
/** The ids of notifications follow this header for the life of the subscription. */
const PREFER_IDS = 'IdType="ImmutableId"'

interface MicrosoftConfig {
  /** Address of Graph without the version; a path is kept. */
  readonly apiUrl: string
  /** Address of the sign-in server, without the tenant. */
  readonly loginUrl: string
  /** The same as people's browsers reach it; as `loginUrl` when absent. */
  readonly authUrl?: string | undefined
  /** common, organizations, consumers, or a tenant's id or domain. */
  readonly tenant: string
  readonly clientId: string
  readonly clientSecret: Secret
  /** Whether people are asked for the zone of their mailbox too; true unless given. */
  readonly asksForZone?: boolean
}

/** The Microsoft adapter. */
export function createMicrosoft(config: MicrosoftConfig, clock: Clock = systemClock): Vendor {
  const graphAs = createGraph(config.apiUrl, clock)
  return {
    name: 'microsoft',
    ...createOAuth(oauthSettings(config), clock),
    account: (...as) => account(graphAs(...as)),
    listCalendars: (token, signal, each) => listCalendars(graphAs(token, signal, each), signal),
    async fetchPage(token, request, ...how) {
      const { fetchPage } = await import('./read-page.ts')
      return fetchPage({ graph: graphAs(token, ...how), clock, request })
    },
    async lookUp(token, request, ...how) {
      const { lookUp } = await import('./details.ts')
      return lookUp(graphAs(token, ...how), request)
    },
    async changeEvent(token, change, ...how) {
      const { changeEvent } = await import('./write-event.ts')
      return changeEvent(graphAs(token, ...how), change)
    },
    openChannel: (token, request, signal) => openChannel(graphAs(token, signal), clock, request),
    renewChannel: (token, channel, signal) => renewChannel(graphAs(token, signal), clock, channel),
    stopChannel: (token, channel, signal) => stopChannel(graphAs(token, signal), channel),
  }
}

function oauthSettings(config: MicrosoftConfig): OAuthSettings {
  const endpointAt = (login: string) =>
    `${withoutEndSlashes(login)}/${encodeURIComponent(config.tenant)}/oauth2/v2.0`
  const needed = scopeAt(config.apiUrl, GRAPH_SCOPES)
  const wanted = scopeAt(config.apiUrl, [...GRAPH_SCOPES, ZONE_SCOPE])
  return {
    name: 'microsoft',
    vendor: VENDOR,
    approvalUrl: approvalUrl(config),
    subjectIssuers: [],
    plainScope,
    authUrl: `${endpointAt(config.authUrl ?? config.loginUrl)}/authorize`,
    tokenUrl: `${endpointAt(config.loginUrl)}/token`,
    // There is none for a single grant: a person takes it back at myaccount.microsoft.com.
    revokeUrl: null,
    clientId: config.clientId,
    clientSecret: config.clientSecret,
    scope: (config.asksForZone ?? true) ? wanted : needed,
    // offline_access is not named in an answer; the refresh token is its proof.
    needed: [
      { scope: 'User.Read', widerScopes: ['User.ReadWrite', 'User.Read.All'] },
      { scope: 'Calendars.Read', widerScopes: ['Calendars.ReadWrite'] },
    ],
    consent: { response_mode: 'query', prompt: 'select_account' },
    // A grant of before holds no more than these, and a token that is asked for more than was
    // granted is refused: AADSTS65001.
    tokenParameters: { scope: needed },
  }
}

/** What is asked of the person, in the names that the configured cloud understands. */
function scopeAt(apiUrl: string, scopes: readonly string[]): string {
  const { host, origin } = new URL(apiUrl)
  const resource = NATIONAL_GRAPHS.has(host) ? `${origin}/` : ''
  return ['offline_access', ...scopes.map((scope) => `${resource}${scope}`)].join(' ')
}

/**
 * Microsoft names a scope with or without its resource,
 * which is an address or the id of an app, in either case.
 */
function plainScope(scope: string): string {
  return scope.toLowerCase().replace(/^.*\//, '')
}

/**
 * The page of a tenant's administrator. Source, read 2026-11-29:
 * https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent#construct-the-url-for-granting-tenant-wide-admin-consent
 */
function approvalUrl({ loginUrl, authUrl = loginUrl, tenant, clientId }: MicrosoftConfig): string {
  // Personal accounts have no administrator, so the page wants an organization.
  const organization = /^(?:common|consumers)$/.test(tenant) ? 'organizations' : tenant
  const path = `${encodeURIComponent(organization)}/adminconsent`
  return `${withoutEndSlashes(authUrl)}/${path}?client_id=${encodeURIComponent(clientId)}`
}

/** The account's id is stable; its address is not. */
async function account(graph: Graph): Promise<VendorAccount> {
  const query = { $select: odataSelect(wireUser) }
  const outcome = await graph.call({ subject: 'account', path: '/me', query })
  if (outcome.kind === 'refused') throw outcome.failure
  const user = readAs(wireUser, outcome.data, { vendor: VENDOR, what: 'user' })
  if (!isAccountId(user.id))
    throw new Failure('vendor/unreadable-answer', 'Microsoft named the account by an id that is none.')
  const names = [user.mail, user.userPrincipalName, user.displayName]
  return { id: user.id, label: names.map((name) => cleanLine(name, LABEL_MAX)).find(isPresent) ?? null }
}

async function listCalendars(graph: Graph, signal: AbortSignal): Promise<VendorCalendar[]> {
  const { mapCalendar, ownerIn } = await import('./map.ts')
  const query = { $top: String(CALENDARS_PER_PAGE), $select: odataSelect(wireCalendar) }
  const found = await wholeList(async (link) => {
    const at = link === null ? { path: '/me/calendars', query } : { path: link, query: {} }
    const outcome = await graph.call({ subject: 'account', ...at })
    if (outcome.kind === 'refused') throw outcome.failure
    const data = readAs(wirePage, outcome.data, { vendor: VENDOR, what: 'calendar list' })
    const next = data['@odata.nextLink']
    return { items: boundedItems(data.value), next: next && graph.linkHere(next) }
  })
  const mailbox = { owner: ownerIn(found), timeZone: await zoneOfMailbox(graph, signal) }
  return found.flatMap((item) => mapCalendar(item, mailbox) ?? [])
}

/**
 * The zone that the mailbox lives in; null when it may not be read, has no known name,
 * or no answer came: nothing but where a day begins hangs on it.
 * learn.microsoft.com/graph/api/user-get-mailboxsettings, read 2026-11-29.
 */
async function zoneOfMailbox(graph: Graph, signal: AbortSignal): Promise<string | null> {
  const { ianaZoneOf } = await import('./zones.ts')
  const query = { $select: odataSelect(wireMailbox) }
  try {
    const path = '/me/mailboxSettings'
    const outcome = await graph.call({ subject: 'account', path, query })
    const name = outcome.kind === 'ok' ? wireMailbox.safeParse(outcome.data).data?.timeZone : null
    return name ? ianaZoneOf(name) : null
  } catch (error) {
    if (signal.aborted || !(error instanceof Failure)) throw error
    return null
  }
}

async function openChannel(graph: Graph, clock: Clock, request: ChannelRequest): Promise<OpenedChannel> {
  const body = {
    changeType: 'created,updated,deleted',
    notificationUrl: request.callbackUrl,
    lifecycleNotificationUrl: request.callbackUrl,
    resource: `me/calendars/${resourceSegment(request.vendorCalendarId)}/events`,
    expirationDateTime: expiration(clock, request.lifeMs),
    clientState: request.token,
  }
  const call = { subject: 'calendar', path: '/subscriptions', method: 'POST', body } as const
  const outcome = await graph.call({ ...call, prefer: PREFER_IDS })
  if (outcome.kind === 'refused') return refusedChannel(outcome)
  const { id, expirationDateTime } = readAs(wireSubscription, outcome.data, CHANNEL)
  const expiresAt = readExpiration(expirationDateTime ?? body.expirationDateTime)
  return { kind: 'opened', channelId: id, resourceId: null, expiresAt }
}

/**
 * Graph writes ids into resources as they are: `=` needs no escape there, and a comparison of texts
 * finds it.
 */
function resourceSegment(id: string): string {
  return pathSegment(id, VENDOR).replaceAll('%3D', '=')
}

/**
 * A mailbox takes 1 000 subscriptions of all apps together, a tenant and an app in it a number that
 * is not documented; room may come back. The words are those of public reports: "maximum number",
 * "'SubscriptionCountReached' has reached limit of '1000'. Please retry after '12/31/9999'", "has
 * reached its limit of '1' … subscription on tenant" (status 403, 429 and 400).
 * Source: learn.microsoft.com/graph/change-notifications-overview,
 * stackoverflow.com/q/65494288 (read 2026-11-29)
 */
const LIMIT = /maximum number|SubscriptionCountReached|reached (?:its|the)? ?limit of/i

/**
 * Calendars of others cannot be subscribed to with a person's own consent,
 * and some tenants know no subscriptions at all.
 */
function refusedChannel({ answer, failure }: Refused): OpenedChannel {
  const problem = readProblem(answer.data)
  if ([400, 403, 429].includes(answer.status) && LIMIT.test(problem?.message ?? ''))
    return { kind: 'limit-reached' }
  if (answer.status === 403 && problem?.code === 'ExtensionError') return { kind: 'push-not-supported' }
  if (answer.status === 400 && /notification endpoint|validation request/i.test(problem?.message ?? '')) {
    throw new Failure('vendor/callback-refused')
  }
  throw failure
}

async function renewChannel(
  graph: Graph,
  clock: Clock,
  { channelId, lifeMs }: { channelId: string; lifeMs: number },
): Promise<RenewedChannel> {
  const body = { expirationDateTime: expiration(clock, lifeMs) }
  const path = subscriptionPath(channelId)
  const outcome = await graph.call({ subject: 'channel', path, method: 'PATCH', body })
  if (outcome.kind === 'ok') {
    const { expirationDateTime } = readAs(wireSubscription, outcome.data, CHANNEL)
    return { kind: 'renewed', expiresAt: readExpiration(expirationDateTime ?? body.expirationDateTime) }
  }
  if (isChannelGone(outcome)) return { kind: 'gone' }
  throw outcome.failure
}

async function stopChannel(graph: Graph, { channelId }: { channelId: string }): Promise<void> {
  const path = subscriptionPath(channelId)
  const outcome = await graph.call({ subject: 'channel', path, method: 'DELETE' })
  if (outcome.kind === 'refused' && !isChannelGone(outcome)) throw outcome.failure
}

const CHANNEL = { vendor: VENDOR, what: 'subscription' }

function subscriptionPath(channelId: string): string {
  return `/subscriptions/${pathSegment(channelId, VENDOR)}`
}

/** Which code comes with an expired or unknown subscription is not documented; the status is. */
function isChannelGone({ answer }: Refused): boolean {
  return (answer.status === 404 || answer.status === 410) && readProblem(answer.data) !== null
}

function expiration(clock: Clock, lifeMs: number): string {
  return new Date(clock.now() / 1000 + Math.min(lifeMs, CHANNEL_LIFE_MAX_MS)).toISOString()
}

function readExpiration(text: string): Micros {
  const at = parseInstant(text)
  if (at !== null) return at
  throw new Failure('vendor/unreadable-answer', 'Microsoft sent a subscription without a readable end.')
}
