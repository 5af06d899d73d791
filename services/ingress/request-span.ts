// The span of a request that asks for work, or lets an account in.
import type { Attributes } from '@opentelemetry/api'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { inServerSpan } from '#shared/process/http-spans.ts'

/** Runs the handler of a route inside a span that ends with what was answered. */
export function inRequestSpan<T>(
  request: FastifyRequest,
  reply: FastifyReply,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  const { method } = request
  const about = { method, route: request.routeOptions.url ?? '', attributes }
  return inServerSpan(about, () => reply.statusCode, work)
}
