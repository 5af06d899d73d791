// `GET /api/auth/<vendor>/calendar?link=…`: a person's browser begins. gate → link → provider's gate → once: the flow is bound to this
// browser and to a fresh PKCE verifier, and the browser is sent to the vendor. Invariant: a link takes exactly one browser to
// the vendor, and a link that is refused stays as it was.
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { VendorName } from '#shared/domain/ids.ts'
import { sealSecret } from '#shared/platform/crypto.ts'
import { followLink, readFlow, type Flow } from '#shared/store/oauth-flows.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { LINK_REFUSED, troublePage } from './explanations.ts'
import { callbackUrl, FLOW_LIFE_MS, VERIFIER_FIELD, type FlowDeps } from './flow.ts'
import { oauthRefusal } from './gate.ts'
import { FLOW_HEADERS, sendPage, sendProblemPage } from './page.ts'

/** RFC 7636 §4.1: 43 to 128 characters; these are 43 from 32 random bytes. */
const VERIFIER_BYTES = 32

export async function beginConsent(
  deps: FlowDeps,
  vendorName: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { link } = request.query as Record<string, unknown>
  const flow = await linkedFlow(deps, vendorName, link)
  if (flow === null) return sendPage(request, reply, { ...LINK_REFUSED, actions: [] })
  const closed = oauthRefusal(deps.gates.oauth(flow.providerId))
  if (closed !== null) return sendProblemPage(request, reply, closed)
  const vendor = deps.vendors.get(vendorName)
  if (vendor === undefined) return sendPage(request, reply, { ...troublePage(vendorName), actions: [] })
  const target = await toConsent(deps, vendor, flow, deps.cookie.bind(request, reply))
  if (target === null) return sendPage(request, reply, { ...LINK_REFUSED, actions: [] })
  return reply.headers(FLOW_HEADERS).redirect(target, 302)
}

async function linkedFlow(deps: FlowDeps, vendor: VendorName, link: unknown): Promise<Flow | null> {
  const id = await deps.tokens.read('link', link)
  const flow = id === null ? null : await readFlow(deps.db, id)
  const isFresh = flow !== null && flow.vendor === vendor && flow.browserHash === null && !flow.isExpired
  return isFresh ? flow : null
}

/** The vendor's consent page for this flow; null when another request followed the link first. */
async function toConsent(
  deps: FlowDeps,
  vendor: Vendor,
  flow: Flow,
  browserHash: Buffer,
): Promise<string | null> {
  const verifier = randomBytes(VERIFIER_BYTES).toString('base64url')
  const url = vendor.consentUrl({
    redirectUri: callbackUrl(deps, vendor.name),
    state: await deps.tokens.sign('state', flow.id),
    codeChallenge: createHash('sha256').update(verifier).digest('base64url'),
    loginHint: flow.reconnectsLabel,
  })
  const sealedVerifier = sealSecret(deps.keyring, verifier, { connectionId: flow.id, field: VERIFIER_FIELD })
  return (await followLink(deps.db, flow.id, { browserHash, sealedVerifier, lifeMs: FLOW_LIFE_MS }))
    ? url
    : null
}
