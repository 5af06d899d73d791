// Whether a notification of a vendor may ring: gate → token → sync gate and allowlists. Invariants:
// nothing but Kafka is touched while the gates are open; a closed gate keeps a signed notification
// as a row before it says 403.
import { readChannelToken, type ChannelClaims, type ChannelKeys } from '#shared/domain/channel-token.ts'
import { whyClosed, type GateDecision, type Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Publisher } from '../publisher.ts'
import type { Refusals } from '../refusals.ts'
import { unavailable, type ProblemDetails } from '../server.ts'

export interface WebhookDeps {
  readonly gates: Pick<Gates, 'webhook' | 'sync'>
  readonly keys: ChannelKeys
  /** Tells whether a token has ended. */
  readonly clock: Clock
  readonly refusals: Pick<Refusals, 'hold'>
  readonly publisher: Pick<Publisher, 'ring'>
}

export type Admission =
  | { readonly kind: 'admitted'; readonly claims: ChannelClaims }
  | { readonly kind: 'refused'; readonly problem: ProblemDetails }

export const UNAUTHORIZED: ProblemDetails = {
  status: 401,
  error: 'Unauthorized',
  detail: 'The channel token is missing, not one of ours, or has ended.',
}
export const NOT_DURABLE = unavailable('The notification could not be stored. Send it again later.')

/**
 * Whether a notification may ring, from its token alone ('' for none). A refusal of a signed one is
 * committed as a held_requests row when this returns 403; without that row the answer is 503.
 */
export async function admit(deps: WebhookDeps, vendor: VendorName, token: string): Promise<Admission> {
  const isUnknown = deps.gates.webhook().state === 'unknown'
  return admitClaims(deps, isUnknown ? null : readChannelToken(deps.keys, vendor, token, deps.clock.now()))
}

/** The same for whoever is known by other means than a token; null for nobody. */
export async function admitClaims(deps: WebhookDeps, claims: ChannelClaims | null): Promise<Admission> {
  // The gate that needs no identity comes first:
  // while it is closed, a call without a token learns only that.
  const webhook = deps.gates.webhook()
  if (webhook.state !== 'on') return refuse(deps, webhook, claims)
  if (claims === null) return { kind: 'refused', problem: UNAUTHORIZED }
  const sync = deps.gates.sync(claims.providerId, claims.connectionId)
  return sync.state === 'on' ? { kind: 'admitted', claims } : refuse(deps, sync, claims)
}

async function refuse(
  deps: WebhookDeps,
  decision: Exclude<GateDecision, { state: 'on' }>,
  claims: ChannelClaims | null,
): Promise<Admission> {
  if (decision.state === 'unknown') {
    return {
      kind: 'refused',
      problem: unavailable('The gates cannot be read at the moment. Send it again later.'),
    }
  }
  const kept = claims === null || (await deps.refusals.hold([claims.connectionId], decision.gate))
  if (!kept) return { kind: 'refused', problem: NOT_DURABLE }
  const detail = `${whyClosed(decision)} A signed notification is kept and handled once the gate is open.`
  return { kind: 'refused', problem: { status: 403, error: decision.text, detail } }
}
