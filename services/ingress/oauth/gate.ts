// The gates as answers and as words for a person. Pure.
import type { GateDecision, GateName } from '#shared/domain/gates.ts'
import { unavailable, type ProblemDetails } from '../server.ts'

/** null when the gate is open; otherwise what is said at its door. */
export function oauthRefusal(decision: GateDecision): ProblemDetails | null {
  switch (decision.state) {
    case 'on':
      return null
    case 'unknown':
      return unavailable('The gates cannot be read at the moment. Come again later.')
    case 'off':
      return { status: 403, error: decision.text, detail: whyOff(decision.gate) }
    default:
      return decision satisfies never
  }
}

function whyOff(gate: GateName): string {
  return gate === 'CALENDAR_ALLOWLIST_PROVIDER_IDS'
    ? `This provider is not on ${gate}; an operator adds it (calstream allow --provider <id>).`
    : `Connecting calendars is switched off (${gate}); an operator switches it on. Come again later.`
}

/**
 * When an account that was just connected is read:
 * what the gates of its sync say now, for the person.
 */
export function readingOf(decision: GateDecision): string {
  switch (decision.state) {
    case 'on':
      return 'is connected and will be read next.'
    case 'unknown':
      return 'is connected. It is read as soon as our service finds that it may be.'
    case 'off':
      return decision.gate === 'CALENDAR_SYNC_ENABLED'
        ? 'is connected. It is read as soon as an operator switches reading on.'
        : 'is connected. It is read as soon as an operator lets it in.'
    default:
      return decision satisfies never
  }
}
