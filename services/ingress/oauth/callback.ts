// `GET /api/auth/<vendor>/calendar/callback`: the browser comes back. gate → state, once, in the
// same browser → code → account and calendars → one transaction. Invariants: a refused browser
// changes nothing; the state is spent before the code is sent, since a code that arrives twice
// costs the person the grant (RFC 6749 §4.1.2); whatever goes wrong after that, the person can try
// again, while no try of the link has connected an account.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { asFailure, Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { openSecret } from '#shared/process/keyring.ts'
import { finishTry, readFlow, spendState, type Flow } from '#shared/store/oauth-flows.ts'
import { microsoftWordIn } from '#shared/vendors/grant-words.ts'
import type { ConsentVendor } from '#shared/vendors/mailbox.ts'
import { saveAccount, type Connected, type GrantedAccount } from '../connect-account.ts'
import { allowLongAnswer, type ProblemDetails, unavailable } from '../server.ts'
import {
  APP_APPROVED,
  CONNECTED_ALREADY,
  failedGrant,
  isApproval,
  noCalendars,
  partialConsent,
  refusedConsent,
  START_AGAIN,
  STATE_EXPIRED,
  STATE_OUTDATED,
  STATE_SPENT,
  STRANGER,
  troublePage,
  VENDOR_NAMES,
  type Explanation,
} from './explanations.ts'
import { callbackUrl, CHAIN_LIFE_MS, VERIFIER_FIELD, type FlowDeps } from './flow.ts'
import { oauthRefusal, readingOf } from './gate.ts'
import { FLOW_HEADERS, sendPage, sendProblemPage } from './page.ts'
import { isOfBrowser, nextTry, wayBack } from './ways-on.ts'

/** Code, account and calendars together; a person does not wait longer, and can try again. */
const VENDOR_MS_MAX = 20_000
/** RFC 6749 sets no limit; Google's codes have 73 characters, Microsoft's about 1 500. */
const CODE_MAX = 4096

/** What no person can mend. */
const OPERATORS: ReadonlySet<FailureCode> = new Set(['vendor/client-rejected', 'vendor/no-offline-access'])

/** Each waits up to a second for the row (lock_timeout of the role). */
const SAVES_MAX = 4
const NO_REGISTRY = unavailable('A part of our service is away. Load this page again in a minute.')

export async function finishConsent(
  deps: FlowDeps,
  vendorName: VendorName,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const query = request.query as Record<string, unknown>
  // An administrator's browser, as a rule without a state: there is nothing to finish.
  if (query['code'] === undefined && vendorName === 'microsoft' && isApproval(query))
    return sendPage(request, reply, APP_APPROVED)
  const landed = await landing(deps, vendorName, { state: query['state'], request })
  if (landed === null) return sendPage(request, reply, STRANGER)
  const { flow, browserHash } = landed
  const explain = (explanation: Explanation) => sendExplanation(deps, { flow, explanation }, request, reply)
  if (flow.connectionId !== null || landed.isOutdated) {
    const ended = flow.connectionId === null ? STATE_OUTDATED : CONNECTED_ALREADY
    return sendPage(request, reply, { ...ended, actions: wayBack(deps, flow) })
  }
  if (flow.isStateUsed) return explain(STATE_SPENT)
  if (flow.isExpired) return explain(STATE_EXPIRED)
  const closed = oauthRefusal(deps.gates.oauth(flow.providerId))
  if (closed !== null) return sendProblemPage(request, reply, closed)
  // Before the state is spent: without a message about it no connection is made.
  if (deps.codec.problem() !== null) return sendProblemPage(request, reply, NO_REGISTRY)
  const vendor = deps.vendors.get(vendorName)
  if (vendor === undefined) return explain(troublePage(vendorName))
  const { attempt } = flow
  const sealedVerifier = await spendState(deps.db, flow.id, { attempt, browserHash })
  // Another callback was faster: what stands now is said.
  if (sealedVerifier === null) return finishConsent(deps, vendorName, request, reply)
  const { code } = query
  if (typeof code !== 'string' || code === '' || code.length > CODE_MAX) {
    tellOperator(deps, vendorName, query)
    return explain(refusedConsent(vendorName, query, vendor.approvalUrl))
  }

  allowLongAnswer(request)
  const outcome = await connect(deps, vendor, { flow, code, sealedVerifier })
  if (outcome === 'superseded') return finishConsent(deps, vendorName, request, reply)
  if ('closed' in outcome) return sendProblemPage(request, reply, outcome.closed)
  if ('explanation' in outcome) return explain(outcome.explanation)
  return sendConnected(deps, { flow, ...outcome }, request, reply)
}

/** What no person can mend is told to the one who can, with what to do. */
function tellOperator({ logger }: FlowDeps, vendor: VendorName, query: Record<string, unknown>): void {
  const word = vendor === 'microsoft' ? microsoftWordIn(query['error_description']) : null
  if (word?.code !== 'vendor/client-rejected') return
  logger.error({ vendor, reason: `AADSTS${word.number}` }, `${word.says}. ${word.todo}`)
}

/** The flow of this state in the browser that began it; null in every other browser. */
async function landing(
  deps: FlowDeps,
  vendor: VendorName,
  { state, request }: { readonly state: unknown; readonly request: FastifyRequest },
) {
  const browserHash = deps.cookie.read(request)
  const named = await deps.tokens.read('state', state)
  if (named === null || browserHash === null) return null
  const flow = await readFlow(deps.db, named.flow, CHAIN_LIFE_MS)
  // No state is signed before its try is begun,
  // so one that is ahead belongs to a row of another time.
  if (flow === null || flow.vendor !== vendor || flow.attempt < named.attempt) return null
  if (!isOfBrowser(flow, browserHash)) return null
  // Outdated: a later try was begun.
  return { flow, browserHash, isOutdated: flow.attempt > named.attempt }
}

/** Another try for the same browser and account, and the way back. */
async function sendExplanation(
  deps: FlowDeps,
  { flow, explanation }: { readonly flow: Flow; readonly explanation: Explanation },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  deps.logger.info({ vendor: flow.vendor, title: explanation.title }, 'an account was not connected')
  const next = await nextTry(deps, flow)
  const { paragraphs } = explanation
  return sendPage(request, reply, {
    ...explanation,
    paragraphs: next === null ? [...paragraphs, START_AGAIN] : paragraphs,
    actions: [...(next === null ? [] : [next]), ...wayBack(deps, flow)],
  })
}

interface Consent {
  readonly flow: Flow
  readonly code: string
  readonly sealedVerifier: string
}

type Outcome =
  /**
   * The link connected an account, or a later try was begun, while this one was with the vendor.
   */
  | 'superseded'
  | { readonly connected: Connected; readonly label: string | null }
  | { readonly explanation: Explanation }
  | { readonly closed: ProblemDetails }

/**
 * From the code to the committed connection. Failures become words for the person;
 * only defects are logged as errors.
 */
async function connect(deps: FlowDeps, vendor: ConsentVendor, consent: Consent): Promise<Outcome> {
  try {
    return await exchange(deps, vendor, consent)
  } catch (error) {
    if (error instanceof Superseded) return 'superseded'
    const failure = error instanceof DOMException ? new Failure('vendor/timeout') : asFailure(error)
    const level = failure.kind === 'defect' || OPERATORS.has(failure.code) ? 'error' : 'warn'
    deps.logger[level]({ err: failure, vendor: vendor.name }, 'an account could not be connected')
    return { explanation: failedGrant(vendor.name, failure, vendor.approvalUrl) }
  }
}

async function exchange(
  deps: FlowDeps,
  vendor: ConsentVendor,
  { flow, code, sealedVerifier }: Consent,
): Promise<Outcome> {
  const signal = AbortSignal.timeout(VENDOR_MS_MAX)
  const codeVerifier = openSecret(deps.keyring, sealedVerifier, {
    connectionId: flow.id,
    field: VERIFIER_FIELD,
  })
  const redirectUri = callbackUrl(deps, vendor.name)
  const grant = await vendor.exchangeCode({ code, codeVerifier, redirectUri }, signal)
  if (grant.missingScopes.length > 0) return { explanation: partialConsent(vendor.name) }
  // Gates are asked before each call: switched off now, the account is not even looked at.
  const closed = () => oauthRefusal(deps.gates.oauth(flow.providerId))
  const first = closed()
  if (first !== null) return { closed: first }
  const account = await vendor.account(grant.accessToken, signal)
  const second = closed()
  if (second !== null) return { closed: second }
  const calendars = await vendor.listCalendars(grant.accessToken, signal)
  if (calendars.length === 0) return { explanation: noCalendars(vendor.name) }
  const granted = { providerId: flow.providerId, vendor: vendor.name, grant, account, calendars }
  return { connected: await save(deps, flow, granted), label: account.label }
}

/** Ends the transaction that connects: nothing of this try is kept. */
class Superseded extends Error {}

/**
 * Again when a unit of the connection holds its row:
 * the code is spent, so giving up would cost the person another consent.
 */
async function save(deps: FlowDeps, flow: Flow, granted: GrantedAccount): Promise<Connected> {
  const { db: database, codec, keyring } = deps
  for (let save = 1; ; save += 1) {
    try {
      return await saveAccount({ database, codec, keyring }, granted, async (tx, connection) => {
        const { attempt } = flow
        if (!(await finishTry(tx, flow.id, { attempt, connection }))) throw new Superseded()
      })
    } catch (error) {
      const isLocked = error instanceof Failure && error.code === 'store/contention'
      if (!isLocked || save === SAVES_MAX) throw error
    }
  }
}

function sendConnected(
  deps: FlowDeps,
  { flow, connected, label }: { flow: Flow; connected: Connected; label: string | null },
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { connectionId, calendars, isNew } = connected
  deps.logger.info({ vendor: flow.vendor, connectionId, calendars, isNew }, 'an account was connected')
  const isOther = flow.reconnects !== null && flow.reconnects !== connectionId
  const [back] = wayBack(deps, { ...flow, connectionId })
  if (back !== undefined && !isOther) return reply.headers(FLOW_HEADERS).redirect(back.href, 302)
  const account = label ?? `your ${VENDOR_NAMES[flow.vendor]} account`
  return sendPage(request, reply, {
    status: 200,
    title: isOther ? 'Another account is connected' : 'Your calendar is connected',
    paragraphs: isOther
      ? [
          `You were asked to connect ${flow.reconnectsLabel ?? 'an account'} again, but signed in as ${account}. That account is now connected as well; the other one still waits.`,
          'If that is what you wanted, you are done. Otherwise go back to the app and disconnect it there.',
        ]
      : [
          `${account} ${readingOf(deps.gates.sync(flow.providerId, connectionId))}`,
          'You can close this page.',
        ],
    actions: back === undefined ? [] : [{ ...back, label: 'Continue' }],
  })
}
