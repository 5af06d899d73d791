// A person's browser begins, in two steps. `GET /api/auth/<vendor>/calendar?link=…` says who asks
// for what and has a button; it spends nothing, since scanners of mail and previews follow links
// too. The button is `POST` to the same path: gate → form of this browser → provider's gate →
// once: the flow is bound to this browser and to a fresh PKCE verifier, and the browser is sent to
// the vendor. Invariant: a link takes exactly one browser to the vendor, and a link that is
// refused stays as it was.
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { VendorName } from '#shared/domain/ids.ts'
import { sealSecret } from '#shared/process/keyring.ts'
import { beginTry, readFlow, type Flow } from '#shared/store/oauth-flows.ts'
import type { ConsentVendor } from '#shared/vendors/mailbox.ts'
import {
  askingPage,
  FORM_REFUSED,
  LINK_REFUSED,
  LINK_USED,
  troublePage,
  VENDOR_NAMES,
} from './explanations.ts'
import { startPath } from '#shared/vendors/our-addresses.ts'
import { callbackUrl, CHAIN_LIFE_MS, FLOW_LIFE_MS, VERIFIER_FIELD, type FlowDeps } from './flow.ts'
import type { NamedTry } from './flow-tokens.ts'
import { oauthRefusal } from './gate.ts'
import { FLOW_HEADERS, sendPage, sendProblemPage } from './page.ts'
import { isOfBrowser, nextTry, returnOf, wayBack } from './ways-on.ts'

/** RFC 7636 §4.1: 43 to 128 characters; these are 43 from 32 random bytes. */
const VERIFIER_BYTES = 32

/** What the button sends. */
const FIELD = 'form'

/** 200 with the button, or what is wrong with the link. */
export async function askPerson(
  deps: FlowDeps,
  vendorName: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { link } = request.query as Record<string, unknown>
  const linked = await linkedTry(deps, vendorName, await deps.tokens.read('link', link))
  if (linked === null) return sendPage(request, reply, LINK_REFUSED)
  const { flow, named } = linked
  if (!isOpen(flow, named, deps.cookie.read(request))) return refuseLink(deps, linked, request, reply)
  const closed = oauthRefusal(deps.gates.oauth(flow.providerId))
  if (closed !== null) return sendProblemPage(request, reply, closed)
  const vendor = deps.vendors.get(vendorName)
  if (vendor === undefined) return sendPage(request, reply, troublePage(vendorName))
  const browser = deps.cookie.bind(request, reply).toString('base64url')
  const back = returnOf(deps, flow)
  const { appName, reconnectsLabel } = flow
  return sendPage(request, reply, {
    ...askingPage({ vendor: vendorName, appName, host: back?.host ?? null, account: reconnectsLabel }),
    form: {
      action: `${deps.publicUrl}${startPath(vendorName)}`,
      fields: { [FIELD]: await deps.tokens.sign('form', { ...named, browser }) },
      button: `Continue to ${VENDOR_NAMES[vendorName]}`,
      targets: [
        consentOf(deps, vendor, { state: '', codeChallenge: '' }),
        ...(back === null ? [] : [back.href]),
      ],
    },
  })
}

/** 303 to the vendor's consent page. */
export async function beginConsent(
  deps: FlowDeps,
  vendorName: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const browserHash = deps.cookie.read(request)
  const named = await deps.tokens.read('form', fieldOf(request.body))
  if (
    named === null ||
    browserHash === null ||
    named.browser !== browserHash.toString('base64url') ||
    !isOwnPage(deps, request)
  )
    return sendPage(request, reply, FORM_REFUSED)
  const linked = await linkedTry(deps, vendorName, named)
  if (linked === null) return sendPage(request, reply, LINK_REFUSED)
  const closed = oauthRefusal(deps.gates.oauth(linked.flow.providerId))
  if (closed !== null) return sendProblemPage(request, reply, closed)
  const vendor = deps.vendors.get(vendorName)
  if (vendor === undefined) return sendPage(request, reply, troublePage(vendorName))
  const target = await toConsent(deps, vendor, { ...linked, browserHash })
  if (target === null) return refuseLink(deps, linked, request, reply)
  // See Other: the vendor's page is fetched, never sent our form.
  return reply.headers(FLOW_HEADERS).redirect(target, 303)
}

interface Linked {
  readonly flow: Flow
  readonly named: NamedTry
}

async function linkedTry(deps: FlowDeps, vendor: VendorName, named: NamedTry | null): Promise<Linked | null> {
  const flow = named === null ? null : await readFlow(deps.db, named.flow, CHAIN_LIFE_MS)
  return named === null || flow === null || flow.vendor !== vendor ? null : { flow, named }
}

/** What `beginTry` will say, so that no person gets a button in vain. */
function isOpen(flow: Flow, { attempt }: NamedTry, browserHash: Buffer | null): boolean {
  if (flow.attempt !== attempt - 1 || flow.connectionId !== null || flow.isOver) return false
  return flow.attempt === 0 ? flow.browserHash === null && !flow.isExpired : isOfBrowser(flow, browserHash)
}

/** Only the browser that followed a link learns that it was followed, and may continue. */
async function refuseLink(
  deps: FlowDeps,
  { flow, named }: Linked,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const isFollowed = flow.attempt >= named.attempt && isOfBrowser(flow, deps.cookie.read(request))
  const next = isFollowed ? await nextTry(deps, flow) : null
  if (next === null) return sendPage(request, reply, LINK_REFUSED)
  return sendPage(request, reply, { ...LINK_USED, actions: [next, ...wayBack(deps, flow)] })
}

/**
 * Browsers name the page that sends a form; ours tells no origin where it tells no referrer
 * (fetch.spec.whatwg.org, Origin).
 */
function isOwnPage({ publicUrl }: FlowDeps, { headers }: FastifyRequest): boolean {
  const { origin = 'null', 'sec-fetch-site': site = 'same-origin' } = headers
  return site === 'same-origin' && (origin === 'null' || origin === new URL(publicUrl).origin)
}

function fieldOf(body: unknown): string | null {
  return Buffer.isBuffer(body) ? new URLSearchParams(body.toString('latin1')).get(FIELD) : null
}

/**
 * The vendor's consent page for this try;
 * null when another request began it first, or it is too late.
 */
async function toConsent(
  deps: FlowDeps,
  vendor: ConsentVendor,
  { flow, named: { attempt }, browserHash }: Linked & { readonly browserHash: Buffer },
): Promise<string | null> {
  const verifier = randomBytes(VERIFIER_BYTES).toString('base64url')
  const url = consentOf(deps, vendor, {
    state: await deps.tokens.sign('state', { flow: flow.id, attempt }),
    codeChallenge: createHash('sha256').update(verifier).digest('base64url'),
    loginHint: flow.reconnectsLabel,
  })
  const sealedVerifier = sealSecret(deps.keyring, verifier, { connectionId: flow.id, field: VERIFIER_FIELD })
  const times = { lifeMs: FLOW_LIFE_MS, chainLifeMs: CHAIN_LIFE_MS }
  const isBegun = await beginTry(deps.db, flow.id, { attempt, browserHash, sealedVerifier, ...times })
  return isBegun ? url : null
}

function consentOf(
  deps: FlowDeps,
  vendor: ConsentVendor,
  request: { readonly state: string; readonly codeChallenge: string; readonly loginHint?: string | null },
): string {
  return vendor.consentUrl({ redirectUri: callbackUrl(deps, vendor.name), loginHint: null, ...request })
}
