// Calendars that could not be read, recorded in their own rows: each with its streak, its backoff,
// its sync request and, at the twelfth counted failure, its dead letter. Callers fence first.
import { calendarBackoffMs, floorMs } from '#shared/domain/backoff.ts'
import { FAILURE_CODES, type Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { shardOf, type CalendarId, type Micros } from '#shared/domain/ids.ts'
import { sentBy, type OutboxMessage } from '#shared/messages/message.ts'
import { bandOf, syncRetryScheduled } from '#shared/messages/sync-retry-scheduled.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { redact } from '#shared/process/redact.ts'
import { currentTraceparent } from '#shared/process/telemetry.ts'
import {
  saveCalendarFailures,
  type FailedCalendar,
  type SavedCalendarFailure,
} from '#shared/store/calendar-failures.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { calendarsFailed, givenUp } from './moments.ts'
import type { FencedWrite, Unit, UnitDeps } from './unit.ts'

export const DEAD_LETTER_AT = 12
const MESSAGE_MAX = 500

type Deps = Pick<UnitDeps, 'codec' | 'clock'>

/** bare: without texts, after Postgres refused one. */
export type Form = 'whole' | 'bare'

/** Records the calendars that failed alone, with what rings for each. Throws Failure `store/*`. */
export async function saveIllCalendars(
  deps: Deps,
  unit: Unit,
  write: FencedWrite,
  form: Form,
): Promise<void> {
  // Those that failed together with the same streak are tried together, by one unit.
  const random = Math.random()
  const failed = failedCalendars(unit, form, ({ failures }, failure) =>
    calendarBackoffMs({ attempt: failures, floorMs: floorMs(failure, deps.clock.now()), random }),
  )
  if (failed.length === 0) return
  const saved = await saveCalendarFailures(write.tx, failed)
  const messages = saved.flatMap((one) => [
    calendarRequest(deps, unit, write, { ...one, reason: 'retry' }),
    ...letters(unit, write, failed, one),
  ])
  await insertOutbox(write.tx, messages)
  write.onceCommitted(() => calendarsFailed(unit, unit.progress.failed.values()))
}

/** What to write of the calendars of a unit that failed. `wait`: how long one waits (ms). */
export function failedCalendars(
  { calendars, progress }: Pick<Unit, 'calendars' | 'progress'>,
  form: Form,
  wait: (streak: { readonly failures: number; readonly errorCount: number }, failure: Failure) => number,
): readonly FailedCalendar[] {
  return calendars.flatMap((calendar) => {
    const failure = progress.failed.get(calendar.calendarId)
    if (failure === undefined) return []
    const streak = {
      failures: calendar.failures + 1,
      errorCount: calendar.errorCount + (settlementOf(failure).countsAsAttempt ? 1 : 0),
    }
    const isNews = failure.code !== 'sync/gave-way'
    return {
      calendarId: calendar.calendarId,
      ...streak,
      error: isNews ? { code: failure.code, message: textOf(failure, form) } : null,
      traceId: traceId(),
      backoffMs: wait(streak, failure),
    }
  })
}

/** The record that rings for one calendar when it is due. */
export function calendarRequest(
  deps: Pick<UnitDeps, 'codec'>,
  { connection, calendars, progress }: Unit,
  { now }: FencedWrite,
  request: { readonly calendarId: CalendarId; readonly backoffUntil: Micros; readonly reason: 'retry' },
): OutboxMessage {
  const { calendarId, backoffUntil, reason } = request
  const calendar = calendars.find((one) => one.calendarId === calendarId)
  const failure = progress.failed.get(calendarId)
  const due = {
    topic: bandOf((backoffUntil - now) / 1000),
    attempt: (calendar?.failures ?? 0) + (failure === undefined ? 0 : 1),
    dueAt: backoffUntil,
    reason,
    code: failure?.code ?? calendar?.lastCode ?? null,
    calendarId,
    at: now,
  }
  return syncRetryScheduled(connection, due, sentBy('sync', deps.codec))
}

/** Our own text, cleaned. The text of a defect comes from anywhere, so it stays in the log. */
export function textOf(failure: Failure, form: Form): string {
  if (form === 'bare') return ''
  const text = failure.code === 'internal/defect' ? FAILURE_CODES[failure.code].text : failure.message
  return redact(text)
    .replaceAll(/\p{Cc}/gu, ' ')
    .slice(0, MESSAGE_MAX)
    .toWellFormed()
}

export function traceId(): string | null {
  return currentTraceparent()?.split('-')[1] ?? null
}

/**
 * One for each streak, at its 12th counted failure;
 * that of the whole connection has told of all its calendars.
 */
function letters(
  unit: Unit,
  { now, onceCommitted }: FencedWrite,
  failed: readonly FailedCalendar[],
  { calendarId, failingSince }: SavedCalendarFailure,
): readonly OutboxMessage[] {
  const before = unit.calendars.find((one) => one.calendarId === calendarId)?.errorCount ?? 0
  const one = failed.find((each) => each.calendarId === calendarId)
  if (one === undefined || one.errorCount < DEAD_LETTER_AT || before >= DEAD_LETTER_AT) return []
  if (unit.connection.errorCount >= DEAD_LETTER_AT) return []
  const { requests } = unit
  const last = requests.findLast(({ message }) => message.calendarId === calendarId) ?? requests.at(-1)
  if (last === undefined) return []
  const code = one.error?.code ?? 'sync/gave-way'
  onceCommitted(() => givenUp(last.record.topic, code))
  const about = {
    code,
    problem: one.error?.message ?? '',
    attempts: one.errorCount,
    firstFailedAt: failingSince,
    lastFailedAt: now,
  }
  return [{ shard: shardOf(unit.connection.connectionId), ...deadLetterRecord(last.record, about) }]
}
