// Several at a time, for a bounded time: what is left waits for the next run. Invariant:
// what was begun is waited for.

interface Limits {
  readonly signal: AbortSignal
  readonly atOnce?: number
  /** Nothing further begins after this, so that a run usually ends before its lease does. */
  readonly withinMs?: number
}

/**
 * Does `work` for each item, in their order. The first rejection keeps further ones from beginning
 * and is thrown once those under way have ended.
 * @returns for how many `work` said true.
 */
export async function boundedEach<T>(
  items: readonly T[],
  { signal, atOnce = 4, withinMs = 8000 }: Limits,
  work: (item: T) => Promise<boolean>,
): Promise<number> {
  const until = performance.now() + withinMs
  const waiting = items.values()
  const failed: unknown[] = []
  let done = 0

  async function worker(): Promise<void> {
    while (!signal.aborted && failed.length === 0 && performance.now() < until) {
      const next = waiting.next()
      if (next.done) return
      try {
        if (await work(next.value)) done += 1
      } catch (error) {
        failed.push(error)
      }
    }
  }

  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
  if (failed.length > 0) throw failed[0]
  return done
}
