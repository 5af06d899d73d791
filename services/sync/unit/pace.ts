// Calls of a unit that we keep back ourselves are waited for, as long as that is short.
import { setTimeout as delay } from 'node:timers/promises'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Clock } from '#shared/process/clock.ts'

/** Longer than the steps of any budget; a unit that would wait longer gives its slot to others. */
const BUDGET_WAIT_MAX_MS = 5_000
const BUDGET_SPREAD_MS = 250
/** Refusals of our own, with the time at which the call fits. */
const PACED: ReadonlySet<FailureCode> = new Set(['vendor/budget-spent', 'vendor/recovering'])

/** Whether a call was kept back for a while that a unit may wait for. */
export function isPaced({ code }: Failure): boolean {
  return PACED.has(code)
}

/**
 * Waits for our own budget, or for its turn at a vendor that has just come back, when that is soon:
 * a backfill is slowed down, not failed. The gates are asked again after every wait, so a unit that
 * waits still hands over after its minute.
 */
export async function paced<T>(clock: Clock, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Failure) || !isPaced(error)) throw error
      const waitMs = ((error.retryAt ?? 0) - clock.now()) / 1000
      if (waitMs > BUDGET_WAIT_MAX_MS) throw error
      // Spread, or all who wait would ask at the same moment for the one call that fits;
      // a turn is nobody else's.
      const spreadMs = error.code === 'vendor/recovering' ? 0 : BUDGET_SPREAD_MS * Math.random()
      await delay(Math.max(0, waitMs) + spreadMs, undefined, { signal }).catch(() => {
        throw signal.reason
      })
    }
  }
}
