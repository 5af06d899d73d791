// `POST /api/calendar/sync` and `POST /api/calendar/connections/:id/sync`: an app asks for a sync
// of a provider's connections, or of one. Invariants: what belongs to another provider and what is
// unknown get the same 404; what a closed gate refuses is kept as held_requests rows before the
// 403; 202 names exactly the connections whose sync requests are durable, and says of the others
// why they were not asked.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { connectionId, isUuid, providerId, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Queryable } from '#shared/store/database.ts'
import {
  oneConnection,
  providerConnections,
  type ProviderConnection,
  type ProviderConnections,
} from '#shared/store/provider-connections.ts'
import { GATES_UNKNOWN, keptUntilOpen } from '../refusals.ts'
import { badRequest, sendProblem, unavailable, type ProblemDetails } from '../server.ts'
import {
  callerIn,
  CONNECTION_NOT_FOUND,
  identify,
  jsonObject,
  ownerFor,
  PROVIDER_NOT_FOUND,
  UNAUTHORIZED,
  type Caller,
} from './caller.ts'
import { CONNECTION } from './connections.ts'
import type { ApiDeps } from './deps.ts'
import { inRequestSpan } from '../request-span.ts'
import { takes } from './members.ts'

export const SYNC_API = '/api/calendar/sync'
export const SYNC_ONE = `${CONNECTION}/sync`

interface SyncApiDeps extends Pick<ApiDeps, 'gates' | 'bearer' | 'refusals' | 'publisher'> {
  readonly db: Queryable
}

/**
 * Sync requests of one HTTP request that wait at a time:
 * a large provider must not fill the queue that notifications share.
 */
const REQUESTS_AT_A_TIME = 500

/** Statuses in which a connection is not pulled, in words for the caller. */
const NOT_ASKED: Readonly<Record<Exclude<ProviderConnection['status'], 'active'>, string>> = {
  needs_reauth: 'The person has to connect the calendar again.',
  disabled: 'An operator paused the connection.',
  disconnected: 'The connection was disconnected.',
}

/** What a request names; a connection that is no uuid does not exist. */
interface Named {
  readonly provider: ProviderId | null
  readonly connection: ConnectionId | 'none' | null
}

interface Target extends ProviderConnections {
  readonly provider: ProviderId
}

/** On no allowlist, so what its gate says first is what the switch says. */
const NO_PROVIDER = providerId('00000000-0000-0000-0000-000000000000')
const REQUEST = 'The request'
const NOT_KEPT = unavailable('The request could not be stored. Send it again later.')

/**
 * 202 · 400 · 401 · 403 `Calendar sync not enabled`, `Provider not allowed` or
 * `Connection not allowed` · 404 · 409 · 503.
 */
export function registerSyncApi(app: FastifyInstance, deps: SyncApiDeps): void {
  route(app, deps, SYNC_API, {
    members: ['provider_id', 'connection_id'],
    named: ({ body }) => namedIn(body),
  })
  route(app, deps, SYNC_ONE, { members: [], named: namedInPath })
}

interface SyncRoute {
  readonly members: readonly string[]
  readonly named: (request: FastifyRequest) => Named | ProblemDetails
}

function route(app: FastifyInstance, deps: SyncApiDeps, path: string, { members, named }: SyncRoute): void {
  app.post(path, {
    onRequest: [
      identify(deps.bearer, () => strangersAnswer(deps)),
      async (request, reply) => {
        const caller = callerIn(request)
        // An operator names the provider, or a connection of it, so its gate is asked afterwards.
        if (caller.kind === 'operator') return
        const problem = await closedGate(deps, caller.id, () => targetOf(deps, caller, namedInPath(request)))
        if (problem !== null) return sendProblem(reply, problem)
      },
    ],
    onResponse: async (_request, reply) => metrics.syncRequests.add(1, { outcome: String(reply.statusCode) }),
    preHandler: takes({ body: members }),
    handler: async (request, reply) => {
      const asked = named(request)
      if ('status' in asked) return sendProblem(reply, asked)
      const caller = callerIn(request)
      return inRequestSpan(request, reply, {}, () => askForSync(deps, caller, asked, reply))
    },
  })
}

/**
 * The switch needs no identity, so it comes before the token: switched off, the API says so to
 * all callers, and holds nothing for strangers.
 */
function strangersAnswer({ gates }: SyncApiDeps): ProblemDetails {
  const decision = gates.sync(NO_PROVIDER)
  if (decision.state === 'unknown') return GATES_UNKNOWN
  const isSwitchedOff = decision.state === 'off' && decision.gate === 'CALENDAR_SYNC_ENABLED'
  return isSwitchedOff ? keptUntilOpen(REQUEST, decision) : UNAUTHORIZED
}

function namedInPath({ params }: FastifyRequest): Named {
  const { id } = params as { readonly id?: string }
  if (id === undefined) return { provider: null, connection: null }
  return { provider: null, connection: isUuid(id) ? connectionId(id) : 'none' }
}

/** What a body names: nothing where there is none. */
function namedIn(body: unknown): Named | ProblemDetails {
  if (!Buffer.isBuffer(body) || body.length === 0) return { provider: null, connection: null }
  const { provider_id: provider, connection_id: connection } = jsonObject(body) ?? {}
  const isProvider = typeof provider === 'string' && isUuid(provider)
  const isConnection = typeof connection === 'string'
  if (
    (!isProvider && !isConnection) ||
    (provider !== undefined && !isProvider) ||
    (connection !== undefined && !isConnection)
  )
    return badRequest('Send {"provider_id": "<uuid>"}, or {"connection_id": "<uuid>"} for one, as JSON.')
  return {
    provider: isProvider ? providerId(provider) : null,
    connection: !isConnection ? null : isUuid(connection) ? connectionId(connection) : 'none',
  }
}

/** The connections that are asked for, and whose they are. */
async function targetOf(deps: SyncApiDeps, caller: Caller, named: Named): Promise<Target | ProblemDetails> {
  const owner = ownerFor(caller)
  if (named.provider !== null && owner !== null && named.provider !== owner) return PROVIDER_NOT_FOUND
  const provider = named.provider ?? owner
  if (named.connection !== null) {
    const found =
      named.connection === 'none' ? null : await oneConnection(deps.db, provider, named.connection)
    return found ?? CONNECTION_NOT_FOUND
  }
  if (provider === null) return badRequest('An operator names the provider_id, or a connection_id.')
  const found = await providerConnections(deps.db, provider)
  return { provider, ...found }
}

/**
 * The refusal for a provider whose gate is not open, with its active connections among `target`
 * held; null when it is open.
 */
async function closedGate(
  deps: SyncApiDeps,
  provider: ProviderId,
  target: () => Promise<Target | ProblemDetails>,
): Promise<ProblemDetails | null> {
  const decision = deps.gates.sync(provider)
  if (decision.state === 'on') return null
  if (decision.state === 'unknown') return GATES_UNKNOWN
  const found = await target()
  const active = 'status' in found ? [] : found.connections.filter(({ status }) => status === 'active')
  const ids = active.map(({ id }) => id)
  return (await deps.refusals.hold(ids, decision.gate)) ? keptUntilOpen(REQUEST, decision) : NOT_KEPT
}

async function askForSync(
  deps: SyncApiDeps,
  caller: Caller,
  named: Named,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const target = await targetOf(deps, caller, named)
  if ('status' in target) return sendProblem(reply, target)
  const { provider, connections } = target
  const closed = caller.kind === 'operator' ? await closedGate(deps, provider, async () => target) : null
  if (closed !== null) return sendProblem(reply, closed)
  const [only] = connections
  if (only === undefined) return sendProblem(reply, PROVIDER_NOT_FOUND)
  if (named.connection !== null && only.status !== 'active') {
    const detail = NOT_ASKED[only.status]
    return sendProblem(reply, { status: 409, error: 'Connection not active', detail })
  }
  return ask(deps, target, reply)
}

async function ask(deps: SyncApiDeps, target: Target, reply: FastifyReply): Promise<FastifyReply> {
  const { provider, connections } = target
  const decided = connections
    .filter(({ status }) => status === 'active')
    .map((connection) => ({ connection, decision: deps.gates.sync(provider, connection.id) }))
  if (decided.some(({ decision }) => decision.state === 'unknown')) return sendProblem(reply, GATES_UNKNOWN)

  const open = decided.flatMap(({ connection, decision }) => (decision.state === 'on' ? [connection] : []))
  const refused = decided.flatMap(({ connection, decision }) =>
    decision.state === 'off' ? [{ connection, decision }] : [],
  )
  const kept = await Promise.all(
    refused.map(({ connection, decision }) => deps.refusals.hold([connection.id], decision.gate)),
  )
  if (kept.includes(false) || !(await ringEach(deps, target, open))) return sendProblem(reply, NOT_KEPT)
  if (open.length === 0 && refused[0]) return sendProblem(reply, keptUntilOpen(REQUEST, refused[0].decision))
  return reply.code(202).send({
    provider_id: provider,
    connections: open.map(({ id, vendor }) => ({ id, vendor })),
    not_asked: connections
      .filter((connection) => !open.includes(connection))
      .map(({ id, vendor, status }) => ({
        id,
        vendor,
        status,
        reason:
          status === 'active' ? 'Connection not allowed: kept, and asked for once it is.' : NOT_ASKED[status],
      })),
  })
}

/**
 * Rings each of these connections of `target`; false as soon as one sync request is not durable
 * (those before it are harmless: they ring again).
 */
async function ringEach(
  { publisher }: SyncApiDeps,
  { provider, asOf }: Target,
  connections: readonly ProviderConnection[],
): Promise<boolean> {
  const about = { providerId: provider, reason: 'api', calendarId: null, deliveryKey: null, asOf } as const
  for (let from = 0; from < connections.length; from += REQUESTS_AT_A_TIME) {
    const group = connections.slice(from, from + REQUESTS_AT_A_TIME)
    const answers = await Promise.all(
      group.map(({ id, vendor }) => publisher.ring({ ...about, connectionId: id, vendor })),
    )
    if (answers.some((answer) => answer !== 'durable')) return false
  }
  return true
}
