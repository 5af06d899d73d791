// Whether a unit runs, and over which calendars. Pure. Invariant: a request is called satisfied only when what it asks for has
// been listed after it was asked, or when a ring that does more is sure to come.
import type { SyncRequested } from '#schemas/messages.gen.ts'
import type { GateName } from '#shared/domain/gates.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import type { ClaimedConnection } from '#shared/store/connections.ts'

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
      readonly scope: readonly CalendarRow[]
      readonly readsAll: boolean
      readonly isNotified: boolean
    }
  | { readonly kind: 'done'; readonly why: 'parked' | 'satisfied' | 'backing-off' }
  | { readonly kind: 'early'; readonly waitMs: number }
  | { readonly kind: 'held'; readonly gate: GateName }

/** A ring that is at most this much early (clocks differ) waits; an earlier one is done, because a later one is scheduled. */
const EARLY_MAX_MS = 30_000

/** The rules in the order of their strength: what needs no work is done even while a gate is closed. */
export function judgeClaim(view: ClaimView): Verdict {
  const { connection, calendars } = view
  if (connection.status !== 'active') return { kind: 'done', why: 'parked' }
  const open = view.requests.filter((request) => !isSatisfied(request, view))
  if (open.length === 0) return { kind: 'done', why: 'satisfied' }
  const waitMs = Math.ceil(((connection.backoffUntil ?? 0) - connection.now) / 1000)
  if (waitMs > EARLY_MAX_MS) return { kind: 'done', why: 'backing-off' }
  if (waitMs > 0) return { kind: 'early', waitMs }
  if (view.closedGate !== null) return { kind: 'held', gate: view.closedGate }
  const scope = scopeOf(connection, calendars, open)
  const isNotified = open.some((request) => request.reason === 'webhook')
  return { kind: 'run', scope, readsAll: scope.length === calendars.length, isNotified }
}

function isSatisfied(request: SyncRequested, { connection, recordedKeys }: ClaimView): boolean {
  switch (request.reason) {
    case 'webhook':
      return request.deliveryKey !== null && recordedKeys.has(request.deliveryKey)
    case 'retry':
    case 'sweep':
    // Handing over leaves the connection dirty: clean since, it was read to the end by a later unit.
    case 'continue':
      return !connection.syncNeeded
    case 'api':
    case 'connected':
    case 'reconcile':
    case 'recheck':
    case 'held':
    case 'unknown':
      return !connection.syncNeeded && isBefore(request.asOf, connection.listedFrom)
    default:
      return request.reason satisfies never
  }
}

function isBefore(asOf: number | null, listedFrom: number | null): boolean {
  return asOf !== null && listedFrom !== null && asOf < listedFrom
}

function scopeOf(
  connection: ClaimedConnection,
  calendars: readonly CalendarRow[],
  open: readonly SyncRequested[],
): readonly CalendarRow[] {
  if (connection.syncNeeded || open.some((request) => request.calendarId === null)) return calendars
  const named = new Set(open.map((request) => request.calendarId))
  return calendars.filter((calendar) => named.has(calendar.calendarId))
}
