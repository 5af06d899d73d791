// Whether a unit runs, and over which calendars. Pure. Invariants: a request is called satisfied
// only when what it asks for has been listed after it was asked, or when a request that does more
// is sure to come; a request for a calendar that is well is never put off for a sibling that is
// ill. The table of these rules is in docs/architecture.md, the reasons in ADR 15.
import type { SyncRequested } from '#schemas/messages.gen.ts'
import type { GateName } from '#shared/domain/gates.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import type { ClaimedConnection } from '#shared/store/connections.ts'
import type { UnitEnd } from './unit.ts'

export interface ClaimView<R extends SyncRequested = SyncRequested> {
  readonly connection: ClaimedConnection
  readonly calendars: readonly CalendarRow[]
  readonly requests: readonly R[]
  /** Those of their delivery keys that a unit has answered. */
  readonly recordedKeys: ReadonlySet<string>
  readonly closedGate: GateName | null
}

export type Verdict =
  | {
      readonly kind: 'run'
      /**
       * In the order in which they are read:
       * what rang, what is well, what is in the middle of a run, last what is ill.
       */
      readonly scope: readonly CalendarRow[]
      /**
       * Their own request came with this one and a little early: the unit has to ring for them
       * again.
       */
      readonly early: readonly CalendarRow[]
      readonly isNotified: boolean
    }
  | Extract<UnitEnd, { readonly kind: 'done' | 'early' | 'held' }>

/**
 * A request that is at most this much early (clocks differ) waits;
 * an earlier one is done, because a later one is scheduled.
 */
const EARLY_MAX_MS = 30_000

/** Rings for what is owed; all others want to know whether there is news. */
const OWED_REASONS: ReadonlySet<string> = new Set(['retry', 'sweep', 'continue'])

/**
 * The rules in the order of their strength: what needs no work is done even while a gate is closed.
 */
export function judgeClaim(view: ClaimView): Verdict {
  const { connection, calendars } = view
  if (connection.status !== 'active') return { kind: 'done', why: 'parked' }
  const open = view.requests.filter((request) => !isSatisfied(request, view))
  if (open.length === 0) return { kind: 'done', why: 'satisfied' }
  const asked = calendars.filter((calendar) => isAsked(calendar, open, view))
  // When none of them is due, the wait below decides.
  const scope = asked.some((calendar) => waitMsOf(calendar, view) === 0)
    ? asked.filter((calendar) => waitMsOf(calendar, view) === 0)
    : asked
  const waitMs = Math.max(accountWaitMs(connection), leastWaitMs(scope, view))
  if (waitMs > EARLY_MAX_MS) return { kind: 'done', why: 'backing-off' }
  if (waitMs > 0) return { kind: 'early', waitMs }
  if (view.closedGate !== null) return { kind: 'held', gate: view.closedGate }
  return {
    kind: 'run',
    scope: inOrder(scope, open),
    early: asked.filter((calendar) => isRungEarly(calendar, open, view)),
    isNotified: open.some((request) => request.reason === 'webhook'),
  }
}

/** A calendar that could not be read the last time. */
export function isIll({ failures }: Pick<CalendarRow, 'failures'>): boolean {
  return failures > 0
}

/**
 * Whether a calendar owes a read and may be read now: then something is sure to ring for it. Also
 * what the sweep looks for.
 */
export function isOwedNow(
  { readNeeded, backoffUntil, checkpoint, sweepBelow, cursor, resyncAfter }: CalendarRow,
  now: Micros,
): boolean {
  const waitsForFullRead = checkpoint === null && (sweepBelow !== null || cursor === null)
  const coolsDown = waitsForFullRead && (resyncAfter ?? 0) > now
  return readNeeded && !coolsDown && (backoffUntil ?? 0) <= now
}

function isSatisfied(request: SyncRequested, view: ClaimView): boolean {
  const { connection, recordedKeys } = view
  switch (request.reason) {
    case 'webhook':
      return request.deliveryKey !== null && recordedKeys.has(request.deliveryKey)
    case 'retry':
    case 'sweep':
    // Handing over leaves what remains owed: clean since, it was read to the end by a later unit.
    case 'continue':
      return !isOwed(request, view)
    case 'api':
    case 'connected':
    case 'reconcile':
    case 'recheck':
    case 'held':
    case 'unknown':
      return !isOwed(request, view) && isBefore(request.asOf, connection.listedFrom)
    default:
      return request.reason satisfies never
  }
}

/**
 * Whether what a request is about owes a read:
 * its calendar, or without one whatever may be read now.
 */
function isOwed({ calendarId }: SyncRequested, { connection, calendars }: ClaimView): boolean {
  if (connection.syncNeeded) return true
  return calendars.some((calendar) =>
    calendarId === null
      ? isOwedNow(calendar, connection.now)
      : calendar.calendarId === calendarId && calendar.readNeeded,
  )
}

function isBefore(asOf: number | null, listedFrom: number | null): boolean {
  return asOf !== null && listedFrom !== null && asOf < listedFrom
}

function isAsked(
  calendar: CalendarRow,
  open: readonly SyncRequested[],
  { connection }: Pick<ClaimView, 'connection'>,
): boolean {
  if (connection.syncNeeded) return true
  return open.some(({ calendarId, reason }) => {
    if (calendarId !== null) return calendarId === calendar.calendarId
    return !OWED_REASONS.has(reason) || isOwedNow(calendar, connection.now)
  })
}

/** The account's own backoff holds for all; that of all its calendars stands in each of them. */
function accountWaitMs({ isAllIll, backoffUntil, now }: ClaimedConnection): number {
  return isAllIll ? 0 : aheadMs(backoffUntil, now)
}

function leastWaitMs(calendars: readonly CalendarRow[], view: ClaimView): number {
  return calendars.length === 0 ? 0 : Math.min(...calendars.map((calendar) => waitMsOf(calendar, view)))
}

/**
 * While all are ill, a person who clears the backoff of their connection lets all of them be read.
 */
function waitMsOf({ backoffUntil }: CalendarRow, { connection }: Pick<ClaimView, 'connection'>): number {
  return connection.isAllIll && connection.backoffUntil === null ? 0 : aheadMs(backoffUntil, connection.now)
}

function aheadMs(at: Micros | null, now: Micros): number {
  return Math.max(0, Math.ceil(((at ?? 0) - now) / 1000))
}

function isRungEarly(calendar: CalendarRow, open: readonly SyncRequested[], view: ClaimView): boolean {
  const waitMs = waitMsOf(calendar, view)
  if (waitMs === 0 || waitMs > EARLY_MAX_MS) return false
  return open.some(
    ({ calendarId, reason }) =>
      OWED_REASONS.has(reason) && (calendarId === null || calendarId === calendar.calendarId),
  )
}

function inOrder(scope: readonly CalendarRow[], open: readonly SyncRequested[]): readonly CalendarRow[] {
  const rung = new Set(open.map(({ calendarId }) => calendarId))
  const rank = (calendar: CalendarRow) => {
    // Nothing is taken away before what may stand in its place was read.
    if (calendar.isUnlisted) return 4
    if (isIll(calendar)) return 3
    // A whole unit was not enough for it, and it may take many more:
    // its siblings do not wait for them.
    if (calendar.checkpoint !== null) return 2
    return rung.has(calendar.calendarId) ? 0 : 1
  }
  return scope.toSorted((a, b) => rank(a) - rank(b))
}
