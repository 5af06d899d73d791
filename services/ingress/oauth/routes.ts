// The OAuth routes of both vendors. The gate is asked first, before anything is looked at: it needs no identity.
import cookie from '@fastify/cookie'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/platform/metrics.ts'
import { inSpan } from '#shared/platform/telemetry.ts'
import { finishConsent } from './callback.ts'
import { beginConsent } from './consent.ts'
import { callbackPath, startPath, type FlowDeps } from './flow.ts'
import { oauthRefusal } from './gate.ts'
import { problemOf } from '../server.ts'
import { registerConnectLinks, type LinkDeps } from './links.ts'
import { sendProblemPage } from './page.ts'

const VENDORS = ['google', 'microsoft'] as const

type Step = (
  deps: FlowDeps,
  vendor: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<FastifyReply>

/** Start: 302 to consent · 401 · 403 · 503. Callback: 200 or 302 once connected · 400 · 401 · 403 · 503. */
export async function registerOAuth(app: FastifyInstance, deps: FlowDeps & LinkDeps): Promise<void> {
  registerConnectLinks(app, deps)
  await app.register(async (scope) => {
    await scope.register(cookie)
    scope.setErrorHandler((error: FastifyError, request, reply) =>
      sendProblemPage(request, reply, problemOf(error, deps.logger, request.id)),
    )
    for (const vendor of VENDORS) {
      route(scope, deps, { vendor, step: 'start', path: startPath(vendor), run: beginConsent })
      route(scope, deps, { vendor, step: 'callback', path: callbackPath(vendor), run: finishConsent })
    }
  })
}

interface FlowRoute {
  readonly vendor: VendorName
  readonly step: 'start' | 'callback'
  readonly path: string
  readonly run: Step
}

function route(scope: FastifyInstance, deps: FlowDeps, { vendor, step, path, run }: FlowRoute): void {
  scope.get(path, {
    onRequest: async (request, reply) => {
      const closed = oauthRefusal(deps.gates.oauth())
      if (closed !== null) return sendProblemPage(request, reply, closed)
    },
    onResponse: async (_request, reply) =>
      metrics.oauth.add(1, { vendor, step, outcome: String(reply.statusCode) }),
    handler: (request, reply) =>
      inSpan(`oauth ${step}`, { kind: 'server', attributes: { vendor } }, () =>
        run(deps, vendor, request, reply),
      ),
  })
}
