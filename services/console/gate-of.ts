// Whether a connection may sync, as far as the flag server is known. Pure.
import type { GateDecision } from '#shared/domain/gates.ts'
import type { ConnectionId, ProviderId } from '#shared/domain/ids.ts'
import { syncGate, type Toggles } from '#shared/gates/toggles.ts'

interface Line {
  readonly id: ConnectionId
  readonly providerId: ProviderId
}

/** Unknown while the flag server does not answer. */
export function gateOf({ id, providerId }: Line, standing: Toggles | null): GateDecision {
  if (standing === null) return { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' }
  return syncGate(standing, providerId, id)
}
