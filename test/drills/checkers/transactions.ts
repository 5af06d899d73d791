// The audit as transactions: what committed together, in commit order for each connection.
import { TOPICS } from '#schemas/topics.ts'
import type { AuditRow } from '../ledgers/audit.ts'

export interface Transaction {
  readonly txid: string
  readonly at: number
  readonly rows: readonly AuditRow[]
  readonly process: string
  readonly role: string
}

/** In the order of their first statement. */
export function transactionsOf(audit: readonly AuditRow[]): readonly Transaction[] {
  const groups = new Map<string, AuditRow[]>()
  for (const row of audit) {
    const group = groups.get(row.txid)
    if (group) group.push(row)
    else groups.set(row.txid, [row])
  }
  return [...groups.values()].map((rows) => ({
    txid: rows[0]?.txid ?? '',
    at: rows.at(-1)?.at ?? 0,
    rows,
    process: rows[0]?.process ?? '',
    role: rows[0]?.role ?? '',
  }))
}

/** Event rows that really changed: a row that only took a new generation did not. */
export function forwardRows({ rows }: Pick<Transaction, 'rows'>): readonly AuditRow[] {
  return rows.filter(
    (row) =>
      row.table === 'external_calendar_events' &&
      (row.op !== 'UPDATE' || row.old?.['content_hash'] !== row.new?.['content_hash']),
  )
}

/** Messages about events that a transaction put into the outbox. */
export function changeLetters({ rows }: Pick<Transaction, 'rows'>): readonly AuditRow[] {
  return rows.filter(
    ({ table, op, new: letter }) =>
      table === 'outbox' && op === 'INSERT' && letter?.['topic'] === TOPICS.eventChanged,
  )
}

/** The updates of connection rows. */
export function connectionUpdates({ rows }: Pick<Transaction, 'rows'>): readonly AuditRow[] {
  return rows.filter(({ table, op }) => table === 'external_calendar_connections' && op === 'UPDATE')
}

/** A number of a recorded row; NaN when it is none. */
export function numberOf(row: AuditRow['new'], column: string): number {
  const value = row?.[column]
  return typeof value === 'number' ? value : Number.NaN
}

/** ms since 1970 of a recorded time; null when there is none. */
export function timeOf(row: AuditRow['new'], column: string): number | null {
  const value = row?.[column]
  return typeof value === 'string' ? Date.parse(value) : null
}

/** A recorded value as text; '' when there is none. */
export function textOf(row: AuditRow['new'], column: string): string {
  const value = row?.[column]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}
