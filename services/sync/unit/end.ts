// The ends of a unit that are not failures: closed, held, handed over. Invariants: the outcome is
// one fenced write together with the delivery keys it answers, and whatever is still owed is rung
// by something durable; the connection fails only when every calendar of it that is synced is ill,
// and a calendar that fails beside a sibling that is well fails alone.
import { FAILURE_CODES, worstOf, type Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { GateName } from '#shared/domain/gates.ts'
import { sentBy, type OutboxMessage } from '#shared/messages/message.ts'
import { bandOf, syncRetryScheduled } from '#shared/messages/sync-retry-scheduled.ts'
import { step } from '#shared/process/step.ts'
import { clearIfIll, oweReads } from '#shared/store/calendar-failures.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { clearConnection, markDirty, touchConnection } from '#shared/store/connections.ts'
import { recordKeys } from '#shared/store/dedupe.ts'
import { holdRequests } from '#shared/store/held-requests.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { unitHeld } from './moments.ts'
import { keysOf } from './claim.ts'
import { isIll } from './claim-rules.ts'
import { calendarRequest, saveIllCalendars, type Form } from './ill-calendars.ts'
import {
  writeFenced,
  type FencedWrite,
  type Progress,
  type Unit,
  type UnitDeps,
  type UnitEnd,
} from './unit.ts'

/** A change may be readable only some seconds after its notification. */
const RECHECK_MS = 20_000

type EndView = Pick<Unit, 'calendars' | 'scope'> & Pick<Progress, 'failed' | 'putOff' | 'left'>
type EndVerdict =
  /** No calendar is well: it is told of the connection, as of an account with one calendar. */
  | { readonly kind: 'all-ill'; readonly failure: Failure; readonly isRefused: boolean }
  /** Every calendar waits for its second look, so the whole connection stays owed. */
  | { readonly kind: 'all-put-off' }
  /** `isListed`: every calendar that may be read now was, so the connection owes nothing. */
  | { readonly kind: 'well'; readonly isListed: boolean }

/**
 * Part of the last write of a calendar: it owes nothing and is well. That of the last calendar of a
 * unit in which none failed closes the unit too.
 */
export async function endCalendar(
  deps: Pick<UnitDeps, 'codec' | 'clock'>,
  unit: Unit,
  calendar: CalendarRow,
  write: FencedWrite,
): Promise<void> {
  await clearIfIll(write.tx, calendar)
  const isLast = calendar.calendarId === unit.scope.at(-1)?.calendarId
  if (isLast && unit.progress.failed.size === 0) await closeUnit(deps, unit, write)
}

/**
 * Writes the outcome of a unit that has come to the end of its scope; part of its last write.
 * Calendars that failed are recorded as failing alone: a caller with such has asked `judgeEnd`
 * whether a sibling is well.
 */
export async function closeUnit(
  deps: Pick<UnitDeps, 'codec' | 'clock'>,
  unit: Unit,
  write: FencedWrite,
  form: Form = 'whole',
): Promise<void> {
  const { connection, progress } = unit
  const { tx } = write
  const verdict = judgeEnd({ ...unit, ...progress })
  if (verdict.kind === 'all-put-off') await markDirty(tx, connection.connectionId)
  else if (verdict.kind === 'well' && verdict.isListed)
    await clearConnection(tx, connection.connectionId, connection.now)
  else await touchConnection(tx, connection.connectionId)
  await oweReads(tx, [...progress.putOff])
  await saveIllCalendars(deps, unit, write, form)
  if (form === 'whole') await recordKeys(tx, connection.connectionId, keysOf(unit.requests))
  const foundNothing = progress.changes === 0 && progress.pages > 0
  const recheck = { reason: 'recheck', waitMs: RECHECK_MS } as const
  const requests = unit.isNotified && foundNothing ? [laterRequest(deps, unit, write, recheck)] : []
  await insertOutbox(tx, [...requests, ...requestsOfLeft(deps, unit, write)])
  progress.isClosed = true
}

/** What the end of a unit that has come to the end of its scope means for its connection. Pure. */
export function judgeEnd({ calendars, scope, failed, putOff, left }: EndView): EndVerdict {
  const read = new Set(scope)
  const isIllAfter = (calendar: CalendarRow) =>
    failed.has(calendar.calendarId) ||
    (isIll(calendar) && (!read.has(calendar) || putOff.has(calendar.calendarId) || left.has(calendar)))
  const [first, ...others] = failed.values()
  if (first !== undefined && calendars.every(isIllAfter)) {
    const isRefused = calendars.every((calendar) => isRefusal(calendar, failed.get(calendar.calendarId)))
    const passing = [first, ...others].filter(
      (failure) => settlementOf(failure).action !== 'park' && failure.code !== 'sync/gave-way',
    )
    const [one = first, ...more] = isRefused ? [first, ...others] : passing
    return { kind: 'all-ill', failure: worstOf([one, ...more]), isRefused }
  }
  if (calendars.length > 0 && calendars.every(({ calendarId }) => putOff.has(calendarId)))
    return { kind: 'all-put-off' }
  return { kind: 'well', isListed: calendars.every((calendar) => read.has(calendar) || isIll(calendar)) }
}

function isRefusal({ lastCode }: CalendarRow, now: Failure | undefined): boolean {
  const code = now?.code ?? lastCode
  if (code === null || !Object.hasOwn(FAILURE_CODES, code)) return false
  return settlementOf({ code: code as FailureCode }).action === 'park'
}

/**
 * A gate closed: the refusal becomes a durable row,
 * which the scheduler rings when the gate is open again.
 */
export async function holdUnit(
  deps: Pick<UnitDeps, 'db' | 'codec' | 'clock'>,
  unit: Unit,
  gate: GateName,
): Promise<UnitEnd> {
  const { connectionId } = unit.connection
  await writeFenced(deps, unit, 0, async (write) => {
    await holdRequests(write.tx, [{ connectionId, gate }])
    await saveIllCalendars(deps, unit, write, 'whole')
  })
  unitHeld(gate)
  return { kind: 'held', gate }
}

/**
 * Passes the calendars that it has not come to the end of on to a later unit, which is rung after
 * `waitMs`; this unit's requests are answered by it.
 */
export async function handOver(
  deps: Pick<UnitDeps, 'db' | 'codec' | 'clock'>,
  unit: Unit,
  waitMs: number,
): Promise<UnitEnd> {
  const { connection, calendars, scope, progress } = unit
  const { connectionId } = connection
  const left = new Set([...progress.left].map(({ calendarId }) => calendarId))
  const remaining = scope
    .map(({ calendarId }) => calendarId)
    .filter((id) => !progress.done.has(id) && !progress.failed.has(id) && !left.has(id))
  await writeFenced(deps, unit, 0, async (write) => {
    const isAll = connection.syncNeeded || remaining.length === calendars.length
    if (isAll) await markDirty(write.tx, connectionId)
    await oweReads(write.tx, [...(isAll ? [] : remaining), ...progress.putOff])
    await saveIllCalendars(deps, unit, write, 'whole')
    await recordKeys(write.tx, connectionId, keysOf(unit.requests))
    const requests = [laterRequest(deps, unit, write, { reason: 'continue', waitMs })]
    await insertOutbox(write.tx, [...requests, ...requestsOfLeft(deps, unit, write)])
  })
  step('sync.handed-over')
  return { kind: 'handed-over' }
}

/** Rings, after `waitMs`, for calendars that owe a read although this unit does not read them. */
export async function ringForOwed(
  deps: Pick<UnitDeps, 'codec'>,
  unit: Unit,
  write: FencedWrite,
  waitMs: number,
): Promise<void> {
  await insertOutbox(write.tx, [laterRequest(deps, unit, write, { reason: 'continue', waitMs })])
}

function requestsOfLeft(deps: Pick<UnitDeps, 'codec'>, unit: Unit, write: FencedWrite): OutboxMessage[] {
  return [...unit.progress.left].map(({ calendarId, backoffUntil }) => {
    const due = { calendarId, backoffUntil: Math.max(backoffUntil ?? 0, write.now) }
    return calendarRequest(deps, unit, write, { ...due, reason: 'retry' })
  })
}

function laterRequest(
  deps: Pick<UnitDeps, 'codec'>,
  { connection }: Unit,
  { now }: FencedWrite,
  { reason, waitMs }: { readonly reason: 'recheck' | 'continue'; readonly waitMs: number },
): OutboxMessage {
  const due = { topic: bandOf(waitMs), dueAt: now + Math.round(waitMs * 1000), reason, at: now }
  return syncRetryScheduled(connection, due, sentBy('sync', deps.codec))
}
