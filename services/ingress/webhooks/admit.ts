// What the webhooks of both vendors share: whether a notification may ring (gate → token → sync
// gate and allowlists), and what for. Invariants: nothing but Kafka is touched while the gates are
// open; a closed gate keeps a signed notification as a row before it says 403.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { readChannelToken, type ChannelClaims, type ChannelKeys } from '#shared/domain/channel-token.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Publisher, SyncRequest } from '../publisher.ts'
import { GATES_UNKNOWN, keptUntilOpen, type Refusals } from '../refusals.ts'
import { unavailable, type ProblemDetails } from '../server.ts'
import type { ChannelNotices } from './channel-notices.ts'

export interface WebhookDeps {
  readonly gates: Pick<Gates, 'webhook' | 'sync'>
  readonly keys: ChannelKeys
  /** Tells whether a token has ended. */
  readonly clock: Clock
  readonly refusals: Pick<Refusals, 'hold'>
  readonly publisher: Pick<Publisher, 'ring'>
  readonly notices: Pick<ChannelNotices, 'tell' | 'seen'>
}

export type Admission =
  | { readonly kind: 'admitted'; readonly claims: ChannelClaims }
  /** `claims` of a good token, since its gate is closed. */
  | { readonly kind: 'refused'; readonly claims: ChannelClaims | null; readonly problem: ProblemDetails }

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

/** The same for a sender that is known by other means than a token; null for one that is not. */
export async function admitClaims(deps: WebhookDeps, claims: ChannelClaims | null): Promise<Admission> {
  // The gate that needs no identity comes first:
  // while it is closed, a call without a token learns only that.
  const webhook = deps.gates.webhook()
  if (webhook.state !== 'on') return refuse(deps, webhook, claims)
  if (claims === null) return { kind: 'refused', claims, problem: UNAUTHORIZED }
  const sync = deps.gates.sync(claims.providerId, claims.connectionId)
  return sync.state === 'on' ? { kind: 'admitted', claims } : refuse(deps, sync, claims)
}

async function refuse(
  deps: WebhookDeps,
  decision: Exclude<GateDecision, { state: 'on' }>,
  claims: ChannelClaims | null,
): Promise<Admission> {
  const refused = (problem: ProblemDetails) => ({ kind: 'refused', claims, problem }) as const
  if (decision.state === 'unknown') return refused(GATES_UNKNOWN)
  const kept = claims === null || (await deps.refusals.hold([claims.connectionId], decision.gate))
  if (!kept) return refused(NOT_DURABLE)
  return refused(keptUntilOpen('A signed notification', decision))
}

/** What an admitted notification asks for. */
export function syncRequestOf(
  vendor: VendorName,
  claims: ChannelClaims,
  deliveryKey: string | null,
): SyncRequest {
  return { ...claims, vendor, reason: 'webhook', deliveryKey, asOf: null }
}

/** An onResponse hook. */
export function countAnswers(vendor: VendorName) {
  return async (_request: FastifyRequest, { statusCode, elapsedTime }: FastifyReply): Promise<void> => {
    const labels = { vendor, outcome: String(statusCode) }
    metrics.webhooks.add(1, labels)
    metrics.webhookSeconds.record(elapsedTime / 1000, labels)
    if (statusCode === 202) metrics.lastNotificationAge.happened(0, { vendor })
  }
}
