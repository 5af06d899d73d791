// `GET /api/calendar/busy?from&to[&connection_id]`: when the people behind a provider's calendars are busy, with evidence of how fresh that
// is. It is what we hold, at once, and never waits for a vendor; a calendar that may be out of date is said to be stale, and why.
// Events marked as busy count, tentative ones too: a hold that turns out free costs less than a double booking.
import type { FastifyInstance, FastifyReply } from 'fastify'
import {
  keptWindow,
  STALE_AFTER_MS,
  staleReasons,
  type StaleReason,
} from '#shared/domain/connection-words.ts'
import { connectionId, isUuid, type ConnectionId, type Micros, type ProviderId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { readBusy, type HeldBusy } from '#shared/store/busy.ts'
import {
  readConnectionState,
  readSyncedCalendars,
  type CalendarState,
  type ConnectionState,
} from '#shared/store/connection-status.ts'
import { badRequest, sendProblem, type Problem } from '../server.ts'
import type { BearerCheck } from './bearer.ts'
import { chooseProvider, CONNECTION_NOT_FOUND, createCallers, type Caller } from './caller.ts'
import { isKnownZone, mergeSpans, spanOfDays } from './busy-spans.ts'
import { instantOf } from './times.ts'

export const BUSY = '/api/calendar/busy'

export interface BusyDeps {
  readonly bearer: BearerCheck
  readonly db: Queryable
}

/** Two months: a screen of any booking calendar. */
const DAYS_MAX = 62
const DAY_MICROS = 86_400_000_000
const CALENDARS_MAX = 2000

interface Asked {
  readonly provider: ProviderId
  readonly connection: ConnectionId | null
  readonly from: Micros
  readonly to: Micros
}

interface Synced {
  readonly calendar: CalendarState
  readonly connection: ConnectionState
}

/** 200 · 400 · 401 · 404 · 503. */
export function registerBusy(app: FastifyInstance, deps: BusyDeps): void {
  const callers = createCallers(deps.bearer)
  app.get(BUSY, {
    onRequest: callers.identify,
    handler: async (request, reply) => {
      const asked = askedSpan(callers.of(request), request.query as Record<string, unknown>)
      return 'problem' in asked ? sendProblem(reply, asked.problem) : sendBusy(deps, asked, reply)
    },
  })
}

function askedSpan(caller: Caller, query: Record<string, unknown>): Asked | { readonly problem: Problem } {
  const chosen = chooseProvider(caller, query['provider_id'])
  if ('problem' in chosen) return chosen
  const from = instantOf(query['from'])
  const to = instantOf(query['to'])
  if (from === null || to === null)
    return { problem: badRequest('from and to are instants with their offset, like 2026-05-04T09:00:00Z.') }
  if (to <= from || to - from > DAYS_MAX * DAY_MICROS)
    return { problem: badRequest(`to comes after from, by ${DAYS_MAX} days at most.`) }
  const id = query['connection_id']
  if (id !== undefined && (typeof id !== 'string' || !isUuid(id))) return { problem: CONNECTION_NOT_FOUND }
  return { provider: chosen.provider, connection: id === undefined ? null : connectionId(id), from, to }
}

async function sendBusy(deps: BusyDeps, asked: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const { provider, connection } = asked
  if (connection !== null && (await readConnectionState(deps.db, provider, connection)) === null)
    return sendProblem(reply, CONNECTION_NOT_FOUND)
  const synced = await readSyncedCalendars(deps.db, { provider, connection, limit: CALENDARS_MAX + 1 })
  if (synced.length > CALENDARS_MAX) {
    const detail = `There are more than ${CALENDARS_MAX} calendars. Ask for one connection_id at a time.`
    return sendProblem(reply, badRequest(detail))
  }
  const homes = {
    connections: [...new Set(synced.map(({ connection: { id } }) => id))],
    calendars: synced.map(({ calendar }) => calendar.id),
  }
  const held = await readBusy(deps.db, homes, asked)
  const calendars = synced.map((one) => calendarJson(one, held, asked))
  return reply.send({
    from: isoOf(asked.from),
    to: isoOf(asked.to),
    busy: spansJson(held, synced, asked),
    stale: calendars.some(({ stale }) => stale),
    stale_after_seconds: STALE_AFTER_MS / 1000,
    calendars,
  })
}

function spansJson({ spans, days }: HeldBusy, synced: readonly Synced[], asked: Asked) {
  const zones = new Map(synced.map(({ calendar }) => [calendar.id, calendar.timeZone]))
  const ofDays = days.map((day) => spanOfDays(day, zones.get(day.calendarId) ?? day.timeZone))
  const all = [...spans, ...ofDays]
  return mergeSpans(all, asked).map(({ start, end }) => ({ start: isoOf(start), end: isoOf(end) }))
}

function calendarJson({ calendar, connection }: Synced, { days }: HeldBusy, asked: Asked) {
  const reasons: StaleReason[] = [...staleReasons(calendar, connection)]
  const kept = keptWindow(calendar)
  if (kept !== null && (asked.from < kept.from || asked.to > kept.to)) {
    const text = `Only events from ${isoOf(kept.from)} to ${isoOf(kept.to)} are kept.`
    reasons.push({ code: 'outside_of_window', text })
  }
  const isUnplaced = days.some(
    (day) => day.calendarId === calendar.id && !isKnownZone(calendar.timeZone ?? day.timeZone),
  )
  if (isUnplaced) {
    const text =
      'Its time zone is not known, so its all-day events count from their first to their last hour anywhere on earth.'
    reasons.push({ code: 'unknown_time_zone', text })
  }
  return {
    id: calendar.id,
    connection_id: calendar.connectionId,
    name: calendar.name,
    last_synced_at: isoOf(calendar.lastReadAt),
    stale: reasons.length > 0,
    stale_because: reasons,
  }
}
