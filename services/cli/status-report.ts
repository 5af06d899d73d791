// What of an installation is not well, the worst first. Pure. Invariant: what could not be looked
// at is not well: nothing is called healthy that was not seen.
import { isoOf } from '#shared/domain/instant.ts'
import { COUNTED_TO, type Backlog, type StateCount } from '#shared/store/status.ts'
import type { GateLine } from './toggles.ts'
import { problemOf, seenOf, type Look } from './look.ts'
import type { ServiceLook } from './look-at-services.ts'

export interface Facts {
  readonly services: Look<readonly ServiceLook[]>
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
/** Groups are behind by the markers of transactions for ever, and by what is on its way. */
export const LAG_MAX = 1_000

/** States that are nothing to worry about; `unknown` is told by the gates, once for all. */
const CALM = new Set(['in_sync', 'catching_up', 'first_sync', 'disconnected', 'unknown'])

/** Empty when all of it was seen and is well. What others stand on comes first. */
export function judge(facts: Facts): readonly Finding[] {
  const { services, gates, states, backlog, lag } = facts
  return [
    ...databaseFindings(facts),
    ...('problem' in lag ? [{ what: 'kafka', found: lag.problem, do: KAFKA_REMEDY }] : []),
    ...('problem' in gates ? [gatesUnknown(gates.problem)] : []),
    ...serviceFindings(services),
    ...gateFindings(seenOf(gates) ?? []),
    ...vendorFindings(seenOf(services) ?? []),
    ...backlogFindings(seenOf(backlog)),
    ...lagFindings(seenOf(lag) ?? {}),
    ...connectionFindings(seenOf(states) ?? []),
    ...(seenOf(services) ?? []).filter(({ state }) => state === 'unknown').map(serviceFinding),
  ]
}

const KAFKA_REMEDY = 'start the broker or correct KAFKA_BROKERS'

function databaseFindings({ states, backlog }: Facts): readonly Finding[] {
  const problem = problemOf(states) ?? problemOf(backlog)
  if (problem === null) return []
  const remedy = 'start Postgres or correct POSTGRES_URL; nothing is known of the connections until then'
  return [{ what: 'postgres', found: problem, do: remedy }]
}

function serviceFindings(look: Look<readonly ServiceLook[]>): readonly Finding[] {
  if ('problem' in look) return [{ what: 'services', found: look.problem, do: 'correct the setting named' }]
  const silent = look.seen.filter(({ state }) => state === 'silent')
  // What all of them miss is said once.
  const missing = new Map<string, string[]>()
  for (const { name, state, problems } of look.seen) {
    if (state !== 'not ready') continue
    const found = problems.join('; ')
    missing.set(found, [...(missing.get(found) ?? []), name])
  }
  return [
    ...silent.map(serviceFinding),
    ...[...missing].map(([found, names]) => ({
      what: names.join(', '),
      found: `not ready: ${found}`,
      do: NOT_READY_REMEDY,
    })),
  ]
}

const NOT_READY_REMEDY = 'cure what it names; it continues automatically'

function vendorFindings(services: readonly ServiceLook[]): readonly Finding[] {
  const leftAlone = new Map<string, readonly string[]>()
  for (const { name, vendorsLeftAlone } of services)
    for (const vendor of vendorsLeftAlone) leftAlone.set(vendor, [...(leftAlone.get(vendor) ?? []), name])
  return [...leftAlone].map(([vendor, names]) => ({
    what: vendor,
    found: `its calls fail; ${names.join(' and ')} ${names.length > 1 ? 'leave' : 'leaves'} it alone for a while`,
    do: 'it is tried again automatically; look at its status page if it stays',
  }))
}

/** What stands still without a service. */
const WITHOUT: Readonly<Record<ServiceLook['name'], string>> = {
  ingress: 'notifications and apps are turned away',
  sync: 'nothing is read from the vendors',
  retry: 'what failed is tried again only by the sweep',
  relay: 'changes wait in the outbox and are not published',
  scheduler: 'nothing is reconciled, channels run out, and what a gate held is not rung',
}

export function serviceFinding({ name, state, problems }: ServiceLook): Finding {
  const found = problems.join('; ')
  if (state === 'silent')
    return {
      what: name,
      found: `does not answer: ${found}; ${WITHOUT[name]}`,
      do: `look at its log and restart ${name}`,
    }
  if (state === 'unknown') return { what: name, found: `not looked at: ${found}`, do: 'see .env.example' }
  return { what: name, found: `not ready: ${found}`, do: NOT_READY_REMEDY }
}

function lagFindings(lag: Readonly<Record<string, number>>): readonly Finding[] {
  return Object.entries(lag)
    .filter(([, lag]) => lag > LAG_MAX)
    .map(([group, lag]) => ({
      what: group,
      found: `${counted(lag)} records are not worked yet`,
      do: 'if it grows, run more processes of it',
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

export function count(number: number, what: string): string {
  return `${counted(number)} ${what}${number === 1 ? '' : 's'}`
}

export function counted(number: number): string {
  const text = String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ' ')
  return number >= COUNTED_TO ? `${text} or more` : text
}

/** Seconds as a person says them. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}
