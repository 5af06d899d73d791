// How a connection and its calendars are, in plain words: a state to compare, what is so, and what
// to do. Pure. Invariant: what is not known to be fresh is said to be stale, and why.
import { inOrder, nextStepOf, type Cause } from './cause.ts'
import { NOTHING } from './cause-entry.ts'
import { causesOfConnection } from './causes-of-connection.ts'
import { entryOf } from './causes.ts'
import {
  STALE_AFTER_MS,
  type CalendarFacts,
  type ConnectionFacts,
  type StateName,
} from './connection-facts.ts'
import type { GateDecision } from './gates.ts'
import type { Micros } from './ids.ts'
import { whyIll } from './ill-words.ts'
import { isoOf } from './instant.ts'
import { windowAt, type Window } from './window.ts'

export interface Words {
  readonly state: StateName
  readonly summary: string
  readonly next_step: string
}

/** What is told first when several states hold. */
const BY_WEIGHT: readonly StateName[] = [
  'disconnected',
  'disabled',
  'needs_reauth',
  'unknown',
  'paused',
  'retrying',
  'late',
  'first_sync',
  'partly_in_sync',
  'catching_up',
]

/**
 * A connection in words: those of the cause that weighs most, so `why` and these never differ.
 * `gate`: whether its sync may run at the moment. `around`: causes that hold for all connections
 * or for its place (`causesOfInstallation`, `causesOfPlace`).
 */
export function connectionWords(
  connection: ConnectionFacts,
  gate: GateDecision,
  around: readonly Cause[] = [],
): Words {
  const own = causesOfConnection(connection, gate)
  const causes = connection.status === 'active' ? [...inOrder(own), ...inOrder(around)] : own
  const told = BY_WEIGHT.flatMap((state) => causes.filter(({ code }) => entryOf(code).state === state))
  const ending = own.find(({ code }) => code === 'grant_ends_soon')
  const words = told[0] === undefined ? inSync(connection) : wordsOf(told[0])
  if (ending === undefined) return words
  const { action } = ending
  return { ...words, next_step: words.next_step === NOTHING ? action : `${words.next_step} ${action}` }
}

function wordsOf(cause: Cause): Words {
  const state = entryOf(cause.code).state ?? 'in_sync'
  return { state, summary: cause.text, next_step: nextStepOf(cause) }
}

function inSync({ lastSyncedAt }: ConnectionFacts): Words {
  return { state: 'in_sync', summary: `In sync. Last looked at ${isoOf(lastSyncedAt)}.`, next_step: NOTHING }
}

const STALE_AFTER_MINUTES = STALE_AFTER_MS / 60_000

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
