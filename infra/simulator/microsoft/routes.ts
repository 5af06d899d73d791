// The Microsoft side of the simulator: which call does what, behind the bearer check. `/me` alone:
// this simulator knows delegated access only. An event is found by its id in whatever calendar of
// the mailbox it lies, unless the path names the calendar.
import type { Answer, Call, Operation, Route } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import type { Knobs } from '../control/knobs.ts'
import { runBatch } from './batch.ts'
import { listDelta, type DeltaDeps } from './delta.ts'
import { graphError, graphHeaders } from './errors.ts'
import { type Preferences, readPreferences } from './event-shape.ts'
import { listEvents, listInstances, listView, readEvent } from './events.ts'
import { type Located, locate } from './locate.ts'
import { authorize, type EntraDeps, issueToken } from './oauth.ts'
import { calendarRow, listCalendars, mailboxSettings, userOf } from './people.ts'
import { misnamed, project } from './select.ts'
import { getSchedule } from './schedule.ts'
import { listSubscriptions, onSubscription, subscribe, type SubscriptionDeps } from './subscriptions.ts'
import { createEvent, mayWrite, moveEvent, removeEvent, updateEvent, type WriteDeps } from './write-events.ts'

export interface MicrosoftDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly seed: string
  readonly origin: () => string
  readonly delta: DeltaDeps
  readonly events: WriteDeps
  readonly entra: EntraDeps
  readonly subscriptions: SubscriptionDeps
}

export interface MicrosoftContext {
  readonly deps: MicrosoftDeps
  readonly call: Call
  /** Answers one call of a batch. */
  readonly within: (inner: Call) => Promise<Answer>
}

type Params = Readonly<Record<string, string>>
type Handle = Route<MicrosoftContext>['handle']
type ForAccount = (context: MicrosoftContext, account: Account, params: Params) => Answer | Promise<Answer>
type ForCalendar = (
  context: MicrosoftContext,
  on: { readonly calendar: Calendar; readonly prefer: Preferences },
) => Answer
type ForEvent = (context: MicrosoftContext, located: Located, prefer: Preferences) => Answer

const READ = 'Calendars.Read'
const WRITE = 'Calendars.ReadWrite'
const ANY_CALENDAR = ['/me', '/me/calendar', '/me/calendars/:calendarId']

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
  graph(
    'POST /$batch',
    'batch',
    forAccount(null, ({ call, within }) => runBatch(call, within)),
  ),
  graph(
    'GET /me',
    'read',
    forAccount('User.Read', ({ deps, call }, account) => {
      const user = userOf(deps, account)
      return misnamed(user, call.query) ?? { status: 200, body: project(user, call.query) }
    }),
  ),
  graph(
    'GET /me/mailboxSettings',
    'read',
    forAccount('MailboxSettings.Read', ({ deps, call }, account) => {
      const settings = mailboxSettings(account, deps.knobs.microsoft.mailboxZone)
      return misnamed(settings, call.query) ?? { status: 200, body: project(settings, call.query) }
    }),
  ),
  graph(
    'GET /me/calendars',
    'calendars',
    forAccount(READ, ({ deps, call }, account) => listCalendars(deps, account, call)),
  ),
  ...['/me/calendar', '/me/calendars/:calendarId'].map((path) =>
    graph(
      `GET ${path}`,
      'calendars',
      forCalendar(READ, (_context, { calendar }) => ({ status: 200, body: calendarRow(calendar) })),
    ),
  ),
  graph(
    'POST /me/calendar/getSchedule',
    'busy',
    forCalendar(READ, ({ deps, call }, { prefer }) => getSchedule(deps, call, prefer)),
  ),
  ...ANY_CALENDAR.flatMap(calendarRoutes),
  ...subscriptionRoutes(),
]

/**
 * What is below a calendar; `/me` and `/me/calendar` stand for the default one,
 * but an event is found in any.
 */
function calendarRoutes(base: string): readonly Route<MicrosoftContext>[] {
  const event = `${base}/events/:eventId`
  return [
    graph(
      `GET ${base}/calendarView/delta`,
      'list',
      forCalendar(READ, ({ deps, call }, { calendar, prefer }) =>
        listDelta(deps.delta, calendar, call, prefer),
      ),
    ),
    graph(
      `GET ${base}/calendarView`,
      'list',
      forCalendar(READ, ({ deps, call }, { calendar, prefer }) =>
        listView(deps.events, calendar, call, prefer),
      ),
    ),
    graph(
      `GET ${base}/events`,
      'list',
      forCalendar(READ, ({ deps, call }, { calendar, prefer }) =>
        listEvents(deps.events, calendar, call, prefer),
      ),
    ),
    graph(
      `POST ${base}/events`,
      'write',
      forCalendar(WRITE, ({ deps, call }, { calendar, prefer }) =>
        createEvent(deps.events, calendar, call, prefer),
      ),
    ),
    graph(
      `GET ${event}`,
      'read',
      forEvent(READ, ({ deps, call }, located, prefer) => readEvent(deps.events, located, call, prefer)),
    ),
    graph(
      `GET ${event}/instances`,
      'list',
      forEvent(READ, ({ deps, call }, located, prefer) => listInstances(deps.events, located, call, prefer)),
    ),
    graph(
      `PATCH ${event}`,
      'write',
      forEvent(WRITE, ({ deps, call }, located, prefer) => updateEvent(deps.events, located, call, prefer)),
    ),
    graph(
      `DELETE ${event}`,
      'write',
      forEvent(WRITE, ({ deps, call }, located) => removeEvent(deps.events, located, call)),
    ),
    graph(
      `POST ${event}/move`,
      'write',
      forEvent(WRITE, ({ deps, call }, located, prefer) => moveEvent(deps.events, located, call, prefer)),
    ),
  ]
}

function subscriptionRoutes(): readonly Route<MicrosoftContext>[] {
  const one = forAccount(READ, ({ deps, call }, account, { subscriptionId = '' }) =>
    onSubscription(deps.subscriptions, { account, id: subscriptionId }, call),
  )
  return [
    graph(
      'POST /subscriptions',
      'watch',
      forAccount(READ, ({ deps, call }, account) => subscribe(deps.subscriptions, account, call)),
    ),
    graph(
      'GET /subscriptions',
      'read',
      forAccount(READ, ({ deps }, account) => listSubscriptions(deps.subscriptions, account)),
    ),
    graph('GET /subscriptions/:subscriptionId', 'read', one),
    graph('PATCH /subscriptions/:subscriptionId', 'renew', one),
    graph('DELETE /subscriptions/:subscriptionId', 'stop', one),
    graph('POST /subscriptions/:subscriptionId/reauthorize', 'renew', one),
  ]
}

/** A route of Graph's v1.0: `GET /me`. */
function graph(line: string, operation: Operation, handle: Handle): Route<MicrosoftContext> {
  const [method = '', path = ''] = line.split(' ', 2)
  return { method, path: `/v1.0${path}`, operation, handle }
}

/** Bearer and scope (null = any); Graph's own headers on every answer. */
function forAccount(scope: string | null, handle: ForAccount): Handle {
  return async (context, params) => {
    const { deps, call } = context
    const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1] ?? ''
    const claims = deps.entra.signed.readAccess(bearer)
    const account = deps.world.accounts.get(claims?.accountId ?? '')
    const { accessOutlivesRevocation } = deps.knobs.microsoft
    const live = claims?.era === account?.era || accessOutlivesRevocation
    if (!claims || !live || account?.vendor !== 'microsoft' || claims.expiresAt <= deps.world.now())
      return graphError('InvalidAuthenticationToken')
    if (scope !== null && !covers(claims.scope, scope)) return graphError('ErrorAccessDenied')
    const answer = await handle(context, account, params)
    return { ...answer, headers: { ...graphHeaders(), ...answer.headers } }
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
    if (!calendar) return graphError('ErrorItemNotFound')
    return scope === WRITE && !mayWrite(calendar)
      ? graphError('ErrorAccessDenied')
      : handle(context, { calendar, prefer })
  })
}

function forEvent(scope: string, handle: ForEvent): Handle {
  return forAccount(scope, (context, account, params) => {
    const prefer = readPreferences(context.call.headers.prefer)
    if (prefer === null) return graphError('TimeZoneNotSupportedException')
    const named = params['calendarId']
    const within = named === undefined ? null : (context.deps.world.calendar(account.id, named) ?? null)
    if (named !== undefined && within === null) return graphError('ErrorItemNotFound')
    const located = locate(account, within, params['eventId'] ?? '')
    if (located === null) return graphError('ErrorItemNotFound')
    if (located === 'malformed') return graphError('ErrorInvalidIdMalformed')
    return scope === WRITE && !mayWrite(located.calendar)
      ? graphError('ErrorAccessDenied')
      : handle(context, located, prefer)
  })
}
