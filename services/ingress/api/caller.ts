// Who calls the API: the app of one provider for itself, or an operator for any.
// Invariant: a caller learns nothing about another provider: its id and its connections get
// the answer of ids that do not exist.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isUuid, providerId, type ProviderId } from '#shared/domain/ids.ts'
import type { BearerCheck } from '#shared/process/bearer.ts'
import { BEARER_LIFE_MAX_S } from '#shared/process/bearer-settings.ts'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'

export type Caller = { readonly kind: 'provider'; readonly id: ProviderId } | { readonly kind: 'operator' }

export const UNAUTHORIZED: ProblemDetails = {
  status: 401,
  error: 'Unauthorized',
  detail: `Send a valid, unexpired Bearer token that ends within ${BEARER_LIFE_MAX_S / 3600} hours, whose provider_id claim is a uuid or whose scope is operator.`,
  headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
}
export const PROVIDER_NOT_FOUND: ProblemDetails = {
  status: 404,
  error: 'Provider not found',
  detail: 'There is no such provider, it has no connections, or the token is for another one.',
}
export const CONNECTION_NOT_FOUND: ProblemDetails = {
  status: 404,
  error: 'Connection not found',
  detail: 'There is no such connection, or it belongs to another provider.',
}

/**
 * The caller that the claims of a good token name; null when they name none. A provider_id that is
 * no uuid names none, whatever scope stands beside it: who put it there meant a provider, not an
 * operator. A scope is one text of words with spaces between (RFC 8693 §4.2); a list is none.
 */
export function callerOf(claims: Readonly<Record<string, unknown>> | null): Caller | null {
  if (claims === null) return null
  const id = claims['provider_id']
  if (id !== undefined)
    return typeof id === 'string' && isUuid(id) ? { kind: 'provider', id: providerId(id) } : null
  const scope = claims['scope']
  return typeof scope === 'string' && scope.split(' ').includes('operator') ? { kind: 'operator' } : null
}

const callers = new WeakMap<FastifyRequest, Caller>()

/** An onRequest hook, so before the body is read: strangers are answered, others are `callerIn`. */
export function identify(bearer: BearerCheck, strangersAnswer = () => UNAUTHORIZED) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const caller = callerOf(await bearer(request.headers.authorization))
    if (caller === null) return sendProblem(reply, strangersAnswer())
    callers.set(request, caller)
    return undefined
  }
}

export function callerIn(request: FastifyRequest): Caller {
  const caller = callers.get(request)
  if (caller === undefined) throw new Error('A request reached its handler without a caller.')
  return caller
}

/**
 * The provider that a request is about: the caller's own, or the one that an operator names.
 * `asked` is undefined when none is named.
 */
export function chooseProvider(
  caller: Caller,
  asked: unknown,
): { readonly provider: ProviderId } | { readonly problem: ProblemDetails } {
  if (asked !== undefined && (typeof asked !== 'string' || !isUuid(asked)))
    return { problem: badRequest('provider_id is a uuid.') }
  const named = asked === undefined ? null : providerId(asked)
  if (caller.kind === 'operator')
    return named === null
      ? { problem: badRequest('An operator names the provider_id.') }
      : { provider: named }
  return named !== null && named !== caller.id ? { problem: PROVIDER_NOT_FOUND } : { provider: caller.id }
}

/** The provider that a connection has to belong to; null when it may be any. */
export function ownerFor(caller: Caller): ProviderId | null {
  return caller.kind === 'operator' ? null : caller.id
}

/**
 * The JSON object of a body, whatever its Content-Type says;
 * empty for no body, null when it is none.
 */
export function jsonObject(body: unknown): Readonly<Record<string, unknown>> | null {
  if (!Buffer.isBuffer(body) || body.length === 0) return {}
  try {
    const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}
