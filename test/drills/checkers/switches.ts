// I11, I12, I13, I21: off means off, for everybody or for one connection. What was missed meanwhile
// is caught up.
import { within } from '../criterion.ts'
import type { GateSwitch } from '../environment/gates.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'
import { isListing } from './history.ts'
import { changeLetters, forwardRows, transactionsOf } from './transactions.ts'

/** From the server's answer to the last new call: its own refresh of 1 s, and a poll of 0.5 s. */
export const OFF_WITHIN_MS = 2_000
/** A page that was fetched before may still be stored this long. */
const LATE_PAGE_MS = 30_000
/** From the last switch back on until everything equals the vendor. */
const CAUGHT_UP = within(60_000)

/** A time in which no call may begin. ms since 1970. */
export interface Closed {
  readonly from: number
  readonly until: number
}

export const offMeansOff: Checker = {
  id: 'I11',
  title: 'Off means off: no call, no row, no message while a gate is closed',
  check(ledgers): Findings {
    const closed = switchedOff(ledgers.gates)
    const failures: string[] = []
    let checked = closed.length
    for (const call of ledgers.calls.filter(isListing)) {
      checked += closed.length
      const window = closed.find(({ from, until }) => call.start > from + OFF_WITHIN_MS && call.start < until)
      if (window)
        failures.push(`call ${call.seq} began ${Math.round(call.start - window.from)} ms after the switch`)
    }
    for (const transaction of transactionsOf(ledgers.audit)) {
      const { role, at, txid } = transaction
      if (
        role !== 'calstream_sync' ||
        forwardRows(transaction).length + changeLetters(transaction).length === 0
      )
        continue
      const window = closed.find(({ from, until }) => at > from + LATE_PAGE_MS && at < until)
      if (window) failures.push(`tx ${txid} wrote events ${Math.round(at - window.from)} ms after the switch`)
    }
    return { checked: closed.length === 0 ? 0 : checked, failures }
  },
}

export const removalIsPerConnection: Checker = {
  id: 'I12',
  title: 'Taken off an allowlist: no call for that connection, its rows stay',
  check(ledgers): Findings {
    const failures: string[] = []
    let checked = 0
    for (const account of ledgers.accounts) {
      const closed = shutOut(ledgers, account)
      checked += closed.length
      for (const call of ledgers.calls) {
        if (call.accountId !== account.accountId || !isListing(call)) continue
        if (closed.some(({ from, until }) => call.start > from + OFF_WITHIN_MS && call.start < until))
          failures.push(`connection ${account.connectionId}: call ${call.seq} although it is not let in`)
      }
    }
    for (const row of ledgers.audit) {
      const isKept = row.table === 'external_calendar_connections' || row.table === 'connection_credentials'
      if (isKept && row.op === 'DELETE')
        failures.push(`${row.table} of ${row.connectionId} was deleted (audit ${row.seq})`)
    }
    return { checked, failures }
  },
}

export const caughtUp: Checker = {
  id: 'I13',
  title: `What was refused or missed while off is caught up ${CAUGHT_UP.text}`,
  check({ marks, gates, webhooks, audit }): Findings {
    const failures: string[] = []
    const missed = webhooks.filter(({ status }) => status === 403).length
    const held = audit.filter(({ table, op }) => table === 'held_requests' && op !== 'DELETE').length
    const lastOn = gates.at(-1)?.doneAt ?? 0
    if (marks.convergedAt === null) failures.push('it never caught up')
    else if (marks.convergedAt - Math.max(lastOn, marks.healedAt) > CAUGHT_UP.limit)
      failures.push(
        `caught up ${Math.round(marks.convergedAt - marks.healedAt)} ms after the end of the fault`,
      )
    return { checked: missed + held, failures }
  },
}

export const alive: Checker = {
  id: 'I21',
  title: 'Liveness: after the heal every connection comes to rest',
  check({ marks, connections, audit }): Findings {
    const failures: string[] = []
    if (marks.convergedAt === null) failures.push('the system did not come to rest within its time')
    const synced = new Set(
      audit.filter(({ table }) => table === 'external_calendars').map(({ connectionId }) => connectionId),
    )
    for (const { connectionId, status } of connections)
      if (status === 'active' && !synced.has(connectionId))
        failures.push(`connection ${connectionId} made no progress at all`)
    return { checked: connections.length, failures }
  },
}

/** When a switch was off for everybody: from the server's answer until it may be on again. */
export function switchedOff(gates: readonly GateSwitch[]): readonly Closed[] {
  const stops = ['CALENDAR_SYNC_ENABLED', 'CALENDAR_JOBS_ENABLED']
  const closed: Closed[] = []
  for (const name of stops) {
    let from: number | null = null
    for (const { gate, on, askedAt, doneAt } of gates) {
      if (gate !== name || on === null) continue
      if (!on) from ??= doneAt
      else if (from !== null) {
        closed.push({ from, until: askedAt })
        from = null
      }
    }
    if (from !== null) closed.push({ from, until: Infinity })
  }
  return closed
}

function shutOut(
  { gates }: Pick<Ledgers, 'gates'>,
  account: { readonly providerId: string; readonly connectionId: string },
): readonly Closed[] {
  const closed: Closed[] = []
  for (const [name, id] of [
    ['CALENDAR_ALLOWLIST_PROVIDER_IDS', account.providerId],
    ['CALENDAR_ALLOWLIST_CONNECTION_IDS', account.connectionId],
  ] as const) {
    let from: number | null = null
    let wasIn = false
    for (const { gate, ids, askedAt, doneAt } of gates) {
      if (gate !== name || ids === null) continue
      const isIn = ids.includes(id)
      if (wasIn && !isIn) from ??= doneAt
      else if (isIn && from !== null) {
        closed.push({ from, until: askedAt })
        from = null
      }
      wasIn ||= isIn
    }
    if (from !== null) closed.push({ from, until: Infinity })
  }
  return closed
}
