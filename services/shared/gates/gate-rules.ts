// How one toggle of Unleash and one cap of the environment become a decision. Pure. Invariant: what
// cannot be read as a plain switch, a plain list or plainly everybody is closed: Unleash ORs
// strategies, and a toggle that is on without one lets everybody in.
import type { GateName } from '#shared/domain/gates.ts'

/** The toggle as Unleash delivers it; only what is looked at. */
export interface Toggle {
  readonly name: string
  readonly enabled: boolean
  readonly strategies?: readonly ToggleStrategy[]
  readonly dependencies?: readonly unknown[]
}

export interface ToggleStrategy {
  readonly name: string
  readonly constraints?: readonly ToggleConstraint[]
  readonly segments?: readonly unknown[]
}

interface ToggleConstraint {
  readonly contextName: string
  readonly operator: string
  readonly inverted?: boolean
  readonly values?: readonly string[]
}

export type SwitchName = Exclude<GateName, AllowlistName>
export type AllowlistName = keyof typeof ALLOWLISTS

/** The context field that an allowlist's constraint must look at. */
export const ALLOWLISTS = {
  CALENDAR_ALLOWLIST_PROVIDER_IDS: 'providerId',
  CALENDAR_ALLOWLIST_CONNECTION_IDS: 'connectionId',
} as const satisfies Partial<Record<GateName, string>>

/** Hard caps from the environment, under the names of the gates; undefined is no cap. */
export interface Caps extends Readonly<Partial<Record<SwitchName, boolean | undefined>>> {
  readonly CALENDAR_ALLOWLIST_PROVIDER_IDS?: readonly string[] | undefined
  readonly CALENDAR_ALLOWLIST_CONNECTION_IDS?: readonly string[] | undefined
}

/**
 * Who an allowlist toggle lets in. `problem` is set when the toggle is something else than a
 * list: it then lets no one in.
 */
export interface Allowlist {
  readonly ids: ReadonlySet<string>
  /** Everybody is let in: its one strategy has no constraint. */
  readonly everybody: boolean
  readonly problem: string | null
}

const NO_IDS: ReadonlySet<string> = new Set()

/**
 * Reads an allowlist: exactly one strategy `default` with exactly one IN constraint on the right
 * field, or with none for everybody; absent or disabled is an empty list.
 */
export function readAllowlist(name: AllowlistName, toggle: Toggle | undefined): Allowlist {
  if (!toggle?.enabled) return { ids: NO_IDS, everybody: false, problem: null }
  const problem = allowlistProblem(ALLOWLISTS[name], toggle)
  if (problem !== null) return { ids: NO_IDS, everybody: false, problem }
  const [constraint] = toggle.strategies?.[0]?.constraints ?? []
  const values = constraint?.values ?? []
  return {
    ids: new Set(values.map((id) => id.trim().toLowerCase())),
    everybody: constraint === undefined,
    problem: null,
  }
}

/**
 * Whether an allowlist lets this id in;
 * letter case does not matter on the list, and ids of ours are in lower case.
 */
export function letsIn(list: Allowlist, id: string): boolean {
  return list.everybody || list.ids.has(id)
}

function allowlistProblem(field: string, { strategies = [], dependencies = [] }: Toggle): string | null {
  const [strategy] = strategies
  if (!strategy || strategies.length > 1) return `it has ${strategies.length} strategies instead of one`
  if (strategy.name !== 'default') return `its strategy is ${strategy.name} instead of default`
  if ((strategy.segments ?? []).length > 0) return 'its strategy has segments'
  if (dependencies.length > 0) return 'it depends on another toggle'
  const constraints = strategy.constraints ?? []
  const [constraint] = constraints
  if (!constraint) return null
  if (constraints.length > 1) return `it has ${constraints.length} constraints instead of one`
  if (constraint.contextName !== field)
    return `its constraint looks at ${constraint.contextName} instead of ${field}`
  if (constraint.operator !== 'IN' || constraint.inverted === true) return 'its constraint is not a plain IN'
  return null
}

/** Whether the cap keeps this gate closed for this id (the id is looked at by allowlists only). */
export function isCapped(caps: Caps, gate: GateName, id?: string): boolean {
  const cap = caps[gate]
  if (cap === undefined) return false
  if (typeof cap === 'boolean') return !cap
  return id === undefined || !cap.includes(id)
}

/** What a toggle says, as a few words for the audit line and for comparing two polls. */
export function describeToggle(gate: GateName, toggle: Toggle | undefined): string {
  if (!toggle) return 'absent'
  if (!toggle.enabled) return 'off'
  if (!isAllowlistName(gate)) {
    const narrowed = (toggle.strategies ?? []).filter(({ name, constraints, segments }) => {
      return name !== 'default' || (constraints ?? []).length > 0 || (segments ?? []).length > 0
    })
    return narrowed.length === 0 ? 'on' : `on, through ${narrowed.map(({ name }) => name).join(' or ')}`
  }
  const { ids, everybody, problem } = readAllowlist(gate, toggle)
  if (problem !== null) return `closed: ${problem}`
  return everybody ? 'on for everybody' : `on for ${ids.size}`
}

export function isAllowlistName(gate: GateName): gate is AllowlistName {
  return gate in ALLOWLISTS
}
