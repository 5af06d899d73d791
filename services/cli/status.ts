// `calstream status`: what is not well, the worst first, and then the figures. Everything is
// looked at side by side, each for at most three seconds, so that a part that is frozen is told of
// and keeps no one waiting.
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import type { GateDecision } from '#shared/domain/gates.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { groupLag } from '#shared/kafka/open.ts'
import { countCauses, type CauseCount } from '#shared/store/cause-counts.ts'
import {
  countStates,
  listConnections,
  readBacklog,
  type Backlog,
  type ConnectionLine,
  type StateCount,
} from '#shared/store/status.ts'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { causeDocuments, causeFindings, causeLines } from './cause-report.ts'
import { lookAtServices } from './look-at-services.ts'
import { look, lookWithin, problemOf, seenOf, type Look } from './look.ts'
import { kafkaOf, openDatabaseOf } from './open.ts'
import type { Output } from './output.ts'
import { readBeats } from './read-beats.ts'
import { type Beats, serviceDocument, serviceStates } from './service-report.ts'
import { judge, WORST, type Facts, type Finding } from './status-report.ts'
import { admissionOf, describeGates, syncGate, type Toggles } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'
import { awayFrom } from './times.ts'
import { ago, count, counted, span } from './words.ts'

/** How many connections in trouble are named. */
const NAMED_MAX = 10

const READ_BY = {
  [GROUPS.sync]: [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft],
  [GROUPS.retry]: [TOPICS.retry30s, TOPICS.retry10m, TOPICS.retry6h],
} as const

interface Seen {
  readonly facts: Facts
  readonly worst: readonly NamedConnection[]
  readonly more: number
  readonly causes: Look<readonly CauseCount[]>
}

export interface NamedConnection {
  readonly id: string
  readonly provider: string
  readonly vendor: string
  readonly account: string
  readonly state: string
  readonly summary: string
  readonly next_step: string
  readonly last_synced_at: string | null
  readonly errors: number
  readonly code: string | null
  readonly next_try_at: string | null
  /** Calendars that cannot be read. */
  readonly failing_calendars: number
  readonly calendars: number
  readonly open_channels: number
}

/**
 * Prints the whole picture. Never throws for a part that does not answer: that is what it tells.
 */
export async function showStatus(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const { facts, worst, more, causes } = await gather(env)
  const counts = seenOf(causes) ?? []
  const findings = [...judge(facts), ...causeFindings(counts)]
  output.report(() => linesOf(facts, findings, { worst, more, causes }), {
    healthy: findings.length === 0,
    findings,
    connections_in_trouble: worst,
    more_in_trouble: more,
    causes: causeDocuments(counts),
    ...figuresOf(facts),
  })
}

async function gather(env: NodeJS.ProcessEnv): Promise<Seen> {
  const toggling = lookWithin(() => readToggles(env))
  const services = look(() => lookAtServices(env))
  const beating = lookWithin(() => readBeats(env))
  const lag = lookWithin(() => readLag(env))
  const rows = toggling.then((toggles) => readRows(env, seenOf(toggles)))
  const [toggles, { states, backlog, troubled, causes }] = await Promise.all([toggling, rows])
  const told = await beating
  const beats = 'seen' in told ? { seen: told.seen.beats } : told
  const canaries = 'seen' in told ? { seen: told.seen.canaries } : told
  const gates = 'seen' in toggles ? { seen: describeGates(toggles.seen) } : toggles
  const all = (seenOf(states) ?? []).filter(({ state }) => namedStates(seenOf(toggles)).includes(state))
  const total = all.reduce((sum, { connections }) => sum + connections, 0)
  const worst = seenOf(troubled) ?? []
  return {
    facts: { services: await services, beats, canaries, gates, states, backlog, lag: await lag },
    worst: worst.map((line) => nameOf(line, seenOf(toggles))),
    more: Math.max(0, total - worst.length),
    causes,
  }
}

/**
 * One by one are named those whose trouble is their own:
 * a gate that is closed for all is told once.
 */
function namedStates(toggles: Toggles | null): readonly string[] {
  const isForAll = toggles === null || admissionOf(toggles).sync !== 'on'
  return WORST.filter((state) => state !== 'unknown' && !(state === 'paused' && isForAll))
}

async function readRows(
  env: NodeJS.ProcessEnv,
  toggles: Toggles | null,
): Promise<{
  states: Look<readonly StateCount[]>
  backlog: Look<Backlog>
  troubled: Look<readonly ConnectionLine[]>
  causes: Look<readonly CauseCount[]>
}> {
  const opened = await lookWithin(async () => openDatabaseOf(env))
  if ('problem' in opened) return { states: opened, backlog: opened, troubled: opened, causes: opened }
  const database = opened.seen
  const judged = { admission: admissionOf(toggles), staleAfterMs: STALE_AFTER_MS }
  const filter = {
    states: namedStates(toggles),
    vendor: null,
    provider: null,
    connection: null,
    limit: NAMED_MAX,
  }
  const [states, backlog, troubled, causes] = await Promise.all([
    lookWithin(() => countStates(database, judged)),
    lookWithin(() => readBacklog(database)),
    lookWithin(() => listConnections(database, judged, filter)),
    lookWithin(() => countCauses(database, judged.admission)),
  ])
  // A database that does not answer would not answer to a farewell either; the process ends soon.
  void Promise.resolve(database[Symbol.asyncDispose]()).catch(() => {})
  return { states, backlog, troubled, causes }
}

/** Records that each group has not committed. Throws Failure `kafka/unavailable`. */
export async function readLag(env: NodeJS.ProcessEnv): Promise<Record<string, number>> {
  const kafka = kafkaOf(env)
  const groups = Object.entries(READ_BY).map(async ([group, topics]) => {
    const lag = await groupLag(kafka, group, topics)
    return [group, [...lag.values()].reduce((sum, one) => sum + one, 0)] as const
  })
  return Object.fromEntries(await Promise.all(groups))
}

/** Whether it may sync; unknown without an answer of the flag server. */
export function gateOf(
  { id, providerId }: Pick<ConnectionLine, 'id' | 'providerId'>,
  toggles: Toggles | null,
): GateDecision {
  if (toggles === null) return { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' }
  return syncGate(toggles, providerId, id)
}

/** A connection with the API's words about it. */
export function nameOf(line: ConnectionLine, toggles: Toggles | null): NamedConnection {
  return {
    id: line.id,
    provider: line.providerId,
    vendor: line.vendor,
    account: line.account,
    ...connectionWords(line, gateOf(line, toggles)),
    last_synced_at: isoOf(line.lastSyncedAt),
    errors: line.errorCount,
    code: line.lastError?.code ?? line.illCalendars[0]?.code ?? null,
    next_try_at: nextTryOf(line),
    failing_calendars: line.illCount,
    calendars: line.calendars,
    open_channels: line.openChannels,
  }
}

function nextTryOf({ backoffUntil, illCalendars, now }: ConnectionLine): string | null {
  const tries = [backoffUntil, ...illCalendars.map(({ nextTryAt }) => nextTryAt)]
  const ahead = tries.flatMap((at) => (at !== null && at > now ? [at] : []))
  return ahead.length === 0 ? null : isoOf(Math.min(...ahead))
}

function figuresOf({ services, beats, gates, states, backlog, lag }: Facts): Record<string, unknown> {
  const rows = seenOf(backlog)
  return {
    connections: seenOf(states),
    freshness: freshnessOf(seenOf(states) ?? [], rows),
    backlog:
      rows === null
        ? null
        : {
            outbox_rows: rows.outboxRows,
            outbox_oldest_seconds: rows.outboxOldestSeconds,
            held: rows.held,
            dead_letters: rows.deadLetters,
          },
    lag: seenOf(lag),
    calendars: rows?.calendars ?? null,
    events: rows?.events ?? null,
    open_channels: rows?.openChannels ?? null,
    services: serviceDocument(serviceStates(seenOf(services) ?? [], beats), beats),
    gates: seenOf(gates)?.map(({ gate, state, isOpen }) => ({ gate, state, open: isOpen })) ?? null,
  }
}

interface Freshness {
  readonly vendor: string
  /** Of those that should be well, the one that was in sync longest ago. */
  readonly oldest_sync_seconds: number | null
  readonly last_notification_at: string | null
}

function freshnessOf(states: readonly StateCount[], backlog: Backlog | null): readonly Freshness[] {
  const vendors = [...new Set(states.map(({ vendor }) => vendor))].toSorted()
  return vendors.map((vendor) => {
    const ages = states
      .filter((one) => one.vendor === vendor && ['in_sync', 'catching_up', 'late'].includes(one.state))
      .flatMap(({ oldestSyncSeconds }) => oldestSyncSeconds ?? [])
    return {
      vendor,
      oldest_sync_seconds: ages.length === 0 ? null : Math.round(Math.max(0, ...ages)),
      last_notification_at: isoOf(backlog?.lastNotificationAt[vendor] ?? null),
    }
  })
}

function linesOf(
  facts: Facts,
  findings: readonly Finding[],
  { worst, more, causes }: Omit<Seen, 'facts'>,
): readonly string[] {
  const lines =
    findings.length === 0
      ? ['Healthy: every service is ready, every gate is open, every connection is in sync or on its way.']
      : ['Not well, the worst first:']
  for (const finding of findings) lines.push(`  ✗ ${finding.what}: ${finding.found}`, `      → ${finding.do}`)
  if (worst.length > 0) lines.push('', 'Connections that need a look, the worst first:')
  for (const one of worst) {
    lines.push(`  ${one.account}  ${one.vendor}  ${one.state}${one.code === null ? '' : `  ${one.code}`}`)
    lines.push(`      ${one.id}  ${one.summary}`, `      → ${one.next_step}`)
  }
  if (more > 0) lines.push(`  and ${counted(more)} more: calstream connections list`)
  return [...lines, ...causeLines(seenOf(causes) ?? []), '', ...figureLines(facts)]
}

function figureLines({ services, beats, gates, states, backlog, lag }: Facts): readonly string[] {
  const rows = seenOf(backlog)
  const list = (parts: readonly string[]): string => (parts.length === 0 ? 'none' : parts.join(', '))
  const byState = new Map<string, number>()
  for (const { state, connections } of seenOf(states) ?? [])
    byState.set(state, (byState.get(state) ?? 0) + connections)
  const lines: [string, string][] = [
    ['connections', problemOf(states) ?? list([...byState].map(([state, n]) => `${counted(n)} ${state}`))],
  ]
  if (rows !== null) {
    const age = rows.outboxRows > 0 ? `, the oldest ${span(rows.outboxOldestSeconds)} old` : ''
    lines.push(
      [
        'holds',
        `${count(rows.calendars, 'calendar')}, ${count(rows.events, 'event')}, ${count(rows.openChannels, 'open channel')}`,
      ],
      ['outbox', `${count(rows.outboxRows, 'row')}${age}`],
      ['waiting', `${counted(sum(rows.held))} held by gates, ${counted(rows.deadLetters)} dead letters`],
    )
  }
  const behind = Object.entries(seenOf(lag) ?? {}).map(([group, n]) => `${group} ${counted(n)}`)
  lines.push(['behind', problemOf(lag) ?? `${list(behind)} records`])
  for (const { vendor, ...fresh } of freshnessOf(seenOf(states) ?? [], rows))
    lines.push([vendor, freshWords(fresh)])
  const ready = serviceStates(seenOf(services) ?? [], beats).map(({ name, state }) => `${name} ${state}`)
  const said = (seenOf(gates) ?? []).map(({ gate, state }) => `${gateWords(gate)} ${state}`)
  lines.push(['services', list(ready)], ...lastWork(seenOf(beats)), ['gates', problemOf(gates) ?? list(said)])
  return lines.map(([name, text]) => `${name.padEnd(12)} ${text}`)
}

/** When each service last did what it is there for, of those that told so. */
function lastWork(beats: Beats | null): readonly [string, string][] {
  if (beats === null) return []
  const { instances, now } = beats
  const latest = new Map<string, number>()
  for (const { service, facts } of instances)
    if (facts.lastProgressAt !== null)
      latest.set(service, Math.max(latest.get(service) ?? 0, facts.lastProgressAt))
  if (latest.size === 0) return []
  return [['last work', [...latest].map(([name, at]) => `${name} ${ago(at, now)}`).join(', ')]]
}

function gateWords(gate: string): string {
  return gate
    .replace(/^CALENDAR_/, '')
    .replace(/_(?:ENABLED|IDS)$/, '')
    .replaceAll('_', ' ')
    .toLowerCase()
}

function sum(held: Backlog['held']): number {
  return held.reduce((total, { connections }) => total + connections, 0)
}

function freshWords({
  oldest_sync_seconds: oldest,
  last_notification_at: last,
}: Omit<Freshness, 'vendor'>): string {
  const looked =
    oldest === null
      ? 'none is in sync'
      : `all that should be in sync were so within ${span(oldest)}, first reads aside`
  const rang =
    last === null
      ? 'no notification of late'
      : `last notification worked ${awayFrom(new Date(last), Date.now())} (${last})`
  return `${looked}; ${rang}`
}
