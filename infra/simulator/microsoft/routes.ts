// The Microsoft side of the simulator: which call does what, behind the bearer check and the mailbox's limit of calls in flight.
// `/me` alone: this simulator knows delegated access only.
import type { Answer, Call, Operation, Route } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import type { Knobs } from '../control/knobs.ts'
import { listDelta, type DeltaDeps } from './delta.ts'
import { graphError, graphHeaders } from './errors.ts'
import { type Preferences, readPreferences } from './event-shape.ts'
import {
  createEvent,
  type EventDeps,
  listEvents,
  listInstances,
  listView,
  readEvent,
  removeEvent,
  updateEvent,
} from './events.ts'
import { authorize, type EntraDeps, issueToken } from './oauth.ts'
import { calendarRow, listCalendars, userOf } from './people.ts'
import { listSubscriptions, onSubscription, subscribe, type SubscriptionDeps } from './subscriptions.ts'

export interface MicrosoftDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly seed: string
  readonly origin: () => string
  readonly delta: DeltaDeps
  readonly events: EventDeps
  readonly entra: EntraDeps
  readonly subscriptions: SubscriptionDeps
  /** Calls in flight by account. */
  readonly inFlight: Map<string, number>
}

export interface MicrosoftContext {
  readonly deps: MicrosoftDeps
  readonly call: Call
}

type Params = Readonly<Record<string, string>>
type ForAccount = (context: MicrosoftContext, account: Account, params: Params) => Answer | Promise<Answer>
type ForCalendar = (
  context: MicrosoftContext,
  on: { readonly calendar: Calendar; readonly prefer: Preferences },
  params: Params,
) => Answer | Promise<Answer>
type Handle = Route<MicrosoftContext>['handle']

const V = '/v1.0'
const OWN = `${V}/me/calendars/:calendarId`

export const MICROSOFT_ROUTES: readonly Route<MicrosoftContext>[] = [
  {
    method: 'GET',
    path: '/:tenant/oauth2/v2.0/authorize',
    operation: 'authorize',
    handle: ({ deps, call }) => authorize(deps.entra, call),
  },
  {
    method: 'POST',
    path: '/:tenant/oauth2/v2.0/token',
    operation: 'token',
    handle: ({ deps, call }) => issueToken(deps.entra, call),
  },
  route(
    'GET',
    `${V}/me`,
    'read',
    forAccount('User.Read', ({ deps }, account) => ({ status: 200, body: userOf(deps, account) })),
  ),
  route(
    'GET',
    `${V}/me/calendars`,
    'calendars',
    forAccount('Calendars.Read', ({ deps, call }, account) => listCalendars(deps, account, call)),
  ),
  route(
    'GET',
    `${V}/me/calendar`,
    'calendars',
    forCalendar('Calendars.Read', (_context, { calendar }) => ({ status: 200, body: calendarRow(calendar) })),
  ),
  route(
    'GET',
    OWN,
    'calendars',
    forCalendar('Calendars.Read', (_context, { calendar }) => ({ status: 200, body: calendarRow(calendar) })),
  ),
  ...[`${V}/me/calendarView/delta`, `${OWN}/calendarView/delta`].map((path) =>
    route(
      'GET',
      path,
      'list',
      forCalendar('Calendars.Read', ({ deps, call }, { calendar, prefer }) =>
        listDelta(deps.delta, calendar, call, prefer),
      ),
    ),
  ),
  ...[`${V}/me/calendarView`, `${OWN}/calendarView`].map((path) =>
    route(
      'GET',
      path,
      'list',
      forCalendar('Calendars.Read', ({ deps, call }, { calendar, prefer }) =>
        listView(deps.events, calendar, call, prefer),
      ),
    ),
  ),
  ...[`${V}/me/events`, `${OWN}/events`].flatMap((path) => [
    route(
      'GET',
      path,
      'list',
      forCalendar('Calendars.Read', ({ deps, call }, { calendar, prefer }) =>
        listEvents(deps.events, calendar, call, prefer),
      ),
    ),
    route(
      'POST',
      path,
      'write',
      forCalendar('Calendars.ReadWrite', ({ deps, call }, { calendar, prefer }) =>
        createEvent(deps.events, calendar, call, prefer),
      ),
    ),
    route(
      'GET',
      `${path}/:eventId`,
      'read',
      forCalendar('Calendars.Read', ({ deps }, { calendar, prefer }, { eventId = '' }) =>
        readEvent(deps.events, { calendar, id: eventId }, prefer),
      ),
    ),
    route(
      'GET',
      `${path}/:eventId/instances`,
      'list',
      forCalendar('Calendars.Read', ({ deps, call }, { calendar, prefer }, { eventId = '' }) =>
        listInstances(deps.events, { calendar, id: eventId }, call, prefer),
      ),
    ),
    route(
      'PATCH',
      `${path}/:eventId`,
      'write',
      forCalendar('Calendars.ReadWrite', ({ deps, call }, { calendar, prefer }, { eventId = '' }) =>
        updateEvent(deps.events, { calendar, id: eventId }, call, prefer),
      ),
    ),
    route(
      'DELETE',
      `${path}/:eventId`,
      'write',
      forCalendar('Calendars.ReadWrite', ({ deps, call }, { calendar }, { eventId = '' }) =>
        removeEvent(deps.events, calendar, eventId, call),
      ),
    ),
  ]),
  route(
    'POST',
    `${V}/subscriptions`,
    'watch',
    forAccount('Calendars.Read', ({ deps, call }, account) => subscribe(deps.subscriptions, account, call)),
  ),
  route(
    'GET',
    `${V}/subscriptions`,
    'read',
    forAccount('Calendars.Read', ({ deps }, account) => listSubscriptions(deps.subscriptions, account)),
  ),
  ...(
    [
      ['GET', '', 'read'],
      ['PATCH', '', 'renew'],
      ['DELETE', '', 'stop'],
      ['POST', '/reauthorize', 'renew'],
    ] as const
  ).map(([method, tail, operation]) =>
    route(
      method,
      `${V}/subscriptions/:subscriptionId${tail}`,
      operation,
      forAccount('Calendars.Read', ({ deps, call }, account, { subscriptionId = '' }) =>
        onSubscription(deps.subscriptions, { account, id: subscriptionId }, call),
      ),
    ),
  ),
]

function route(method: string, path: string, operation: Operation, handle: Handle): Route<MicrosoftContext> {
  return { method, path, operation, handle }
}

/** Bearer, scope, and the limit of calls in flight; Graph's own headers on every answer. */
function forAccount(scope: string, handle: ForAccount): Handle {
  return async (context, params) => {
    const { deps, call } = context
    const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1] ?? ''
    const claims = deps.entra.signed.readAccess(bearer)
    const account = deps.world.accounts.get(claims?.accountId ?? '')
    const { accessOutlivesRevocation } = deps.knobs.microsoft
    const live = claims?.era === account?.era || accessOutlivesRevocation
    if (!claims || !live || account?.vendor !== 'microsoft' || claims.expiresAt <= deps.world.now())
      return graphError('InvalidAuthenticationToken')
    if (!covers(claims.scope, scope)) return graphError('ErrorAccessDenied')
    const running = deps.inFlight.get(account.id) ?? 0
    if (running >= deps.knobs.microsoft.concurrencyMax)
      return graphError('ApplicationThrottled', { headers: { 'retry-after': '1' } })
    deps.inFlight.set(account.id, running + 1)
    try {
      const answer = await handle(context, account, params)
      return { ...answer, headers: { ...graphHeaders(), ...answer.headers } }
    } finally {
      deps.inFlight.set(account.id, (deps.inFlight.get(account.id) ?? 1) - 1)
    }
  }
}

function covers(granted: string, wanted: string): boolean {
  const scopes = granted.split(' ')
  return scopes.includes(wanted) || scopes.includes(wanted.replace(/Read$/, 'ReadWrite'))
}

function forCalendar(scope: string, handle: ForCalendar): Handle {
  return forAccount(scope, (context, account, params) => {
    const prefer = readPreferences(context.call.headers.prefer)
    if (prefer === null) return graphError('TimeZoneNotSupportedException')
    const calendar = context.deps.world.calendar(account.id, params['calendarId'] ?? 'primary')
    return calendar ? handle(context, { calendar, prefer }, params) : graphError('ErrorItemNotFound')
  })
}
