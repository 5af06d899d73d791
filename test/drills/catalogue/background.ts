// What runs beside an infrastructure fault: steady load, and a check of which processes survived.
import type { InvariantId } from '../checkers/check.ts'
import { met, type Finding } from '../criterion.ts'
import type { DrillRun } from '../drill.ts'

/** What holds however the infrastructure fails. */
export const USUAL: readonly InvariantId[] = ['I10', 'I15', 'I16', 'I17']

/** Load in the background until the returned function is called. */
export function steadyLoad(d: DrillRun, changesPerSecond: number): () => Promise<void> {
  let going = true
  const load = (async () => {
    while (going && !d.signal.aborted) await d.load(changesPerSecond, 2_000)
  })()
  return async () => {
    going = false
    await load
  }
}

/** No process ended although something it needs was away. */
export function livedThrough(d: DrillRun): Finding {
  const ended = d.system.processEvents.filter(({ event }) => event === 'ended')
  return met(
    ended.length === 0,
    `${ended.length} processes ended${ended[0] ? `: ${ended[0].instance} ${ended[0].detail}` : ''}`,
  )
}
