// `POST /api/calendar/sync`: an app asks for a sync of a provider's connections. Invariants: another provider's id and an
// unknown one get the same 404; what a closed gate refuses is kept as held_requests rows before the 403; 202 names exactly
// the connections whose rings are durable, and says of the others why they were not asked.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { whyClosed, type GateDecision, type GateName, type Gates } from '#shared/domain/gates.ts'
import { isUuid, providerId, type Micros, type ProviderId } from '#shared/domain/ids.ts'
import { metrics } from '#shared/platform/metrics.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { inSpan } from '#shared/platform/telemetry.ts'
import { providerConnections, type ProviderConnection } from '#shared/store/provider-connections.ts'
import type { Publisher } from '../publisher.ts'
import type { Refusals } from '../refusals.ts'
import { badRequest, sendProblem, unavailable, type Problem } from '../server.ts'
import type { BearerCheck } from './bearer.ts'
import { callerOf, jsonObject, PROVIDER_NOT_FOUND as NOT_FOUND, UNAUTHORIZED, type Caller } from './caller.ts'

export const SYNC_API = '/api/calendar/sync'

export interface SyncApiDeps {
  readonly gates: Pick<Gates, 'sync'>
  readonly bearer: BearerCheck
  readonly db: Queryable
  readonly refusals: Pick<Refusals, 'hold'>
  readonly publisher: Pick<Publisher, 'ring'>
}

interface Decided {
  readonly connection: ProviderConnection
  readonly decision: GateDecision
}

/** Rings of one request that wait at a time: a large provider must not fill the queue that notifications share. */
const RINGS_AT_A_TIME = 500

/** On no allowlist, so what its gate says first is what the switch says. */
const NOBODY = providerId('00000000-0000-0000-0000-000000000000')
const NOT_KEPT = unavailable('The request could not be stored. Send it again later.')

/** Statuses in which a connection is not pulled, in words for the caller. */
const NOT_ASKED: Record<Exclude<ProviderConnection['status'], 'active'>, string> = {
  needs_reauth: 'The person has to connect the calendar again.',
  disabled: 'The connection is disabled.',
  disconnected: 'The connection was disconnected.',
}

/** 202 · 400 · 401 · 403 `Calendar sync not enabled`, `Provider not allowed` or `Connection not allowed` · 404 · 503. */
export function registerSyncApi(app: FastifyInstance, deps: SyncApiDeps): void {
  const callers = new WeakMap<FastifyRequest, Caller>()
  app.post(SYNC_API, {
    onRequest: async (request, reply) => {
      const caller = callerOf(await deps.bearer(request.headers.authorization))
      if (caller === null) return sendProblem(reply, strangersAnswer(deps.gates))
      callers.set(request, caller)
      // An operator names the provider in the body, so its gate is asked after it.
      const problem = caller.kind === 'provider' ? await closedGate(deps, caller.id) : null
      if (problem !== null) return sendProblem(reply, problem)
    },
    onResponse: async (_request, reply) => metrics.syncRequests.add(1, { outcome: String(reply.statusCode) }),
    handler: async (request, reply) => {
      const caller = callers.get(request)
      if (caller === undefined) throw new Error('A request for a sync reached its handler without a caller.')
      const asked = askedProvider(request.body)
      if (asked === 'malformed')
        return sendProblem(reply, badRequest('Send {"provider_id": "<uuid>"} as JSON.'))
      const provider = caller.kind === 'provider' ? caller.id : asked
      if (provider === null) return sendProblem(reply, badRequest('An operator names the provider_id.'))
      if (asked !== null && asked !== provider) return sendProblem(reply, NOT_FOUND)
      const problem = caller.kind === 'operator' ? await closedGate(deps, provider) : null
      if (problem !== null) return sendProblem(reply, problem)
      return inSpan('sync asked for', { kind: 'server' }, () => askForSync(deps, provider, reply))
    },
  })
}

/** The switch needs no identity, so it comes before the token: switched off, the API says so to everybody, and holds nothing for strangers. */
function strangersAnswer(gates: Pick<Gates, 'sync'>): Problem {
  const decision = gates.sync(NOBODY)
  if (decision.state === 'unknown') return unknownGate()
  const isSwitchedOff = decision.state === 'off' && decision.gate === 'CALENDAR_SYNC_ENABLED'
  return isSwitchedOff ? forbidden(decision) : UNAUTHORIZED
}

/** The provider_id of a body, null for an empty one. Unknown members are ignored. */
function askedProvider(body: unknown): ProviderId | null | 'malformed' {
  if (!Buffer.isBuffer(body) || body.length === 0) return null
  const id = jsonObject(body)?.['provider_id']
  return typeof id === 'string' && isUuid(id) ? providerId(id) : 'malformed'
}

/** The refusal for a provider whose gate is not open, with its active connections held; null when it is open. */
async function closedGate(deps: SyncApiDeps, provider: ProviderId): Promise<Problem | null> {
  const decision = deps.gates.sync(provider)
  if (decision.state === 'on') return null
  if (decision.state === 'unknown') return unknownGate()
  const { connections } = await providerConnections(deps.db, provider)
  const active = connections.filter(({ status }) => status === 'active')
  return (await held(deps, active, decision.gate)) ? forbidden(decision) : NOT_KEPT
}

async function askForSync(
  deps: SyncApiDeps,
  provider: ProviderId,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { asOf, connections } = await providerConnections(deps.db, provider)
  if (connections.length === 0) return sendProblem(reply, NOT_FOUND)
  const decided = connections
    .filter(({ status }) => status === 'active')
    .map((connection): Decided => ({ connection, decision: deps.gates.sync(provider, connection.id) }))
  if (decided.some(({ decision }) => decision.state === 'unknown')) return sendProblem(reply, unknownGate())

  const open = decided.flatMap(({ connection, decision }) => (decision.state === 'on' ? [connection] : []))
  const refused = decided.flatMap(({ connection, decision }) =>
    decision.state === 'off' ? [{ connection, decision }] : [],
  )
  const kept = await Promise.all(
    refused.map(({ connection, decision }) => held(deps, [connection], decision.gate)),
  )
  if (kept.includes(false) || !(await rung(deps, provider, open, asOf))) return sendProblem(reply, NOT_KEPT)
  if (open.length === 0 && refused[0]) return sendProblem(reply, forbidden(refused[0].decision))
  return reply.code(202).send({
    provider_id: provider,
    connections: open.map(({ id, vendor }) => ({ id, vendor })),
    not_asked: connections
      .filter((connection) => !open.includes(connection))
      .map((connection) => ({
        id: connection.id,
        vendor: connection.vendor,
        status: connection.status,
        reason:
          connection.status === 'active'
            ? 'Connection not allowed: kept, and asked for once it is.'
            : NOT_ASKED[connection.status],
      })),
  })
}

/** Rings each connection; false as soon as one ring is not durable (those before it are harmless: they ring again). */
async function rung(
  deps: SyncApiDeps,
  provider: ProviderId,
  connections: readonly ProviderConnection[],
  asOf: Micros | null,
): Promise<boolean> {
  for (let from = 0; from < connections.length; from += RINGS_AT_A_TIME) {
    const answers = await Promise.all(
      connections.slice(from, from + RINGS_AT_A_TIME).map(({ id, vendor }) =>
        deps.publisher.ring({
          connectionId: id,
          providerId: provider,
          vendor,
          reason: 'api',
          calendarId: null,
          deliveryKey: null,
          asOf,
        }),
      ),
    )
    if (answers.some((answer) => answer !== 'durable')) return false
  }
  return true
}

function held(
  deps: SyncApiDeps,
  connections: readonly ProviderConnection[],
  gate: GateName,
): Promise<boolean> {
  return deps.refusals.hold(
    connections.map(({ id }) => id),
    gate,
  )
}

function forbidden(decision: Extract<GateDecision, { state: 'off' }>): Problem {
  const detail = `${whyClosed(decision)} The request is kept and handled once the gate is open.`
  return { status: 403, error: decision.text, detail }
}

function unknownGate(): Problem {
  return unavailable('The gates cannot be read at the moment. Send it again later.')
}
