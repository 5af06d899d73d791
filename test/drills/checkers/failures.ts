// I14, I19, I22, I23: how failures are treated. Backoff is kept, credentials are bound, poison is
// isolated, and all of it is told truthfully.
import { TOPICS } from '#schemas/topics.ts'
import type { AuditRow } from '../ledgers/audit.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'
import { isListing } from './history.ts'
import { numberOf, timeOf } from './transactions.ts'

const BASE_MS = 5_000
const CAP_MS = 3_600_000
/**
 * The play vendor and Postgres share one clock. A call under way when the backoff is set is not
 * part of it.
 */
const SLACK_MS = 5

export const backoffKept: Checker = {
  id: 'I14',
  title: 'Backoff kept, growing and jittered; success clears it with the data',
  check({ audit, calls, accounts }): Findings {
    const failures: string[] = []
    const windows = backoffWindows(audit)
    const accountOf = new Map(accounts.map((account) => [account.connectionId, account.accountId]))
    const listings = Map.groupBy(calls.filter(isListing), ({ accountId }) => accountId)
    for (const { connectionId, from, until, attempt, isShort } of windows) {
      if (isShort)
        failures.push(
          `connection ${connectionId}: attempt ${attempt} waits only ${Math.round(until - from)} ms`,
        )
      for (const call of listings.get(accountOf.get(connectionId) ?? '') ?? [])
        if (call.start > from + SLACK_MS && call.start < until - SLACK_MS)
          failures.push(
            `connection ${connectionId}: call ${call.seq} began ${Math.round(until - call.start)} ms too early`,
          )
    }
    return { checked: windows.length, failures: [...failures, ...wrongCounts(audit)] }
  },
}

export interface Backoff {
  readonly connectionId: string
  readonly from: number
  /** The earliest moment at which a call may begin again. */
  readonly until: number
  readonly attempt: number
  /** Less than half of the step that its attempt deserves. */
  readonly isShort: boolean
}

/**
 * Each backoff with its real length: until it ran out, or was lifted by something that may lift it.
 */
export function backoffWindows(audit: readonly AuditRow[]): readonly Backoff[] {
  const open = new Map<string, { from: number; until: number; attempt: number; isShort: boolean }>()
  const closed: Backoff[] = []
  for (const row of audit) {
    if (row.table !== 'external_calendar_connections' || row.op !== 'UPDATE') continue
    const connectionId = String(row.connectionId)
    const [before, now] = [timeOf(row.old, 'backoff_until'), timeOf(row.new, 'backoff_until')]
    if (before === now) continue
    const lasting = open.get(connectionId)
    if (lasting) closed.push({ connectionId, ...lasting, until: Math.min(lasting.until, row.at) })
    open.delete(connectionId)
    // What a person set by hand, or a drill, is no backoff of ours.
    if (now === null || row.role !== 'calstream_sync') continue
    const attempt = attemptOf(row)
    const step = Math.min(CAP_MS, BASE_MS * 2 ** Math.max(0, attempt - 1))
    open.set(connectionId, { from: row.at, until: now, attempt, isShort: now - row.at < step / 2 - 50 })
  }
  for (const [connectionId, lasting] of open) closed.push({ connectionId, ...lasting })
  return closed
}

function wrongCounts(audit: readonly AuditRow[]): string[] {
  const failures: string[] = []
  for (const row of audit) {
    if (row.table !== 'external_calendar_connections' || row.op !== 'UPDATE') continue
    const [before, now] = [numberOf(row.old, 'error_count'), numberOf(row.new, 'error_count')]
    if (now > before + 1)
      failures.push(`connection ${row.connectionId}: error_count went from ${before} to ${now}`)
    const isSuccess = row.new?.['last_synced_at'] !== row.old?.['last_synced_at']
    if (
      isSuccess &&
      row.new?.['sync_needed'] === false &&
      (row.new['backoff_until'] !== null || row.new['last_error'] !== null || now !== 0)
    )
      failures.push(
        `connection ${row.connectionId}: a success left error or backoff behind (audit ${row.seq})`,
      )
    const failed = attemptOf(row) > attemptOf({ new: row.old })
    if (failed && row.new?.['last_synced_at'] !== row.old?.['last_synced_at'])
      failures.push(`connection ${row.connectionId}: a failure moved last_synced_at (audit ${row.seq})`)
    if (failed && row.new?.['sync_needed'] !== true)
      failures.push(`connection ${row.connectionId}: a failure left sync_needed false`)
  }
  return failures
}

/** Records of failures: what `calendar_sync_failures_total` has to count. */
export function recordedFailures(audit: readonly AuditRow[]): readonly AuditRow[] {
  return audit.filter(
    (row) =>
      row.table === 'external_calendar_connections' &&
      row.op === 'UPDATE' &&
      row.role === 'calstream_sync' &&
      attemptOf(row) > 0 &&
      JSON.stringify(row.new?.['last_error']) !== JSON.stringify(row.old?.['last_error']),
  )
}

/** Failures of calendars whose siblings are well; when all fail, their connection has it. */
export function recordedOfCalendars(audit: readonly AuditRow[]): readonly AuditRow[] {
  const together = new Set(recordedFailures(audit).map(({ txid }) => txid))
  return audit.filter(
    (row) =>
      row.table === 'external_calendars' &&
      row.op === 'UPDATE' &&
      row.role === 'calstream_sync' &&
      numberOf(row.new, 'failures') > numberOf(row.old, 'failures') &&
      !together.has(row.txid),
  )
}

export const credentialsBound: Checker = {
  id: 'I19',
  title: 'Altered, swapped or unknown credentials are refused and never used',
  check({ nemesis, calls, accounts, audit }): Findings {
    const failures: string[] = []
    const tampered = nemesis.filter(({ action }) => action === 'tamper-credentials')
    for (const { target, startedAt, endedAt } of tampered) {
      const account = accounts.find(({ connectionId }) => connectionId === target)
      // The hand notes the end when all is healed; good credentials may be used a moment before.
      const restoredAt = audit
        .filter(({ table, connectionId }) => table === 'connection_credentials' && connectionId === target)
        .findLast(({ at }) => at > startedAt && at <= (endedAt ?? Infinity))?.at
      const used = calls.filter(
        (call) =>
          call.accountId === account?.accountId &&
          isListing(call) &&
          call.start > startedAt + 500 &&
          call.start < (restoredAt ?? endedAt ?? Infinity) &&
          call.status === 200,
      )
      if (used.length > 0)
        failures.push(`connection ${target}: ${used.length} calls with credentials that were altered`)
      const refused = audit.some(
        (row) =>
          row.connectionId === target &&
          row.at > startedAt &&
          /credential/.test(JSON.stringify(row.new?.['last_error'] ?? null)),
      )
      if (!refused) failures.push(`connection ${target}: nothing says that its credentials cannot be used`)
    }
    return { checked: tampered.length, failures }
  },
}

export const poisonIsolated: Checker = {
  id: 'I22',
  title: 'Poison goes to the dead letters with its reason, neighbours go on',
  check({ nemesis, topics, marks }): Findings {
    const poison = nemesis.filter(({ action }) => action === 'poison')
    const letters = topics.get(TOPICS.deadLetter) ?? []
    const failures: string[] = []
    for (const { target, startedAt } of poison) {
      // `<topic>-<partition>@<offset>`
      const found = letters.filter(
        ({ headers }) =>
          `${headers.get('dead-letter-topic')}-${headers.get('dead-letter-partition')}@${headers.get('dead-letter-offset')}` ===
          target,
      )
      if (found.length === 0)
        failures.push(`the poison ${target} of ${new Date(startedAt).toISOString()} is in no dead letter`)
      if (found.some(({ headers }) => !headers.get('dead-letter-code')))
        failures.push(`the dead letter of ${target} has no reason`)
    }
    if (marks.convergedAt === null) failures.push('the neighbours of the poison did not come to rest')
    return { checked: poison.length, failures }
  },
}

export const telemetryIsTrue: Checker = {
  id: 'I23',
  title:
    'Telemetry tells the truth: each failure is counted and logged once, nothing internal leaves by HTTP',
  check(ledgers): Findings {
    const failures: string[] = []
    const recorded = recordedFailures(ledgers.audit)
    const lines = ledgers.logs.filter(({ fields }) => fields?.['msg'] === 'unit failed')
    // A process that dies between the commit and the line takes the line with it.
    const deaths = ledgers.processes.filter(
      ({ instance, event }) => instance.startsWith('sync') && event === 'ended',
    ).length
    if (lines.length > recorded.length || lines.length < recorded.length - deaths)
      failures.push(
        `${recorded.length} failures are recorded, ${lines.length} are logged, ${deaths} processes died`,
      )
    const ofCalendars = recordedOfCalendars(ledgers.audit)
    const units = new Set(ofCalendars.map(({ txid }) => txid)).size
    const partly = ledgers.logs.filter(({ fields }) => fields?.['kind'] === 'partly')
    if (partly.length > units || partly.length < units - deaths)
      failures.push(
        `${units} units recorded a failure of a calendar alone, ${partly.length} are logged, ${deaths} processes died`,
      )
    for (const { fields } of [...lines, ...partly])
      if (!fields?.['connectionId'] || !fields['code'])
        failures.push(`a failure is logged without connection or code: ${JSON.stringify(fields)}`)
    if (deaths === 0) {
      const counted = sumOf(ledgers, 'calendar_sync_failures_total')
      if (counted !== recorded.length)
        failures.push(`${recorded.length} failures are recorded, ${counted} are counted`)
      const apart = sumOf(ledgers, 'calendar_sync_calendar_failures_total')
      if (apart !== ofCalendars.length)
        failures.push(`${ofCalendars.length} failures of calendars alone are recorded, ${apart} are counted`)
    }
    for (const line of ledgers.logs)
      if (line.fields === null && line.raw.trim() !== '' && !isNodes(line.raw))
        failures.push(`${line.instance} logs a line that is no JSON: ${line.raw.slice(0, 120)}`)
    for (const { body, what } of ledgers.requests)
      if (/\bat [\w.<>]+ \(|node_modules|\.ts:\d+/.test(body))
        failures.push(`an answer to "${what}" shows a stack: ${body.slice(0, 120)}`)
    return { checked: recorded.length + ofCalendars.length + ledgers.requests.length, failures }
  },
}

/** The newest value of each process, summed over labels and processes. */
export function sumOf({ scrapes }: Pick<Ledgers, 'scrapes'>, name: string): number {
  let sum = 0
  for (const { values } of scrapes)
    for (const [sample, value] of values) if (sample === name || sample.startsWith(`${name}{`)) sum += value
  return sum
}

/** What a crash point writes before it kills, and warnings of Node itself. */
function isNodes(raw: string): boolean {
  return /^\(node:\d+\)|^\(Use `node|^crash point/.test(raw)
}

function attemptOf(row: Pick<AuditRow, 'new'>): number {
  const error = row.new?.['last_error'] as { attempt?: number } | null | undefined
  return error?.attempt ?? 0
}
