// The Google side of the simulator: which call does what, behind the bearer check. Served at the
// origin's root, because the SDK drops any path from its root url.
import type { Answer, Call, Route } from '../http.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import type { Calendar } from '../world/calendar.ts'
import { listCalendars, patchEntry, showCalendar, showCalendarResource } from './calendar-list.ts'
import { stop, watch, type WatchDeps } from './channels.ts'
import { deleteRule, insertRule, listRules } from './acl.ts'
import { googleError } from './errors.ts'
import { importEvent, listInstances, moveEvent } from './event-copies.ts'
import { queryFreeBusy } from './free-busy.ts'
import { listEvents, type ListDeps } from './list-events.ts'
import { authorize, issueToken, type OAuthDeps, revokeToken } from './oauth.ts'
import { partial } from './partial.ts'
import { type Opening, opens } from './scopes.ts'
import { edit, getEvent, insert, remove } from './write-events.ts'

export interface GoogleDeps {
  readonly world: World
  readonly list: ListDeps
  readonly oauth: OAuthDeps
  readonly watch: WatchDeps
  readonly newAccount: (email: string) => Account
}

export interface GoogleContext {
  readonly deps: GoogleDeps
  readonly call: Call
}

type Params = Readonly<Record<string, string>>
type Scoped = (context: GoogleContext, account: Account, params: Params) => Answer | Promise<Answer>
type OnCalendar = (
  context: GoogleContext,
  found: { account: Account; calendar: Calendar },
  params: Params,
) => Answer | Promise<Answer>

const EVENTS = '/calendar/v3/calendars/:calendarId/events'
const ACL = '/calendar/v3/calendars/:calendarId/acl'
const EVENT = `${EVENTS}/:eventId`

/** In the order of https://developers.google.com/workspace/calendar/api/v3/reference. */
export const GOOGLE_ROUTES: readonly Route<GoogleContext>[] = [
  {
    method: 'GET',
    path: '/o/oauth2/v2/auth',
    operation: 'authorize',
    handle: ({ deps, call }) => authorize(deps.oauth, call, deps.newAccount),
  },
  {
    method: 'POST',
    path: '/token',
    operation: 'token',
    handle: ({ deps, call }) => issueToken(deps.oauth, call),
  },
  {
    method: 'POST',
    path: '/revoke',
    operation: 'revoke',
    handle: ({ deps, call }) => revokeToken(deps.oauth, call),
  },
  {
    method: 'GET',
    path: '/calendar/v3/users/me/calendarList',
    operation: 'calendars',
    handle: withAccount('calendarListRead', ({ deps, call }, account) =>
      listCalendars(deps.list, account, call.query),
    ),
  },
  {
    method: 'GET',
    path: '/calendar/v3/users/me/calendarList/:calendarId',
    operation: 'calendars',
    handle: withCalendar('calendarListRead', (_context, { calendar }) => ({
      status: 200,
      body: showCalendar(calendar),
    })),
  },
  {
    method: 'PATCH',
    path: '/calendar/v3/users/me/calendarList/:calendarId',
    operation: 'write',
    handle: withCalendar('calendarListWrite', ({ deps, call }, { calendar }) =>
      patchEntry(deps.world, calendar, call),
    ),
  },
  {
    method: 'GET',
    path: ACL,
    operation: 'calendars',
    handle: withCalendar('aclRead', (_context, { calendar }) => listRules(calendar)),
  },
  {
    method: 'POST',
    path: ACL,
    operation: 'write',
    handle: withCalendar('aclWrite', ({ deps, call }, { calendar }) =>
      insertRule(deps.world, calendar, call),
    ),
  },
  {
    method: 'DELETE',
    path: `${ACL}/:ruleId`,
    operation: 'write',
    handle: withCalendar('aclWrite', ({ deps }, { calendar }, params) =>
      deleteRule(deps.world, calendar, params['ruleId'] ?? ''),
    ),
  },
  {
    method: 'POST',
    path: `${EVENTS}/import`,
    operation: 'write',
    handle: withWriter(({ deps, call }, { calendar }) => importEvent(deps.world, calendar, call)),
  },
  {
    method: 'POST',
    path: `${EVENT}/move`,
    operation: 'write',
    handle: withWriter(({ deps, call }, { account, calendar }, params) => {
      const to = deps.world.calendar(account.id, call.query.get('destination') ?? '')
      return moveEvent(deps.world, calendar, params['eventId'] ?? '', to)
    }),
  },
  {
    method: 'GET',
    path: `${EVENT}/instances`,
    operation: 'list',
    handle: withCalendar('eventsRead', ({ call }, { calendar }, params) =>
      listInstances(calendar, params['eventId'] ?? '', call.query),
    ),
  },
  {
    method: 'GET',
    path: '/calendar/v3/calendars/:calendarId',
    operation: 'calendars',
    handle: withCalendar('calendarRead', (_context, { calendar }) => ({
      status: 200,
      body: showCalendarResource(calendar),
    })),
  },
  {
    method: 'POST',
    path: '/calendar/v3/freeBusy',
    operation: 'busy',
    handle: withAccount('freeBusy', ({ deps, call }, account) => queryFreeBusy(deps.world, account, call)),
  },
  {
    method: 'GET',
    path: EVENTS,
    operation: 'list',
    handle: withCalendar('eventsRead', ({ deps, call }, { calendar }) =>
      listEvents(deps.list, calendar, call.query),
    ),
  },
  {
    method: 'POST',
    path: EVENTS,
    operation: 'write',
    handle: withWriter(({ deps, call }, { calendar }) => insert(deps.world, calendar, call)),
  },
  {
    method: 'POST',
    path: `${EVENTS}/watch`,
    operation: 'watch',
    handle: withCalendar('eventsRead', ({ deps, call }, { account, calendar }) =>
      watch(deps.watch, account, calendar, call),
    ),
  },
  {
    method: 'GET',
    path: EVENT,
    operation: 'read',
    handle: withCalendar('eventsRead', ({ call }, { calendar }, params) =>
      getEvent(calendar, params['eventId'] ?? '', call),
    ),
  },
  ...(['PATCH', 'PUT'] as const).map((method) => ({
    method,
    path: EVENT,
    operation: 'write' as const,
    handle: withWriter(({ deps, call }, { calendar }, params) =>
      edit(deps.world, calendar, params['eventId'] ?? '', call),
    ),
  })),
  {
    method: 'DELETE',
    path: EVENT,
    operation: 'write',
    handle: withWriter(({ deps, call }, { calendar }, params) =>
      remove(deps.world, calendar, params['eventId'] ?? '', call),
    ),
  },
  {
    method: 'POST',
    path: '/calendar/v3/channels/stop',
    operation: 'stop',
    handle: withAccount('channels', ({ deps, call }, account) => stop(deps.watch, account, call)),
  },
]

function withAccount(opening: Opening, handle: Scoped): Route<GoogleContext>['handle'] {
  return async (context, params) => {
    const { deps, call } = context
    const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')
    const claims = deps.oauth.tokens.readAccess(bearer?.[1] ?? '')
    const account = deps.world.accounts.get(claims?.accountId ?? '')
    const live = claims?.era === account?.era && claims && claims.expiresAt > deps.world.now()
    if (!live || !account || account.revoked) return googleError('authError')
    if (!opens(claims.scope, opening)) return googleError('insufficientPermissions')
    return partial(await handle(context, account, params), call.query)
  }
}

function withCalendar(opening: Opening, handle: OnCalendar): Route<GoogleContext>['handle'] {
  return withAccount(opening, (context, account, params) => {
    const calendar = context.deps.world.calendar(account.id, params['calendarId'] ?? '')
    return calendar ? handle(context, { account, calendar }, params) : googleError('notFound')
  })
}

function withWriter(handle: OnCalendar): Route<GoogleContext>['handle'] {
  return withCalendar('eventsWrite', (context, found, params) => {
    const may = found.calendar.accessRole === 'owner' || found.calendar.accessRole.startsWith('writer')
    return may ? handle(context, found, params) : googleError('forbidden')
  })
}
