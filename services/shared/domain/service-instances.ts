// The processes of an installation as they tell of themselves, and what that says of each service.
// Pure. Invariant: a service is alive only where a process of it said so a moment ago.
import type { Micros } from './ids.ts'

/**
 * A process that has not told for so long is lost: frozen, killed, or cut off from Postgres. It
 * tells once a second, so three beats in a row are missing.
 */
export const HEARTBEAT_LOST_AFTER_MS = 4_000
/** Ends without a farewell count for so long: a supervisor waits at most 5 min between two. */
const ENDS_WITHIN_MS = 15 * 60_000
/** One end is an accident that its successor heals; two are a process that keeps ending. */
const ENDS_MIN = 2

export interface OwnedPartition {
  readonly topic: string
  readonly partition: number
}

/** A record that keeps those behind it waiting, because it cannot be handled nor buried. */
export interface BlockedRecord extends OwnedPartition {
  readonly offset: string
  readonly since: Micros
  readonly problem: string
}

/** A vendor that the process leaves alone. `part`: its api or its login. */
export interface OpenBreaker {
  readonly vendor: string
  readonly part: string
  readonly until: Micros
}

/** A job that the process holds the lease of. */
export interface JobRun {
  readonly name: string
  readonly lastRunAt: Micros | null
  readonly problem: string | null
}

/** What a process has in hand; each service fills its own part. */
export interface InstanceFacts {
  /** Of the topics of its consumer group. */
  readonly partitions: readonly OwnedPartition[]
  /** How many partitions these topics have; empty while that is not known. */
  readonly partitionCounts: Readonly<Record<string, number>>
  readonly blocked: readonly BlockedRecord[]
  readonly breakers: readonly OpenBreaker[]
  /** Of the outbox. */
  readonly shards: readonly number[]
  readonly jobs: readonly JobRun[]
  /**
   * When it last did what it is there for: a unit ended, a batch was published, a retry was rung, a
   * job ran, a sync request was accepted. null: not since its start.
   */
  readonly lastProgressAt: Micros | null
}

export const NO_FACTS: InstanceFacts = {
  partitions: [],
  partitionCounts: {},
  blocked: [],
  breakers: [],
  shards: [],
  jobs: [],
  lastProgressAt: null,
}

export interface ServiceInstance {
  readonly instance: string
  readonly service: string
  readonly version: string
  readonly host: string
  readonly pid: number
  readonly startedAt: Micros
  readonly seenAt: Micros
  /** Seen within HEARTBEAT_LOST_AFTER_MS, by the clock of the database. */
  readonly isLive: boolean
  readonly isReady: boolean
  /** Why it is not ready: dependency → one sentence. */
  readonly problems: Readonly<Record<string, string>>
  readonly facts: InstanceFacts
}

export interface ServiceHealth {
  readonly service: string
  /**
   * lost: no process lives. short: fewer live than did. restarting: its processes keep ending.
   * not_ready: a process lacks something. alive: none of these.
   */
  readonly state: 'alive' | 'not_ready' | 'short' | 'restarting' | 'lost'
  readonly live: readonly ServiceInstance[]
  /** Processes that ended or froze without a farewell, and that no later one replaces. */
  readonly missing: readonly ServiceInstance[]
  /** Ends without a farewell in the last 15 min. */
  readonly ends: number
  /** Of the living; different ones during an upgrade. */
  readonly versions: readonly string[]
  /** Since when it is not alive, if that is known. */
  readonly since: Micros | null
  /** Of the living and, when none lives, of the last one: `dependency: sentence`. */
  readonly problems: readonly string[]
  readonly lastProgressAt: Micros | null
}

/** How a service is, by the rows of its processes. @param now the clock that `seenAt` is of. */
export function healthOfService(
  service: string,
  instances: readonly ServiceInstance[],
  now: Micros,
): ServiceHealth {
  const own = instances.filter((one) => one.service === service)
  const live = own.filter(({ isLive }) => isLive)
  const gone = own.filter(({ isLive }) => !isLive).toSorted((a, b) => a.seenAt - b.seenAt)
  const missing = withoutSuccessor(gone, own)
  const recent = gone.filter(({ seenAt }) => now - seenAt <= ENDS_WITHIN_MS * 1000)
  const state = stateOf(live, missing, recent.length)
  const told = live.length > 0 ? live : gone.slice(-1)
  return {
    service,
    state,
    live,
    missing,
    ends: recent.length,
    versions: [...new Set(live.map(({ version }) => version))].toSorted(),
    since: sinceOf(state, gone, missing, recent),
    problems: [...new Set(told.flatMap(problemsOf))],
    lastProgressAt: latest(own.map(({ facts }) => facts.lastProgressAt)),
  }
}

function stateOf(
  live: readonly ServiceInstance[],
  missing: readonly ServiceInstance[],
  ends: number,
): ServiceHealth['state'] {
  if (live.length === 0) return 'lost'
  if (missing.length > 0) return 'short'
  if (ends >= ENDS_MIN) return 'restarting'
  return live.every(({ isReady }) => isReady) ? 'alive' : 'not_ready'
}

function sinceOf(
  state: ServiceHealth['state'],
  gone: readonly ServiceInstance[],
  missing: readonly ServiceInstance[],
  recent: readonly ServiceInstance[],
): Micros | null {
  switch (state) {
    case 'lost':
      return gone.at(-1)?.seenAt ?? null
    case 'short':
      return missing[0]?.seenAt ?? null
    case 'restarting':
      return recent[0]?.seenAt ?? null
    case 'not_ready':
    case 'alive':
      return null
    default:
      return state satisfies never
  }
}

/**
 * Each process that began after another was last seen takes the place of one of these, so a
 * supervisor that restarts what was killed heals the count.
 */
function withoutSuccessor(
  gone: readonly ServiceInstance[],
  all: readonly ServiceInstance[],
): readonly ServiceInstance[] {
  const free = all.toSorted((a, b) => a.startedAt - b.startedAt)
  return gone.filter((lost) => {
    const at = free.findIndex(({ startedAt }) => startedAt > lost.seenAt)
    if (at === -1) return true
    free.splice(at, 1)
    return false
  })
}

function problemsOf({ problems }: ServiceInstance): readonly string[] {
  return Object.entries(problems).map(([dependency, text]) => `${dependency}: ${text.replace(/\.$/, '')}`)
}

function latest(times: readonly (Micros | null)[]): Micros | null {
  const known = times.filter((at) => at !== null)
  return known.length === 0 ? null : Math.max(...known)
}

/**
 * The partitions of a topic that no living process has. null while no process knows how many the
 * topic has. During a rebalance of the group they are some for a moment.
 */
export function unownedPartitions(
  topic: string,
  instances: readonly ServiceInstance[],
): readonly number[] | null {
  const counts = instances.map(({ facts }) => facts.partitionCounts[topic] ?? 0)
  const count = Math.max(0, ...counts)
  if (count === 0) return null
  const owned = new Set(
    instances
      .filter(({ isLive }) => isLive)
      .flatMap(({ facts }) => facts.partitions)
      .filter((one) => one.topic === topic)
      .map(({ partition }) => partition),
  )
  return Array.from({ length: count }, (_, partition) => partition).filter((one) => !owned.has(one))
}
