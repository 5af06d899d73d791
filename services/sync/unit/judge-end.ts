// What the end of a unit means for its connection. Pure. Invariant: the connection fails
// only when every calendar of it that is synced is ill; one that fails beside a sibling
// that is well fails alone.
import { FAILURE_CODES, worstOf, type Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { CalendarId } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { isIll } from './claim-rules.ts'

export interface EndView {
  readonly calendars: readonly CalendarRow[]
  readonly scope: readonly CalendarRow[]
  readonly failed: ReadonlyMap<CalendarId, Failure>
  readonly putOff: ReadonlySet<CalendarId>
  /** Ill ones that another unit reads. */
  readonly left: ReadonlySet<CalendarRow>
}

export type EndVerdict =
  /** Nobody is well: it is told of the connection, as of an account with one calendar. */
  | { readonly kind: 'all-ill'; readonly failure: Failure; readonly isRefused: boolean }
  /** Every calendar waits for its second look, so the whole connection stays owed. */
  | { readonly kind: 'all-put-off' }
  /** `isListed`: every calendar that may be read now was, so the connection owes nothing. */
  | { readonly kind: 'well'; readonly isListed: boolean }

/** Judges a unit that has come to the end of its scope. */
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
    const [gravest = first, ...rest] = isRefused ? [first, ...others] : passing
    return { kind: 'all-ill', failure: worstOf([gravest, ...rest]), isRefused }
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
