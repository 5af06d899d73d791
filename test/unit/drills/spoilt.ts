// The pieces that good and bad histories are made of, and the question that is asked of them.
import { TOPICS } from '#schemas/topics.ts'
import { runChecker, type InvariantId } from '../../drills/checkers/check.ts'
import { INVARIANTS } from '../../drills/checkers/invariants.ts'
import type { AuditRow } from '../../drills/ledgers/audit.ts'
import type { FaultEntry, Ledgers } from '../../drills/ledgers/ledgers.ts'
import {
  CALENDAR,
  CONNECTION,
  connectionUpdate,
  eventRow,
  goodLedgers,
  listing,
  page,
  PROVIDER,
  record,
  row,
  T0,
} from './hand-made.ts'

/** What the checker of an invariant says of the good ledgers with these changes. */
export function verdict(id: InvariantId, changes: Partial<Ledgers> = {}): string {
  const checker = INVARIANTS.find((one) => one.id === id)
  if (!checker) throw new Error(`no ${id}`)
  return runChecker(checker, goodLedgers(changes)).verdict
}

export function fault(parts: Partial<FaultEntry>): FaultEntry {
  return {
    fault: 'P2',
    action: 'kill -9',
    target: 'sync-1',
    startedAt: T0,
    activeAt: T0,
    endedAt: null,
    healedAt: null,
    ...parts,
  }
}

export const OFF = { gate: 'CALENDAR_SYNC_ENABLED', on: false, ids: null, askedAt: T0, doneAt: T0 }
export const ON = {
  gate: 'CALENDAR_SYNC_ENABLED',
  on: true,
  ids: null,
  askedAt: T0 + 60_000,
  doneAt: T0 + 60_000,
}
export const LISTED = [
  { gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS', on: null, ids: [PROVIDER], askedAt: T0 - 9, doneAt: T0 - 9 },
  { gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS', on: null, ids: [], askedAt: T0, doneAt: T0 },
]
export const failed = (attempt: number, at: number, forMs: number) =>
  connectionUpdate(
    100 + attempt,
    { error_count: attempt - 1, last_error: attempt > 1 ? { attempt: attempt - 1 } : null },
    {
      error_count: attempt,
      sync_needed: true,
      last_error: { attempt, code: 'vendor/unavailable' },
      backoff_until: new Date(T0 + at + forMs).toISOString(),
    },
    { at: T0 + at },
  )
export const ring = (deliveryKey: string) =>
  record(1, 1, { topic: TOPICS.requestedGoogle, message: { deliveryKey } as never })
export const attempt = (status: number, at = 0) => ({
  seq: 1,
  at: T0 + at,
  channelId: 'ch',
  messageNumber: 7,
  attempt: 1,
  status,
  latencyMs: 1,
})
const TOLD = { resource: "Users('A')/events('Bc')", changeType: 'updated', etag: 'W/"7"' }
/** A notification of Graph's in a batch that was answered so. */
export const graphAttempt = (status: number) => ({ ...attempt(status), messageNumber: 0, told: TOLD })
/** The ring of that one: SHA-256 of ["ch","users/a/events/Bc","updated","W/\"7\""]. */
export const graphRing = () => ring('m:U3L39RR4IWzFFvPVax1c4jW8HzvObZIgE8nRSy5GT3g')
export const logged = (fields: Record<string, unknown>) => ({
  instance: 'sync-1',
  raw: JSON.stringify(fields),
  fields,
})
export const unitFailed = logged({ msg: 'unit failed', connectionId: CONNECTION, code: 'vendor/unavailable' })
export const counted = (value: number) => [
  {
    at: T0,
    instance: 'sync-1',
    pid: 1,
    values: new Map([['calendar_sync_failures_total{code="x"}', value]]),
  },
]

/**
 * A connection of one event and one channel that was disconnected;
 * `without`: rows of that table stay.
 */
export function disconnected({ without }: { without?: AuditRow['table'] } = {}): Partial<Ledgers> {
  const by = { op: 'DELETE', role: 'calstream_scheduler' } as const
  const channel = { id: 'ch', connection_id: CONNECTION }
  const held = { connection_id: CONNECTION, seq: 1 }
  const came = [
    ...page(2, { version: 1, sequence: 1, cursor: 'k1' }),
    row(3, 'channels', { op: 'INSERT', new: channel }),
    row(3, 'held_requests', { op: 'INSERT', new: held }),
  ]
  const went = [
    row(4, 'external_calendar_events', { ...by, old: eventRow(1, 1) }),
    row(4, 'held_requests', { ...by, old: held }),
    row(5, 'channels', { ...by, old: channel }),
    row(6, 'connection_credentials', { ...by, at: T0 + 1_500_000 }),
    row(6, 'external_calendars', { ...by, old: { id: CALENDAR, connection_id: CONNECTION } }),
    connectionUpdate(6, { vendor_account_id: 'ann@example.com' }, { vendor_account_id: null }),
  ]
  const removal = { change: 'removed', removalReason: 'disconnected', event: null, sequence: 2 }
  const message = { ...record(1, 1).message, ...removal } as never
  return {
    nemesis: [fault({ action: 'disconnect', target: CONNECTION, activeAt: T0 + 1_000_000 })],
    audit: [...came, ...went.filter(({ table }) => table !== without)],
    calls: [listing(10, 15), listing(1_200_000, 1_200_050, { method: 'POST', path: '/revoke' })],
    topics: new Map([[TOPICS.eventChanged, [record(1, 1), record(2, 2, { message })]]]),
  }
}
