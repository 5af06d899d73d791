// The causes that hold for every connection at once, or for those of a partition or a vendor: what
// services and their dependencies are like. Pure. Invariant: a service of which nothing is heard is
// never taken for one that is well; where nothing at all is known, nothing is claimed.
import { causeOf, type Cause } from './cause.ts'
import type { CauseCode } from './causes.ts'
import type { GateDecision } from './gates.ts'
import type { ConnectionId, Micros, VendorName } from './ids.ts'
import { isoOf } from './instant.ts'
import { partitionOf } from './partition-of.ts'
import { unownedPartitions, type OwnedPartition, type ServiceInstance } from './service-instances.ts'

export const SERVICE_NAMES = ['ingress', 'sync', 'retry', 'relay', 'scheduler'] as const
export type ServiceName = (typeof SERVICE_NAMES)[number]

/** What is known of the installation. */
export interface Installation {
  /** null: nothing is known of any, and nothing is said. */
  readonly processes: readonly ServiceInstance[] | null
  /** The gates that hold for all connections; absent: not asked. */
  readonly jobs?: GateDecision
  readonly webhook?: GateDecision
  readonly oauth?: GateDecision
  /** Looked at by the one who asks, beside what the processes tell: part → what is wrong. */
  readonly away?: Readonly<Partial<Record<Part, string>>>
}

export type Part = 'postgres' | 'kafka' | 'registry' | 'gates'

/** Where a connection stands in the installation. */
export interface Place {
  readonly vendor: VendorName
  /** That of its sync requests; null: not known. */
  readonly partition: OwnedPartition | null
  /** When the oldest row of its outbox shard was written; null: none waits. */
  readonly outboxSince: Micros | null
  readonly now: Micros
}

/** A row waits for a moment on a good day; a relay that lives publishes it within seconds. */
export const OUTBOX_AGE_MAX_S = 30

const DOWN: Readonly<Record<ServiceName, CauseCode>> = {
  ingress: 'ingress_down',
  sync: 'sync_down',
  retry: 'retry_down',
  relay: 'relay_down',
  scheduler: 'scheduler_down',
}

/** What stands still without a service. */
export const WITHOUT: Readonly<Record<ServiceName, string>> = {
  ingress: 'notifications and apps are turned away',
  sync: 'nothing is read from the vendors',
  retry: 'what failed is tried again only by the sweep',
  relay: 'changes wait in the outbox and are not published',
  scheduler: 'nothing is reconciled, channels run out, and what a gate held is not rung',
}

const AWAY: Readonly<Record<string, CauseCode>> = {
  postgres: 'database_away',
  kafka: 'kafka_away',
  registry: 'registry_away',
  gates: 'gates_unknown',
}

/** What holds for all connections alike. Not in order. */
export function causesOfInstallation({
  processes,
  jobs,
  webhook,
  away = {},
}: Installation): readonly Cause[] {
  const own = Object.entries(away).map(([part, problem]) => awayCause(part, problem))
  const told = processes === null ? [] : [...downCauses(processes), ...problemCauses(processes)]
  const known = new Set(own.map(({ code }) => code))
  return [
    ...own,
    ...told.filter(({ code }) => !known.has(code)),
    ...closedCauses(jobs, 'jobs_switched_off'),
    ...closedCauses(webhook, 'webhooks_switched_off'),
  ]
}

/** What holds for the place of one connection. Not in order. */
export function causesOfPlace({ processes }: Installation, place: Place): readonly Cause[] {
  const live = (processes ?? []).filter(({ isLive }) => isLive)
  return [...partitionCauses(live, place), ...breakerCauses(live, place), ...outboxCauses(place)]
}

/** Both. */
export function causesAround(installation: Installation, place: Place): readonly Cause[] {
  return [...causesOfInstallation(installation), ...causesOfPlace(installation, place)]
}

function downCauses(processes: readonly ServiceInstance[]): readonly Cause[] {
  return SERVICE_NAMES.flatMap((name) => {
    const own = processes.filter(({ service }) => service === name)
    if (own.some(({ isLive }) => isLive)) return []
    const since = own.length === 0 ? null : Math.max(...own.map(({ seenAt }) => seenAt))
    const heard =
      since === null
        ? `No process of the service ${name} runs`
        : `The service ${name} was last heard of at ${isoOf(since)}`
    return [causeOf(DOWN[name], { text: `${heard}; ${WITHOUT[name]}.`, since })]
  })
}

/**
 * What a service lacks of which no process is ready. A part that several lack is told once, as the
 * first of them told it.
 */
function problemCauses(processes: readonly ServiceInstance[]): readonly Cause[] {
  const found = new Map<string, Cause>()
  for (const service of SERVICE_NAMES) {
    const live = processes.filter((one) => one.service === service && one.isLive)
    if (live.some((one) => one.isReady || isStarting(one))) continue
    for (const [part, problem] of Object.entries(live[0]?.problems ?? {})) {
      const key = part in AWAY ? part : service
      if (!found.has(key))
        found.set(key, part in AWAY ? awayCause(part, problem) : illCause(service, part, problem))
    }
  }
  return [...found.values()]
}

/** Below the longest that a start may take; what takes longer stands still. */
const START_MAX_MICROS = 60_000_000

function isStarting({ startedAt, seenAt }: ServiceInstance): boolean {
  return seenAt - startedAt < START_MAX_MICROS
}

function awayCause(part: string, problem: string): Cause {
  const { text } = causeOf(AWAY[part] ?? 'service_ill')
  return causeOf(AWAY[part] ?? 'service_ill', { text: `${text} It was seen as: ${sentence(problem)}` })
}

function illCause(service: string, part: string, problem: string): Cause {
  const text = `The service ${service} cannot work. ${part}: ${sentence(problem)}`
  return causeOf(service === 'sync' ? 'sync_ill' : 'service_ill', { text })
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

function closedCauses(gate: GateDecision | undefined, code: CauseCode): readonly Cause[] {
  if (gate?.state !== 'off') return []
  if (gate.isCapped !== true) return [causeOf(code)]
  const action = `The variable ${gate.gate} of the services keeps it closed; an operator changes it and starts them again.`
  return [causeOf(code, { action })]
}

function partitionCauses(live: readonly ServiceInstance[], { partition: here }: Place): readonly Cause[] {
  const syncs = live.filter(({ service }) => service === 'sync')
  if (here === null || syncs.length === 0) return []
  const name = `${here.topic}/${here.partition}`
  const found = syncs
    .flatMap(({ facts }) => facts.blocked)
    .filter(({ topic, partition }) => topic === here.topic && partition === here.partition)
    .map(({ since, problem }) => {
      const text = `A record ahead in ${name} keeps its requests waiting: ${sentence(problem)}`
      return causeOf('partition_blocked', { text, since })
    })
  if (unownedPartitions(here.topic, syncs)?.includes(here.partition) !== true) return found
  const text = `No sync process owns ${name}, where its requests wait.`
  return [...found, causeOf('partition_unowned', { text })]
}

function breakerCauses(live: readonly ServiceInstance[], { vendor }: Place): readonly Cause[] {
  const open = live.flatMap(({ facts }) => facts.breakers.filter((breaker) => breaker.vendor === vendor))
  if (open.length === 0) return []
  return [causeOf('vendor_left_alone', { until: Math.max(...open.map(({ until }) => until)) })]
}

function outboxCauses({ outboxSince, now }: Place): readonly Cause[] {
  if (outboxSince === null || outboxSince >= now - OUTBOX_AGE_MAX_S * 1_000_000) return []
  const text = `Its changes are stored, and wait to be published since ${isoOf(outboxSince)}.`
  return [causeOf('outbox_behind', { text, since: outboxSince })]
}

/**
 * The partition of a connection's sync requests; null while no process knows how many there are.
 * @param topic where its vendor's requests go.
 */
export function partitionOfRequests(
  { processes }: Installation,
  topic: string,
  connection: ConnectionId,
): OwnedPartition | null {
  const count = Math.max(0, ...(processes ?? []).map(({ facts }) => facts.partitionCounts[topic] ?? 0))
  return count === 0 ? null : { topic, partition: partitionOf(connection, count) }
}
