// What of an installation is not well, the worst first. Pure. Invariant: what could not be looked
// at is not well: nothing is called healthy that was not seen.
import { isoOf } from '#shared/domain/instant.ts'
import type { GateLine } from '#shared/gates/toggles.ts'
import type { Canary } from '#shared/store/canaries.ts'
import type { Backlog, StateCount } from '#shared/store/status.ts'
import { problemOf, seenOf, type Look } from './look.ts'
import type { ServiceLook } from './look-at-services.ts'
import { type Beats, NOT_READY_REMEDY, serviceStates, type ServiceState } from './service-report.ts'
import { canaryFindings } from './canary-report.ts'
import { count, counted, span } from './words.ts'

export interface Facts {
  readonly services: Look<readonly ServiceLook[]>
  readonly beats: Look<Beats>
  readonly canaries: Look<readonly Canary[]>
  readonly gates: Look<readonly GateLine[]>
  readonly states: Look<readonly StateCount[]>
  readonly backlog: Look<Backlog>
  /** Records that a group has not committed, all its topics together. */
  readonly lag: Look<Readonly<Record<string, number>>>
}

export interface Finding {
  readonly what: string
  readonly found: string
  readonly do: string
}

/**
 * The oldest row waits for a moment on a good day; a relay that lives publishes it within seconds.
 */
export const OUTBOX_AGE_MAX_S = 30
/** What is on its way on a busy day. */
export const LAG_MAX = 1_000
export const LAG_REMEDY = 'if it grows, run more processes of it'

/** States that are nothing to worry about; `unknown` is told by the gates, once for all. */
const CALM = new Set(['in_sync', 'catching_up', 'first_sync', 'disconnected', 'unknown'])

/** Empty when all of it was seen and is well. What others stand on comes first. */
export function judge(facts: Facts): readonly Finding[] {
  const { services, beats, gates, states, backlog, lag } = facts
  const own = serviceStates(seenOf(services) ?? [], beats)
  return [
    ...databaseFindings(facts),
    ...('problem' in lag ? [{ what: 'kafka', found: lag.problem, do: KAFKA_REMEDY }] : []),
    ...('problem' in gates ? [gatesUnknown(gates.problem)] : []),
    ...('problem' in services
      ? [{ what: 'services', found: services.problem, do: 'correct the setting named' }]
      : []),
    ...beatFindings(facts),
    ...serviceFindings(own),
    ...gateFindings(seenOf(gates) ?? []),
    ...vendorFindings(seenOf(services) ?? [], seenOf(beats)),
    ...canaryFindings(seenOf(facts.canaries) ?? []),
    ...backlogFindings(seenOf(backlog)),
    ...lagFindings(seenOf(lag) ?? {}),
    ...connectionFindings(seenOf(states) ?? []),
    ...own.filter(({ state }) => state === 'unknown').map(findingOf),
  ]
}

const KAFKA_REMEDY = 'start the broker or correct KAFKA_BROKERS'

function databaseFindings({ states, backlog }: Facts): readonly Finding[] {
  const problem = problemOf(states) ?? problemOf(backlog)
  if (problem === null) return []
  const remedy = 'start Postgres or correct POSTGRES_URL; nothing is known of the connections until then'
  return [{ what: 'postgres', found: problem, do: remedy }]
}

/** Silent ones first. What several miss is said once. */
function serviceFindings(states: readonly ServiceState[]): readonly Finding[] {
  const lacking = Map.groupBy(
    states.filter(({ state }) => state === 'not ready'),
    ({ lacks }) => lacks ?? '',
  )
  const rest = states.filter(({ state }) => !CALM_SERVICES.has(state))
  return [
    ...rest.filter(({ state }) => state === 'silent').map(findingOf),
    ...[...lacking].map(([found, group]) => ({
      what: group.map(({ name }) => name).join(', '),
      found: `not ready: ${found}`,
      do: NOT_READY_REMEDY,
    })),
    ...rest.filter(({ state }) => state !== 'silent').map(findingOf),
  ]
}

/** Told in a place of their own, or nothing to tell. */
const CALM_SERVICES: ReadonlySet<ServiceState['state']> = new Set(['ready', 'not ready', 'unknown'])

function findingOf({ name, found, do: remedy }: ServiceState): Finding {
  return { what: name, found, do: remedy }
}

/** What cannot be read is not known to live; a Postgres that is away is told of by itself. */
function beatFindings({ beats, states }: Facts): readonly Finding[] {
  if (!('problem' in beats) || 'problem' in states) return []
  const found = `whether their processes live is not known: ${beats.problem}`
  return [
    { what: 'services', found, do: 'calstream migrate, if tables are missing; calstream doctor says more' },
  ]
}

function vendorFindings(services: readonly ServiceLook[], beats: Beats | null): readonly Finding[] {
  const leftAlone = new Map<string, Set<string>>()
  const note = (vendor: string, name: string) =>
    leftAlone.set(vendor, (leftAlone.get(vendor) ?? new Set()).add(name))
  for (const { name, vendorsLeftAlone } of services) for (const vendor of vendorsLeftAlone) note(vendor, name)
  for (const { service, isLive, facts } of beats?.instances ?? [])
    if (isLive) for (const { vendor } of facts.breakers) note(vendor, service)
  return [...leftAlone].map(([vendor, names]) => ({
    what: vendor,
    found: `its calls fail; ${[...names].join(' and ')} ${names.size > 1 ? 'leave' : 'leaves'} it alone for a while`,
    do: 'it is tried again automatically; look at its status page if it stays',
  }))
}

function lagFindings(lag: Readonly<Record<string, number>>): readonly Finding[] {
  return Object.entries(lag)
    .filter(([, lag]) => lag > LAG_MAX)
    .map(([group, lag]) => ({
      what: group,
      found: `${counted(lag)} records are not worked yet`,
      do: LAG_REMEDY,
    }))
}

function gatesUnknown(problem: string): Finding {
  const found = `whether anything may run is not known: ${problem}`
  const remedy = 'start Unleash or correct UNLEASH_URL and UNLEASH_TOKEN; work continues automatically'
  return { what: 'gates', found, do: remedy }
}

function gateFindings(gates: readonly GateLine[]): readonly Finding[] {
  return gates
    .filter(({ isOpen, state }) => !isOpen || (state !== 'on' && !state.startsWith('on for')))
    .map(({ gate, state }) => ({ what: gate, found: state, do: remedyOf(gate, state) }))
}

function remedyOf(gate: string, state: string): string {
  if (state === 'missing') return 'calstream toggles apply'
  if (state.startsWith('off (capped'))
    return `it is the variable ${gate} that keeps it off, whatever the toggle says`
  if (gate.startsWith('CALENDAR_ALLOWLIST_')) return 'it lets no one in; see calstream allow --help'
  return state === 'off'
    ? `calstream gates open ${gate}`
    : 'it depends on more than on and off; see the console of Unleash'
}

function backlogFindings(backlog: Backlog | null): readonly Finding[] {
  if (backlog === null) return []
  const { outboxRows, outboxOldestSeconds, held, deadLetters } = backlog
  const findings: Finding[] = []
  if (outboxOldestSeconds > OUTBOX_AGE_MAX_S)
    findings.push({
      what: 'outbox',
      found: `${counted(outboxRows)} rows wait to be published, the oldest for ${span(outboxOldestSeconds)}`,
      do: 'look whether the relay runs and Kafka answers',
    })
  for (const { gate, connections } of held)
    findings.push({
      what: 'held',
      found: `work of ${count(connections, 'connection')} waits for ${gate}`,
      do: 'it is rung automatically once the gate is open',
    })
  const { connections: ending = 0, firstAt = null } = backlog.grantsEnding ?? {}
  if (ending > 0)
    findings.push({
      what: 'grants that end',
      found: `those of ${count(ending, 'connection')} within a week${firstAt === null ? '' : `, the first at ${isoOf(firstAt)}`}`,
      do: 'publish the Google project, whose grants end after 7 days while it is in testing; these people connect again',
    })
  const plain = backlog.plainCalendars ?? 0
  if (plain > 0)
    findings.push({
      what: 'plain listings',
      found: `${count(plain, 'calendar')} cannot be asked for changes and ${plain === 1 ? 'is' : 'are'} listed as a whole, at least once an hour`,
      do: 'asking for changes is tried again automatically; calstream connections show <id> names them',
    })
  if (deadLetters > 0)
    findings.push({
      what: 'dead letters',
      found: `${counted(deadLetters)} given up and not replayed`,
      do: 'calstream dead-letters list; then replay or dismiss them',
    })
  return findings
}

function connectionFindings(states: readonly StateCount[]): readonly Finding[] {
  const total = new Map<string, number>()
  for (const { state, connections } of states)
    if (!CALM.has(state)) total.set(state, (total.get(state) ?? 0) + connections)
  return [...total]
    .toSorted(([a], [b]) => WORST.indexOf(a) - WORST.indexOf(b))
    .map(([state, connections]) => ({
      what: state,
      found: count(connections, 'connection'),
      do: `calstream connections list --state ${state}`,
    }))
}

/** In the order of the list of connections. */
export const WORST: readonly string[] = [
  'needs_reauth',
  'retrying',
  'late',
  'partly_in_sync',
  'unknown',
  'paused',
  'disabled',
]
