// A gentle load for as long as a person watches. What that person kills meanwhile comes back, so a
// failed round is only said.
import { setTimeout as delay } from 'node:timers/promises'
import { describeFreshness, freshnessOf, runLoad } from './live.ts'
import { connectionsOf, type DemoStack, lookingAt, openSetting } from './setting.ts'
import { briefly } from '../stack/patience.ts'
import type { DemoAccount } from '../oracle/simulator-admin.ts'

const PER_SECOND = 2
const ROUND_MS = 30_000
const PAUSE_MS = 4_000
/** Reading goes on for days: only what the last minutes brought is kept. */
const RECORDS_MAX = 50_000

/** A line for every half minute of load, until the signal fires. */
export async function goOn(
  stack: DemoStack,
  accounts: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<void> {
  stack.say(`Making ${PER_SECOND} changes/s at the vendor until Ctrl-C.`)
  while (!signal.aborted) {
    try {
      await watch(stack, accounts, signal)
    } catch (error) {
      if (signal.aborted) return
      stack.say(`  The demo lost sight of the stack and looks again: ${briefly(error)}`)
      await delay(PAUSE_MS, undefined, { signal })
    }
  }
}

async function watch(stack: DemoStack, accounts: readonly DemoAccount[], signal: AbortSignal): Promise<void> {
  await using setting = await openSetting(stack, signal, { from: 'latest', keepMax: RECORDS_MAX })
  const looking = lookingAt(setting, accounts)
  const { simulator, check } = setting
  const accountIds = accounts.map(({ accountId }) => accountId)
  const load = { changesPerSecond: PER_SECOND, durationMs: ROUND_MS, accountIds }
  for (let total = 0; ;) {
    const before = await simulator.latestSeq()
    await runLoad(simulator, load, () => {}, signal)
    // For the last changes to arrive.
    await delay(PAUSE_MS, undefined, { signal })
    if (check.stream.failure() !== null) throw new Error('The reader of the topics failed.')
    const mine = new Set(accountIds)
    const changes = (await simulator.changesAfter(before)).filter(({ accountId }) => mine.has(accountId))
    const freshness = freshnessOf(changes, {
      connections: await connectionsOf(looking),
      accounts: new Map(accounts.map(({ accountId, email }) => [accountId, email])),
      stream: check.stream,
      topic: check.topics.changed,
      exists: () => false,
    })
    total += changes.length
    stack.say(`  ${total} changes so far; ${describeFreshness(freshness, changes.length)}`)
  }
}
