// Admin routes that change calendars: one event at a time, a calendar's end, and generated load.
import type { Answer, Route } from '../http.ts'
import { check, clean, merge } from '../google/write-events.ts'
import {
  deleteEvent,
  fieldsOf,
  findEvent,
  insertEvent,
  moveEvent,
  replaceEvent,
  type Target,
} from '../world/edit.ts'
import { generateFields, mutate } from '../world/generate.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Change } from '../world/commit.ts'
import type { Fields } from '../world/event-doc.ts'
import { parseCanary } from '../world/canary.ts'
import type { AdminContext, AdminDeps } from './context.ts'
import { fieldsBody, loadBody, moveBody } from './bodies.ts'
import { NotFound, parseBody } from './parse-body.ts'

type Params = Readonly<Record<string, string>>

const CALENDAR = '/admin/accounts/:accountId/calendars/:calendarId'

export const EVENT_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'DELETE',
    path: CALENDAR,
    handle: ({ deps }, params) => {
      const calendar = calendarOf(deps, params)
      for (const channel of deps.world.channelsOf(calendar.accountId, calendar.id)) deps.push.ended(channel)
      deps.world.removeCalendar(calendar)
      return { status: 204 }
    },
  },
  {
    method: 'POST',
    path: `${CALENDAR}/events`,
    handle: ({ deps, call }, params) => {
      const calendar = calendarOf(deps, params)
      const { id, ...body } = parseBody(fieldsBody, call.body)
      if (typeof id === 'string' && calendar.docs.has(id)) {
        return { status: 409, body: { error: `The calendar already has or had an event ${id}.` } }
      }
      const generated = generateFields(deps.random, calendar, deps.world.now())
      const fields = body['start'] === undefined ? { ...generated, ...told(body) } : told(body)
      const change = insertEvent(
        deps.world,
        calendar,
        valid(fields, calendar),
        typeof id === 'string' ? id : undefined,
      )
      return { ...show(change), status: 201 }
    },
  },
  {
    method: 'PATCH',
    path: `${CALENDAR}/events/:eventId`,
    handle: ({ deps, call }, params) => {
      const calendar = calendarOf(deps, params)
      const target = targetOf(calendar, params)
      const patch = told(parseBody(fieldsBody, call.body))
      if (Object.keys(patch).length === 0) return show(mutate(deps.world, calendar, target, deps.random))
      const fields = valid(merge(withoutCanary(fieldsOf(calendar, target)), patch), calendar)
      return show(replaceEvent(deps.world, calendar, target, fields))
    },
  },
  {
    method: 'DELETE',
    path: `${CALENDAR}/events/:eventId`,
    handle: ({ deps }, params) => {
      const calendar = calendarOf(deps, params)
      const target = targetOf(calendar, params)
      if (target.kind === 'document' && target.doc.deleted)
        throw new NotFound('The event is already deleted.')
      return show(deleteEvent(deps.world, calendar, target))
    },
  },
  {
    method: 'POST',
    path: `${CALENDAR}/events/:eventId/move`,
    handle: ({ deps, call }, params) => {
      const from = calendarOf(deps, params)
      const { calendarId } = parseBody(moveBody, call.body)
      const to = calendarOf(deps, { ...params, calendarId })
      const target = targetOf(from, params)
      if (target.kind === 'occurrence' || target.doc.deleted || target.doc.masterId !== null)
        throw new RangeError('Only a living single event or a whole series can be moved.')
      if (to === from) throw new RangeError('The event is in that calendar already.')
      moveEvent(deps.world, from, to, target.doc)
      return { status: 200, body: { id: target.doc.id, calendarId: to.id } }
    },
  },
  {
    method: 'POST',
    path: '/admin/load',
    handle: ({ deps, call }) => {
      const spec = parseBody(loadBody, call.body)
      const unknown = spec.accountIds?.find((id) => !deps.world.accounts.has(id))
      if (unknown !== undefined) throw new NotFound(`There is no account ${unknown}.`)
      return { status: 202, body: { loadId: deps.load.start(spec).loadId } }
    },
  },
  {
    method: 'GET',
    path: '/admin/load/:loadId',
    handle: ({ deps }, params) => {
      const state = deps.load.read(params['loadId'] ?? '')
      if (!state) throw new NotFound('There is no such load.')
      return { status: 200, body: state }
    },
  },
  {
    method: 'DELETE',
    path: '/admin/load',
    handle: ({ deps }) => {
      deps.load.stopAll()
      return { status: 204 }
    },
  },
  {
    method: 'DELETE',
    path: '/admin/load/:loadId',
    handle: ({ deps }, params) => {
      if (!deps.load.stop(params['loadId'] ?? '')) throw new NotFound('There is no such load.')
      return { status: 204 }
    },
  },
]

/**
 * What a client may write, and what only the vendor's own programs write: somebody else's
 * invitation, a kind of event.
 */
function told(body: Fields): Fields {
  const { organizer, eventType } = body
  const own = {
    ...(organizer === undefined ? {} : { organizer }),
    ...(eventType === undefined ? {} : { eventType }),
  }
  return { ...clean(body), ...own }
}

/** The calendar that a path names; throws NotFound. */
export function calendarOf(deps: AdminDeps, params: Params): Calendar {
  const calendar = deps.world.calendar(params['accountId'] ?? '', params['calendarId'] ?? '')
  if (!calendar) throw new NotFound('There is no such calendar.')
  return calendar
}

function targetOf(calendar: Calendar, params: Params): Target {
  const target = findEvent(calendar, params['eventId'] ?? '')
  if (!target) throw new NotFound('There is no such event.')
  return target
}

function valid(fields: Fields, calendar: Calendar): Fields {
  const problem = check(fields, calendar)
  if (problem) throw new RangeError(JSON.stringify(problem.body))
  return fields
}

/** A generated summary is renewed with the content it describes; one that somebody wrote stays. */
function withoutCanary(fields: Fields): Fields {
  if (parseCanary(fields['summary']) === null) return fields
  const { summary: _summary, ...rest } = fields
  return rest
}

function show(change: Change): Answer {
  const { eventId, version, seq, at, etag, kind } = change
  return { status: 200, body: { id: eventId, version, seq, at, etag, kind } }
}
