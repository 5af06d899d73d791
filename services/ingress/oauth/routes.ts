// The OAuth routes of both vendors. The gate is asked first,
// before anything is looked at: it needs no identity.
import cookie from '@fastify/cookie'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import { VENDOR } from '#shared/process/semantic-names.ts'
import { finishConsent } from './callback.ts'
import { askPerson, beginConsent } from './consent.ts'
import { callbackPath, startPath } from '#shared/vendors/our-addresses.ts'
import type { FlowDeps } from './flow.ts'
import { oauthRefusal } from './gate.ts'
import { inRequestSpan } from '../request-span.ts'
import { problemOf } from '../server.ts'
import { registerConnectLinks } from './links.ts'
import { sendProblemPage } from './page.ts'

const VENDORS = ['google', 'microsoft'] as const

type Step = (
  deps: FlowDeps,
  vendor: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<FastifyReply>

/** A form of ours has about 250 bytes. */
const FORM_BYTES_MAX = 4096

/**
 * Ask: 200 with a button · 401 · 403 · 503. Start: 303 to consent · 401 · 403 · 413 · 503.
 * Callback: 200 or 302 once connected · 400 · 401 · 403 · 503.
 */
export async function registerOAuth(app: FastifyInstance, deps: FlowDeps): Promise<void> {
  registerConnectLinks(app, deps)
  await app.register(async (scope) => {
    await scope.register(cookie)
    scope.setErrorHandler((error: FastifyError, request, reply) =>
      sendProblemPage(request, reply, problemOf(error, deps.logger, request.id)),
    )
    for (const vendor of VENDORS) {
      const [start, callback] = [startPath(vendor), callbackPath(vendor)]
      route(scope, deps, { vendor, step: 'ask', method: 'GET', path: start, run: askPerson })
      route(scope, deps, { vendor, step: 'start', method: 'POST', path: start, run: beginConsent })
      route(scope, deps, { vendor, step: 'callback', method: 'GET', path: callback, run: finishConsent })
    }
  })
}

interface FlowRoute {
  readonly vendor: VendorName
  readonly step: 'ask' | 'start' | 'callback'
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly run: Step
}

function route(scope: FastifyInstance, deps: FlowDeps, flowRoute: FlowRoute): void {
  const { vendor, step, method, path, run } = flowRoute
  scope.route({
    method,
    url: path,
    bodyLimit: FORM_BYTES_MAX,
    onRequest: async (request, reply) => {
      const closed = oauthRefusal(deps.gates.oauth())
      if (closed !== null) return sendProblemPage(request, reply, closed)
    },
    onResponse: async (_request, reply) =>
      metrics.oauth.add(1, { vendor, step, outcome: String(reply.statusCode) }),
    handler: (request, reply) =>
      inRequestSpan(request, reply, { [VENDOR]: vendor }, () => run(deps, vendor, request, reply)),
  })
}
