// `GET /api/calendar/busy?from&to[&connection_id&…]`: when the people behind a provider's calendars
// are busy, with evidence of how fresh that is. It is what we hold, at once, and never waits for a
// vendor; a calendar that may be out of date is said to be stale, and why. What blocks is what the
// vendor itself counts (`isBusy`), unless the question judges otherwise (busy-policy.ts).
import type { FastifyInstance } from 'fastify'
import { roleOf } from '#shared/domain/calendar.ts'
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { connectionId, isUuid, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { readBusy, type BusyDays, type BusySpan } from '#shared/store/busy.ts'
import { readConnectionState, readSyncedCalendars } from '#shared/store/connection-status.ts'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import { callerIn, chooseProvider, CONNECTION_NOT_FOUND, identify, type Caller } from './caller.ts'
import { askedPolicy, POLICY_QUERY, type AskedPolicy } from './busy-policy.ts'
import { mergeSpans, spanOfDays } from './busy-spans.ts'
import { zonesOfDays } from './day-zones.ts'
import type { ApiDeps, Reading } from './deps.ts'
import {
  askedSpan,
  calendarReasons,
  freshnessJson,
  unbackedReasons,
  type Span,
  type Synced,
} from './freshness.ts'
import { takes } from './members.ts'

/** Two months: a screen of any booking calendar. */
const DAYS_MAX = 62
const CALENDARS_MAX = 2000

interface Asked extends Span {
  readonly provider: ProviderId
  readonly connection: ConnectionId | null
  readonly policy: AskedPolicy
}

/** 200 · 400 · 401 · 404 · 503. */
export function registerBusy(app: FastifyInstance, deps: ApiDeps): void {
  app.get('/api/calendar/busy', {
    onRequest: identify(deps.bearer),
    preHandler: takes({ query: ['from', 'to', 'connection_id', 'provider_id', ...POLICY_QUERY] }),
    handler: async (request, reply) => {
      const asked = askedBusy(callerIn(request), request.query as Record<string, unknown>)
      if ('problem' in asked) return sendProblem(reply, asked.problem)
      // Of one moment: an event that moves to another calendar would be in neither, and both fresh.
      const answer = await deps.db.snapshot((db) => busyAnswer({ ...deps, db }, asked))
      return 'problem' in answer ? sendProblem(reply, answer.problem) : reply.send(answer)
    },
  })
}

function askedBusy(
  caller: Caller,
  query: Record<string, unknown>,
): Asked | { readonly problem: ProblemDetails } {
  const chosen = chooseProvider(caller, query['provider_id'])
  if ('problem' in chosen) return chosen
  const span = askedSpan(query, DAYS_MAX)
  if (typeof span === 'string') return { problem: badRequest(span) }
  const policy = askedPolicy(query)
  if (typeof policy === 'string') return { problem: badRequest(policy) }
  const id = query['connection_id']
  if (id !== undefined && (typeof id !== 'string' || !isUuid(id))) return { problem: CONNECTION_NOT_FOUND }
  const connection = id === undefined ? null : connectionId(id)
  return { provider: chosen.provider, connection, policy, ...span }
}

async function busyAnswer(deps: Reading, asked: Asked) {
  const { provider, connection } = asked
  if (connection !== null && (await readConnectionState(deps.db, provider, connection)) === null)
    return { problem: CONNECTION_NOT_FOUND }
  const synced = await readSyncedCalendars(deps.db, { provider, connection, limit: CALENDARS_MAX + 1 })
  if (synced.length > CALENDARS_MAX) {
    const detail = `There are more than ${CALENDARS_MAX} calendars. Ask for one connection_id at a time.`
    return { problem: badRequest(detail) }
  }
  const homes = {
    connections: [...new Set(synced.map(({ connection: { id } }) => id))],
    calendars: counted(synced, asked).map(({ calendar }) => calendar.id),
  }
  const { spans, days } = await readBusy(deps.db, homes, asked)
  const zoneOf = await zonesOfDays(deps.db, synced, days)
  const placed = days.map((day) => ({ ...day, zone: zoneOf(day) }))
  const calendars = synced.map((one) => calendarJson(deps, one, placed, asked))
  const unbacked = await unbackedReasons(deps.db, asked, synced.length > 0)
  return {
    from: isoOf(asked.from),
    to: isoOf(asked.to),
    busy: spansJson(spans, placed, asked),
    stale: unbacked.length > 0 || calendars.some(({ stale }) => stale),
    stale_because: unbacked,
    stale_after_seconds: STALE_AFTER_MS / 1000,
    calendars,
  }
}

/** Vendors count those that show free/busy alone; a question may leave them out. */
function counted(synced: readonly Synced[], { policy }: Asked): readonly Synced[] {
  if (policy.freeBusyOnly ?? true) return synced
  return synced.filter(({ calendar }) => roleOf(calendar.accessRole) !== 'free_busy_reader')
}

type PlacedDays = BusyDays & { readonly zone: string | null }

function spansJson(spans: readonly BusySpan[], days: readonly PlacedDays[], asked: Asked) {
  const all = [...spans, ...days.map((day) => spanOfDays(day, day.zone))]
  return mergeSpans(all, asked).map(({ start, end }) => ({ start: isoOf(start), end: isoOf(end) }))
}

const UNKNOWN_ZONE = {
  code: 'unknown_time_zone',
  text: 'The zone of all-day events is not known, so they count from their first to their last hour anywhere on earth.',
}

function calendarJson({ gates }: Reading, synced: Synced, days: readonly PlacedDays[], asked: Asked) {
  const { calendar } = synced
  const isUnplaced = days.some((day) => day.calendarId === calendar.id && day.zone === null)
  return {
    ...freshnessJson(calendar, calendarReasons(gates, asked.provider, synced, asked)),
    // It is wider than it was, and no more out of date than the others.
    notes: isUnplaced ? [UNKNOWN_ZONE] : [],
  }
}
