// What the vendor lists against what we hold: pure. Invariants: one listing alone removes nothing (vendors leave calendars out for a
// moment); what a person took out stays out; what we took out comes back with the calendar.
import type { CalendarListChange, HeldCalendar, ListedCalendar } from '#shared/store/calendar-list.ts'

/** A second listing decides, at least this much later. */
export const MISSING_SECONDS = 10 * 60

export interface Comparison extends CalendarListChange {
  /** Something is to be read or removed. */
  readonly isWork: boolean
  readonly isEmpty: boolean
}

/** Compares a listing with the rows of its connection. */
export function compareCalendars(
  held: readonly HeldCalendar[],
  listed: readonly ListedCalendar[],
): Comparison {
  const rows = new Map(held.map((row) => [row.vendorCalendarId, row]))
  const names = new Set(listed.map((calendar) => calendar.vendorCalendarId))
  const isBack = (row: HeldCalendar) => row.isRemoved || row.missingForSeconds !== null
  const store = listed.filter((calendar) => {
    const row = rows.get(calendar.vendorCalendarId)
    return row === undefined || isBack(row) || isOther(row, calendar)
  })
  const added = listed.filter((calendar) => rows.get(calendar.vendorCalendarId)?.isRemoved ?? true)
  const reread = listed.flatMap((calendar) => {
    const row = rows.get(calendar.vendorCalendarId)
    // Another role shows other details of the same events, which no change tells.
    return row?.selected && row.accessRole !== calendar.accessRole ? row.calendarId : []
  })
  const unlisted = held.filter((row) => row.selected && !row.isRemoved && !names.has(row.vendorCalendarId))
  const missing = unlisted.filter((row) => row.missingForSeconds === null).map((row) => row.calendarId)
  const vanished = unlisted
    .filter((row) => row.missingForSeconds !== null && row.missingForSeconds >= MISSING_SECONDS)
    .map((row) => row.calendarId)
  return {
    store,
    reread,
    missing,
    vanished,
    isWork: added.length + reread.length + vanished.length > 0,
    isEmpty: store.length + reread.length + missing.length + vanished.length === 0,
  }
}

function isOther(row: HeldCalendar, calendar: ListedCalendar): boolean {
  return (
    row.name !== calendar.name || row.timeZone !== calendar.timeZone || row.accessRole !== calendar.accessRole
  )
}
