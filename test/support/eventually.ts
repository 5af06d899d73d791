// Waiting for a condition, never for a time.
import { setTimeout as delay } from 'node:timers/promises'

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
    try {
      const answer = await ask()
      if (answer !== null && answer !== undefined && answer !== false)
        return answer as Exclude<T, null | undefined | false>
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`, { cause: last })
    await delay(20)
  }
}
