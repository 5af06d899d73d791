// The admin API, on a port of its own: makes accounts, changes calendars, turns knobs, injects
// faults, and tells the truth. It is the hand of tests and drills, never of the system under test.
import { type Answer, type Call, type Route, router, send } from '../http.ts'
import type { z } from 'zod'
import { BODY_OF, accountBody, accountChangeBody, expireBody } from './bodies.ts'
import { createAccount, showAccount } from './accounts.ts'
import type { AdminContext, AdminDeps } from './context.ts'
import { CALENDAR_ROUTES } from './admin-calendars.ts'
import { CLOCK_ROUTES } from './admin-clock.ts'
import { MICROSOFT_ROUTES } from './admin-microsoft.ts'
import { EVENT_ROUTES } from './admin-events.ts'
import { FAULT_ROUTES } from './admin-faults.ts'
import { KNOB_ROUTES } from './admin-knobs.ts'
import { LEDGER_ROUTES } from './admin-ledgers.ts'
import { SCENARIO_ROUTES } from './admin-scenario.ts'
import { START_ROUTES } from './start-page.ts'
import { NotFound, parseBody } from './parse-body.ts'

const ACCOUNT_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'GET',
    path: '/admin/health',
    handle: ({ deps }) => ({
      status: 200,
      body: {
        status: 'ok',
        accounts: deps.world.accounts.size,
        pendingNotifications: deps.push.pending + deps.notices.pending,
      },
    }),
  },
  {
    method: 'POST',
    path: '/admin/accounts',
    handle: ({ deps, call }) => {
      const account = createAccount(deps.world, deps.seed, parseBody(accountBody, call.body))
      return { status: 201, body: showAccount(deps.world, account) }
    },
  },
  {
    method: 'GET',
    path: '/admin/accounts',
    handle: ({ deps }) => {
      const accounts = [...deps.world.accounts.values()].map((account) => showAccount(deps.world, account))
      return { status: 200, body: { accounts } }
    },
  },
  {
    method: 'PATCH',
    path: '/admin/accounts/:accountId',
    handle: ({ deps, call }, params) => {
      const account = deps.world.accounts.get(params['accountId'] ?? '')
      if (!account) throw new NotFound('There is no such account.')
      deps.world.changeEmail(account, parseBody(accountChangeBody, call.body).email)
      return { status: 200, body: showAccount(deps.world, account) }
    },
  },
  {
    method: 'POST',
    path: '/admin/accounts/:accountId/revoke',
    handle: ({ deps }, params) => {
      const account = deps.world.accounts.get(params['accountId'] ?? '')
      if (!account) throw new NotFound('There is no such account.')
      deps.world.revoke(account)
      return { status: 204 }
    },
  },
  {
    method: 'POST',
    path: '/admin/cursors/expire',
    handle: ({ deps, call }) => {
      const { accountId, calendarId } = parseBody(expireBody, call.body)
      let expired = 0
      for (const account of deps.world.accounts.values()) {
        if (accountId !== undefined && account.id !== accountId) continue
        for (const calendar of account.calendars.values()) {
          if (calendarId !== undefined && calendar.id !== calendarId) continue
          deps.world.expireCursors(calendar)
          expired += 1
        }
      }
      return { status: 200, body: { calendars: expired } }
    },
  },
  {
    method: 'POST',
    path: '/admin/reset',
    handle: ({ deps }) => {
      deps.reset()
      return { status: 204 }
    },
  },
]

export const ROUTES: readonly Route<AdminContext>[] = [
  ...START_ROUTES,
  ...ACCOUNT_ROUTES,
  ...CALENDAR_ROUTES,
  ...EVENT_ROUTES,
  ...FAULT_ROUTES,
  ...LEDGER_ROUTES,
  ...CLOCK_ROUTES,
  ...KNOB_ROUTES,
  ...MICROSOFT_ROUTES,
  ...SCENARIO_ROUTES,
]

/** The handler of the admin port. */
export function createAdmin(deps: AdminDeps): (call: Call) => Promise<void> {
  return async (call) => send(call.raw.response, await dispatch(deps, call))
}

const find = router(ROUTES)

/** One call of the admin API, wherever it comes from. */
export async function dispatch(deps: AdminDeps, call: Omit<Call, 'raw'>): Promise<Answer> {
  const found = find(call.method, call.path)
  if (!found) return { status: 404, body: { error: `There is no ${call.method} ${call.path}.` } }
  return answer(() => found.route.handle({ deps, call }, found.params))
}

/** What the admin API knows of a call, before it is made. */
export function lookUpCall(method: string, path: string): { readonly body?: z.ZodType } | null {
  const route = find(method, path)?.route
  if (!route) return null
  const body = BODY_OF[`${method} ${route.path}`]
  return body ? { body } : {}
}

async function answer(handle: () => Answer | Promise<Answer>): Promise<Answer> {
  try {
    return await handle()
  } catch (error) {
    if (error instanceof NotFound) return { status: 404, body: { error: error.message } }
    if (error instanceof SyntaxError || error instanceof RangeError) {
      return { status: 400, body: { error: error.message } }
    }
    throw error
  }
}
