// What one calendar was asked, told from the vendors' ledger of calls. Pure. Times are the
// vendors'.
import type { ApiCall } from './ledgers.ts'

export interface CalendarAtVendor {
  readonly accountId: string
  readonly calendarId: string
}

export interface Span {
  readonly from: number
  readonly to: number
}

const HOUR_MS = 3_600_000

/** The calls that name this calendar and began within the span, in order. */
export function callsOf(
  calls: readonly ApiCall[],
  { accountId, calendarId }: CalendarAtVendor,
  { from, to }: Span,
): readonly ApiCall[] {
  return calls
    .filter(
      (call) =>
        call.accountId === accountId &&
        call.calendarId === calendarId &&
        call.start >= from &&
        call.start < to,
    )
    .toSorted((a, b) => a.start - b.start)
}

/** The most calls within an hour, wherever in the span that begins. */
export function mostCallsInAnHour(calls: readonly ApiCall[], calendar: CalendarAtVendor, span: Span): number {
  return mostWithin(
    callsOf(calls, calendar, span).map(({ start }) => start),
    HOUR_MS,
  )
}

/** The most moments that lie within so many ms, wherever those begin. */
export function mostWithin(moments: readonly number[], ms: number): number {
  const sorted = moments.toSorted((a, b) => a - b)
  let first = 0
  let most = 0
  for (const [index, moment] of sorted.entries()) {
    while (moment - (sorted[first] ?? 0) >= ms) first += 1
    most = Math.max(most, index - first + 1)
  }
  return most
}

/** The most calls that followed each other within `gapMs`. */
export function longestRun(
  calls: readonly ApiCall[],
  calendar: CalendarAtVendor,
  { gapMs, ...span }: Span & { readonly gapMs: number },
): number {
  let [longest, run, last] = [0, 0, Number.NEGATIVE_INFINITY]
  for (const { start } of callsOf(calls, calendar, span)) {
    run = start - last < gapMs ? run + 1 : 1
    last = start
    longest = Math.max(longest, run)
  }
  return longest
}
