// How long things may take in rules, as PromQL writes it. A drill has minutes and not hours: it
// runs the same rules at a quicker pace, where each duration and each age is divided by one factor.

/** Durations of rules at one pace. */
export interface Pace {
  /** What a second of the rules lasts: 1, or less in a drill. */
  readonly factor: number
  /** A range or a `for`, given in seconds, as PromQL writes it. */
  duration(seconds: number): string
  /** An age that a metric has in seconds, as a number of PromQL. */
  age(seconds: number): string
}

/** Below this a range of a drill holds too few samples: one comes each second. */
const RANGE_MIN_S = 5

/** The pace at which rules are shipped. */
export const TRUE_PACE: Pace = paceOf(1)

/**
 * @param factor what a second becomes; 1/12 makes 5 s of a minute.
 */
export function paceOf(factor: number): Pace {
  return {
    factor,
    duration: (seconds) =>
      durationText(factor === 1 ? seconds : Math.max(RANGE_MIN_S, Math.round(seconds * factor))),
    age: (seconds) => String(Number((seconds * factor).toPrecision(6))),
  }
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
] as const

/** In the largest unit that leaves no rest, as sloth writes its windows: 5m, 1h, 3d. */
export function durationText(seconds: number): string {
  const [unit, size] = UNITS.find(([, one]) => seconds % one === 0) ?? ['s', 1]
  return `${seconds / size}${unit}`
}
