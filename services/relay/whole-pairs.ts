// Where a batch may end. Invariant: a change record and its state record leave in the same Kafka
// transaction, so a reader of both topics never sees one without the other. Pure.
import type { OutboxRow } from '#shared/store/relay.ts'

/**
 * The longest beginning of `rows` that holds at most `rowsMax` rows and tears no pair
 * apart. Two rows are a pair when they carry the same ce_sequence of the same connection. A
 * single pair longer than the batch is not kept together: better torn than stuck, and
 * readers that go by ce_sequence cope.
 */
export function wholePairs(rows: readonly OutboxRow[], rowsMax: number): readonly OutboxRow[] {
  if (rows.length <= rowsMax) return rows
  let end = rowsMax
  const later = new Set(rows.slice(end).map(pairOf))
  for (let i = end - 1; i >= 0; i--) {
    const pair = pairOf(rows[i]!)
    if (pair === null || !later.has(pair)) continue
    for (const row of rows.slice(i, end)) later.add(pairOf(row))
    end = i
  }
  return rows.slice(0, end === 0 ? rowsMax : end)
}

function pairOf(row: OutboxRow): string | null {
  const sequence = row.headers['ce_sequence']
  return sequence === undefined ? null : `${connectionOf(row.key)} ${sequence}`
}

/** Keys are the connection id, alone or before the first slash. */
export function connectionOf(key: string): string {
  return key.split('/', 1)[0]!
}
