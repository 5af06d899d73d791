// The toggles as the services read them:
// one look at the flag server with their token, and the same rules.
import { z } from 'zod'
import { cappedBy, closedBy, GATES, type GateDecision, type GateName } from '#shared/domain/gates.ts'
import { isUuid, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { readEnv } from '#shared/process/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import {
  type AllowlistName,
  type Caps,
  describeToggle,
  isAllowlistName,
  isCapped,
  letsIn,
  readAllowlist,
  type Toggle,
} from '#shared/gates/gate-rules.ts'
import type { Admission } from '#shared/store/status.ts'
import { fetchWithin } from './look.ts'
import { Refusal } from './trouble-kind.ts'
import { UserError } from '#shared/process/user-error.ts'

export interface Toggles {
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

const features = z.object({ features: z.array(z.looseObject({ name: z.string(), enabled: z.boolean() })) })

/**
 * Throws UserError when the flag server does not answer as it should, with what to do;
 * ConfigError without its settings.
 */
export async function readToggles(env: NodeJS.ProcessEnv): Promise<Toggles> {
  const config = readEnv(z.object(unleashEnv), env)
  const url = `${config.UNLEASH_URL}/client/features`
  const answer = await fetchWithin(url, { headers: { authorization: config.UNLEASH_TOKEN.reveal() } })
  if (answer.status === 401 || answer.status === 403)
    throw new Refusal(answer.status, `The flag server refuses UNLEASH_TOKEN (${answer.status}).`)
  if (answer.status !== 200) throw new UserError(`The flag server answered ${answer.status}.`)
  const parsed = features.safeParse(answer.json())
  if (!parsed.success) throw new UserError('What answers at UNLEASH_URL is no flag server.')
  const found = parsed.data.features as unknown as readonly Toggle[]
  return {
    all: new Map(
      GATES.flatMap((gate) => found.filter(({ name }) => name === gate).map((one) => [gate, one])),
    ),
    caps: config,
  }
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
