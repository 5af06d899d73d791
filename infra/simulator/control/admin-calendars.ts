// Admin routes that change an account's calendars, and many events at once.
import type { Route } from '../http.ts'
import { createRandom } from '../random.ts'
import { changeSomething } from '../world/generate.ts'
import { addCalendar } from './accounts.ts'
import type { AdminContext } from './context.ts'
import { calendarOf } from './admin-events.ts'
import { calendarBody, calendarChangeBody, changesBody, renameBody } from './bodies.ts'
import { NotFound, parseBody } from './parse-body.ts'

const DEFAULT_MIX = { create: 0.2, update: 0.6, delete: 0.2 }

export const CALENDAR_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'POST',
    path: '/admin/accounts/:accountId/calendars',
    handle: ({ deps, call }, params) => {
      const account = deps.world.accounts.get(params['accountId'] ?? '')
      if (!account) throw new NotFound('There is no such account.')
      const spec = { primary: false, ...parseBody(calendarBody, call.body) }
      const { id, name } = addCalendar(deps.world, account, spec, account.calendars.size)
      return { status: 201, body: { id, name } }
    },
  },
  {
    // Access decides what sync tokens are worth: changing it ends those issued before.
    method: 'PATCH',
    path: '/admin/accounts/:accountId/calendars/:calendarId',
    handle: ({ deps, call }, params) => {
      const calendar = calendarOf(deps, params)
      const given = Object.entries(parseBody(calendarChangeBody, call.body)).filter(
        ([, value]) => value !== undefined,
      )
      deps.world.changeCalendar(calendar, Object.fromEntries(given))
      const { id, name, accessRole, hidden, unlisted, pushSupported } = calendar
      return { status: 200, body: { id, name, accessRole, hidden, unlisted, pushSupported } }
    },
  },
  {
    method: 'POST',
    path: '/admin/accounts/:accountId/calendars/:calendarId/rename',
    handle: ({ deps, call }, params) => {
      const calendar = calendarOf(deps, params)
      const { id, alias = false } = parseBody(renameBody, call.body)
      deps.world.renameCalendar(calendar, id, alias)
      return { status: 200, body: { id: calendar.id, name: calendar.name } }
    },
  },
  {
    // At once and counted, where load is by the wall clock:
    // what a scenario with a manual clock needs.
    method: 'POST',
    path: '/admin/events/change',
    handle: ({ deps, call }) => {
      const { count, accountIds, mix, seed } = parseBody(changesBody, call.body)
      const ids = accountIds ?? [...deps.world.accounts.keys()]
      const calendars = ids.flatMap((id) => {
        const account = deps.world.accounts.get(id)
        if (!account) throw new NotFound(`There is no account ${id}.`)
        return [...account.calendars.values()].filter((calendar) => !calendar.gone)
      })
      const random = seed === undefined ? deps.random : createRandom(seed)
      let changed = 0
      for (let index = 0; index < count; index += 1) {
        const calendar = calendars[random.below(calendars.length)]
        if (calendar && changeSomething(deps.world, calendar, random, mix ?? DEFAULT_MIX)) changed += 1
      }
      return { status: 200, body: { changed } }
    },
  },
]
