// What an operator may do to many connections at once, and to which. Pure. Invariant: a filter that
// narrows nothing is refused; who means every one says so.
import { CAUSE_CODES, type CauseCode } from './causes.ts'
import { CONNECTION_STATES } from './connection-facts.ts'
import { isUuid, type Micros } from './ids.ts'

export const REPAIR_KINDS = [
  'sync_now',
  'full_read',
  'pause',
  'resume',
  'probe',
  'replay_dead_letters',
] as const
export type RepairKind = (typeof REPAIR_KINDS)[number]

export type RepairState = 'running' | 'done' | 'aborted' | 'failed'

/** What is named narrows; all of it together. Kept as JSON in the row of the repair. */
export interface RepairFilter {
  /** Every one. It stands alone. */
  readonly all?: true
  readonly connection?: string
  readonly provider?: string
  readonly vendor?: string
  /** How the connection is, in the words of `connections list`. */
  readonly state?: string
  /** A cause of `calstream why` that it has, alone or among others. */
  readonly cause?: string
  /**
   * Of connections: their trouble began then or later. Of dead letters: they were given up then or
   * later. Database clock.
   */
  readonly since?: Micros
  /** Of dead letters alone: the failure code for which they were given up. */
  readonly code?: string
  /** Of dead letters alone: those that no reader understood too. It narrows nothing. */
  readonly anyway?: true
}

/**
 * How many a second, unless a person says it. What rings is slow: each sync request becomes calls
 * to a vendor, and people's own changes come first. A pause is for a fire, so it is quick.
 */
export const DEFAULT_RATES: Readonly<Record<RepairKind, number>> = {
  sync_now: 5,
  full_read: 1,
  pause: 200,
  resume: 5,
  probe: 1,
  replay_dead_letters: 10,
}

/** Above it the outbox would grow faster than one relay publishes (docs/performance.md). */
export const RATE_MAX = 1000

/** Gates decide these, and what a closed gate keeps out cannot be mended from here. */
const OF_GATES: readonly string[] = ['paused', 'unknown']

/** Causes that gates decide. */
const CAUSES_OF_GATES: readonly CauseCode[] = [
  'capped_by_environment',
  'gates_unknown',
  'sync_switched_off',
  'provider_not_allowed',
  'connection_not_allowed',
]

const NARROWS = ['connection', 'provider', 'vendor', 'state', 'cause', 'since', 'code'] as const
const OF_LETTERS = ['code', 'anyway'] as const

/** Why a filter makes no sense for this kind, as a sentence that says what to do; null: it does. */
export function filterProblem(kind: RepairKind, filter: RepairFilter): string | null {
  const named = NARROWS.filter((name) => filter[name] !== undefined)
  if (named.length === 0 && filter.all !== true)
    return 'Say which: a connection, a provider, a vendor, a state, a cause or since when; or that all are meant.'
  if (named.length > 0 && filter.all === true)
    return `All are meant, or those of one ${named[0]}: leave one of the two out.`
  return memberProblem(kind, filter)
}

function memberProblem(kind: RepairKind, filter: RepairFilter): string | null {
  const { connection, provider, vendor, state, cause } = filter
  if (connection !== undefined && !isUuid(connection))
    return `A connection is named by its uuid, not "${connection}".`
  if (provider !== undefined && !isUuid(provider))
    return `A provider is named by its uuid, not "${provider}".`
  if (vendor !== undefined && vendor !== 'google' && vendor !== 'microsoft')
    return `The vendor is google or microsoft, not "${vendor}".`
  const ofLetters = OF_LETTERS.find((name) => filter[name] !== undefined)
  if (kind === 'replay_dead_letters')
    return state === undefined && cause === undefined
      ? null
      : 'A dead letter has no state and no cause: leave them out.'
  if (ofLetters !== undefined) return `A connection has no "${ofLetters}": it is of dead letters alone.`
  return (
    (state === undefined ? null : stateProblem(state)) ?? (cause === undefined ? null : causeProblem(cause))
  )
}

function causeProblem(cause: string): string | null {
  if (CAUSES_OF_GATES.some((code) => code === cause))
    return `A repair cannot mend what gates decide ("${cause}"): calstream gates list says which is closed.`
  if (CAUSE_CODES.some((code) => code === cause)) return null
  return `There is no cause "${cause}". calstream status counts connections by their causes.`
}

function stateProblem(state: string): string | null {
  const known = CONNECTION_STATES.filter((name) => !OF_GATES.includes(name))
  if (OF_GATES.includes(state))
    return `A repair cannot mend what gates decide ("${state}"): calstream gates list says which is closed.`
  if (known.some((name) => name === state)) return null
  return `The state is one of ${known.join(', ')}; not "${state}".`
}
