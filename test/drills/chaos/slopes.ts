// Slopes of a soak: whether memory, descriptors and database sessions grow. Pure. A least-squares line over the second half; a process
// that has not lived long enough before and in it says nothing, because it warms up first.
import type { ProcessSample, SystemSample } from '../ledgers/ledgers.ts'

export interface Slope {
  readonly name: string
  /** Per hour. */
  readonly perHour: number
  readonly samples: number
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

/** One slope per process that was warm and lived long enough in the second half, and those of the database. */
export function soakSlopes(
  samples: readonly ProcessSample[],
  load: readonly SystemSample[],
): readonly Slope[] {
  const ends = [...samples, ...load].map(({ at }) => at)
  const half = (Math.min(...ends) + Math.max(...ends)) / 2
  const slopes: Slope[] = []
  const byProcess = Map.groupBy(samples, ({ instance, pid }) => `${instance} ${pid}`)
  for (const [name, all] of byProcess) {
    const warmAt = (all[0]?.at ?? 0) + WARM_UP_MS
    const own = all.filter(({ at }) => at > Math.max(half, warmAt))
    if ((own.at(-1)?.at ?? 0) - (own[0]?.at ?? 0) < SPAN_MIN_MS) continue
    slopes.push({
      name: `${name} RSS MB`,
      perHour: slopePerHour(own.map(({ at, rssMb }) => [at, rssMb])),
      samples: own.length,
    })
    slopes.push({
      name: `${name} descriptors`,
      perHour: slopePerHour(own.map(({ at, descriptors }) => [at, descriptors])),
      samples: own.length,
    })
  }
  const late = load.filter(({ at }) => at > half)
  slopes.push({
    name: 'database sessions',
    perHour: slopePerHour(late.map(({ at, sessions }) => [at, sessions])),
    samples: late.length,
  })
  slopes.push({
    name: 'outbox rows',
    perHour: slopePerHour(late.map(({ at, outbox }) => [at, outbox])),
    samples: late.length,
  })
  return slopes
}
