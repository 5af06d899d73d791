// Starts the local stack again and again on the same data, under a load that is cut off each
// time, and asks of every start that it ends in "equal": the promise that a newcomer meets
// at the second `npm start`.
import { simulatorAdmin } from '../../infra/oracle/simulator-admin.ts'
import { eventually } from './eventually.ts'
import type { FreshClone, RunningStart } from './fresh-clone.ts'

/** Ctrl-C, `kill -9` of the supervisor. */
export type Ending = 'ctrl-c' | 'kill -9'

export interface Round {
  readonly ending: Ending
  /** From `npm start` to "equal", in ms. */
  readonly equalMs: number
  /** Changes at the vendor while it ran, and before it was ended. */
  readonly changes: number
  /** From Ctrl-C to the end of `npm start`, in ms; null after kill -9. */
  readonly stopMs: number | null
}

export interface RoundOptions {
  readonly endings: readonly Ending[]
  readonly args: readonly string[]
  /**
   * A round whose start differs at first, because something is closed or broken: more arguments,
   * and what is done about it.
   */
  readonly troubled?: {
    readonly round: number
    readonly args: readonly string[]
    readonly heal: (start: RunningStart) => Promise<void>
  }
  readonly changesPerSecond: number
  readonly loadMs: number
  /** Called while a round's stack runs and is equal, before its last load. */
  readonly meanwhile?: (round: number, start: RunningStart) => Promise<void>
  readonly say?: (index: number, round: Round) => void
}

const EQUAL = /equal the vendor: \d+ accounts?, \d+ events/
const LOAD_SLACK_MS = 180_000

/**
 * One round for each ending. Throws with the output of the first start that does not end in
 * "equal", or that says a difference.
 */
export async function restartRounds(clone: FreshClone, options: RoundOptions): Promise<readonly Round[]> {
  const rounds: Round[] = []
  for (const [index, ending] of options.endings.entries()) {
    const began = performance.now()
    const troubled = options.troubled?.round === index ? options.troubled : null
    const start = await clone.start([...options.args, ...(troubled?.args ?? [])])
    await troubled?.heal(start)
    await start.says(EQUAL)
    const equalMs = performance.now() - began
    if (troubled === null && /difference/.test(start.output()))
      throw new Error(`It was not equal at once:\n${start.output()}`)
    await options.meanwhile?.(index, start)
    const changes = await loadUntilCutOff(clone, options)
    const stopping = performance.now()
    if (ending === 'ctrl-c') {
      const code = await start.interrupt()
      if (code !== 0) throw new Error(`It ended with ${code} after Ctrl-C:\n${start.output()}`)
    } else await start.killSupervisor()
    const stopMs = ending === 'ctrl-c' ? performance.now() - stopping : null
    const round = { ending, equalMs, changes, stopMs }
    rounds.push(round)
    options.say?.(index, round)
  }
  return rounds
}

/** Changes at the vendor that go on when the round ends: the last ones are told to nobody. */
async function loadUntilCutOff(
  clone: FreshClone,
  { changesPerSecond, loadMs }: RoundOptions,
): Promise<number> {
  const vendor = simulatorAdmin(
    clone.stackFile().env['SIMULATOR_ADMIN_URL'] ?? '',
    AbortSignal.timeout(loadMs + LOAD_SLACK_MS),
  )
  const accountIds = (await vendor.accounts()).map(({ accountId }) => accountId)
  const before = await vendor.latestSeq()
  const endless = { changesPerSecond, durationMs: loadMs + LOAD_SLACK_MS, accountIds }
  const { loadId } = await vendor.startLoad(endless)
  const wanted = (changesPerSecond * loadMs) / 1000
  const isMade = async () => (await vendor.readLoad(loadId)).changes >= wanted
  await eventually(`${wanted} changes at the vendor`, isMade, loadMs + LOAD_SLACK_MS)
  return (await vendor.latestSeq()) - before
}

export function describeRound(index: number, { ending, equalMs, changes, stopMs }: Round): string {
  const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`
  const stopped = stopMs === null ? '' : `, stopped in ${seconds(stopMs)}`
  return `${index + 1}. equal after ${seconds(equalMs)}; ${changes} changes, then ${ending}${stopped}`
}
