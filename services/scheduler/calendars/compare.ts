// What the vendor lists against what we hold: pure. Invariants: one listing alone removes nothing
// (vendors leave calendars out for a moment); nothing is removed while something that is new was
// not read; the account's own calendar stays the same row under a new id; what a person took out
// stays out; what we took out comes back with the calendar (ADR 18).
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { CalendarListChange, StoredCalendar } from '#shared/store/calendar-list.ts'

/** A second listing decides, at least this much later. */
export const MISSING_SECONDS = 10 * 60
/** What one listing stores has one time, more or less. */
const SAME_LISTING_SECONDS = 60
/** So long a missing calendar waits for the first read of others: one may never be readable. */
export const UNREAD_WAIT_SECONDS = 24 * 3600

export interface Comparison extends CalendarListChange {
  /** Something is to be read or removed. */
  readonly isWork: boolean
  /** A calendar is missing, and a later look decides. */
  readonly isUndecided: boolean
  readonly isEmpty: boolean
}

/** Compares a listing with the rows of its connection. */
export function compareCalendars(
  before: readonly StoredCalendar[],
  answer: readonly VendorCalendar[],
): Comparison {
  const listed = answer.filter((calendar) => isReadable(calendar, before))
  const adopted = adoptedBy(before, listed)
  const newIds = new Map(adopted.map((one) => [one.calendarId, one.vendorCalendarId]))
  const stored = before.map((row) => ({
    ...row,
    vendorCalendarId: newIds.get(row.calendarId) ?? row.vendorCalendarId,
  }))
  const rows = new Map(stored.map((row) => [row.vendorCalendarId, row]))
  const rowOf = ({ vendorCalendarId }: VendorCalendar) => rows.get(vendorCalendarId)
  const store = listed.filter((calendar) => isOther(rowOf(calendar), calendar))
  const added = listed.filter((calendar) => rowOf(calendar)?.isRemoved ?? calendar.isOwned)
  const reread = listed.flatMap((calendar) => {
    const row = rowOf(calendar)
    // Another role shows other details of the same events, which no change brings.
    const isOtherCalendar = row !== undefined && newIds.has(row.calendarId)
    return row?.selected && (row.accessRole !== calendar.accessRole || isOtherCalendar) ? row.calendarId : []
  })
  const unlisted = unlistedOf(stored, listed)
  const missing = unlisted.filter((row) => row.missingForSeconds === null).map((row) => row.calendarId)
  const vanished = unlisted
    .filter((row) => isVanished(row, stored, added.length > 0))
    .map((row) => row.calendarId)
  return {
    adopted,
    store,
    reread,
    missing,
    vanished,
    isWork: added.length + reread.length + vanished.length > 0,
    isUndecided: vanished.length < unlisted.length,
    isEmpty: store.length + reread.length + missing.length + vanished.length + adopted.length === 0,
  }
}

/** One of which we may see only busy times counts as not listed once its events are refused. */
function isReadable(calendar: VendorCalendar, stored: readonly StoredCalendar[]): boolean {
  if (calendar.accessRole !== 'freeBusyReader') return true
  const row = stored.find(({ vendorCalendarId }) => vendorCalendarId === calendar.vendorCalendarId)
  return row === undefined || !(row.isRefused || row.isRemoved)
}

/** Synced ones that this listing lacks. One without the account's own calendar is not whole. */
function unlistedOf(
  stored: readonly StoredCalendar[],
  listed: readonly VendorCalendar[],
): readonly StoredCalendar[] {
  if (stored.some(({ primary }) => primary) && !listed.some(({ primary }) => primary)) return []
  const names = new Set(listed.map((calendar) => calendar.vendorCalendarId))
  return stored.filter((row) => row.selected && !row.isRemoved && !names.has(row.vendorCalendarId))
}

/** Whether this look, the second one, decides that a calendar is gone. */
function isVanished(
  { missingForSeconds }: StoredCalendar,
  stored: readonly StoredCalendar[],
  isSomethingNew: boolean,
): boolean {
  if (missingForSeconds === null || missingForSeconds < MISSING_SECONDS) return false
  if (missingForSeconds >= UNREAD_WAIT_SECONDS) return true
  // What came into the list when this one left it may be the same calendar, so it is read first.
  const since = missingForSeconds + SAME_LISTING_SECONDS
  return !isSomethingNew && !stored.some((row) => row.selected && !row.isRead && row.knownForSeconds <= since)
}

/**
 * The account's own calendar under another id: an address of Google that changed, a default folder
 * of Outlook that was made anew. An account has one, so the one that was is the one that is.
 */
function adoptedBy(
  stored: readonly StoredCalendar[],
  listed: readonly VendorCalendar[],
): CalendarListChange['adopted'] {
  const [own, ...others] = listed.filter(({ primary }) => primary)
  const [row, ...rivals] = stored.filter(({ primary }) => primary)
  if (own === undefined || row === undefined || others.length + rivals.length > 0) return []
  const isKnown = stored.some(({ vendorCalendarId }) => vendorCalendarId === own.vendorCalendarId)
  const isListed = listed.some(({ vendorCalendarId }) => vendorCalendarId === row.vendorCalendarId)
  return isKnown || isListed ? [] : [{ calendarId: row.calendarId, vendorCalendarId: own.vendorCalendarId }]
}

/** Whether what is listed is to be stored: it is new, back, or not as its row. */
function isOther(row: StoredCalendar | undefined, calendar: VendorCalendar): boolean {
  return (
    row === undefined ||
    row.isRemoved ||
    row.missingForSeconds !== null ||
    row.name !== calendar.name ||
    // A zone that is left out is kept: Microsoft names it only with a permission of its own.
    (calendar.timeZone !== null && row.timeZone !== calendar.timeZone) ||
    row.accessRole !== calendar.accessRole ||
    row.primary !== calendar.primary
  )
}
