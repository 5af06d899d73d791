// `POST /api/calendar/connect-links`: the app of a provider asks for a link that its person follows
// to connect an account. A browser that follows a link carries no Bearer, so the link itself says
// for whom: signed, once, for ten minutes. Invariant: the link is committed before it is given out.
// Further tries of it are links too, but rows they are none.
import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import {
  connectionId,
  isUuid,
  type ConnectionId,
  type ProviderId,
  type VendorName,
} from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { readConnectionState } from '#shared/store/connection-status.ts'
import { createFlow, type NewFlow } from '#shared/store/oauth-flows.ts'
import { cleanLine } from '#shared/vendors/storable.ts'
import {
  callerIn,
  chooseProvider,
  CONNECTION_NOT_FOUND,
  identify,
  jsonObject,
  ownerFor,
  type Caller,
} from '../api/caller.ts'
import { takes } from '../api/members.ts'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import { startPath } from '#shared/vendors/our-addresses.ts'
import { FLOW_LIFE_MS, type FlowDeps } from './flow.ts'
import { oauthRefusal } from './gate.ts'
import { allowedReturn } from './return-to.ts'

/** It stands in a heading, on a telephone too. */
const APP_NAME_MAX = 80

/**
 * 201 with the link · 400 · 401 · 403 `Calendar OAuth not enabled` or
 * `Provider not allowed` · 404 · 503.
 */
export function registerConnectLinks(app: FastifyInstance, deps: FlowDeps): void {
  app.post('/api/calendar/connect-links', {
    onRequest: [
      async (_request, reply) => {
        const closed = oauthRefusal(deps.gates.oauth())
        if (closed !== null) return sendProblem(reply, closed)
      },
      identify(deps.bearer),
    ],
    preHandler: takes({ body: ['vendor', 'provider_id', 'connection_id', 'return_to', 'app_name'] }),
    handler: async (request, reply) => {
      const asked = await askedLink(deps, callerIn(request), request.body)
      if ('problem' in asked) return sendProblem(reply, asked.problem)
      const id = randomUUID()
      const expiresAt = await createFlow(deps.db, { ...asked, id, lifeMs: FLOW_LIFE_MS })
      const url = await linkTo(deps, { id, vendor: asked.vendor, attempt: 1 })
      return reply.code(201).send({ url, expires_at: isoOf(expiresAt) })
    },
  })
}

/** The address at which a try of a flow begins; the same each time it is asked for. */
export async function linkTo(
  { tokens, publicUrl }: FlowDeps,
  flow: { readonly id: string; readonly vendor: VendorName; readonly attempt: number },
): Promise<string> {
  const link = await tokens.sign('link', { flow: flow.id, attempt: flow.attempt })
  return `${publicUrl}${startPath(flow.vendor)}?link=${link}`
}

async function askedLink(
  deps: FlowDeps,
  caller: Caller,
  body: unknown,
): Promise<Omit<NewFlow, 'id' | 'lifeMs'> | { readonly problem: ProblemDetails }> {
  const json = jsonObject(body)
  if (json === null) return { problem: badRequest('Send {"vendor": "google" or "microsoft"} as JSON.') }
  const chosen = chooseProvider(caller, json['provider_id'])
  if ('problem' in chosen) return chosen
  const closed = oauthRefusal(deps.gates.oauth(chosen.provider))
  if (closed !== null) return { problem: closed }
  const vendor = json['vendor']
  if (vendor !== 'google' && vendor !== 'microsoft')
    return { problem: badRequest('vendor is google or microsoft.') }
  if (!deps.vendors.has(vendor))
    return { problem: badRequest(`Accounts of ${vendor} cannot be connected here: it is not set up.`) }
  const returnTo = returnOf(deps, json['return_to'] ?? null)
  if (returnTo === 'refused')
    return { problem: badRequest('return_to is an address on one of the origins in OAUTH_RETURN_ORIGINS.') }
  const appName = nameOf(json['app_name'] ?? null)
  if (appName === undefined)
    return {
      problem: badRequest(`app_name is one line of 1 to ${APP_NAME_MAX} characters, with a letter in it.`),
    }
  const reconnects = await reconnected(deps, caller, {
    vendor,
    provider: chosen.provider,
    id: json['connection_id'],
  })
  if (reconnects === 'unknown') return { problem: CONNECTION_NOT_FOUND }
  return { providerId: chosen.provider, vendor, reconnects, returnTo: returnTo?.href ?? null, appName }
}

/** undefined when it cannot be shown as it is. */
function nameOf(asked: unknown): string | null | undefined {
  if (asked === null) return null
  if (typeof asked !== 'string') return undefined
  const name = asked.trim()
  // Joiners (U+200C, U+200D) belong to letters of some scripts; nothing else invisible does.
  const isVisible = !/(?![\u200C\u200D])\p{Cf}/u.test(name) && /[\p{L}\p{N}]/u.test(name)
  const isShown = cleanLine(name, APP_NAME_MAX) === name && isVisible
  return isShown ? name : undefined
}

function returnOf({ returnOrigins }: FlowDeps, asked: unknown): URL | null | 'refused' {
  if (asked === null) return null
  return (typeof asked === 'string' && allowedReturn(asked, returnOrigins)) || 'refused'
}

async function reconnected(
  deps: FlowDeps,
  caller: Caller,
  asked: { readonly vendor: VendorName; readonly provider: ProviderId; readonly id: unknown },
): Promise<ConnectionId | null | 'unknown'> {
  if (asked.id === undefined || asked.id === null) return null
  if (typeof asked.id !== 'string' || !isUuid(asked.id)) return 'unknown'
  const found = await readConnectionState(deps.db, ownerFor(caller) ?? asked.provider, connectionId(asked.id))
  if (found?.vendor !== asked.vendor) return 'unknown'
  // An erased account belongs to no person any more: who connects is connected anew.
  return found.account === null ? null : found.id
}
