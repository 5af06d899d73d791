// Subscriptions: learn.microsoft.com/graph/api/subscription-post-subscriptions and
// …/change-notifications-delivery-webhooks. Both addresses are asked to echo a token before a
// subscription exists; it lives at most 10 070 minutes, at least 45, and ends by itself.
import { randomUUID } from 'node:crypto'
import type { Subscription as GraphSubscription } from '@microsoft/microsoft-graph-types'
import { addressAllowed, callbackUrl } from '../callback.ts'
import { type Answer, type Call, readObject } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account, Subscription } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import type { Knobs } from '../control/knobs.ts'
import { graphError } from './errors.ts'

export interface SubscriptionDeps {
  readonly world: World
  readonly origin: () => string
  readonly clientId: string
  /** Real Graph takes https only; a local stack has no certificate. */
  readonly allowHttpCallbacks: boolean
  /** Where callbacks to this machine go instead. */
  readonly loopbackHost?: string | undefined
  readonly knobs: Knobs
  /** What waited for a subscription's reauthorization goes out. */
  readonly resumed: (subscription: Subscription) => void
}

const LIFE_MINUTES_MAX = 10_070
const LIFE_MINUTES_MIN = 45
/** Across all apps. */
const PER_MAILBOX_MAX = 1000
const CLIENT_STATE_MAX = 128
const VALIDATION_MS_MAX = 10_000

/** In the words of public reports; the documentation gives the status 403 and none. */
const LIMIT_ANSWERS = {
  mailbox: {
    message:
      'Operation: Create; Exception: [Status Code: Forbidden; Reason: The maximum number of subscriptions is reached.]',
  },
  count: {
    status: 429,
    message:
      "Operation: Create; Exception: [Status Code: 429; Reason: Resource 'SubscriptionCountReached' has reached limit of '1000'. Please retry after '12/31/9999 11:59:59 PM'].",
  },
  tenant: {
    message:
      "Operation: Create; Exception: [Status Code: Forbidden; Reason: App 'app' has reached its limit of '1' 'ME/CALENDARS/EVENTS' subscription on tenant 'tenant'.]",
  },
} as const

/** POST /subscriptions. Resolves after both addresses were validated. */
export async function subscribe(deps: SubscriptionDeps, account: Account, call: Call): Promise<Answer> {
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const { world } = deps
  const calendar = calendarOf(world, account, body['resource'])
  const problem = refuse(deps, account, body, calendar)
  if (problem || !calendar) return problem ?? graphError('ResourceNotFound')
  const refusal = await validateAll(deps, [body['notificationUrl'], body['lifecycleNotificationUrl']])
  if (refusal) return refusal
  const subscription: Subscription = {
    id: randomUUID(),
    accountId: account.id,
    calendarId: calendar.id,
    resource: String(body['resource']),
    changeTypes: String(body['changeType']).split(','),
    notificationUrl: String(body['notificationUrl']),
    lifecycleUrl:
      typeof body['lifecycleNotificationUrl'] === 'string' ? body['lifecycleNotificationUrl'] : null,
    clientState: typeof body['clientState'] === 'string' ? body['clientState'] : null,
    immutableIds: /IdType="ImmutableId"/i.test(String(call.headers.prefer ?? '')),
    expiresAt: expiryOf(world, body),
    paused: false,
  }
  world.putSubscription(subscription)
  return { status: 201, body: show(deps, subscription) }
}

/** GET /subscriptions: those of the person, of this app. */
export function listSubscriptions(deps: SubscriptionDeps, account: Account): Answer {
  const own = [...deps.world.subscriptions.values()].filter(
    ({ accountId, expiresAt }) => accountId === account.id && expiresAt > deps.world.now(),
  )
  return {
    status: 200,
    body: {
      '@odata.context': `${deps.origin()}/v1.0/$metadata#subscriptions`,
      value: own.map((subscription) => show(deps, subscription)),
    },
  }
}

/** GET, PATCH, DELETE /subscriptions/{id} and POST …/reauthorize. */
export async function onSubscription(
  deps: SubscriptionDeps,
  { account, id }: { readonly account: Account; readonly id: string },
  call: Call,
): Promise<Answer> {
  const { world, knobs } = deps
  const subscription = world.subscriptions.get(id.toLowerCase())
  const live = subscription?.accountId === account.id && subscription.expiresAt > world.now()
  if (!subscription || !live) return graphError(knobs.microsoft.unknownSubscription, { status: 404 })
  if (call.path.endsWith('/reauthorize')) {
    resume(deps, subscription)
    return { status: 204 }
  }
  if (call.method === 'GET') return { status: 200, body: show(deps, subscription) }
  if (call.method === 'DELETE') {
    world.removeSubscription(subscription.id)
    return { status: 204 }
  }
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const problem = refuseExpiry(world, body)
  if (problem) return problem
  const refusal = knobs.microsoft.renewalValidates
    ? await validateAll(deps, [subscription.notificationUrl, subscription.lifecycleUrl])
    : null
  if (refusal) return refusal
  const renewed = { ...subscription, expiresAt: expiryOf(world, body) }
  resume(deps, renewed)
  return { status: 200, body: show(deps, renewed) }
}

/** Both a renewal and a reauthorization end a pause. */
function resume({ world, resumed }: SubscriptionDeps, subscription: Subscription): void {
  const resting = { ...subscription, paused: false }
  world.putSubscription(resting)
  resumed(resting)
}

function refuse(
  deps: SubscriptionDeps,
  account: Account,
  body: Readonly<Record<string, unknown>>,
  calendar: Calendar | null,
): Answer | null {
  const { changeType, notificationUrl, lifecycleNotificationUrl, clientState } = body
  if (
    typeof changeType !== 'string' ||
    !/^(?:created|updated|deleted)(?:,(?:created|updated|deleted))*$/.test(changeType)
  )
    return graphError('InvalidRequest', { message: 'changeType is not valid.' })
  for (const address of [notificationUrl, lifecycleNotificationUrl ?? notificationUrl]) {
    if (typeof address !== 'string' || !addressAllowed(address, deps.allowHttpCallbacks))
      return graphError('InvalidRequest', { message: 'The notification URL must be an https address.' })
  }
  if (typeof clientState === 'string' && clientState.length > CLIENT_STATE_MAX)
    return graphError('InvalidRequest', { message: 'clientState is longer than 128 characters.' })
  if (!calendar) return graphError('ResourceNotFound')
  if (!calendar.pushSupported) return graphError('ExtensionError')
  const own = [...deps.world.subscriptions.values()].filter(({ accountId }) => accountId === account.id)
  const { subscriptionsMax, subscriptionLimit } = deps.knobs.microsoft
  if (own.length >= (subscriptionsMax ?? PER_MAILBOX_MAX))
    return graphError('ExtensionError', LIMIT_ANSWERS[subscriptionLimit])
  return refuseExpiry(deps.world, body)
}

function refuseExpiry(world: World, body: Readonly<Record<string, unknown>>): Answer | null {
  const at = Date.parse(String(body['expirationDateTime']))
  if (Number.isNaN(at) || at <= world.now())
    return graphError('InvalidRequest', { message: 'expirationDateTime must be in the future.' })
  if (at <= world.now() + LIFE_MINUTES_MAX * 60_000 + 5_000) return null
  return graphError('ExtensionError', {
    status: 400,
    message: `Subscription expiration can only be ${LIFE_MINUTES_MAX} minutes in the future.`,
  })
}

function expiryOf(world: World, body: Readonly<Record<string, unknown>>): number {
  return Math.max(Date.parse(String(body['expirationDateTime'])), world.now() + LIFE_MINUTES_MIN * 60_000)
}

/** `me/calendars/{id}/events`; `me/events` stands for the default calendar only, as reported. */
function calendarOf(world: World, account: Account, resource: unknown): Calendar | null {
  const path = typeof resource === 'string' ? resource.replace(/^\//, '') : ''
  if (/^(?:me|users\/[^/]+)\/events$/i.test(path)) return world.calendar(account.id, 'primary') ?? null
  const id = /^(?:me|users\/[^/]+)\/calendars\/([^/]+)\/events$/i.exec(path)?.[1]
  return id === undefined ? null : (world.calendar(account.id, decodeURIComponent(id)) ?? null)
}

async function validateAll(deps: SubscriptionDeps, addresses: readonly unknown[]): Promise<Answer | null> {
  for (const address of addresses) {
    const refusal =
      typeof address === 'string' ? await validate(callbackUrl(address, deps.loopbackHost)) : null
    if (refusal) return refusal
  }
  return null
}

/** Asks an address to echo a token that is only right when it was decoded. null when it did. */
async function validate(url: URL): Promise<Answer | null> {
  const token = `Validation: Testing client application reachability for subscription Request-Id: ${randomUUID()} a+b%20c&d=é`
  url.search += `${url.search === '' ? '?' : '&'}validationToken=${encodeURIComponent(token)}`
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      redirect: 'manual',
      signal: AbortSignal.timeout(VALIDATION_MS_MAX),
    })
    const text = await response.text()
    const plain = response.headers.get('content-type')?.startsWith('text/plain') === true
    if (response.status === 200 && plain && text === token) return null
    return graphError('ValidationError', {
      message: `Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request. HTTP status code is '${response.status}'.`,
    })
  } catch {
    return graphError('InvalidRequest', { message: 'Subscription validation request timed out.' })
  }
}

function show(deps: SubscriptionDeps, subscription: Subscription) {
  return {
    '@odata.context': `${deps.origin()}/v1.0/$metadata#subscriptions/$entity`,
    id: subscription.id,
    resource: subscription.resource,
    applicationId: deps.clientId,
    changeType: subscription.changeTypes.join(','),
    clientState: subscription.clientState,
    notificationUrl: subscription.notificationUrl,
    notificationQueryOptions: null,
    lifecycleNotificationUrl: subscription.lifecycleUrl,
    expirationDateTime: new Date(subscription.expiresAt).toISOString(),
    creatorId: subscription.accountId,
    includeResourceData: null,
    latestSupportedTlsVersion: 'v1_2',
    encryptionCertificate: null,
    encryptionCertificateId: null,
    notificationUrlAppId: null,
  } satisfies GraphSubscription & { readonly '@odata.context': string }
}
