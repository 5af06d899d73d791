// The gate of OAuth as an answer. Pure.
import type { GateDecision } from '#shared/domain/gates.ts'
import { unavailable, type Problem } from '../server.ts'

/** null when the gate is open; otherwise what is said at its door. */
export function oauthRefusal(decision: GateDecision): Problem | null {
  switch (decision.state) {
    case 'on':
      return null
    case 'unknown':
      return unavailable('The gates cannot be read at the moment. Come again later.')
    case 'off':
      return {
        status: 403,
        error: decision.text,
        detail: 'Connecting calendars is switched off by an operator. Come again later.',
      }
    default:
      return decision satisfies never
  }
}
