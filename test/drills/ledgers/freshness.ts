// How fresh what is held was: from a change at the vendor to the commit of its row. Pure. Only
// changes of a single event count, and only those whose version was held: of two changes in a
// moment the first may never be seen, which is no delay.
import type { AuditRow } from './audit.ts'
import type { Ledgers } from './ledgers.ts'

export interface Fresh {
  readonly accountId: string
  readonly calendarId: string
  /** Vendor's time of the change, ms since 1970. */
  readonly at: number
  readonly ms: number
}

/** @param machineTime turns a time of the vendors into the audit's. */
export function freshnessOf(
  { changes, audit, accounts }: Pick<Ledgers, 'changes' | 'audit' | 'accounts'>,
  machineTime: (vendorMs: number) => number,
): readonly Fresh[] {
  const connectionOf = new Map(accounts.map(({ accountId, connectionId }) => [accountId, connectionId]))
  const firstHeld = new Map<string, number>()
  for (const row of audit) {
    if (row.table !== 'external_calendar_events' || row.new === null) continue
    const key = keyOf(row.connectionId, row.new)
    if (!firstHeld.has(key)) firstHeld.set(key, row.at)
  }
  return changes.flatMap(({ accountId, calendarId, at, eventIds, etag, kind }) => {
    const [eventId, ...others] = eventIds
    if (kind === 'delete' || eventId === undefined || others.length > 0) return []
    const key = keyOf(connectionOf.get(accountId) ?? '', { vendor_event_id: eventId, etag })
    const held = firstHeld.get(key)
    return held === undefined ? [] : [{ accountId, calendarId, at, ms: held - machineTime(at) }]
  })
}

function keyOf(connectionId: string | null, row: NonNullable<AuditRow['new']>): string {
  return `${connectionId} ${String(row['vendor_event_id'])} ${String(row['etag'])}`
}
