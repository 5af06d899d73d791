// Writing in groups: one item that the other side refuses for what it is
// never fails its neighbours.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { metrics } from './metrics.ts'

interface PutAside<T> {
  readonly item: T
  readonly error: unknown
}

/** What no repetition mends: the other side works, and will not take this. */
const REFUSALS: ReadonlySet<FailureCode> = new Set(['store/rejected-data', 'kafka/rejected'])

/**
 * Writes items together; where that is refused, in halves, so that all but what is refused is
 * written. Some 2 × log2(items) further writes for each that is put aside; `write` may see an item
 * again and has to be repeatable. `what` is the label of the metric. Throws what `write` throws for
 * any other reason; part may be written then. @returns what was put aside, for the caller to log.
 */
export async function writeApart<T>(
  what: string,
  items: readonly T[],
  write: (group: readonly T[]) => Promise<void>,
): Promise<readonly PutAside<T>[]> {
  try {
    await write(items)
    return []
  } catch (error) {
    if (!(error instanceof Failure && REFUSALS.has(error.code))) throw error
    const [first, ...others] = items
    if (first === undefined) throw error
    if (others.length === 0) {
      metrics.putAside.add(1, { what })
      return [{ item: first, error }]
    }
    const half = Math.ceil(items.length / 2)
    const before = await writeApart(what, items.slice(0, half), write)
    return [...before, ...(await writeApart(what, items.slice(half), write))]
  }
}
