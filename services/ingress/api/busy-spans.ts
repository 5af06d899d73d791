// Busy spans: merging, and the hours of a day in its zone. Pure. Invariant: a busy person is
// never shown as free: spans that touch are one, parts of a millisecond count whole, a day whose
// zone is not known covers that date everywhere on earth.
import { Temporal } from 'temporal-polyfill'
import type { Micros } from '#shared/domain/ids.ts'
import type { BusyDays, BusySpan } from '#shared/store/busy.ts'

const HOUR_MICROS = 3_600_000_000
/** From UTC+14 (Kiribati) to UTC−12 (Baker Island). */
const EARLIEST_ZONE_MICROS = 14 * HOUR_MICROS
const LATEST_ZONE_MICROS = 12 * HOUR_MICROS

/** Whether the zone is an IANA name that we know the rules of. */
export function isKnownZone(zone: string | null): zone is string {
  if (zone === null) return false
  try {
    Temporal.PlainDate.from('2020-01-01').toZonedDateTime(zone)
    return true
  } catch {
    return false
  }
}

/**
 * The instants that these days cover in a zone: from the first moment of the first day to the first
 * moment after the last one.
 */
export function spanOfDays(days: Pick<BusyDays, 'startDate' | 'endDate'>, zone: string | null): BusySpan {
  if (!isKnownZone(zone)) {
    return {
      start: startOf(days.startDate, 'UTC') - EARLIEST_ZONE_MICROS,
      end: startOf(days.endDate, 'UTC') + LATEST_ZONE_MICROS,
    }
  }
  return { start: startOf(days.startDate, zone), end: startOf(days.endDate, zone) }
}

/** The first moment of a day: where a clock change swallows midnight, it is later. */
export function startOf(date: string, zone: string): Micros {
  return Temporal.PlainDate.from(date).toZonedDateTime(zone).epochMilliseconds * 1000
}

/**
 * The spans in whole milliseconds, cut to [from,
 * to), joined where they overlap or touch, in order; empty ones are dropped.
 */
export function mergeSpans(
  spans: readonly BusySpan[],
  { from, to }: { readonly from: Micros; readonly to: Micros },
): readonly BusySpan[] {
  const cut = spans
    .map(({ start, end }) => ({ start: Math.max(start, from), end: Math.min(end, to) }))
    .filter(({ start, end }) => start < end)
    .map(({ start, end }) => ({ start: Math.floor(start / 1000) * 1000, end: Math.ceil(end / 1000) * 1000 }))
    .toSorted((a, b) => a.start - b.start)
  const merged: { start: Micros; end: Micros }[] = []
  for (const span of cut) {
    const last = merged.at(-1)
    if (last !== undefined && span.start <= last.end) last.end = Math.max(last.end, span.end)
    else merged.push({ ...span })
  }
  return merged
}
