// Gates: the decision of one flag. `off` is a refusal (403), `unknown` means we cannot know (503)
// and does no work either.
import type { ConnectionId, ProviderId } from './ids.ts'

export const GATES = [
  'CALENDAR_SYNC_ENABLED',
  'CALENDAR_JOBS_ENABLED',
  'CALENDAR_WEBHOOK_ENABLED',
  'CALENDAR_OAUTH_ENABLED',
  'CALENDAR_ALLOWLIST_PROVIDER_IDS',
  'CALENDAR_ALLOWLIST_CONNECTION_IDS',
] as const

export type GateName = (typeof GATES)[number]

export type GateDecision =
  | { readonly state: 'on' }
  /** `gate` is the one that decided; `text` is the seeds' sentence for a person. */
  | {
      readonly state: 'off'
      readonly gate: GateName
      readonly text: GateText
      /** A variable of the services closes it, whatever the toggle says. */
      readonly isCapped?: true
    }
  | { readonly state: 'unknown'; readonly gate: GateName }

const TEXTS = {
  CALENDAR_SYNC_ENABLED: 'Calendar sync not enabled',
  CALENDAR_JOBS_ENABLED: 'Calendar jobs not enabled',
  CALENDAR_WEBHOOK_ENABLED: 'Calendar webhooks not enabled',
  CALENDAR_OAUTH_ENABLED: 'Calendar OAuth not enabled',
  CALENDAR_ALLOWLIST_PROVIDER_IDS: 'Provider not allowed',
  CALENDAR_ALLOWLIST_CONNECTION_IDS: 'Connection not allowed',
} as const satisfies Record<GateName, string>

export type GateText = (typeof TEXTS)[GateName]

/** The refusal of a gate, in the words that people know. */
export function closedBy(gate: GateName): GateDecision {
  return { state: 'off', gate, text: TEXTS[gate] }
}

/** The same where a variable of the services closes it, whatever the toggle says. */
export function cappedBy(gate: GateName): GateDecision {
  return { state: 'off', gate, text: TEXTS[gate], isCapped: true }
}

const WHY_CLOSED: Readonly<Record<GateName, string>> = {
  CALENDAR_SYNC_ENABLED:
    'Sync is switched off for everybody (CALENDAR_SYNC_ENABLED); an operator switches it on.',
  CALENDAR_JOBS_ENABLED:
    'The jobs are switched off for everybody (CALENDAR_JOBS_ENABLED); an operator switches them on.',
  CALENDAR_WEBHOOK_ENABLED:
    'Webhooks are switched off for everybody (CALENDAR_WEBHOOK_ENABLED); an operator switches them on.',
  CALENDAR_OAUTH_ENABLED:
    'Connecting calendars is switched off for everybody (CALENDAR_OAUTH_ENABLED); an operator switches it on.',
  CALENDAR_ALLOWLIST_PROVIDER_IDS:
    'This provider is not on CALENDAR_ALLOWLIST_PROVIDER_IDS; an operator adds it (calstream allow --provider <id>).',
  CALENDAR_ALLOWLIST_CONNECTION_IDS:
    'This connection is not on CALENDAR_ALLOWLIST_CONNECTION_IDS; an operator adds it (calstream allow --connection <id>).',
}

/**
 * Why a gate is closed and who opens it,
 * in a sentence that is true whether it was ever open or not.
 */
export function whyClosed({ gate, isCapped }: Extract<GateDecision, { state: 'off' }>): string {
  return isCapped === true
    ? `The variable ${gate} of the services keeps it closed, whatever the toggle says; an operator changes it and starts them again.`
    : WHY_CLOSED[gate]
}

/**
 * What services ask; implemented over Unleash by gates/unleash.ts, over literals in tests. Every
 * call is a fresh, synchronous decision.
 */
export interface Gates {
  /**
   * CALENDAR_SYNC_ENABLED, then the provider allowlist,
   * then (when a connection is named) the connection allowlist.
   */
  sync(provider: ProviderId, connection?: ConnectionId): GateDecision
  jobs(): GateDecision
  webhook(): GateDecision
  /** CALENDAR_OAUTH_ENABLED, then (when a provider is named) the provider allowlist. */
  oauth(provider?: ProviderId): GateDecision
}

/** Whom the gates let sync: what the flag server says, brought to the database. */
export interface Admission {
  readonly sync: 'on' | 'off' | 'unknown'
  /** null for everybody. */
  readonly providers: readonly string[] | null
  readonly connections: readonly string[] | null
  /** What the environment of the services caps, whatever the flag server says; absent: nothing. */
  readonly caps?: {
    readonly sync: boolean
    readonly providers: readonly string[] | null
    readonly connections: readonly string[] | null
  }
}
