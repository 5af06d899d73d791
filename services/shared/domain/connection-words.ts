// How a connection and its calendars are, in plain words: a state to compare, what is so, and what to do. Pure. Invariant: what is not
// known to be fresh is said to be stale, and why.
import type { GateDecision } from './gates.ts'
import type { Micros } from './ids.ts'
import { isoOf } from './instant.ts'
import { windowAt, type Window } from './window.ts'

export type ConnectionStatus = 'active' | 'needs_reauth' | 'disabled' | 'disconnected'

/** What the words need to know of a connection. */
export interface ConnectionFacts {
  readonly status: ConnectionStatus
  readonly syncNeeded: boolean
  readonly lastSyncedAt: Micros | null
  readonly lastError: { readonly message: string } | null
  readonly backoffUntil: Micros | null
  /** Database clock. */
  readonly now: Micros
}

/** What the words need to know of a calendar. */
export interface CalendarFacts {
  readonly selected: boolean
  /** Code of what took it out of sync; null when a person did. */
  readonly removalReason: string | null
  /** What the vendor had then, we hold. */
  readonly lastReadAt: Micros | null
  /** Start of the last full read: what we hold lies around it. */
  readonly lastFullReadAt: Micros | null
  /** No full read before this. */
  readonly restsUntil: Micros | null
}

export interface Words {
  readonly state:
    | 'in_sync'
    | 'first_sync'
    | 'catching_up'
    | 'retrying'
    | 'paused'
    | 'needs_reauth'
    | 'disabled'
    | 'disconnected'
  readonly summary: string
  readonly next_step: string
}

const NOTHING = 'Nothing is to be done.'

/** Every calendar is read at least once in 18 minutes (15 ± 20 %), so half an hour without means that something is wrong. */
export const STALE_AFTER_MS = 30 * 60_000

/** `gate`: whether its sync may run at the moment. */
export function connectionWords(connection: ConnectionFacts, gate: GateDecision): Words {
  const { status, now, backoffUntil, lastError, lastSyncedAt, syncNeeded } = connection
  if (status !== 'active') return inactiveWords(status, lastError?.message)
  if (gate.state === 'off') {
    return {
      state: 'paused',
      summary: `Not synced at the moment: ${gate.text}.`,
      next_step: 'An operator switched it off. What changes meanwhile is caught up afterwards.',
    }
  }
  if (lastError !== null || (backoffUntil !== null && backoffUntil > now)) {
    const when =
      backoffUntil !== null && backoffUntil > now ? ` The next try is at ${isoOf(backoffUntil)}.` : ''
    return {
      state: 'retrying',
      summary: `The last sync failed: ${lastError?.message ?? 'it is tried again after a pause.'}`,
      next_step: `It is tried again by itself.${when}`,
    }
  }
  if (lastSyncedAt === null) {
    return {
      state: 'first_sync',
      summary: 'The calendars are being read for the first time.',
      next_step: NOTHING,
    }
  }
  if (syncNeeded) {
    const summary = `Its calendars are being read again. Last in sync at ${isoOf(lastSyncedAt)}.`
    return { state: 'catching_up', summary, next_step: NOTHING }
  }
  return { state: 'in_sync', summary: `In sync. Last looked at ${isoOf(lastSyncedAt)}.`, next_step: NOTHING }
}

function inactiveWords(
  status: Exclude<ConnectionStatus, 'active'>,
  message = 'The account no longer lets us in.',
): Words {
  switch (status) {
    case 'needs_reauth':
      return {
        state: status,
        summary: message,
        next_step:
          'The person has to connect the account again: ask for a connect link with this connection_id and show it to them.',
      }
    case 'disabled':
      return {
        state: status,
        summary: 'An operator disabled this connection. Its events are kept and grow stale.',
        next_step: 'Ask the operator to enable it.',
      }
    case 'disconnected':
      return {
        state: status,
        summary: 'The account was disconnected and its events are removed.',
        next_step: 'To sync it again, connect it again with a connect link.',
      }
    default:
      return status satisfies never
  }
}

export interface StaleReason {
  readonly code:
    | 'never_read'
    | 'not_read_lately'
    | 'connection_not_active'
    | 'backing_off'
    | 'resting'
    | 'outside_of_window'
    | 'unknown_time_zone'
  readonly text: string
}

/** The span of events that is kept of a calendar; null before it was read whole. */
export function keptWindow({ lastFullReadAt }: Pick<CalendarFacts, 'lastFullReadAt'>): Window | null {
  return lastFullReadAt === null ? null : windowAt(lastFullReadAt)
}

/** Why what we hold of a synced calendar may be out of date; empty when it is fresh. */
export function staleReasons(
  { lastReadAt, restsUntil }: Pick<CalendarFacts, 'lastReadAt' | 'restsUntil'>,
  connection: Pick<ConnectionFacts, 'status' | 'backoffUntil' | 'now'>,
): readonly StaleReason[] {
  const { status, backoffUntil, now } = connection
  const reasons: StaleReason[] = []
  if (lastReadAt === null) reasons.push({ code: 'never_read', text: 'It was not read to its end yet.' })
  else if (lastReadAt < now - STALE_AFTER_MS * 1000) {
    const text = `It was last read at ${isoOf(lastReadAt)}, more than ${STALE_AFTER_MS / 60_000} minutes ago.`
    reasons.push({ code: 'not_read_lately', text })
  }
  if (status !== 'active') {
    reasons.push({ code: 'connection_not_active', text: `Its connection is ${status}, so it is not read.` })
  }
  if (isAhead(backoffUntil, now)) {
    reasons.push({
      code: 'backing_off',
      text: `The last sync failed; the next try is at ${isoOf(backoffUntil)}.`,
    })
  }
  if (isAhead(restsUntil, now)) {
    const text = `The vendor asked for a full read, which begins at ${isoOf(restsUntil)}.`
    reasons.push({ code: 'resting', text })
  }
  return reasons
}

function isAhead(at: Micros | null, now: Micros): at is Micros {
  return at !== null && at > now
}

export interface CalendarWords {
  readonly state: 'in_sync' | 'stale' | 'first_sync' | 'not_selected' | 'removed'
  readonly summary: string
}

export function calendarWords(calendar: CalendarFacts, connection: ConnectionFacts): CalendarWords {
  if (!calendar.selected && calendar.removalReason !== null) {
    const summary =
      'It was deleted, or is no longer shared with the account. Connecting again brings it back if it is.'
    return { state: 'removed', summary }
  }
  if (!calendar.selected) return { state: 'not_selected', summary: 'It was taken out of sync.' }
  const [first] = staleReasons(calendar, connection)
  if (first === undefined)
    return { state: 'in_sync', summary: `In sync. Last read at ${isoOf(calendar.lastReadAt)}.` }
  return { state: first.code === 'never_read' ? 'first_sync' : 'stale', summary: first.text }
}
