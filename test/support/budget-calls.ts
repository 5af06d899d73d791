// Calls against a budget, and what a budget earns while they are made.
import type { Failure } from '#shared/domain/failure.ts'

/** What a budget earns while a test calls: a busy machine takes longer, so more is earned. */
export function openMeter(perMinute: number) {
  const startedAt = performance.now()
  return { earned: () => Math.ceil(((performance.now() - startedAt) / 60_000) * perMinute) + 1 }
}

/** Calls until refused, or until `max`. */
export async function callsUntilRefused(call: () => Promise<Failure | 'page'>, max: number): Promise<number> {
  for (let made = 0; made < max; made += 1) if ((await call()) !== 'page') return made
  return max
}

/**
 * The first call that is refused, with the moments (ms epoch) around it:
 * a slow machine may earn a call between two.
 */
export async function refusedCall(
  call: () => Promise<Failure | 'page'>,
): Promise<{ readonly refused: Failure; readonly askedAt: number; readonly answeredAt: number }> {
  for (let made = 0; made < 500; made += 1) {
    const askedAt = Date.now()
    const refused = await call()
    if (refused !== 'page') return { refused, askedAt, answeredAt: Date.now() }
  }
  throw new Error('it was never refused')
}

/** Waits until `performance.now()` is there. */
export async function waitUntil(performanceMs: number): Promise<void> {
  for (;;) {
    const left = performanceMs - performance.now()
    if (left <= 0) return
    await new Promise((resolve) => setTimeout(resolve, left))
  }
}
