// I3, I6, I7, I8, I9, I10: the database's history as its audit tells it, against what the vendors
// were asked and answered.
import { TOPICS } from '#schemas/topics.ts'
import { foldChanges } from '../../../infra/oracle/verify.ts'
import type { AuditRow } from '../ledgers/audit.ts'
import type { ApiCall, Ledgers } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'
import {
  changeLetters,
  connectionUpdates,
  forwardRows,
  numberOf,
  textOf,
  transactionsOf,
  type Transaction,
} from './transactions.ts'

export const appliedOnce: Checker = {
  id: 'I3',
  title: 'Each observed version is applied by one committed transition',
  check({ audit }): Findings {
    const seen = new Map<string, string>()
    const failures: string[] = []
    let checked = 0
    for (const row of forwardRows({ rows: audit })) {
      if (row.op === 'DELETE') {
        // What comes back later is a new life of the event.
        seen.delete(idOf(row))
        continue
      }
      checked += 1
      const version = `${textOf(row.new, 'etag')} ${textOf(row.new, 'content_hash')}`
      if (seen.get(idOf(row)) === version)
        failures.push(
          `event ${idOf(row)}: version ${textOf(row.new, 'etag')} was applied twice (audit ${row.seq})`,
        )
      seen.set(idOf(row), version)
    }
    return { checked, failures }
  },
}

export const noPartialState: Checker = {
  id: 'I6',
  title: 'Rows, cursor, outbox and keys of a unit commit together',
  check({ audit }): Findings {
    const failures: string[] = []
    let checked = 0
    for (const transaction of transactionsOf(audit)) {
      if (transaction.role !== 'calstream_sync') continue
      const forward = forwardRows(transaction)
      const letters = changeLetters(transaction)
      const keys = transaction.rows.filter(({ table }) => table === 'webhook_dedupe_keys')
      if (forward.length + letters.length + keys.length === 0) continue
      checked += 1
      failures.push(
        ...partsMissing(transaction, forward, letters).map((text) => `tx ${transaction.txid}: ${text}`),
      )
    }
    return { checked, failures }
  },
}

function partsMissing(
  transaction: Transaction,
  forward: readonly AuditRow[],
  letters: readonly AuditRow[],
): string[] {
  const missing: string[] = []
  const fences = connectionUpdates(transaction)
  if (fences.length === 0) missing.push('event rows, messages or keys without the connection row')
  if (forward.length !== letters.length)
    missing.push(`${forward.length} event rows changed, ${letters.length} messages written`)
  const told = new Set(letters.map(({ new: letter }) => Number(letter?.['ce_sequence'])))
  for (const row of forward) {
    const sequence = numberOf(row.new, 'sequence')
    if (row.op !== 'DELETE' && !told.has(sequence)) missing.push(`row of sequence ${sequence} has no message`)
  }
  const wroteEvents = forward.some(({ op }) => op !== 'DELETE')
  const movedPlace = transaction.rows.some(
    ({ table, op }) => table === 'external_calendars' && op === 'UPDATE',
  )
  if (wroteEvents && !movedPlace)
    missing.push('event rows were written and the place in the run did not move')
  return missing
}

export const cursorNeverAhead: Checker = {
  id: 'I7',
  title: 'A cursor is never ahead of its data',
  check(ledgers): Findings {
    const history = eventHistory(ledgers.audit)
    const listed = finalCalls(ledgers.calls)
    const accountOf = new Map(
      ledgers.accounts.flatMap((account) =>
        [...account.calendars].map(([vendorId, id]) => [id, { account, vendorId }] as const),
      ),
    )
    const changesOf = Map.groupBy(ledgers.changes, (change) => `${change.accountId} ${change.calendarId}`)
    const failures: string[] = []
    let checked = 0
    for (const row of ledgers.audit) {
      const cursor = movedCursor(row)
      const place = accountOf.get(String(row.new?.['id']))
      if (cursor === null || !place) continue
      checked += 1
      const call = listed.get(`${place.account.accountId} ${place.vendorId} ${cursor}`)
      if (!call) {
        failures.push(
          `calendar ${place.vendorId}: the cursor of audit ${row.seq} was never given by the vendor`,
        )
        continue
      }
      const before = (changesOf.get(`${place.account.accountId} ${place.vendorId}`) ?? []).filter(
        ({ at }) => at < call.runStart,
      )
      failures.push(...notApplied(before, history, { row, calendarId: String(row.new?.['id']) }))
    }
    return { checked, failures }
  },
}

interface Committed {
  readonly seq: number
  /** null of a removal. */
  readonly version: number | null
  /** The full read that saw it last. */
  readonly generation: number
}

/** Per event (calendar and vendor id): what was committed, in order. */
type History = ReadonlyMap<string, readonly Committed[]>

function eventHistory(audit: readonly AuditRow[]): History {
  const history = new Map<string, Committed[]>()
  for (const row of audit) {
    if (row.table !== 'external_calendar_events') continue
    const one = row.new ?? row.old
    const key = `${textOf(one, 'calendar_id')} ${textOf(one, 'vendor_event_id')}`
    const entries = history.get(key) ?? []
    history.set(key, entries)
    const version = row.op === 'DELETE' ? null : versionOf(one?.['etag'])
    entries.push({ seq: row.seq, version, generation: numberOf(one, 'generation') })
  }
  return history
}

function notApplied(
  changes: Ledgers['changes'],
  history: History,
  { row, calendarId }: { row: AuditRow; calendarId: string },
): string[] {
  const failures: string[] = []
  // The newest change of an event is what counts; older ones may have been skipped.
  const newest = new Map<string, { version: number; removed: boolean }>()
  for (const change of changes) {
    for (const id of change.eventIds) newest.set(id, { version: versionOf(change.etag), removed: false })
    for (const id of change.removedEventIds)
      newest.set(id, { version: versionOf(change.etag), removed: true })
  }
  for (const [eventId, { version, removed }] of newest) {
    const entries = history.get(`${calendarId} ${eventId}`)
    // Never seen at all: outside the window.
    if (!entries) continue
    // A unit writes the rows of a page before the cursor that covers them.
    const state = entries.filter(({ seq }) => seq <= row.seq).at(-1)
    if (state === undefined || state.version === null) continue
    const isApplied = removed
      ? state.version > version || awaitsSecondLook(row, state)
      : state.version >= version
    if (!isApplied)
      failures.push(
        `event ${eventId}: the cursor of audit ${row.seq} covers ${removed ? 'its removal' : `version ${version}`}, the row is at ${state.version}`,
      )
  }
  return failures
}

/**
 * A full read lacked it and was not believed alone (ADR 18). I1 checks that the second look removes
 * it.
 */
function awaitsSecondLook(calendar: AuditRow, { generation }: Committed): boolean {
  return generation < numberOf(calendar.new, 'sweep_below')
}

function movedCursor(row: AuditRow): string | null {
  if (row.table !== 'external_calendars' || row.new === null) return null
  const cursor = row.new['cursor']
  return typeof cursor === 'string' && cursor !== row.old?.['cursor'] ? cursor : null
}

/**
 * Calls that gave a cursor, by account, calendar and cursor, with the start of their run's first
 * page.
 */
function finalCalls(calls: readonly ApiCall[]): ReadonlyMap<string, { readonly runStart: number }> {
  const runStarts = new Map<string, number>()
  const found = new Map<string, { runStart: number }>()
  for (const call of calls) {
    if (call.status !== 200 || !isListing(call)) continue
    const place = `${call.accountId} ${call.calendarId}`
    const run = `${place} ${call.syncTokenIn}`
    // Several runs can start from one cursor: a process that was given up may begin another while
    // its successor ends the first. The earliest of those proves least. Full reads all begin from
    // no cursor, and lie far apart.
    const isFirst = call.syncTokenIn === undefined || !runStarts.has(run)
    if (call.pageTokenIn === undefined && isFirst) runStarts.set(run, call.start)
    if (call.syncTokenOut === undefined) continue
    const key = `${place} ${call.syncTokenOut}`
    const runStart = runStarts.get(run) ?? call.start
    // Several runs that found nothing in between may give the same cursor: again the earliest.
    if (!found.has(key)) found.set(key, { runStart })
  }
  return found
}

export const orderKept: Checker = {
  id: 'I8',
  title: 'Order per connection: sequences grow on the topic, versions never go back',
  check({ topics, audit }): Findings {
    const records = topics.get(TOPICS.eventChanged) ?? []
    const failures = foldChanges(records)
      .differences.filter(({ kind }) => kind === 'reordered' || kind === 'lost' || kind === 'unreadable')
      .map(({ key, story }) => `connection ${key}: ${story}`)
    const last = new Map<string, number>()
    for (const row of forwardRows({ rows: audit })) {
      if (row.op === 'DELETE') continue
      const version = versionOf(row.new?.['etag'])
      const before = last.get(idOf(row))
      if (before !== undefined && version < before)
        failures.push(`event ${idOf(row)}: version ${version} was written over ${before} (audit ${row.seq})`)
      if (Number.isFinite(version)) last.set(idOf(row), version)
    }
    return { checked: records.length + last.size, failures }
  },
}

export const noStaleWriter: Checker = {
  id: 'I9',
  title: 'No stale writer: what is written under an epoch is written by the process that claimed it',
  check({ audit }): Findings {
    const claims = new Map<string, string>()
    const epochs = new Map<string, number>()
    const failures: string[] = []
    let checked = 0
    for (const row of audit) {
      if (row.table !== 'external_calendar_connections' || row.op !== 'UPDATE') continue
      const [id, epoch] = [String(row.connectionId), numberOf(row.new, 'sync_epoch')]
      if (epoch < (epochs.get(id) ?? 0))
        failures.push(`connection ${id}: epoch ${epoch} after ${epochs.get(id)}`)
      epochs.set(id, epoch)
      if (row.role !== 'calstream_sync') continue
      if (epoch !== numberOf(row.old, 'sync_epoch')) {
        claims.set(`${id} ${epoch}`, row.process)
        continue
      }
      checked += 1
      const claimer = claims.get(`${id} ${epoch}`)
      if (claimer !== undefined && claimer !== row.process)
        failures.push(
          `connection ${id}: ${row.process} wrote under epoch ${epoch} of ${claimer} (audit ${row.seq})`,
        )
    }
    return { checked, failures: [...failures, ...unfenced(audit)] }
  },
}

function unfenced(audit: readonly AuditRow[]): string[] {
  return transactionsOf(audit)
    .filter(({ role }) => role === 'calstream_sync')
    .filter(
      (transaction) => forwardRows(transaction).length > 0 && connectionUpdates(transaction).length === 0,
    )
    .map(({ txid, process }) => `tx ${txid}: ${process} wrote event rows without asking the fence`)
}

export const singleFlight: Checker = {
  id: 'I10',
  title: 'One unit at a time per connection and epoch',
  check({ audit, calls, accounts }): Findings {
    const failures: string[] = []
    let checked = 0
    const listings = Map.groupBy(
      calls.filter((call) => isListing(call) && call.status !== 0),
      ({ accountId }) => accountId,
    )
    for (const { connectionId, accountId } of accounts) {
      const claims = claimsOf(audit, connectionId)
      const listed = (listings.get(accountId) ?? []).toSorted((a, b) => a.start - b.start)
      for (const [index, call] of listed.entries()) {
        checked += 1
        const next = listed[index + 1]
        if (!next || next.start >= call.end) continue
        const [own, later] = [claimAt(claims, call.start), claimAt(claims, next.start)]
        // A frozen owner's reads may overlap with its successor's; its writes may not (I9). One
        // owner never overlaps with itself.
        if (own !== undefined && own.process === later?.process)
          failures.push(
            `connection ${connectionId}: calls ${call.seq} and ${next.seq} of ${own.process} overlap`,
          )
      }
    }
    return { checked, failures }
  },
}

function claimAt(claims: ReturnType<typeof claimsOf>, at: number) {
  return claims.findLast((claim) => claim.at <= at)
}

function claimsOf(audit: readonly AuditRow[], connectionId: string) {
  return audit
    .filter(
      (row) =>
        row.table === 'external_calendar_connections' &&
        row.connectionId === connectionId &&
        row.op === 'UPDATE' &&
        row.new?.['sync_epoch'] !== row.old?.['sync_epoch'],
    )
    .map(({ at, process }) => ({ at, process }))
}

/** Whether a call lists events: only units make such calls. */
export function isListing({ method, path }: Pick<ApiCall, 'method' | 'path'>): boolean {
  return method === 'GET' && (path.endsWith('/events') || path.includes('calendarView/delta'))
}

/** The play vendors' etags are quoted numbers that grow with every change. Graph's are weak. */
function versionOf(etag: unknown): number {
  return typeof etag === 'string' ? Number(etag.replaceAll(/^W\/|"/g, '')) : Number.NaN
}

function idOf(row: AuditRow): string {
  return String((row.new ?? row.old)?.['event_id'])
}
