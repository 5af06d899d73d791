// What `npm start` shows once everything runs: accounts are connected, converge with the vendor's
// truth, go on converging under live changes, and a table says how fast. The stack is ready when
// this is called and is stopped after it returns. Without --until-synced nothing that a check
// finds, or runs into, stops what runs: it is said, and looked at again.
import { connectDemoAccounts, type Connected } from './accounts.ts'
import { keepCanaries } from './canaries.ts'
import type { Check } from './check.ts'
import { converge, counted, watchFirstSyncs } from './converge.ts'
import { goOn } from './gentle.ts'
import { describeFreshness, freshnessOf, runLoad } from './live.ts'
import type { DemoOptions } from './options.ts'
import { peakMemory, reportLines } from './report.ts'
import { type DemoStack, lookingAt, type Looking, openSetting } from './setting.ts'
import { briefly, Wait } from '../stack/patience.ts'
import { UserError } from '#shared/process/user-error.ts'
import { seconds } from '../stack/progress.ts'
import type { DemoAccount } from '../oracle/simulator-admin.ts'
import type { Freshness } from '../oracle/verify.ts'

const SHOWN = 10
/** What a vendor's API takes to answer. */
const LATENCY_MS = 200

/**
 * Runs the demo; returns when the signal fires. With `untilSynced` it returns once everything has
 * converged, and throws a UserError with the first differences when it does not.
 */
export async function runDemo(stack: DemoStack, options: DemoOptions, signal: AbortSignal): Promise<void> {
  try {
    if (options.untilSynced) await showConvergence(stack, options, signal)
    else await goOn(stack, await connectAndEqual(stack, options, signal), signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Connects and compares until all is equal, however long it takes; resolves with the accounts. */
async function connectAndEqual(
  stack: DemoStack,
  options: DemoOptions,
  signal: AbortSignal,
): Promise<readonly DemoAccount[]> {
  for (;;) {
    try {
      await using setting = await new Wait({ ...limits(stack, options, signal), what: 'the stack' }).attempt(
        () => openSetting(stack, signal),
      )
      const { accounts } = (await connectAndCompare(stack, { setting, options }, signal)).looking
      await keepCanaries(stack, setting, signal)
      return accounts
    } catch (error) {
      signal.throwIfAborted()
      stack.say(error instanceof UserError ? error.message : briefly(error))
      stack.say('Everything keeps running, and is compared again. `npx calstream status` says how it is.')
    }
  }
}

interface Compared {
  readonly looking: Looking
  readonly firstSyncMs: readonly number[]
}

async function connectAndCompare(
  stack: DemoStack,
  { setting, options }: { setting: Looking['setting']; options: DemoOptions },
  signal: AbortSignal,
): Promise<Compared> {
  const bounds = limits(stack, options, signal)
  const connecting = new Wait({ ...bounds, what: 'the demo accounts to be connected' })
  const api = { ...stack, apiUrl: stack.env['PUBLIC_URL'] ?? '', simulator: setting.simulator }
  const added = new Map<string, number>()
  const { accounts, asked } = await connecting.attempt(() =>
    connectDemoAccounts({ ...api, stored: setting.check.stored, added }, options.connections, signal),
  )
  const looking = lookingAt(setting, accounts)
  if (asked > 0) stack.say(knownText(accounts, asked))
  const firstSyncMs = added.size === 0 ? [] : await watchFirstSyncs(looking, added, bounds)
  const first = await converge(looking, bounds)
  stack.say(
    `Postgres and both topics equal the vendor: ${counted(accounts.length, 'account')}, ${first.events} events.`,
  )
  return { looking, firstSyncMs }
}

function knownText(accounts: Connected['accounts'], asked: number): string {
  const who = asked === accounts.length ? `All ${asked}` : `${asked} of ${accounts.length}`
  return `${who} demo accounts are connected from an earlier start. A sync is asked for, for what changed meanwhile …`
}

function limits(stack: DemoStack, { withinMs }: DemoOptions, signal: AbortSignal) {
  return { say: stack.say, withinMs, signal }
}

async function showConvergence(stack: DemoStack, options: DemoOptions, signal: AbortSignal): Promise<void> {
  const opening = new Wait({ ...limits(stack, options, signal), what: 'the stack' })
  await using setting = await opening.attempt(() => openSetting(stack, signal))
  const { looking, firstSyncMs } = await connectAndCompare(stack, { setting, options }, signal)
  await setting.simulator.setLatency(LATENCY_MS)
  const live = await liveChanges(stack, looking, options, signal)
  const count = (kind: 'create' | 'update' | 'delete') =>
    live.changes.filter((change) => change.kind === kind).length
  stack.say('')
  const lines = reportLines({
    downloadMs: stack.downloadMs,
    readyMs: stack.readyMs,
    firstSyncMs,
    connections: looking.accounts.length,
    events: live.check.events,
    changes: { create: count('create'), update: count('update'), delete: count('delete') },
    load: `${options.changesPerSecond} changes/s for ${options.durationMs / 1000} s, vendor latency ${LATENCY_MS} ms`,
    freshness: describeFreshness(live.freshness, live.changes.length, true),
    repeats: live.check.repeats,
    memory: peakMemory(stack.pids()),
  })
  for (const line of lines) stack.say(line)
}

async function liveChanges(stack: DemoStack, looking: Looking, options: DemoOptions, signal: AbortSignal) {
  const { setting, accounts } = looking
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
  const checked: Check = await converge(looking, limits(stack, options, signal))
  const after = seconds(performance.now() - ended)
  const changes = await simulator.changesAfter(before)
  const freshness = freshnessOf(changes, {
    connections: checked.connections,
    accounts: new Map(accounts.map(({ accountId, email }) => [accountId, email])),
    stream: check.stream,
    topic: check.topics.changed,
    exists: (key) => checked.truth.holdings.has(key),
  })
  if (freshness.uncovered.length > 0) throw new UserError(notPublished(freshness))
  stack.say(`Converged again ${after} after the last change: Postgres and both topics hold every one.`)
  return { changes, check: checked, freshness }
}

function notPublished({ uncovered }: Freshness): string {
  const lines = uncovered
    .slice(0, SHOWN)
    .map(({ change, key }) => `  ${key} at ${new Date(change.atMs).toISOString()}, version ${change.version}`)
  return [`${uncovered.length} changes at the vendor have no record on the topic:`, ...lines].join('\n')
}
