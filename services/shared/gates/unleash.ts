// The gates over Unleash. Invariants: a decision is a fresh, synchronous look at the last good
// poll; after 30 s without one, or before the first, every gate is unknown; a cap of the
// environment closes whatever Unleash says; nothing that the client or the server does ends the
// process or stops the polling for good.
import { EventEmitter } from 'node:events'
import { InMemStorageProvider, Unleash } from 'unleash-client'
import {
  cappedBy,
  closedBy,
  type GateDecision,
  type GateName,
  GATES,
  type Gates,
} from '#shared/domain/gates.ts'
import type { ConnectionId, ProviderId } from '#shared/domain/ids.ts'
import type { Secret } from '#shared/process/secret.ts'
import {
  type Allowlist,
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
import type { Toggles } from './toggles.ts'
import type { Logger } from '#shared/process/log.ts'
import { atMost, until } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'

interface GatesConfig {
  /** Base of the client API, ending in /api. */
  readonly url: string
  readonly token: Secret
  readonly caps: Caps
  readonly appName: string
}

type GatesState = 'fresh' | 'stale' | 'never'

export interface LiveGates extends Gates, AsyncDisposable {
  state(): GatesState
  /** null while decisions are known, otherwise what is wrong. For readiness. */
  problem(): string | null
  /** One gate alone, for the seeds' functions. */
  provider(provider: ProviderId): GateDecision
  connection(connection: ConnectionId): GateDecision
  /** What the last good poll and the caps say of every gate; null while that is not known. */
  standing(): Toggles | null
}

const POLL_EVERY_MS = 500
/** Below 1 s every poll of unleash-client 6.12 fails ("minTimeout is greater than maxTimeout"). */
const POLL_MAX_MS = 2_000
const STALE_AFTER_MS = 30_000
const FIRST_POLL_MAX_MS = 2_000
const REBUILD_SPACING_MS = 1_000
/** A client that says nothing for this long, neither success nor failure, is rebuilt as well. */
const SILENCE_MAX_MS = 10_000

/** What the last good poll said. */
interface Snapshot {
  /** Evaluates switches; it may have been stopped since, its answers stay. */
  readonly client: Unleash
  readonly said: Readonly<Record<GateName, string>>
  readonly lists: Readonly<Record<AllowlistName, Allowlist>>
  readonly toggles: ReadonlyMap<GateName, Toggle>
}

/**
 * Starts polling and waits for the first good poll, at most 2 s: without one the gates are unknown
 * until it comes. Rejects only when the signal is aborted.
 */
export async function openGates(
  config: GatesConfig,
  logger: Logger,
  signal: AbortSignal,
): Promise<LiveGates> {
  signal.throwIfAborted()
  const gates = new UnleashGates(config, logger)
  await atMost(until(gates.firstPoll, signal), FIRST_POLL_MAX_MS, undefined)
  if (signal.aborted) await gates[Symbol.asyncDispose]()
  signal.throwIfAborted()
  return gates
}

class UnleashGates implements LiveGates {
  readonly firstPoll: Promise<void>
  readonly #config: GatesConfig
  readonly #logger: Logger
  readonly #watchdog: NodeJS.Timeout
  #client: Unleash | null = null
  #snapshot: Snapshot | null = null
  #polledAtMs = 0
  #heardAtMs = 0
  #builtAtMs = 0
  #rebuild: NodeJS.Timeout | null = null
  #failures = 0
  #asking = false
  #closed = false
  #firstPolled: () => void = () => undefined

  constructor(config: GatesConfig, logger: Logger) {
    this.#config = config
    this.#logger = logger
    this.firstPoll = new Promise((resolve) => {
      this.#firstPolled = resolve
    })
    this.#build()
    this.#watchdog = setInterval(() => this.#watch(), REBUILD_SPACING_MS).unref()
  }

  sync(provider: ProviderId, connection?: ConnectionId): GateDecision {
    // Caps first: they are known even while Unleash is not.
    const asked: readonly (readonly [GateName, string | undefined])[] = [
      ['CALENDAR_SYNC_ENABLED', undefined],
      ['CALENDAR_ALLOWLIST_PROVIDER_IDS', provider],
      ...(connection === undefined ? [] : [['CALENDAR_ALLOWLIST_CONNECTION_IDS', connection] as const]),
    ]
    const capped = asked.find(([gate, id]) => isCapped(this.#config.caps, gate, id))
    if (capped) return count(cappedBy(capped[0]))
    const switched = this.#switch('CALENDAR_SYNC_ENABLED', {
      providerId: provider,
      ...(connection && { connectionId: connection }),
    })
    if (switched.state !== 'on') return count(switched)
    const provided = this.#list('CALENDAR_ALLOWLIST_PROVIDER_IDS', provider)
    if (provided.state !== 'on' || connection === undefined) return count(provided, 'CALENDAR_SYNC_ENABLED')
    return count(this.#list('CALENDAR_ALLOWLIST_CONNECTION_IDS', connection), 'CALENDAR_SYNC_ENABLED')
  }

  provider(provider: ProviderId): GateDecision {
    return count(this.#list('CALENDAR_ALLOWLIST_PROVIDER_IDS', provider), 'CALENDAR_ALLOWLIST_PROVIDER_IDS')
  }

  connection(connection: ConnectionId): GateDecision {
    return count(
      this.#list('CALENDAR_ALLOWLIST_CONNECTION_IDS', connection),
      'CALENDAR_ALLOWLIST_CONNECTION_IDS',
    )
  }

  jobs(): GateDecision {
    return count(this.#switch('CALENDAR_JOBS_ENABLED'), 'CALENDAR_JOBS_ENABLED')
  }

  webhook(): GateDecision {
    return count(this.#switch('CALENDAR_WEBHOOK_ENABLED'), 'CALENDAR_WEBHOOK_ENABLED')
  }

  oauth(provider?: ProviderId): GateDecision {
    const switched = this.#switch('CALENDAR_OAUTH_ENABLED')
    if (switched.state !== 'on' || provider === undefined) return count(switched, 'CALENDAR_OAUTH_ENABLED')
    return count(this.#list('CALENDAR_ALLOWLIST_PROVIDER_IDS', provider), 'CALENDAR_OAUTH_ENABLED')
  }

  standing(): Toggles | null {
    const snapshot = this.#fresh()
    return snapshot && { all: snapshot.toggles, caps: this.#config.caps }
  }

  state(): GatesState {
    if (this.#snapshot === null) return 'never'
    return performance.now() - this.#polledAtMs > STALE_AFTER_MS ? 'stale' : 'fresh'
  }

  problem(): string | null {
    const state = this.state()
    if (state === 'fresh') return null
    return state === 'never'
      ? 'Unleash was not reached yet'
      : `Unleash was not reached for ${STALE_AFTER_MS / 1000} s`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    clearInterval(this.#watchdog)
    if (this.#rebuild) clearTimeout(this.#rebuild)
    if (this.#client) stop(this.#client)
  }

  #switch(gate: SwitchName, properties: Record<string, string> = {}): GateDecision {
    if (isCapped(this.#config.caps, gate)) return cappedBy(gate)
    const snapshot = this.#fresh()
    if (!snapshot) return { state: 'unknown', gate }
    return this.#evaluate(snapshot.client, gate, properties) ? { state: 'on' } : closedBy(gate)
  }

  #list(gate: AllowlistName, id: string): GateDecision {
    if (isCapped(this.#config.caps, gate, id)) return cappedBy(gate)
    const snapshot = this.#fresh()
    if (!snapshot) return { state: 'unknown', gate }
    return letsIn(snapshot.lists[gate], id) ? { state: 'on' } : closedBy(gate)
  }

  #fresh(): Snapshot | null {
    return this.state() === 'fresh' ? this.#snapshot : null
  }

  #evaluate(client: Unleash, gate: SwitchName, properties: Record<string, string>): boolean {
    // A strategy that the client does not know raises `error` from here; that is no failed poll.
    this.#asking = true
    try {
      return client.isEnabled(gate, { properties }, false)
    } finally {
      this.#asking = false
    }
  }

  #build(): void {
    const { url, token, appName } = this.#config
    const client = new Unleash({
      url,
      appName,
      customHeaders: { Authorization: token.reveal() },
      refreshInterval: POLL_EVERY_MS,
      timeout: POLL_MAX_MS,
      disableMetrics: true,
      // The default keeps a file in the folder for temporary files:
      // an old "on" would be live at the next start.
      storageProvider: new InMemStorageProvider(),
      skipInstanceCountWarning: true,
    })
    this.#client = client
    this.#builtAtMs = this.#heardAtMs = performance.now()
    // `changed` of the first poll comes a tick before the client is ready, and until then it
    // answers "off" to everything.
    let ready = false
    let polled = false
    client.once('ready', () => {
      ready = true
      if (polled) this.#succeeded(client, 'changed')
    })
    for (const event of ['changed', 'unchanged'] as const) {
      client.on(event, () => {
        polled = true
        if (ready) this.#succeeded(client, event)
      })
    }
    for (const event of ['warn', 'error'] as const)
      client.on(event, (problem: unknown) => this.#failed(client, problem))
  }

  #succeeded(client: Unleash, event: 'changed' | 'unchanged'): void {
    if (client !== this.#client) return
    this.#polledAtMs = this.#heardAtMs = performance.now()
    if (this.#failures > 0) this.#logger.info({ failures: this.#failures }, 'Unleash is reached again')
    this.#failures = 0
    if (event === 'changed' || this.#snapshot?.client !== client) this.#take(client)
    this.#firstPolled()
  }

  #take(client: Unleash): void {
    const toggles = new Map<GateName, Toggle>()
    for (const gate of GATES) {
      const toggle = client.getFeatureToggleDefinition(gate)
      if (toggle) toggles.set(gate, toggle)
    }
    const said = Object.fromEntries(
      GATES.map((gate) => [gate, describeToggle(gate, toggles.get(gate))]),
    ) as Record<GateName, string>
    const lists = Object.fromEntries(
      GATES.filter(isAllowlistName).map((gate) => [gate, readAllowlist(gate, toggles.get(gate))]),
    ) as Record<AllowlistName, Allowlist>
    const before = this.#snapshot
    this.#snapshot = { client, said, lists, toggles }
    for (const gate of GATES) this.#report(gate, before, this.#snapshot)
  }

  /** The audit line: it answers why work stopped at 14:03. */
  #report(gate: GateName, before: Snapshot | null, after: Snapshot): void {
    const list = isAllowlistName(gate) ? after.lists[gate] : null
    const open = list === null ? after.said[gate].startsWith('on') : list.everybody || list.ids.size > 0
    metrics.gateState.record(open ? 1 : 0, { gate })
    const changes = isAllowlistName(gate) ? difference(before?.lists[gate].ids, after.lists[gate].ids) : {}
    if (before?.said[gate] === after.said[gate] && Object.keys(changes).length === 0) return
    this.#logger.info(
      { gate, before: before?.said[gate] ?? 'unknown', after: after.said[gate], ...changes },
      `gate ${gate} is ${after.said[gate]}`,
    )
    if (!isAllowlistName(gate)) return
    const { problem } = after.lists[gate]
    if (problem !== null) {
      this.#logger.error(
        { gate, problem },
        `the toggle ${gate} lets no one in because ${problem}: give it one strategy "default" with one IN constraint, or turn it off for an empty list`,
      )
    }
  }

  #failed(client: Unleash, problem: unknown): void {
    if (client !== this.#client || this.#asking || this.#closed) return
    this.#heardAtMs = performance.now()
    this.#failures += 1
    metrics.gatePollFailures.add(1)
    const text = problem instanceof Error ? problem.message : String(problem)
    if (this.#failures === 1)
      this.#logger.warn(
        { problem: text },
        'a poll of Unleash failed; the gates keep their last answers for 30 s',
      )
    this.#rebuildSoon()
  }

  /**
   * unleash-client stops polling for ever after a 401 or 403 and polls ever more slowly after other
   * failures; a new one does neither.
   */
  #rebuildSoon(): void {
    if (this.#rebuild !== null) return
    const waitMs = Math.max(0, this.#builtAtMs + REBUILD_SPACING_MS - performance.now())
    this.#rebuild = setTimeout(() => {
      this.#rebuild = null
      if (this.#closed) return
      if (this.#client) stop(this.#client)
      this.#build()
    }, waitMs).unref()
  }

  #watch(): void {
    if (this.state() !== 'fresh') for (const gate of GATES) metrics.gateState.record(-1, { gate })
    if (performance.now() - this.#heardAtMs > SILENCE_MAX_MS) this.#rebuildSoon()
  }
}

/**
 * Stops a client. Its fetch under way may fail later and raise `error` on a repository whose
 * listeners destroy() removed, which would end the process.
 */
function stop(client: Unleash): void {
  client.destroy()
  const repository: unknown = Reflect.get(client, 'repository')
  if (repository instanceof EventEmitter) repository.on('error', ignore)
}

function ignore(): void {}

function count(decision: GateDecision, asked: GateName = 'CALENDAR_SYNC_ENABLED'): GateDecision {
  metrics.gateDecisions.add(1, {
    gate: decision.state === 'on' ? asked : decision.gate,
    state: decision.state,
  })
  return decision
}

/** At most 20 ids each: a list that is replaced as a whole must not make a line of a megabyte. */
function difference(
  before: ReadonlySet<string> = new Set(),
  after: ReadonlySet<string>,
): { added?: readonly string[]; removed?: readonly string[] } {
  const added = [...after].filter((id) => !before.has(id)).slice(0, 20)
  const removed = [...before].filter((id) => !after.has(id)).slice(0, 20)
  return { ...(added.length > 0 && { added }), ...(removed.length > 0 && { removed }) }
}
