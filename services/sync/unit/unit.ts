// A unit: one run of a connection's sync, what it answers and how it may end. Invariant: whatever a
// unit writes, it writes through `writeFenced`, so a unit that was overtaken writes nothing.
import { performance } from 'node:perf_hooks'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import type { GateName, Gates } from '#shared/domain/gates.ts'
import type { Failure } from '#shared/domain/failure.ts'
import type { CalendarId, Micros, VendorName } from '#shared/domain/ids.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Database, Queryable } from '#shared/store/database.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { fence, type ClaimedConnection, type Fence } from '#shared/store/connections.ts'
import type { Mailboxes } from '#shared/vendors/mailbox.ts'
import type { LaneEnd, Permit } from '../lanes.ts'

/** A sync request as it came, with the record that dead letters are made of. */
export interface UnitRequest {
  readonly message: SyncRequested & { readonly vendor: VendorName }
  readonly record: InboundRecord
}

export interface UnitDeps {
  readonly db: Database
  readonly codec: Codec
  readonly gates: Gates
  readonly clock: Clock
  readonly mailboxes: Mailboxes
  readonly logger: Logger
  /** By which rows are judged; those of this release with titles kept unless given. */
  readonly rules?: string
}

export interface Unit {
  readonly connection: ClaimedConnection
  readonly requests: readonly UnitRequest[]
  /** All calendars of the connection that are synced, as they stood at the claim. */
  readonly calendars: readonly CalendarRow[]
  /** Those to read, in this order. */
  readonly scope: readonly CalendarRow[]
  /** A notification asked for it, so finding nothing is suspicious. */
  readonly isNotified: boolean
  /** performance.now() at the claim. */
  readonly startedAt: number
  readonly progress: Progress
}

/** What a unit has learned so far. */
export interface Progress {
  /** Event rows written or removed. */
  changes: number
  pages: number
  /** Calendars of the scope that were read to their end. */
  readonly done: Set<CalendarId>
  /** Calendars that could not be read, and why. */
  readonly failed: Map<CalendarId, Failure>
  /** Calendars that wait for a full read which is not due yet: they stay owed. */
  readonly putOff: Set<CalendarId>
  /**
   * Calendars whose cursor was taken away by this unit, because something moved there;
   * not before the time given.
   */
  readonly toReread: Map<CalendarId, Micros | null>
  /**
   * Ill calendars that are to be read by another unit, because their request came early or because
   * they gave way: it rings for them.
   */
  readonly left: Set<CalendarRow>
  /** The outcome is written. */
  isClosed: boolean
  /** performance.now() when the gates were last seen open. */
  openAt: number
}

export type UnitEnd =
  /** Nothing is left to do for its requests. `why` says whether anything was read for them. */
  | {
      readonly kind: 'done'
      readonly why: 'read' | 'satisfied' | 'parked' | 'backing-off' | 'unknown-connection'
    }
  /** `problem`: what happened, in words that a log may have. */
  | { readonly kind: 'failed'; readonly code: string; readonly problem: string }
  /**
   * Some calendars could not be read, which is recorded in their rows;
   * what else was asked for was read.
   */
  | {
      readonly kind: 'partly'
      readonly code: string
      readonly problem: string
      readonly calendars: number
    }
  | { readonly kind: 'held'; readonly gate: GateName }
  | { readonly kind: 'handed-over' }
  /** It wrote nothing more; its requests are still to be done. */
  | { readonly kind: 'abandoned' }
  /** It did not begin: a request that came before its time. */
  | { readonly kind: 'early'; readonly waitMs: number }
  /** It did not begin: it has to read a whole calendar, so it takes a backfill slot. */
  | { readonly kind: 'backfill' }
  /** Postgres is away, so nothing can be written, not even the failure. */
  | { readonly kind: 'blocked'; readonly code: string }

/** What each end means for the requests of the unit and for the lane that they came through. */
export const LANE_ENDS: Readonly<Record<UnitEnd['kind'], LaneEnd>> = {
  done: { requests: 'done', when: 'slot' },
  failed: { requests: 'done', when: 'slot' },
  partly: { requests: 'done', when: 'slot' },
  held: { requests: 'done', when: 'slot' },
  'handed-over': { requests: 'done', when: 'slot' },
  abandoned: { requests: 'again', when: 'member' },
  early: { requests: 'again', when: 'due' },
  backfill: { requests: 'again', when: 'backfill-slot' },
  blocked: { requests: 'again', when: 'resumed' },
}

/** Why a unit stops before its end. */
export type Interruption = Extract<UnitEnd, { readonly kind: 'held' | 'handed-over' }>

/** A unit that ran this long makes room for others. */
const RUN_MAX_MS = 60_000
/** A page is kept when it can be stored this soon after its gate closed. */
const LATE_PAGE_MS = 30_000

/** A transaction that has passed the fence. */
export interface FencedWrite extends Fence {
  readonly tx: Queryable
  /** Runs when it is committed, and not before: what is counted then did happen. */
  readonly onceCommitted: (work: () => void) => void
}

/**
 * Runs a write under the fence. `advance`: how many event rows it writes.
 * Throws `store/fence-lost` when overtaken.
 */
export async function writeFenced<T>(
  deps: Pick<UnitDeps, 'db'>,
  unit: Pick<Unit, 'connection'>,
  advance: number,
  work: (write: FencedWrite) => Promise<T>,
): Promise<T> {
  const after: (() => void)[] = []
  const onceCommitted = (then: () => void): void => void after.push(then)
  const result = await deps.db.transaction(async (tx) => {
    after.length = 0
    return work({ tx, onceCommitted, ...(await fence(tx, unit.connection, advance)) })
  })
  for (const then of after) then()
  return result
}

/** The gate that forbids work on a connection now; null when all are open. */
export function closedGate(
  gates: Gates,
  { providerId, connectionId }: Pick<ClaimedConnection, 'providerId' | 'connectionId'>,
): GateName | null {
  for (const decision of [gates.sync(providerId, connectionId), gates.jobs()]) {
    if (decision.state !== 'on') return decision.gate
  }
  return null
}

/**
 * Asked before every call to a vendor and between chunks: may the unit continue?
 * Throws when the permit was taken away.
 */
export function interruption(deps: Pick<UnitDeps, 'gates'>, unit: Unit, permit: Permit): Interruption | null {
  permit.signal.throwIfAborted()
  const gate = closedGate(deps.gates, unit.connection)
  if (gate !== null) return { kind: 'held', gate }
  unit.progress.openAt = performance.now()
  const ranTooLong = performance.now() - unit.startedAt > RUN_MAX_MS
  return permit.stopping.aborted || ranTooLong ? { kind: 'handed-over' } : null
}

/**
 * Asked before a page is stored: it is dropped whole when its gate has been closed for too long.
 * Throws when the permit was taken away.
 */
export function isPageLate(deps: Pick<UnitDeps, 'gates'>, unit: Unit, permit: Permit): Interruption | null {
  permit.signal.throwIfAborted()
  const gate = closedGate(deps.gates, unit.connection)
  return gate !== null && performance.now() - unit.progress.openAt > LATE_PAGE_MS
    ? { kind: 'held', gate }
    : null
}
