// Slopes of a soak: whether memory, descriptors and database sessions grow. Pure. A least-squares line over the second half, because a
// process warms up first.
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

/** One slope per process that lived through the second half, and those of the database. */
export function soakSlopes(
  samples: readonly ProcessSample[],
  load: readonly SystemSample[],
): readonly Slope[] {
  const ends = [...samples, ...load].map(({ at }) => at)
  const half = (Math.min(...ends) + Math.max(...ends)) / 2
  const slopes: Slope[] = []
  const byProcess = Map.groupBy(
    samples.filter(({ at }) => at > half),
    ({ instance, pid }) => `${instance} ${pid}`,
  )
  for (const [name, own] of byProcess) {
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
