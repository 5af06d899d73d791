// Waiting for a condition, never for a time.
import { setTimeout as delay } from 'node:timers/promises'

const REST_MIN_MS = 20
const REST_MAX_MS = 250
/** Of an answer: what costs much to ask is asked less often, for the sake of what is waited for. */
const RESTS_PER_ANSWER = 3

/**
 * Asks again and again until the answer is neither null, undefined nor false, and returns it.
 * Throws after `withinMs` with the last error or what was waited for.
 */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  withinMs = 30_000,
): Promise<Exclude<T, null | undefined | false>> {
  const deadline = performance.now() + withinMs
  let last: unknown
  for (;;) {
    const asked = performance.now()
    try {
      const answer = await ask()
      if (answer !== null && answer !== undefined && answer !== false)
        return answer as Exclude<T, null | undefined | false>
    } catch (error) {
      last = error
    }
    const now = performance.now()
    if (now > deadline) throw new Error(`not within ${withinMs} ms: ${what}`, { cause: last })
    await delay(Math.min(REST_MAX_MS, Math.max(REST_MIN_MS, (now - asked) * RESTS_PER_ANSWER)))
  }
}
