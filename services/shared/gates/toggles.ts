// What all toggles say together, in the order in which the services ask them. Pure.
import {
  cappedBy,
  closedBy,
  GATES,
  type Admission,
  type GateDecision,
  type GateName,
} from '#shared/domain/gates.ts'
import { isUuid, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import {
  type AllowlistName,
  type Caps,
  describeToggle,
  isAllowlistName,
  isCapped,
  letsIn,
  readAllowlist,
  type SwitchName,
  type Toggle,
} from './gate-rules.ts'

export interface Toggles {
  /** Those that the flag server knows. */
  readonly all: ReadonlyMap<GateName, Toggle>
  readonly caps: Caps
}

export interface GateLine {
  readonly gate: GateName
  /** on, off, missing, on for 20, on for everybody, or closed and why. */
  readonly state: string
  /** It lets work through: a switch all of it, an allowlist that of the ids on it. */
  readonly isOpen: boolean
}

/** Every gate in a few words. */
export function describeGates({ all, caps }: Toggles): readonly GateLine[] {
  return GATES.map((gate) => {
    const toggle = all.get(gate)
    const said = toggle ? describeToggle(gate, toggle) : 'missing'
    const list = isAllowlistName(gate) ? readAllowlist(gate, toggle) : null
    const isOpen = list === null ? said === 'on' : list.everybody || list.ids.size > 0
    if (list === null && isCapped(caps, gate))
      return { gate, state: `off (capped by ${gate})`, isOpen: false }
    return { gate, state: said, isOpen }
  })
}

/** Whether a connection may sync, in the order in which the services ask. */
export function syncGate(toggles: Toggles, provider: ProviderId, connection: ConnectionId): GateDecision {
  const { all, caps } = toggles
  const asked: readonly (readonly [AllowlistName, string])[] = [
    ['CALENDAR_ALLOWLIST_PROVIDER_IDS', provider],
    ['CALENDAR_ALLOWLIST_CONNECTION_IDS', connection],
  ]
  if (isCapped(caps, 'CALENDAR_SYNC_ENABLED')) return cappedBy('CALENDAR_SYNC_ENABLED')
  const capped = asked.find(([gate, id]) => isCapped(caps, gate, id))
  if (capped) return cappedBy(capped[0])
  if (!all.get('CALENDAR_SYNC_ENABLED')?.enabled) return closedBy('CALENDAR_SYNC_ENABLED')
  const closed = asked.find(([gate, id]) => !letsIn(readAllowlist(gate, all.get(gate)), id))
  return closed ? closedBy(closed[0]) : { state: 'on' }
}

/** The same for statements over all connections. */
export function admissionOf(toggles: Toggles | null): Admission {
  if (toggles === null) return { sync: 'unknown', providers: null, connections: null }
  const sync =
    toggles.all.get('CALENDAR_SYNC_ENABLED')?.enabled && !isCapped(toggles.caps, 'CALENDAR_SYNC_ENABLED')
  const { caps } = toggles
  return {
    caps: {
      sync: isCapped(caps, 'CALENDAR_SYNC_ENABLED'),
      providers: uuidsOf(caps.CALENDAR_ALLOWLIST_PROVIDER_IDS),
      connections: uuidsOf(caps.CALENDAR_ALLOWLIST_CONNECTION_IDS),
    },
    sync: sync ? 'on' : 'off',
    providers: idsOf(toggles, 'CALENDAR_ALLOWLIST_PROVIDER_IDS'),
    connections: idsOf(toggles, 'CALENDAR_ALLOWLIST_CONNECTION_IDS'),
  }
}

function uuidsOf(cap: readonly string[] | undefined): readonly string[] | null {
  return cap?.filter(isUuid) ?? null
}

function idsOf({ all, caps }: Toggles, gate: AllowlistName): readonly string[] | null {
  const list = readAllowlist(gate, all.get(gate))
  const cap = caps[gate]
  if (list.everybody) return cap ?? null
  // What is no uuid is no id of ours, and the database would refuse it.
  return [...list.ids].filter((id) => isUuid(id) && (cap === undefined || cap.includes(id)))
}

/** The gates that hold for all, as the services ask them; unknown without toggles. */
export function switchesOf(toggles: Toggles | null) {
  const ask = (gate: SwitchName) => (): GateDecision => {
    if (toggles === null) return { state: 'unknown', gate }
    if (isCapped(toggles.caps, gate)) return cappedBy(gate)
    return toggles.all.get(gate)?.enabled ? { state: 'on' } : closedBy(gate)
  }
  return {
    jobs: ask('CALENDAR_JOBS_ENABLED'),
    webhook: ask('CALENDAR_WEBHOOK_ENABLED'),
    oauth: ask('CALENDAR_OAUTH_ENABLED'),
  }
}
