// `GET /api/calendar/busy?from&to[&connection_id]`: when the people behind a provider's calendars are busy, with evidence of how fresh that
// is. It is what we hold, at once, and never waits for a vendor; a calendar that may be out of date is said to be stale, and why.
// Events marked as busy count, tentative ones too: a hold that turns out free costs less than a double booking.
import type { FastifyInstance, FastifyReply } from 'fastify'
import { STALE_AFTER_MS } from '#shared/domain/connection-words.ts'
import type { Gates } from '#shared/domain/gates.ts'
import { connectionId, isUuid, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { readBusy, type HeldBusy } from '#shared/store/busy.ts'
import { readConnectionState, readSyncedCalendars } from '#shared/store/connection-status.ts'
import { badRequest, sendProblem, type Problem } from '../server.ts'
import type { BearerCheck } from './bearer.ts'
import { chooseProvider, CONNECTION_NOT_FOUND, createCallers, type Caller } from './caller.ts'
import { isKnownZone, mergeSpans, spanOfDays } from './busy-spans.ts'
import {
  askedSpan,
  calendarReasons,
  freshnessJson,
  unbackedReasons,
  type Span,
  type Synced,
} from './freshness.ts'
import { takes } from './members.ts'

export const BUSY = '/api/calendar/busy'

export interface BusyDeps {
  readonly gates: Pick<Gates, 'sync'>
  readonly bearer: BearerCheck
  readonly db: Queryable
}

/** Two months: a screen of any booking calendar. */
const DAYS_MAX = 62
const CALENDARS_MAX = 2000

interface Asked extends Span {
  readonly provider: ProviderId
  readonly connection: ConnectionId | null
}

/** 200 · 400 · 401 · 404 · 503. */
export function registerBusy(app: FastifyInstance, deps: BusyDeps): void {
  const callers = createCallers(deps.bearer)
  app.get(BUSY, {
    onRequest: callers.identify,
    preHandler: takes({ query: ['from', 'to', 'connection_id', 'provider_id'] }),
    handler: async (request, reply) => {
      const asked = askedBusy(callers.of(request), request.query as Record<string, unknown>)
      return 'problem' in asked ? sendProblem(reply, asked.problem) : sendBusy(deps, asked, reply)
    },
  })
}

function askedBusy(caller: Caller, query: Record<string, unknown>): Asked | { readonly problem: Problem } {
  const chosen = chooseProvider(caller, query['provider_id'])
  if ('problem' in chosen) return chosen
  const span = askedSpan(query, DAYS_MAX)
  if (typeof span === 'string') return { problem: badRequest(span) }
  const id = query['connection_id']
  if (id !== undefined && (typeof id !== 'string' || !isUuid(id))) return { problem: CONNECTION_NOT_FOUND }
  return { provider: chosen.provider, connection: id === undefined ? null : connectionId(id), ...span }
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
  const calendars = synced.map((one) => calendarJson(deps, one, held, asked))
  const unbacked = await unbackedReasons(deps.db, asked, synced.length > 0)
  return reply.send({
    from: isoOf(asked.from),
    to: isoOf(asked.to),
    busy: spansJson(held, synced, asked),
    stale: unbacked.length > 0 || calendars.some(({ stale }) => stale),
    stale_because: unbacked,
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

function calendarJson({ gates }: Pick<BusyDeps, 'gates'>, synced: Synced, { days }: HeldBusy, asked: Asked) {
  const { calendar } = synced
  const reasons = [...calendarReasons(gates, asked.provider, synced, asked)]
  const isUnplaced = days.some(
    (day) => day.calendarId === calendar.id && !isKnownZone(calendar.timeZone ?? day.timeZone),
  )
  if (isUnplaced) {
    const text =
      'Its time zone is not known, so its all-day events count from their first to their last hour anywhere on earth.'
    reasons.push({ code: 'unknown_time_zone', text })
  }
  return freshnessJson(calendar, reasons)
}
