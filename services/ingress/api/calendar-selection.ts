// `PATCH /api/calendar/connections/:id/calendars/:calendarId {"selected": …}`: which calendars of
// an account are synced. Out: its event rows go and are told as removed, under a new epoch, so that
// a unit under way cannot bring them back. In: it is rung for. Both in one transaction; what a
// person chose outlives a reconnect. Asking for what is already so changes nothing.
import type { FastifyInstance } from 'fastify'
import {
  calendarId,
  connectionId,
  isUuid,
  type CalendarId,
  type ConnectionId,
  type ProviderId,
} from '#shared/domain/ids.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import type { Queryable } from '#shared/store/database.ts'
import { advanceConnection, isSelected, lockConnection, selectCalendar } from '#shared/store/disconnect.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { allowLongAnswer, badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import { callerIn, identify, jsonObject, ownerFor } from './caller.ts'
import { CONNECTION } from './connections.ts'
import type { ApiDeps } from './deps.ts'
import { takes } from './members.ts'
import { removeEvents } from './removals.ts'

export const CALENDAR_NOT_FOUND: ProblemDetails = {
  status: 404,
  error: 'Calendar not found',
  detail: 'There is no such calendar, or its connection belongs to another provider.',
}
const DISCONNECTED: ProblemDetails = {
  status: 409,
  error: 'Connection disconnected',
  detail: 'The account was disconnected. Connect it again before you choose its calendars.',
}

/** 200 · 400 · 401 · 404 · 409 for a disconnected connection · 503. */
export function registerCalendarSelection(app: FastifyInstance, deps: ApiDeps): void {
  app.patch(`${CONNECTION}/calendars/:calendarId`, {
    onRequest: identify(deps.bearer),
    preHandler: takes({ body: ['selected'] }),
    handler: async (request, reply) => {
      const params = request.params as { id: string; calendarId: string }
      const selected = jsonObject(request.body)?.['selected']
      if (typeof selected !== 'boolean')
        return sendProblem(reply, badRequest('Send {"selected": true} or {"selected": false} as JSON.'))
      if (!isUuid(params.id) || !isUuid(params.calendarId)) return sendProblem(reply, CALENDAR_NOT_FOUND)
      allowLongAnswer(request)
      const choice = {
        owner: ownerFor(callerIn(request)),
        connection: connectionId(params.id),
        calendar: calendarId(params.calendarId),
        selected,
      }
      const outcome = await deps.db.transaction((tx) => choose(deps, tx, choice))
      if (outcome === 'unknown') return sendProblem(reply, CALENDAR_NOT_FOUND)
      if (outcome === 'disconnected') return sendProblem(reply, DISCONNECTED)
      return reply.send({ id: choice.calendar, selected })
    },
  })
}

interface Choice {
  readonly owner: ProviderId | null
  readonly connection: ConnectionId
  readonly calendar: CalendarId
  readonly selected: boolean
}

async function choose(
  { codec }: ApiDeps,
  tx: Queryable,
  { owner, connection, calendar, selected }: Choice,
): Promise<'chosen' | 'unknown' | 'disconnected'> {
  const locked = await lockConnection(tx, owner, connection)
  const before = locked === null ? null : await isSelected(tx, connection, calendar)
  if (locked === null || before === null) return 'unknown'
  if (locked.status === 'disconnected') return 'disconnected'
  if (before === selected) return 'chosen'
  await selectCalendar(tx, calendar, selected)
  if (selected) {
    // With an `asOf`, a full listing that began before the calendar was chosen
    // could count as an answer.
    const request = { reason: 'api', calendarId: calendar, at: locked.now } as const
    await insertOutbox(tx, [syncRequested(locked, request, sentBy('api', codec))])
    await advanceConnection(tx, connection, 0)
    return 'chosen'
  }
  const removed = await removeEvents(codec, tx, { connection: locked, calendar, reason: 'calendar_removed' })
  await advanceConnection(tx, connection, removed)
  return 'chosen'
}
