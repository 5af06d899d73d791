// Whether anything leaks in a soak: how much more is held at rest afterwards than at rest before.
// In between, descriptors and sessions tell of the faults: a line that is down takes its
// connections with it. Memory in between tells of the work under way. Pure.
//
// Memory means live after a garbage collection. The slope of resident memory is reported, not
// judged. In one run it stayed level for 25 min, fell by 66 MB and stayed level again, while the
// heap in use stood still. In the next run it rose by 47 MB at once, once.
import { atMost, type Bound } from '../criterion.ts'
import type { LiveMemory } from '../ledgers/live-memory.ts'
import type { Ledgers, ProcessSample } from '../ledgers/ledgers.ts'

export interface Growth {
  readonly name: string
  readonly grown: number
  /** More than it allows is a leak. */
  readonly bound: Bound
}

/** Lines through (x in ms, y): growth per hour; 0 with fewer than two points. */
export function slopePerHour(points: readonly (readonly [number, number])[]): number {
  const n = points.length
  if (n < 2) return 0
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n
  let top = 0
  let bottom = 0
  for (const [x, y] of points) {
    top += (x - meanX) * (y - meanY)
    bottom += (x - meanX) ** 2
  }
  return bottom === 0 ? 0 : (top / bottom) * 3_600_000
}

/** The heap and the pools of a new process grow to their size in this time. */
const WARM_UP_MS = 5 * 60_000
/** A figure of a rest is the most that was seen in this time before its end. */
export const REST_MS = 5_000
/**
 * Sync had 3.0 MB more after 3 min of faults, and 3.9 after 30: what it loads on first use. A leak
 * of 300 bytes per change would exceed the bound within the changes of half an hour.
 */
export const LIVE_MORE = atMost(8, 'MB')
/** A soak has hundreds of faults: one thing left behind by every hundredth of them is more. */
export const LEFT_MORE = atMost(5)

/** A time in which nothing was asked of the system; `at` is its end, ms since 1970. */
export interface Rest {
  readonly at: number
  readonly live: readonly LiveMemory[]
}

/**
 * Two figures for each process that lived from the first rest to the last, and two of the database.
 */
export function soakGrowth(
  { samples, load }: Pick<Ledgers, 'samples' | 'load'>,
  before: Rest,
  after: Rest,
): readonly Growth[] {
  const isIn = (rest: Rest) => (sample: { at: number }) =>
    sample.at > rest.at - REST_MS && sample.at <= rest.at
  const figures: Growth[] = []
  const left = <T extends { at: number }>(
    name: string,
    all: readonly T[],
    count: (one: T) => number,
  ): void => {
    const [first = [], last = []] = [before, after].map((rest) => all.filter(isIn(rest)).map(count))
    if (first.length === 0 || last.length === 0) return
    figures.push({ name, grown: Math.max(...last) - Math.max(...first), bound: LEFT_MORE })
  }
  for (const [name, all] of byProcess(samples)) {
    const [first, last] = [before.live.find(isOf(name)), after.live.find(isOf(name))]
    if (first && last) figures.push({ name: `${name} live MB`, grown: last.mb - first.mb, bound: LIVE_MORE })
    left(`${name} descriptors`, all, ({ descriptors }) => descriptors)
  }
  left('database sessions', load, ({ sessions }) => sessions)
  left('outbox rows', load, ({ outbox }) => outbox)
  return figures
}

/**
 * The steepest rise of resident memory over the second half, in MB per hour, of processes that were
 * warm by then.
 */
export function residentSlope({ samples }: Pick<Ledgers, 'samples'>): number {
  const ends = samples.map(({ at }) => at)
  const half = (Math.min(...ends) + Math.max(...ends)) / 2
  const slopes = [...byProcess(samples)].map(([, all]) => {
    const late = all.filter(({ at }) => at > Math.max(half, (all[0]?.at ?? 0) + WARM_UP_MS))
    return slopePerHour(late.map(({ at, rssMb }) => [at, rssMb]))
  })
  return Math.max(...slopes)
}

function byProcess(samples: readonly ProcessSample[]): ReadonlyMap<string, ProcessSample[]> {
  return Map.groupBy(samples, nameOf)
}

function nameOf({ instance, pid }: Pick<ProcessSample, 'instance' | 'pid'>): string {
  return `${instance} ${pid}`
}

function isOf(name: string): (one: LiveMemory) => boolean {
  return (one) => nameOf(one) === name
}
