// What the vendor lists against what we hold: pure. Invariants: one listing alone removes nothing
// (vendors leave calendars out for a moment); nothing is removed while something that is new was
// not read; the account's own calendar stays the same row under a new id; what a person took out
// stays out; what we took out comes back with the calendar (ADR 18).
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { CalendarListChange, HeldCalendar } from '#shared/store/calendar-list.ts'

/** A second listing decides, at least this much later. */
export const MISSING_SECONDS = 10 * 60
/** What one listing stores has one time, more or less. */
const SAME_LISTING_SECONDS = 60
/**
 * So long a calendar that is missing waits for the first read of others. One that can never be read
 * must not keep it for ever.
 */
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
  before: readonly HeldCalendar[],
  answer: readonly VendorCalendar[],
): Comparison {
  const listed = answer.filter((calendar) => isReadable(calendar, before))
  const adopted = adoptedBy(before, listed)
  const newIds = new Map(adopted.map((one) => [one.calendarId, one.vendorCalendarId]))
  const held = before.map((row) => ({
    ...row,
    vendorCalendarId: newIds.get(row.calendarId) ?? row.vendorCalendarId,
  }))
  const rows = new Map(held.map((row) => [row.vendorCalendarId, row]))
  const isBack = (row: HeldCalendar) => row.isRemoved || row.missingForSeconds !== null
  const store = listed.filter((calendar) => {
    const row = rows.get(calendar.vendorCalendarId)
    return row === undefined || isBack(row) || isOther(row, calendar)
  })
  const added = listed.filter(
    (calendar) => rows.get(calendar.vendorCalendarId)?.isRemoved ?? calendar.isOwned,
  )
  const reread = listed.flatMap((calendar) => {
    const row = rows.get(calendar.vendorCalendarId)
    // Another role shows other details of the same events, which no change tells.
    const isOtherCalendar = row !== undefined && newIds.has(row.calendarId)
    return row?.selected && (row.accessRole !== calendar.accessRole || isOtherCalendar) ? row.calendarId : []
  })
  const unlisted = unlistedOf(held, listed)
  const missing = unlisted.filter((row) => row.missingForSeconds === null).map((row) => row.calendarId)
  const vanished = unlisted
    .filter((row) => isVanished(row, held, added.length > 0))
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

/**
 * Who may see only busy times of a calendar may be refused its events:
 * then it is as if it were not listed.
 */
function isReadable(calendar: VendorCalendar, held: readonly HeldCalendar[]): boolean {
  if (calendar.accessRole !== 'freeBusyReader') return true
  const row = held.find(({ vendorCalendarId }) => vendorCalendarId === calendar.vendorCalendarId)
  return row === undefined || !(row.isRefused || row.isRemoved)
}

/**
 * Synced calendars that this listing lacks.
 * One that names no calendar of the account's own lacks more than it says.
 */
function unlistedOf(
  held: readonly HeldCalendar[],
  listed: readonly VendorCalendar[],
): readonly HeldCalendar[] {
  if (held.some(({ primary }) => primary) && !listed.some(({ primary }) => primary)) return []
  const names = new Set(listed.map((calendar) => calendar.vendorCalendarId))
  return held.filter((row) => row.selected && !row.isRemoved && !names.has(row.vendorCalendarId))
}

/** Whether this look, the second one, decides that a calendar is gone. */
function isVanished(
  { missingForSeconds }: HeldCalendar,
  held: readonly HeldCalendar[],
  isSomethingNew: boolean,
): boolean {
  if (missingForSeconds === null || missingForSeconds < MISSING_SECONDS) return false
  if (missingForSeconds >= UNREAD_WAIT_SECONDS) return true
  // What came into the list when this one left it may be the same calendar:
  // nothing is free before it was read.
  const since = missingForSeconds + SAME_LISTING_SECONDS
  return !isSomethingNew && !held.some((row) => row.selected && !row.isRead && row.knownForSeconds <= since)
}

/**
 * The account's own calendar under another id: an address of Google that changed, a default folder
 * of Outlook that was made anew. An account has one, so the one that was is the one that is.
 */
function adoptedBy(
  held: readonly HeldCalendar[],
  listed: readonly VendorCalendar[],
): CalendarListChange['adopted'] {
  const [own, ...others] = listed.filter(({ primary }) => primary)
  const [row, ...rivals] = held.filter(({ primary }) => primary)
  if (own === undefined || row === undefined || others.length + rivals.length > 0) return []
  const isKnown = held.some(({ vendorCalendarId }) => vendorCalendarId === own.vendorCalendarId)
  const isListed = listed.some(({ vendorCalendarId }) => vendorCalendarId === row.vendorCalendarId)
  return isKnown || isListed ? [] : [{ calendarId: row.calendarId, vendorCalendarId: own.vendorCalendarId }]
}

function isOther(row: HeldCalendar, calendar: VendorCalendar): boolean {
  return (
    row.name !== calendar.name ||
    // A zone that is not told is kept: Microsoft tells the mailbox's only with
    // a permission of its own.
    (calendar.timeZone !== null && row.timeZone !== calendar.timeZone) ||
    row.accessRole !== calendar.accessRole ||
    row.primary !== calendar.primary
  )
}
