// What `npm start` shows once everything runs: accounts are connected, converge with the vendor's truth, go on converging
// under live changes, and a table says how fast. The stack is ready when this is called and is stopped after it returns.
import { setTimeout as delay } from 'node:timers/promises'
import { TOPICS } from '#schemas/topics.ts'
import { connectDemoAccounts } from './demo-accounts.ts'
import { type Check, type CheckDeps, checkOnce, describeDifference } from './demo-check.ts'
import { describeFreshness, freshnessOf, runLoad } from './demo-live.ts'
import type { DemoOptions } from './demo-options.ts'
import { peakMemory, reportLines } from './demo-report.ts'
import { type HeldConnection, openHeldEvents } from './held-events.ts'
import type { Invocation } from './prepare.ts'
import { describe, Problem } from './problem.ts'
import { seconds } from './progress.ts'
import type { AdminAddress } from './seed-toggles.ts'
import type { StackEnv } from './services.ts'
import { simulatorAdmin, type DemoAccount, type SimulatorAdmin } from './simulator-admin.ts'
import type { Freshness } from './verify.ts'
import { openStreamReader, type StreamReaderOptions } from './stream-reader.ts'

export interface DemoStack {
  readonly env: StackEnv
  readonly unleash: AdminAddress
  /** Runs `calstream <args>` on this stack; returns its output. */
  readonly calstream: (invocation: Invocation, signal: AbortSignal) => Promise<string>
  /** Processes by name, as they are now. */
  readonly pids: () => Readonly<Record<string, number>>
  readonly urls: Readonly<Record<string, string>>
  /** Spent on fetching packages and Java parts in this start. */
  readonly downloadMs: number
  readonly readyMs: number
  /** A line for the person in front of it. */
  readonly say: (line: string) => void
}

const POLL_MS = 500
const SHOWN = 10
const GENTLE_PER_SECOND = 2
const GENTLE_MS = 30_000
const GENTLE_PAUSE_MS = 4_000
/** Reading goes on for days: only what the last minutes brought is kept. */
const GENTLE_RECORDS_MAX = 50_000
/** What a vendor's API takes to answer. */
const LATENCY_MS = 200

/** Runs the demo. Throws a Problem with the first differences when it does not converge; returns when the signal fires. */
export async function runDemo(stack: DemoStack, options: DemoOptions, signal: AbortSignal): Promise<void> {
  try {
    const accounts = await showConvergence(stack, options, signal)
    if (!options.untilSynced) await goOn(stack, accounts, signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

async function showConvergence(
  stack: DemoStack,
  options: DemoOptions,
  signal: AbortSignal,
): Promise<readonly DemoAccount[]> {
  await using setting = await openSetting(stack, signal)
  const { simulator, check } = setting
  const { accounts, added } = await connectDemoAccounts(
    { ...stack, apiUrl: stack.env['PUBLIC_URL'] ?? '', simulator, held: check.held },
    options.connections,
    signal,
  )
  if (added === 0) stack.say(`All ${accounts.length} demo accounts are connected from an earlier start.`)
  const demo: Demo = {
    stack,
    setting,
    accounts,
    emails: new Set(accounts.map(({ email }) => email)),
    withinMs: options.withinMs,
  }
  const firstSyncMs = added === 0 ? [] : await watchFirstSyncs(demo, signal)
  const first = await converge(demo, signal)
  stack.say(`Postgres and both topics equal the vendor: ${accounts.length} accounts, ${first.events} events.`)
  if (!options.untilSynced) return accounts
  await simulator.setLatency(LATENCY_MS)
  const live = await liveChanges(demo, options, signal)
  const count = (kind: 'create' | 'update' | 'delete') =>
    live.changes.filter((change) => change.kind === kind).length
  stack.say('')
  const lines = reportLines({
    downloadMs: stack.downloadMs,
    readyMs: stack.readyMs,
    firstSyncMs,
    connections: accounts.length,
    events: live.check.events,
    changes: { create: count('create'), update: count('update'), delete: count('delete') },
    load: `${options.changesPerSecond} changes/s for ${options.durationMs / 1000} s, vendor latency ${LATENCY_MS} ms`,
    freshness: live.freshness,
    repeats: live.check.repeats,
    memory: peakMemory(stack.pids()),
    urls: stack.urls,
  })
  for (const line of lines) stack.say(line)
  return accounts
}

interface Setting extends AsyncDisposable {
  readonly simulator: SimulatorAdmin
  readonly check: CheckDeps
}

interface Demo {
  readonly stack: DemoStack
  readonly setting: Setting
  readonly accounts: readonly DemoAccount[]
  readonly emails: ReadonlySet<string>
  readonly withinMs: number
}

async function openSetting(
  { env }: DemoStack,
  signal: AbortSignal,
  reading: Pick<StreamReaderOptions, 'from' | 'keepMax'> = {},
): Promise<Setting> {
  await using owned = new AsyncDisposableStack()
  const value = (name: string): string => env[name] ?? ''
  const held = owned.use(await openHeldEvents(value('POSTGRES_URL')))
  const prefix = value('KAFKA_PREFIX')
  const topics = { changed: prefix + TOPICS.eventChanged, state: prefix + TOPICS.eventState }
  const stream = owned.use(
    await openStreamReader({
      brokers: value('KAFKA_BROKERS').split(','),
      registryUrl: value('SCHEMA_REGISTRY_URL'),
      topics: Object.values(topics),
      ...reading,
    }),
  )
  const adminUrl = value('SIMULATOR_ADMIN_URL')
  const all = owned.move()
  return {
    simulator: simulatorAdmin(adminUrl, signal),
    check: { adminUrl, held, stream, topics },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/** Says how far the first syncs are, a line for every quarter; resolves with how long each took, when all are done. */
async function watchFirstSyncs(
  { stack, setting, emails, withinMs }: Demo,
  signal: AbortSignal,
): Promise<number[]> {
  const took = new Map<string, number>()
  const step = Math.max(1, Math.ceil(emails.size / 4))
  const deadline = Date.now() + withinMs
  for (let said = 0; ;) {
    const connections = await connectionsOf(setting, emails)
    for (const { connectionId, createdAtMs, lastSyncedAtMs } of connections) {
      if (lastSyncedAtMs !== null && !took.has(connectionId))
        took.set(connectionId, lastSyncedAtMs - createdAtMs)
    }
    if (took.size >= said + step || (took.size === emails.size && said < took.size)) {
      said = took.size
      const slowest = Math.max(...took.values())
      stack.say(
        `  ${said} of ${emails.size} accounts synced, the slowest ${seconds(slowest)} after it was connected`,
      )
    }
    if (took.size >= emails.size) return [...took.values()]
    if (Date.now() > deadline) throw new Problem(notSynced(connections, withinMs))
    await delay(POLL_MS, undefined, { signal })
  }
}

function notSynced(connections: readonly HeldConnection[], withinMs: number): string {
  const behind = connections.filter(({ lastSyncedAtMs }) => lastSyncedAtMs === null)
  const lines = behind
    .slice(0, SHOWN)
    .map(({ email, status, lastError }) => `  ${email} ${status} ${lastError ?? ''}`)
  return [`${behind.length} accounts were not synced within ${seconds(withinMs)}:`, ...lines].join('\n')
}

async function connectionsOf(
  setting: Setting,
  emails: ReadonlySet<string>,
): Promise<readonly HeldConnection[]> {
  const all = await setting.check.held.connections()
  return all.filter(({ email }) => emails.has(email))
}

/** Looks until nothing differs. */
async function converge({ setting, emails, withinMs }: Demo, signal: AbortSignal): Promise<Check> {
  const deadline = Date.now() + withinMs
  for (;;) {
    const check = await checkOnce(setting.check, emails)
    if (check.differences.length === 0) return check
    if (Date.now() > deadline) {
      const lines = check.differences
        .slice(0, SHOWN)
        .map((difference) => `  ${describeDifference(difference)}`)
      const total = `${check.differences.length} differences from the vendor's truth after ${seconds(withinMs)}:`
      throw new Problem([total, ...lines].join('\n'))
    }
    await delay(POLL_MS, undefined, { signal })
  }
}

async function liveChanges(demo: Demo, options: DemoOptions, signal: AbortSignal) {
  const { stack, setting, accounts } = demo
  const { simulator, check } = setting
  const { changesPerSecond, durationMs } = options
  stack.say(
    `Live: ${changesPerSecond} changes/s for ${durationMs / 1000} s at the vendor, rung by webhooks …`,
  )
  const before = await simulator.latestSeq()
  const accountIds = accounts.map(({ accountId }) => accountId)
  let said = Date.now()
  await runLoad(
    simulator,
    { changesPerSecond, durationMs, accountIds },
    (state) => {
      if (Date.now() - said < 15_000) return
      said = Date.now()
      stack.say(`  ${state.changes} changes made`)
    },
    signal,
  )
  const ended = performance.now()
  const checked = await converge(demo, signal)
  const after = seconds(performance.now() - ended)
  const changes = await simulator.changesAfter(before)
  const freshness = freshnessOf(changes, {
    connections: checked.connections,
    accounts: new Map(accounts.map(({ accountId, email }) => [accountId, email])),
    stream: check.stream,
    topic: check.topics.changed,
    exists: (key) => checked.truth.holdings.has(key),
  })
  if (freshness.uncovered.length > 0) throw new Problem(notPublished(freshness))
  stack.say(`Converged again ${after} after the last change: Postgres and both topics hold every one.`)
  return { changes, check: checked, freshness: describeFreshness(freshness) }
}

function notPublished({ uncovered }: Freshness): string {
  const lines = uncovered
    .slice(0, SHOWN)
    .map(({ change, key }) => `  ${key} at ${new Date(change.atMs).toISOString()}, version ${change.version}`)
  return [`${uncovered.length} changes at the vendor have no record on the topic:`, ...lines].join('\n')
}

/** A gentle load for as long as a person watches. What that person kills meanwhile comes back, so a failed round is only said. */
async function goOn(stack: DemoStack, accounts: readonly DemoAccount[], signal: AbortSignal): Promise<void> {
  stack.say(`Going on with ${GENTLE_PER_SECOND} changes/s at the vendor until Ctrl-C.`)
  while (!signal.aborted) {
    try {
      await watchGentleLoad(stack, accounts, signal)
    } catch (error) {
      if (signal.aborted) return
      stack.say(`  The demo lost sight of the stack and looks again: ${describe(error)}`)
      await delay(GENTLE_PAUSE_MS, undefined, { signal })
    }
  }
}

/** A line for every half minute of load. */
async function watchGentleLoad(
  stack: DemoStack,
  accounts: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<void> {
  await using setting = await openSetting(stack, signal, { from: 'latest', keepMax: GENTLE_RECORDS_MAX })
  const { simulator, check } = setting
  const accountIds = accounts.map(({ accountId }) => accountId)
  const load = { changesPerSecond: GENTLE_PER_SECOND, durationMs: GENTLE_MS, accountIds }
  for (let total = 0; ;) {
    const before = await simulator.latestSeq()
    await runLoad(simulator, load, () => {}, signal)
    // For the last changes to arrive.
    await delay(GENTLE_PAUSE_MS, undefined, { signal })
    if (check.stream.failure() !== null) throw new Error('The reader of the topics failed.')
    const changes = await simulator.changesAfter(before)
    const freshness = freshnessOf(changes, {
      connections: await connectionsOf(setting, new Set(accounts.map(({ email }) => email))),
      accounts: new Map(accounts.map(({ accountId, email }) => [accountId, email])),
      stream: check.stream,
      topic: check.topics.changed,
      exists: () => false,
    })
    total += changes.length
    stack.say(
      `  ${total} changes so far; freshness of the last ${changes.length}: ${describeFreshness(freshness)}`,
    )
  }
}
