// What becomes of the connections of a request for a sync: rung, held, or not asked and why.
import type { GateName } from '#shared/domain/gates.ts'
import type { Micros, ProviderId } from '#shared/domain/ids.ts'
import type { ProviderConnection } from '#shared/store/provider-connections.ts'
import type { Publisher } from '../publisher.ts'
import type { Refusals } from '../refusals.ts'

/**
 * Rings of one request that wait at a time:
 * a large provider must not fill the queue that notifications share.
 */
const RINGS_AT_A_TIME = 500

/** Statuses in which a connection is not pulled, in words for the caller. */
export const NOT_ASKED: Readonly<Record<Exclude<ProviderConnection['status'], 'active'>, string>> = {
  needs_reauth: 'The person has to connect the calendar again.',
  disabled: 'The connection is disabled.',
  disconnected: 'The connection was disconnected.',
}

/**
 * Rings each connection; false as soon as one ring is not durable (those before it are
 * harmless: they ring again).
 */
export async function rung(
  { publisher }: { readonly publisher: Pick<Publisher, 'ring'> },
  { provider, asOf }: { readonly provider: ProviderId; readonly asOf: Micros | null },
  connections: readonly ProviderConnection[],
): Promise<boolean> {
  for (let from = 0; from < connections.length; from += RINGS_AT_A_TIME) {
    const answers = await Promise.all(
      connections.slice(from, from + RINGS_AT_A_TIME).map(({ id, vendor }) =>
        publisher.ring({
          connectionId: id,
          providerId: provider,
          vendor,
          reason: 'api',
          calendarId: null,
          deliveryKey: null,
          asOf,
        }),
      ),
    )
    if (answers.some((answer) => answer !== 'durable')) return false
  }
  return true
}

/** Whether the rows of these connections are committed. */
export function held(
  { refusals }: { readonly refusals: Pick<Refusals, 'hold'> },
  connections: readonly ProviderConnection[],
  gate: GateName,
): Promise<boolean> {
  return refusals.hold(
    connections.map(({ id }) => id),
    gate,
  )
}
