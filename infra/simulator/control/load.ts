// The load generator: random changes at a given rate, open loop (it never waits for anybody, so a
// slow system cannot slow down what it is measured with) and bounded in rate, time and number.
import type { Calendar } from '../world/calendar.ts'
import { changeSomething, type Mix } from '../world/generate.ts'
import { createRandom, type Random } from '../random.ts'
import type { World } from '../world/world.ts'

export const RATE_MAX = 5_000
export const DURATION_MS_MAX = 24 * 3_600_000
const LOADS_MAX = 1_000
const TICK_MS = 10
/**
 * A tick that comes late makes up for at most this many changes; the rest follows in the next ones.
 */
const PER_TICK_MAX = 200

export interface LoadSpec {
  readonly changesPerSecond: number
  readonly durationMs: number
  readonly seed?: string | undefined
  readonly accountIds?: readonly string[] | undefined
  readonly mix?: Mix | undefined
}

export interface LoadState {
  readonly loadId: string
  done: boolean
  changes: number
}

export interface LoadGenerator extends Disposable {
  start(spec: LoadSpec): LoadState
  read(loadId: string): LoadState | undefined
  stop(loadId: string): boolean
  stopAll(): void
}

const DEFAULT_MIX: Mix = { create: 0.2, update: 0.6, delete: 0.2 }

export function createLoadGenerator(world: World, seed: string): LoadGenerator {
  const loads = new Map<string, { state: LoadState; timer: NodeJS.Timeout }>()
  let started = 0
  const finish = (load: { state: LoadState; timer: NodeJS.Timeout }): void => {
    clearInterval(load.timer)
    load.state.done = true
  }
  const stopAll = () => {
    for (const load of loads.values()) finish(load)
  }
  return {
    start(spec) {
      started += 1
      const state: LoadState = { loadId: `load${started}`, done: false, changes: 0 }
      const random = createRandom(spec.seed ?? `${seed}/${state.loadId}`)
      const begun = performance.now()
      const load = {
        state,
        timer: setInterval(() => {
          if (tick(world, { spec, state, random, elapsedMs: performance.now() - begun })) finish(load)
        }, TICK_MS),
      }
      loads.set(state.loadId, load)
      for (const [oldest, { state: old }] of loads) {
        if (loads.size <= LOADS_MAX) break
        if (old.done) loads.delete(oldest)
      }
      return state
    },
    read: (loadId) => loads.get(loadId)?.state,
    stop(loadId) {
      const load = loads.get(loadId)
      if (load) finish(load)
      return load !== undefined
    },
    stopAll,
    [Symbol.dispose]: stopAll,
  }
}

/** Commits what is due; true when the load has made all its changes. */
function tick(
  world: World,
  load: {
    readonly spec: LoadSpec
    readonly state: LoadState
    readonly random: Random
    readonly elapsedMs: number
  },
): boolean {
  const { spec, state, random } = load
  const total = Math.floor((spec.durationMs / 1000) * spec.changesPerSecond)
  const due = Math.min(
    total,
    Math.floor((Math.min(load.elapsedMs, spec.durationMs) / 1000) * spec.changesPerSecond),
  )
  const until = Math.min(due, state.changes + PER_TICK_MAX)
  while (state.changes < until) {
    const calendar = pickCalendar(world, random, spec.accountIds)
    if (!calendar) return load.elapsedMs >= spec.durationMs
    // An empty calendar has nothing to change or delete: what is due becomes a new event.
    const changed = changeSomething(world, calendar, random, spec.mix ?? DEFAULT_MIX)
    if (!changed) changeSomething(world, calendar, random, { create: 1, update: 0, delete: 0 })
    state.changes += 1
  }
  return state.changes >= total
}

function pickCalendar(world: World, random: Random, accountIds?: readonly string[]): Calendar | undefined {
  const ids = accountIds ?? [...world.accounts.keys()]
  const account = world.accounts.get(ids[random.below(ids.length)] ?? '')
  const calendars = [...(account?.calendars.values() ?? [])].filter((calendar) => !calendar.gone)
  return calendars[random.below(calendars.length)]
}
