// How long a failed connection waits. Pure: randomness is an argument. Invariant: never shorter than the vendor asked for, never
// shorter than half of the exponential step (equal jitter: half fixed, half random), so that a fleet that failed together
// neither hammers nor returns together.

export const BACKOFF_BASE_MS = 5_000
export const BACKOFF_CAP_MS = 3_600_000

export interface BackoffInput {
  /** Failures in a row, 1-based, throttled ones included. */
  readonly attempt: number
  /** Milliseconds that the vendor asked for (Retry-After); 0 if it did not. */
  readonly floorMs: number
  /** 0 ≤ random < 1. */
  readonly random: number
}

/** Milliseconds to wait. A floor of the vendor gets up to one base of jitter on top: everyone was told the same second. */
export function backoffMs({ attempt, floorMs, random }: BackoffInput): number {
  const step = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.max(0, attempt - 1))
  const jittered = step / 2 + (step / 2) * random
  const floored = floorMs > 0 ? floorMs + BACKOFF_BASE_MS * random : 0
  return Math.ceil(Math.max(jittered, floored))
}
