// `GET /api/calendar/connections/:id/events?from&to[&calendar_id&after&limit]`: the events of
// one connection that are stored, page by page, in the order of their start and then of their
// id, with evidence of how fresh that is. A page begins after an event and not at a number, so
// what comes and goes between two pages moves nothing else. Another provider's id and an
// unknown one get the same answer.
import type { FastifyInstance } from 'fastify'
import type { EventTime } from '#shared/domain/event.ts'
import {
  calendarId,
  connectionId,
  isUuid,
  type CalendarId,
  type ConnectionId,
  type EventId,
  type ProviderId,
} from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { readConnectionState, readSyncedCalendars } from '#shared/store/connection-status.ts'
import { isSelected } from '#shared/store/disconnect.ts'
import { readEvents, type EventPlace, type EventRow } from '#shared/store/events-read.ts'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import { spanOfDays } from './busy-spans.ts'
import { zonesOfDays, type ZonedDay } from './day-zones.ts'
import { CALENDAR_NOT_FOUND } from './calendar-selection.ts'
import { callerIn, CONNECTION_NOT_FOUND, identify, ownerFor } from './caller.ts'
import { pageSize } from './connection-list.ts'
import { CONNECTION } from './connections.ts'
import type { ApiDeps, Reading } from './deps.ts'
import {
  askedSpan,
  calendarReasons,
  freshnessJson,
  unbackedReasons,
  type Span,
  type Unbacked,
} from './freshness.ts'
import { takes } from './members.ts'

const PAGE = 100
const PAGE_MAX = 500
/** All that is kept is 395 days. */
const DAYS_MAX = 400
/** Of one account; Google lists up to 10 000, people have a few. */
const CALENDARS_MAX = 1000

interface Asked extends Span {
  readonly connection: ConnectionId
  readonly calendar: CalendarId | 'none' | null
  readonly after: EventPlace | null
  readonly count: number
}

/** 200 · 400 · 401 · 404 · 503. */
export function registerEvents(app: FastifyInstance, deps: ApiDeps): void {
  app.get(`${CONNECTION}/events`, {
    onRequest: identify(deps.bearer),
    preHandler: takes({ query: ['from', 'to', 'calendar_id', 'after', 'limit'] }),
    handler: async (request, reply) => {
      const { id } = request.params as { id: string }
      const query = request.query as Record<string, unknown>
      const asked = askedEvents(id, query)
      if ('problem' in asked) return sendProblem(reply, asked.problem)
      const owner = ownerFor(callerIn(request))
      const found = isUuid(id) ? await readConnectionState(deps.db, owner, asked.connection) : null
      if (found === null) return sendProblem(reply, CONNECTION_NOT_FOUND)
      // Of one moment: an event that moves to another calendar would be in neither, and both fresh.
      const read = { ...asked, provider: found.providerId }
      const answer = await deps.db.snapshot((db) => eventsAnswer({ ...deps, db }, read))
      return 'problem' in answer ? sendProblem(reply, answer.problem) : reply.send(answer)
    },
  })
}

function askedEvents(
  id: string,
  query: Record<string, unknown>,
): Asked | { readonly problem: ProblemDetails } {
  const span = askedSpan(query, DAYS_MAX)
  if (typeof span === 'string') return { problem: badRequest(span) }
  const count = pageSize(query['limit'] ?? String(PAGE), PAGE_MAX)
  if (count === null) return { problem: badRequest(`limit is a number from 1 to ${PAGE_MAX}.`) }
  const after = query['after'] === undefined ? null : placeOf(query['after'])
  if (after === 'malformed') return { problem: badRequest('after is the next_after of the page before.') }
  const named = query['calendar_id']
  const calendar =
    named === undefined ? null : typeof named === 'string' && isUuid(named) ? calendarId(named) : 'none'
  return { ...span, connection: connectionId(id), calendar, after, count }
}

/** `<micros>_<event id>`. */
const PLACE = /^(-?\d{1,17})_([0-9a-f-]{36})$/

function placeOf(text: unknown): EventPlace | 'malformed' {
  const [, at, id] = typeof text === 'string' ? (PLACE.exec(text) ?? []) : []
  if (at === undefined || id === undefined || !isUuid(id)) return 'malformed'
  return { at: Number(at), id: id as EventId }
}

async function eventsAnswer(deps: Reading, asked: Asked & { readonly provider: ProviderId }) {
  const { provider, connection, calendar } = asked
  const selected =
    calendar === null || calendar === 'none' ? null : await isSelected(deps.db, connection, calendar)
  if (calendar !== null && selected === null) return { problem: CALENDAR_NOT_FOUND }
  const all = await readSyncedCalendars(deps.db, { provider, connection, limit: CALENDARS_MAX })
  const synced = all.filter((one) => calendar === null || one.calendar.id === calendar)
  const unbacked = await unbackedOf(deps, asked, {
    isBacked: synced.length > 0,
    isTakenOut: selected === false,
  })
  const calendars = synced.map((one) =>
    freshnessJson(one.calendar, calendarReasons(deps.gates, provider, one, asked)),
  )
  // One more than asked for tells whether there is a next page.
  const rows = await readEvents(deps.db, {
    ...asked,
    calendars: synced.map((one) => one.calendar.id),
    limit: asked.count + 1,
  })
  const page = rows.slice(0, asked.count)
  const days = page.flatMap((event) => dayOf(event) ?? [])
  const zoneOf = await zonesOfDays(deps.db, synced, days)
  const last = rows.length > asked.count ? page.at(-1) : undefined
  return {
    connection_id: connection,
    from: isoOf(asked.from),
    to: isoOf(asked.to),
    events: page.filter((event) => touches(event, zoneOf, asked)).map(eventJson),
    next_after: last === undefined ? null : `${last.at}_${last.id}`,
    stale: unbacked.length > 0 || calendars.some(({ stale }) => stale),
    stale_because: unbacked,
    calendars,
  }
}

async function unbackedOf(
  deps: Reading,
  asked: Asked & { readonly provider: ProviderId },
  { isBacked, isTakenOut }: { readonly isBacked: boolean; readonly isTakenOut: boolean },
): Promise<readonly Unbacked[]> {
  const unbacked = await unbackedReasons(deps.db, asked, isBacked)
  const isExplained = unbacked.some(({ code }) => code !== 'no_connection')
  if (isBacked || isExplained || !isTakenOut) return unbacked
  const text = 'This calendar is not synced, so nothing is known about it.'
  return [{ code: 'no_calendar_selected', text, connection_id: asked.connection }]
}

function dayOf({ calendarId, start, timeZone }: EventRow): ZonedDay | null {
  return start.date === null ? null : { calendarId, startDate: start.date, timeZone }
}

/**
 * Whether the days of an all-day event cover any instant of the span, in its zone; others were
 * chosen by their instants.
 */
function touches(event: EventRow, zoneOf: (day: ZonedDay) => string | null, span: Span): boolean {
  const day = dayOf(event)
  if (day === null || event.end.date === null) return true
  const days = spanOfDays({ startDate: day.startDate, endDate: event.end.date }, zoneOf(day))
  return days.start < span.to && days.end > span.from
}

function eventJson(event: EventRow) {
  return {
    id: event.id,
    calendar_id: event.calendarId,
    vendor_event_id: event.vendorEventId,
    title: event.title,
    status: event.status,
    busy: event.busy,
    all_day: event.allDay,
    start: timeJson(event.start),
    end: timeJson(event.end),
    time_zone: event.timeZone,
    series_id: event.seriesId,
    original_start: event.originalStart === null ? null : timeJson(event.originalStart),
    location: event.location,
    organizer: event.organizer,
    vendor_updated_at: isoOf(event.vendorUpdatedAt),
    etag: event.etag,
    response: event.response,
    kind: event.kind,
    show_as: event.showAs,
    visibility: event.visibility,
    sequence: event.sequence,
    updated_at: isoOf(event.updatedAt),
  }
}

function timeJson({ at, date }: EventTime) {
  return { at: isoOf(at), date }
}
