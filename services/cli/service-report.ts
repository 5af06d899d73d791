// How each service is: what its processes tell in Postgres, and what their operators' ports answer
// where these are named. Pure. Invariant: a service is well only where a process of it said a
// moment ago that it lives, and nothing that was looked at says otherwise.
import { isoOf } from '#shared/domain/instant.ts'
import type { Micros } from '#shared/domain/ids.ts'
import {
  healthOfService,
  type ServiceHealth,
  type ServiceInstance,
  unownedPartitions,
} from '#shared/domain/service-instances.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { SERVICES, WORKING_SERVICES, type ServiceName } from './config.ts'
import type { ServiceLook } from './look-at-services.ts'
import { seenOf, type Look } from './look.ts'
import { ago, count } from './words.ts'

/** What Postgres has of the processes. */
export interface Beats {
  readonly instances: readonly ServiceInstance[]
  /** The clock of their times. */
  readonly now: Micros
  /** Shards of the outbox whose lease ran out, with the moment. */
  readonly unrelayed: readonly { readonly shard: number; readonly since: Micros | null }[]
}

export interface ServiceState {
  readonly name: ServiceName
  /**
   * silent: no process of it lives or answers. short: fewer live than did. restarting: they keep
   * ending. partly: all live, and a part of the work has no owner or stands behind a record.
   */
  readonly state: 'ready' | 'not ready' | 'partly' | 'short' | 'restarting' | 'silent' | 'unknown'
  readonly found: string
  /** What to do; empty when it is ready. */
  readonly do: string
  /** Of a service that is not ready: what it lacks, without its name. */
  readonly lacks: string | null
}

/** What stands still without a service. */
const WITHOUT: Readonly<Record<ServiceName, string>> = {
  ingress: 'notifications and apps are turned away',
  sync: 'nothing is read from the vendors',
  retry: 'what failed is tried again only by the sweep',
  relay: 'changes wait in the outbox and are not published',
  console: 'operators see no pages; all else runs on',
  scheduler: 'nothing is reconciled, channels run out, and what a gate held is not rung',
}
/** The topics whose partitions have to be owned by a process of the service. */
const OWNS: Partial<Record<ServiceName, readonly string[]>> = {
  sync: Object.values(REQUESTED_TOPIC),
  retry: RETRY_TOPICS,
}
/** A registry or broker that hiccups is no record that blocks. */
const BLOCKED_MIN_S = 10
const NAMED_MAX = 5

export const NOT_READY_REMEDY = 'cure what it names; it continues automatically'

/** One state for each service, in the order of SERVICES; the console where there is one. */
export function serviceStates(looks: readonly ServiceLook[], beats: Look<Beats>): readonly ServiceState[] {
  const told = seenOf(beats)
  const known = new Set<string>([
    ...WORKING_SERVICES,
    ...looks.map(({ name }) => name),
    ...(told?.instances ?? []).map(({ service }) => service),
  ])
  return SERVICES.filter((name) => known.has(name)).map((name) => {
    const own = looks.filter((look) => look.name === name)
    return told === null ? byLooks(name, own) : byBeats(name, own, told)
  })
}

/** Postgres tells nothing: what the operators' ports answer is all there is. */
function byLooks(name: ServiceName, looks: readonly ServiceLook[]): ServiceState {
  const silent = looks.filter(({ state }) => state === 'silent')
  if (silent.length > 0) return silentState(name, answerless(silent))
  const lacking = looks.filter(({ state }) => state === 'not ready')
  if (lacking.length > 0) return notReady(name, lacksOf(lacking.flatMap(({ problems }) => problems)))
  const unknown = looks.filter(({ state }) => state === 'unknown')
  if (looks.length > 0 && unknown.length === 0)
    return { name, state: 'ready', found: 'ready', do: '', lacks: null }
  const found = ['not looked at', ...unknown.flatMap(({ problems }) => problems)].join(': ')
  return { name, state: 'unknown', found, do: 'see .env.example', lacks: null }
}

function byBeats(name: ServiceName, looks: readonly ServiceLook[], beats: Beats): ServiceState {
  const health = healthOfService(name, beats.instances, beats.now)
  const silent = looks.filter(({ state }) => state === 'silent')
  const isAnswering = looks.some(({ state }) => state === 'ready' || state === 'not ready')
  const state = (state: ServiceState['state'], found: string, remedy: string): ServiceState => {
    return { name, state, found, do: remedy, lacks: null }
  }
  if (health.state === 'lost' && isAnswering && silent.length === 0)
    return state(
      'silent',
      `answers at its admin port, but does not tell in Postgres that it lives: ${lastSign(health, beats.now)}`,
      `look whether its POSTGRES_URL leads to this database, and whether it runs this version`,
    )
  if (health.state === 'lost') {
    const answer = silent.length > 0 ? `${answerless(silent)}; ` : ''
    return silentState(name, `${answer}no process of it lives: ${lastSign(health, beats.now)}`)
  }
  if (silent.length > 0) return silentState(name, answerless(silent))
  if (health.state === 'short')
    return state(
      'short',
      missingWords(health, beats.now),
      `look at its log; restart ${name}, or see why fewer run`,
    )
  if (health.state === 'restarting')
    return state(
      'restarting',
      `${count(health.ends, 'process', 'processes')} of it ended without being told to in the last 15 min`,
      'look at its log: it says at which error it ends',
    )
  const lacking = looks.filter((look) => look.state === 'not ready')
  // A port was asked just now; a beat is up to two seconds old.
  if (lacking.length > 0) return notReady(name, lacksOf(lacking.flatMap(({ problems }) => problems)))
  if (health.state === 'not_ready') return notReady(name, lacksOf(health.problems))
  const part = partWithoutOwner(name, beats) ?? blockedWords(health, beats.now)
  if (part !== null) return state('partly', part.found, part.do)
  return state('ready', readyWords(name, health, beats), '')
}

function silentState(name: ServiceName, found: string): ServiceState {
  return {
    name,
    state: 'silent',
    found: `${found}; ${WITHOUT[name]}`,
    do: `look at its log and restart ${name}`,
    lacks: null,
  }
}

function notReady(name: ServiceName, lacks: string): ServiceState {
  return { name, state: 'not ready', found: `not ready: ${lacks}`, do: NOT_READY_REMEDY, lacks }
}

function lacksOf(problems: readonly string[]): string {
  return problems.length === 0 ? 'it does not say what it lacks' : [...new Set(problems)].join('; ')
}

function answerless(silent: readonly ServiceLook[]): string {
  return `does not answer: ${silent.flatMap(({ problems }) => problems).join('; ')}`
}

function lastSign({ since }: ServiceHealth, now: Micros): string {
  return since === null ? 'none has said so within a day' : `the last one said so ${ago(since, now)}`
}

function missingWords({ missing, live }: ServiceHealth, now: Micros): string {
  const [first] = missing
  const who = missing.slice(0, NAMED_MAX).map(({ host, pid }) => `${host} ${pid}`)
  const since = first === undefined ? '' : `, the first ${ago(first.seenAt, now)}`
  return `${count(missing.length, 'process', 'processes')} of it froze or ended without a farewell${since} (${who.join(', ')}); ${count(live.length, 'other lives', 'others live')}`
}

interface Part {
  readonly found: string
  readonly do: string
}

function partWithoutOwner(name: ServiceName, { instances, unrelayed, now }: Beats): Part | null {
  if (name === 'relay' && unrelayed.length > 0) {
    const [first] = unrelayed
    const since = first === undefined || first.since === null ? '' : ` since ${ago(first.since, now)}`
    const shards = unrelayed.slice(0, NAMED_MAX).map(({ shard }) => shard)
    return {
      found: `${count(unrelayed.length, 'shard')} of the outbox ${unrelayed.length === 1 ? 'has' : 'have'} no relay${since}: ${listed(shards, unrelayed.length)}`,
      do: 'they are taken within 6 s; if they stay, look at the log of the relay',
    }
  }
  for (const topic of OWNS[name] ?? []) {
    const free = unownedPartitions(topic, instances) ?? []
    if (free.length > 0)
      return {
        found: `no process reads ${count(free.length, 'partition')} of ${topic}: ${listed(free.slice(0, NAMED_MAX), free.length)}`,
        do: `the group shares them out within 10 s; if they stay, look at the log of ${name}`,
      }
  }
  return null
}

function listed(first: readonly number[], all: number): string {
  return all > first.length ? `${first.join(', ')} and ${all - first.length} more` : first.join(', ')
}

function blockedWords({ live }: ServiceHealth, now: Micros): Part | null {
  const blocked = live
    .flatMap(({ facts }) => facts.blocked)
    .filter(({ since }) => (now - since) / 1e6 >= BLOCKED_MIN_S)
    .toSorted((a, b) => a.since - b.since)
  const [first] = blocked
  if (first === undefined) return null
  return {
    found: `the record ${first.topic}/${first.partition}/${first.offset} cannot be taken since ${ago(first.since, now)}, and all behind it wait: ${first.problem.replace(/\.$/, '')}`,
    do: 'cure what it names; the record is tried again all the time',
  }
}

function readyWords(name: ServiceName, health: ServiceHealth, { instances, now }: Beats): string {
  const parts = [`${count(health.live.length, 'process', 'processes')} of ${health.versions.join(' and ')}`]
  const topics = OWNS[name] ?? []
  if (topics.some((topic) => unownedPartitions(topic, instances) === null))
    parts.push('its partitions are not counted yet')
  if (name === 'scheduler')
    parts.push(
      count(
        health.live.reduce((sum, { facts }) => sum + facts.jobs.length, 0),
        'job',
      ),
    )
  const { lastProgressAt } = health
  parts.push(lastProgressAt === null ? 'no work since its start' : `last work ${ago(lastProgressAt, now)}`)
  return `ready: ${parts.join(', ')}`
}

/** For --json: each service with its processes. */
export function serviceDocument(states: readonly ServiceState[], beats: Look<Beats>): readonly object[] {
  const told = seenOf(beats)
  return states.map(({ name, state, found }) => {
    const health = told === null ? null : healthOfService(name, told.instances, told.now)
    return {
      name,
      state,
      found,
      processes: health?.live.length ?? null,
      missing: health?.missing.length ?? null,
      versions: health?.versions ?? null,
      since: isoOf(health?.since ?? null),
      last_work_at: isoOf(health?.lastProgressAt ?? null),
    }
  })
}
