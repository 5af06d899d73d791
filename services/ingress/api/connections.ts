// `GET /api/calendar/connections` and `GET /api/calendar/connections/:id`: how a provider's
// connections are. Reads, so no gate closes them: while sync is switched off, an app is told so
// instead of being left in the dark. Another provider's id and an unknown one get the same answer.
import type { FastifyInstance } from 'fastify'
import { roleOf } from '#shared/domain/calendar.ts'
import { causesAround } from '#shared/domain/causes-of-installation.ts'
import { calendarWords, connectionWords } from '#shared/domain/connection-words.ts'
import type { GateDecision } from '#shared/domain/gates.ts'
import { connectionId, isUuid } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import {
  readCalendarStates,
  type CalendarState,
  type ConnectionState,
} from '#shared/store/connection-status.ts'
import { whyOfCalendar, whyOfConnection, type Why } from '#shared/domain/why.ts'
import { inGeneralWords, whyDocument, withoutInside } from '#shared/domain/why-document.ts'
import { readInstallation } from '#shared/store/installation.ts'
import { placeOf, readWhyFacts } from '#shared/store/why.ts'
import { sendProblem } from '../server.ts'
import { callerIn, chooseProvider, CONNECTION_NOT_FOUND, identify, ownerFor } from './caller.ts'
import { askedList, LIST_QUERY, listed, type Listed } from './connection-list.ts'
import type { ApiDeps } from './deps.ts'
import { takes } from './members.ts'
import { instantOf } from './times.ts'

const CONNECTIONS = '/api/calendar/connections'
export const CONNECTION = `${CONNECTIONS}/:id`

/** Of one account; Google lists up to 10 000, people have a few. */
const CALENDARS_MAX = 1000

/** Of a calendar that came between two statements. */
const NOT_LOOKED_AT: Why = { isUpToDate: false, upToDateAsOf: null, causes: [] }

/** List: 200 · 400 · 401 · 404 · 503. One: 200 · 401 · 404 · 503. */
export function registerConnections(app: FastifyInstance, deps: ApiDeps): void {
  app.get(CONNECTIONS, {
    onRequest: identify(deps.bearer),
    preHandler: takes({ query: LIST_QUERY }),
    handler: async (request, reply) => {
      const query = request.query as Record<string, unknown>
      const chosen = chooseProvider(callerIn(request), query['provider_id'])
      if ('problem' in chosen) return sendProblem(reply, chosen.problem)
      const asked = askedList(query)
      if ('problem' in asked) return sendProblem(reply, asked.problem)
      const { page, next } = await listed(deps, chosen.provider, asked)
      return reply.send({
        provider_id: chosen.provider,
        connections: page.map((one) => connectionJson(one)),
        next_after: next,
      })
    },
  })
  app.get(CONNECTION, {
    onRequest: identify(deps.bearer),
    preHandler: takes({}),
    handler: async (request, reply) => {
      const { id } = request.params as { id: string }
      const owner = ownerFor(callerIn(request))
      const rows = isUuid(id) ? await readWhyFacts(deps.db, connectionId(id), owner) : null
      if (rows === null) return sendProblem(reply, CONNECTION_NOT_FOUND)
      const found = rows.connection
      const calendars = await readCalendarStates(deps.db, found.id, CALENDARS_MAX)
      const gate = deps.gates.sync(found.providerId, found.id)
      const installation = await readInstallation(deps.db, deps.gates)
      const place = placeOf(rows, installation)
      const facts = { ...rows, gate, installation, place }
      const tell = (why: Why) => whyDocument(owner === null ? why : withoutInside(why))
      return reply.send({
        ...connectionJson({ connection: found, gate, around: causesAround(installation, place) }),
        why: tell(whyOfConnection(facts)),
        calendars: calendars.map((calendar) => ({
          ...calendarJson(calendar, found, gate),
          why: tell(whyOfCalendar(facts, calendar.id) ?? NOT_LOOKED_AT),
        })),
      })
    },
  })
}

function connectionJson({ connection, gate, around }: Listed) {
  const { id, vendor, account, status } = connection
  return {
    id,
    vendor,
    account,
    status,
    ...connectionWords(connection, gate, around.map(inGeneralWords)),
    connected_at: isoOf(connection.connectedAt),
    disconnected_at: isoOf(connection.disconnectedAt),
    last_synced_at: isoOf(connection.lastSyncedAt),
    last_error: errorJson(connection),
    backoff_until: isoOf(connection.backoffUntil),
    next_probe_at: isoOf(connection.probeAt),
    grant_ends_at: isoOf(connection.grantEndsAt),
    failing_calendars: connection.illCalendars.map(({ id: calendar, name, ...ill }) => ({
      id: calendar,
      name,
      ...illJson(ill),
    })),
    failing_calendar_count: connection.illCount,
    waits_for_gate: status === 'active' && connection.isHeld,
  }
}

function errorJson({ lastError, errorCount }: ConnectionState) {
  if (lastError === null) return null
  const { code, message, at, number = null } = lastError
  // Stored with the offset of the process that wrote it; told like every other time.
  return { code, message, at: isoOf(instantOf(at)), failures: errorCount, vendor_number: number }
}

function illJson({ since, code, message, nextTryAt }: NonNullable<CalendarState['ill']>) {
  return { since: isoOf(since), code, message, next_try_at: isoOf(nextTryAt) }
}

function calendarJson(calendar: CalendarState, connection: ConnectionState, gate: GateDecision) {
  return {
    id: calendar.id,
    name: calendar.name,
    time_zone: calendar.timeZone,
    access_role: calendar.accessRole,
    role: roleOf(calendar.accessRole),
    primary: calendar.isPrimary,
    selected: calendar.selected,
    ...calendarWords(calendar, connection, gate),
    notified: calendar.pushSupported,
    read_by: calendar.plain === null ? 'changes' : 'plain_listing',
    last_synced_at: isoOf(calendar.lastReadAt),
    failing: calendar.ill && illJson(calendar.ill),
  }
}
