// How a connection and its calendars are, in plain words: a state to compare, what is so, and what
// to do. Pure. Invariant: what is not known to be fresh is said to be stale, and why.
import { whyClosed, type GateDecision } from './gates.ts'
import type { Micros } from './ids.ts'
import { illSummary, whyIll, type IllCalendar } from './ill-words.ts'
import { isoOf } from './instant.ts'
import { windowAt, type Window } from './window.ts'

export const CONNECTION_STATUSES = ['active', 'needs_reauth', 'disabled', 'disconnected'] as const
export type ConnectionStatus = (typeof CONNECTION_STATUSES)[number]

export const CONNECTION_STATES = [
  'in_sync',
  'first_sync',
  'catching_up',
  'late',
  'partly_in_sync',
  'retrying',
  'paused',
  'unknown',
  'needs_reauth',
  'disabled',
  'disconnected',
] as const

/** What the words need to know of a connection. */
export interface ConnectionFacts {
  readonly status: ConnectionStatus
  readonly syncNeeded: boolean
  /** When the person last connected the account. */
  readonly connectedAt: Micros
  readonly lastSyncedAt: Micros | null
  readonly lastError: { readonly message: string; readonly code?: string } | null
  readonly backoffUntil: Micros | null
  /**
   * While it waits for a person: when it is asked next whether it is let in again;
   * null or absent: never.
   */
  readonly probeAt?: Micros | null
  /** When the grant ends whatever is done; null or absent: the vendor named no end. */
  readonly grantEndsAt?: Micros | null
  /** Since when an operator's pause lasts, and who asked for it; null or absent: there is none. */
  readonly pausedAt?: Micros | null
  readonly pausedBy?: string | null
  /** A request met a closed gate and is kept; it is rung for when the gate opens. */
  readonly isHeld: boolean
  /** Calendars that are synced and cannot be read, the first few by name, and how many they are. */
  readonly illCalendars: readonly IllCalendar[]
  readonly illCount: number
  /** Database clock. */
  readonly now: Micros
}

/** What the words need to know of a calendar. */
export interface CalendarFacts {
  readonly selected: boolean
  /** Code of what took it out of sync; null when a person did. */
  readonly removalReason: string | null
  /** What the vendor had then is stored. */
  readonly lastReadAt: Micros | null
  /** Start of the last full read: what is stored lies around it. */
  readonly lastFullReadAt: Micros | null
  /** No full read before this. */
  readonly coolDownUntil: Micros | null
  /** When a list of the vendor first lacked it; null when the last one had it. */
  readonly missingSince: Micros | null
  /** It owes a read of its own. */
  readonly readNeeded: boolean
  /** Why it cannot be read; null while it can. */
  readonly ill: Omit<IllCalendar, 'id' | 'name'> | null
  /**
   * Set while it is read by plain listing, because asking for changes led nowhere; from when on the
   * usual way is tried again.
   */
  readonly plain?: { readonly usualFrom: Micros | null } | null
}

export interface Words {
  readonly state: (typeof CONNECTION_STATES)[number]
  readonly summary: string
  readonly next_step: string
}

const NOTHING = 'No action needed.'

/**
 * Every calendar is read at least once in 18 minutes (the reconcile: 15 ± 20 %), so half an hour
 * without, twice its interval, means that something is wrong.
 */
export const STALE_AFTER_MS = 30 * 60_000
const STALE_AFTER_MINUTES = STALE_AFTER_MS / 60_000

/**
 * A grant that ends is warned of from here on:
 * one of a Google project in testing, which lasts 7 days, from the start.
 */
const GRANT_WARN_MS = 7 * 86_400_000

/** `gate`: whether its sync may run at the moment. */
export function connectionWords(connection: ConnectionFacts, gate: GateDecision): Words {
  const words = stateWords(connection, gate)
  const ends = endingGrant(connection)
  if (ends === null) return words
  return { ...words, next_step: words.next_step === NOTHING ? ends : `${words.next_step} ${ends}` }
}

function endingGrant({ status, grantEndsAt, now }: ConnectionFacts): string | null {
  if (status !== 'active' || !isAhead(grantEndsAt ?? null, now)) return null
  if (grantEndsAt! - now > GRANT_WARN_MS * 1000) return null
  return `This grant ends at ${isoOf(grantEndsAt!)}: the person has to connect the account again before then. ${IN_TESTING}`
}

/** https://developers.google.com/identity/protocols/oauth2#expiration */
const IN_TESTING =
  'At Google, grants of a project in testing end after 7 days; publish the project (Google Auth Platform, Audience) and they last.'

function stateWords(connection: ConnectionFacts, gate: GateDecision): Words {
  const { status, now, backoffUntil, lastError, lastSyncedAt, connectedAt } = connection
  if (status !== 'active') return inactiveWords(status, connection)
  if (gate.state !== 'on') return gateWords(gate)
  if (lastError !== null || isAhead(backoffUntil, now)) {
    const when = isAhead(backoffUntil, now) ? ` The next try is at ${isoOf(backoffUntil)}.` : ''
    return {
      state: 'retrying',
      summary: `The last sync failed: ${lastError?.message ?? 'it is tried again after a pause.'}`,
      next_step: `It is tried again automatically.${when}`,
    }
  }
  // A first read that does not end is as late as any other.
  if (isLongAgo(lastSyncedAt ?? connectedAt, now)) return lateWords(connection)
  if (lastSyncedAt === null) {
    return {
      state: 'first_sync',
      summary: 'The calendars are being read for the first time.',
      next_step: NOTHING,
    }
  }
  if (connection.illCount > 0) return partlyWords(connection)
  if (isBehind(connection)) {
    const summary = `There is more to read than was read. Last in sync at ${isoOf(lastSyncedAt)}.`
    return { state: 'catching_up', summary, next_step: NOTHING }
  }
  return { state: 'in_sync', summary: `In sync. Last looked at ${isoOf(lastSyncedAt)}.`, next_step: NOTHING }
}

function partlyWords({ illCalendars, illCount, now }: ConnectionFacts): Words {
  const tries = illCalendars.flatMap(({ nextTryAt }) => (isAhead(nextTryAt, now) ? [nextTryAt] : []))
  const when = tries.length === 0 ? '' : ` The next try is at ${isoOf(Math.min(...tries))}.`
  return {
    state: 'partly_in_sync',
    summary: illSummary(illCalendars, illCount),
    next_step: `It is tried again automatically, at least once an hour.${when}`,
  }
}

function lateWords({ lastSyncedAt, connectedAt }: ConnectionFacts): Words {
  const since =
    lastSyncedAt === null
      ? `Connected at ${isoOf(connectedAt)} and not read to the end since`
      : `Last in sync at ${isoOf(lastSyncedAt)}`
  return {
    state: 'late',
    summary: `${since}, more than ${STALE_AFTER_MINUTES} minutes ago.`,
    next_step: 'If it stays so, an operator looks whether sync and scheduler run (calstream doctor).',
  }
}

function gateWords(gate: Exclude<GateDecision, { state: 'on' }>): Words {
  if (gate.state === 'off') {
    return {
      state: 'paused',
      summary: `Not synced at the moment: ${gate.text}.`,
      next_step: `${whyClosed(gate)} What changes meanwhile is caught up afterwards.`,
    }
  }
  return {
    state: 'unknown',
    summary:
      'Not synced at the moment: whether it may be is not known, since the flag server does not answer.',
    next_step:
      'An operator looks after the flag server (calstream doctor). What changes meanwhile is caught up afterwards.',
  }
}

function inactiveWords(status: Exclude<ConnectionStatus, 'active'>, connection: ConnectionFacts): Words {
  switch (status) {
    case 'needs_reauth':
      return {
        state: status,
        summary: connection.lastError?.message ?? 'The account no longer lets us in.',
        next_step: [parkedStep(connection), endedGrant(connection)].filter(Boolean).join(' '),
      }
    case 'disabled':
      return {
        state: status,
        summary: `An operator paused this connection${pausedSince(connection)}. Its events are kept and grow stale.`,
        next_step: 'Ask the operator to resume it. What changes meanwhile is caught up afterwards.',
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

function pausedSince({ pausedAt }: ConnectionFacts): string {
  return pausedAt === undefined || pausedAt === null ? '' : ` at ${isoOf(pausedAt)}`
}

/** A refused grant whose named end has passed ended of that, and so will the next one. */
function endedGrant({ lastError, grantEndsAt, now }: ConnectionFacts): string {
  const hasEnded = grantEndsAt !== undefined && grantEndsAt !== null && grantEndsAt <= now
  if (!hasEnded || lastError?.code !== 'vendor/grant-revoked') return ''
  return `The grant was good until ${isoOf(grantEndsAt)} and no longer. ${IN_TESTING}`
}

const CONNECT_AGAIN =
  'The person has to connect the account again: ask for a connect link with this connection_id and show it to them.'

/** Who can mend it, and whether it continues then. */
function parkedStep({ lastError, probeAt, now }: ConnectionFacts): string {
  if (probeAt === undefined || probeAt === null) return CONNECT_AGAIN
  const when = isAhead(probeAt, now) ? ` It is asked about next at ${isoOf(probeAt)}.` : ''
  return lastError?.code === 'vendor/admin-required'
    ? `An administrator of the organization has to act; when they have, it continues automatically.${when} Sooner: ask for a connect link with this connection_id.`
    : `It continues automatically when the vendor lets it in again.${when} If it does not: ${CONNECT_AGAIN.charAt(0).toLowerCase()}${CONNECT_AGAIN.slice(1)}`
}

export interface StaleReason {
  readonly code:
    | 'never_read'
    | 'not_read_lately'
    | 'connection_not_active'
    | 'paused'
    | 'gates_unknown'
    | 'backing_off'
    | 'failing'
    | 'catching_up'
    | 'resting'
    | 'plain_listing'
    | 'not_listed'
    | 'outside_of_window'
    | 'older_rules'
  readonly text: string
}

/** The span of events that is kept of a calendar; null before it was read whole. */
export function keptWindow({ lastFullReadAt }: Pick<CalendarFacts, 'lastFullReadAt'>): Window | null {
  return lastFullReadAt === null ? null : windowAt(lastFullReadAt)
}

type StaleFacts = Pick<
  CalendarFacts,
  'lastReadAt' | 'coolDownUntil' | 'missingSince' | 'readNeeded' | 'ill' | 'plain'
>

/**
 * Why what is stored of a synced calendar may be out of date; empty when it is fresh. `gate`:
 * whether its connection may be synced at the moment.
 */
export function staleReasons(
  { lastReadAt, coolDownUntil, missingSince, readNeeded, ill, plain }: StaleFacts,
  connection: Pick<ConnectionFacts, 'status' | 'backoffUntil' | 'syncNeeded' | 'isHeld' | 'now'>,
  gate: GateDecision,
): readonly StaleReason[] {
  const { now } = connection
  const reasons: StaleReason[] = []
  if (lastReadAt === null) reasons.push({ code: 'never_read', text: 'It was not read to its end yet.' })
  else if (isLongAgo(lastReadAt, now)) {
    const text = `It was last read at ${isoOf(lastReadAt)}, more than ${STALE_AFTER_MINUTES} minutes ago.`
    reasons.push({ code: 'not_read_lately', text })
  }
  if (missingSince !== null) {
    const text = `The vendor did not list it at ${isoOf(missingSince)}. Its events are kept until a later list agrees.`
    reasons.push({ code: 'not_listed', text })
  }
  const obstacle = obstacleOf(connection, gate)
  if (ill !== null && (obstacle === null || obstacle.code === 'backing_off'))
    reasons.push({ code: 'failing', text: whyIll(ill, now) })
  else if (obstacle !== null) reasons.push(obstacle)
  else if (plain && (readNeeded || isAhead(coolDownUntil, now))) {
    const text = plainWords(plain, isAhead(coolDownUntil, now) ? coolDownUntil : null)
    reasons.push({ code: 'plain_listing', text })
  } else if (isAhead(coolDownUntil, now)) {
    const text = `It has to be read from the start, which begins at ${isoOf(coolDownUntil)}.`
    reasons.push({ code: 'resting', text })
  } else if (lastReadAt !== null && (readNeeded || isBehind(connection))) {
    reasons.push({ code: 'catching_up', text: 'There is more to read than was read.' })
  }
  return reasons
}

/**
 * Why a calendar is behind although nothing fails: each of its reads is a whole one, so they are
 * rare.
 */
function plainWords({ usualFrom }: NonNullable<CalendarFacts['plain']>, nextAt: Micros | null): string {
  const next = nextAt === null ? '' : `; next at ${isoOf(nextAt)}`
  const usual = usualFrom === null ? '' : ` Asking for changes is tried again from ${isoOf(usualFrom)} on.`
  return `Asking the vendor for its changes led nowhere, so it is listed as a whole, at least once an hour${next}.${usual}`
}

/** What keeps a connection from being read now: the first thing that would have to change. */
function obstacleOf(
  { status, backoffUntil, now }: Pick<ConnectionFacts, 'status' | 'backoffUntil' | 'now'>,
  gate: GateDecision,
): StaleReason | null {
  if (status !== 'active')
    return { code: 'connection_not_active', text: `Its connection is ${status}, so it is not read.` }
  if (gate.state === 'off') return { code: 'paused', text: `It is not read at the moment: ${gate.text}.` }
  if (gate.state === 'unknown') {
    const text = 'It is not read at the moment: whether it may be is not known.'
    return { code: 'gates_unknown', text }
  }
  if (!isAhead(backoffUntil, now)) return null
  return { code: 'backing_off', text: `The last sync failed; the next try is at ${isoOf(backoffUntil)}.` }
}

/** A sync request is known to be owed. */
function isBehind({ syncNeeded, isHeld }: Pick<ConnectionFacts, 'syncNeeded' | 'isHeld'>): boolean {
  return syncNeeded || isHeld
}

function isLongAgo(at: Micros, now: Micros): boolean {
  return at < now - STALE_AFTER_MS * 1000
}

function isAhead(at: Micros | null, now: Micros): at is Micros {
  return at !== null && at > now
}

interface CalendarWords {
  readonly state: 'in_sync' | 'stale' | 'failing' | 'first_sync' | 'not_selected' | 'removed' | 'disconnected'
  readonly summary: string
}

/** `gate`: whether its connection may be synced at the moment. */
export function calendarWords(
  calendar: CalendarFacts,
  connection: ConnectionFacts,
  gate: GateDecision,
): CalendarWords {
  if (connection.status === 'disconnected')
    return { state: 'disconnected', summary: 'The account was disconnected and its events are removed.' }
  if (!calendar.selected && calendar.removalReason !== null) {
    const summary =
      'It was deleted, or is no longer shared with the account. Connecting again brings it back if it is.'
    return { state: 'removed', summary }
  }
  if (!calendar.selected) return { state: 'not_selected', summary: 'It was taken out of sync.' }
  const reasons = staleReasons(calendar, connection, gate)
  if (reasons.length === 0)
    return { state: 'in_sync', summary: `In sync. Last read at ${isoOf(calendar.lastReadAt)}.` }
  const summary = reasons.map(({ text }) => text).join(' ')
  if (reasons.some(({ code }) => code === 'failing')) return { state: 'failing', summary }
  const isFirst = reasons.every(({ code }) => code === 'never_read')
  return { state: isFirst ? 'first_sync' : 'stale', summary }
}
