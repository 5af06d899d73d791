// Whether anything leaks in a soak. Pure. Memory: a least-squares line over the second half, for processes that were warm by then.
// Descriptors and database sessions: how many more there are at rest afterwards than at rest before; in between their number tells
// of the faults (a line that is down takes its connections with it), not of leaks.
import type { Ledgers, ProcessSample } from '../ledgers/ledgers.ts'

export interface Growth {
  readonly name: string
  readonly grown: number
  /** More than this is a leak. */
  readonly max: number
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
/** A slope over less is noise times a large factor. */
const SPAN_MIN_MS = 15 * 60_000
const REST_MS = 5_000
const RSS_PER_HOUR_MAX_MB = 60
/** A soak has hundreds of faults: one thing left behind by every hundredth of them is more. */
const LEFT_MAX = 5

/**
 * Two figures for each process that lived from the first rest to the last, and two of the database.
 * @param restedAt end of the rest before, in ms since 1970; the rest after is the end of the samples.
 */
export function soakGrowth(
  { samples, load }: Pick<Ledgers, 'samples' | 'load'>,
  restedAt: number,
): readonly Growth[] {
  const ends = [...samples, ...load].map(({ at }) => at)
  const lastAt = Math.max(...ends)
  const half = (Math.min(...ends) + lastAt) / 2
  const isBefore = ({ at }: { at: number }) => at > restedAt - REST_MS && at <= restedAt
  const isAfter = ({ at }: { at: number }) => at > lastAt - REST_MS
  const figures: Growth[] = []
  const left = <T extends { at: number }>(
    name: string,
    all: readonly T[],
    count: (one: T) => number,
  ): void => {
    const [before, after] = [all.filter(isBefore).map(count), all.filter(isAfter).map(count)]
    if (before.length === 0 || after.length === 0) return
    figures.push({ name, grown: Math.max(...after) - Math.max(...before), max: LEFT_MAX })
  }
  for (const [name, all] of Map.groupBy(
    samples,
    ({ instance, pid }: ProcessSample) => `${instance} ${pid}`,
  )) {
    const late = all.filter(({ at }) => at > Math.max(half, (all[0]?.at ?? 0) + WARM_UP_MS))
    if ((late.at(-1)?.at ?? 0) - (late[0]?.at ?? 0) < SPAN_MIN_MS) continue
    const perHour = slopePerHour(late.map(({ at, rssMb }) => [at, rssMb]))
    figures.push({ name: `${name} RSS MB per hour`, grown: perHour, max: RSS_PER_HOUR_MAX_MB })
    left(`${name} descriptors`, all, ({ descriptors }) => descriptors)
  }
  left('database sessions', load, ({ sessions }) => sessions)
  left('outbox rows', load, ({ outbox }) => outbox)
  return figures
}
