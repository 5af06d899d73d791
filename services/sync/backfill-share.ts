// How many units may read whole calendars right now. Live work shares this process and its machine
// with them, so their number follows how late a timer of this process comes: that grows as soon as
// the process or the cores under it are busy, whichever program is to blame. Additive up, halved
// down, never below one: a backfill always continues, and never takes what live work needs.
import { performance } from 'node:perf_hooks'

const TICK_MS = 20
/** One decision each; long enough for a change to show. */
const WINDOW_TICKS = 25
/**
 * A change passes some ten rounds of event loops on its way, in five processes that share the
 * cores. Measured on two cores while 500 calendars were read: with 8 ms live changes took 2.1 to
 * 2.4 times their idle p95, with 6 ms 2.0, with 4 ms 1.7; the reading took 51 to 54 s in all of
 * them.
 */
const LATE_MS = 4
const EARLY_MS = 2

export interface BackfillShare extends Disposable {
  /** Between 1 and the maximum. */
  readonly slots: () => number
}

/** Pure: the next number of slots after a window with these latenesses (ms). */
export function nextShare(slots: number, max: number, lateMs: readonly number[]): number {
  // Three ticks of four came no later: one long pause (a garbage collection) is no trend.
  const typical = lateMs.toSorted((a, b) => a - b)[Math.floor(lateMs.length * 0.75)] ?? 0
  if (typical > LATE_MS) return Math.max(1, Math.floor(slots / 2))
  return typical < EARLY_MS ? Math.min(max, slots + 1) : slots
}

/** Begins with one slot and watches until it is disposed. */
export function openBackfillShare(max: number): BackfillShare {
  let slots = 1
  let lateMs: number[] = []
  let expectedAt = performance.now() + TICK_MS
  const timer = setInterval(() => {
    const now = performance.now()
    lateMs.push(Math.max(0, now - expectedAt))
    expectedAt = now + TICK_MS
    if (lateMs.length < WINDOW_TICKS) return
    slots = nextShare(slots, max, lateMs)
    lateMs = []
  }, TICK_MS)
  timer.unref()
  return { slots: () => slots, [Symbol.dispose]: () => clearInterval(timer) }
}
