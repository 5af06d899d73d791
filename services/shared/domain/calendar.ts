// A calendar as its vendor lists it, and what the account may do with it, in one word for both
// vendors. Pure.
// Source: developers.google.com/workspace/calendar/api/v3/reference/calendarList#accessRole, read
// 2026-11-29.

export interface VendorCalendar {
  readonly vendorCalendarId: string
  readonly name: string | null
  readonly timeZone: string | null
  readonly accessRole: string | null
  readonly primary: boolean
  /**
   * The account's own, so it is synced unless a person says otherwise. Colleagues', rooms',
   * holidays' and imported ones are offered only.
   */
  readonly isOwned: boolean
}

type CalendarRole = 'owner' | 'writer' | 'reader' | 'free_busy_reader' | 'unknown'

const ROLES = new Map<string, CalendarRole>([
  ['owner', 'owner'],
  ['writer', 'writer'],
  // A writer who does not see what private events are about.
  ['writerWithoutPrivateAccess', 'writer'],
  ['reader', 'reader'],
  ['freeBusyReader', 'free_busy_reader'],
])

/** The role behind the vendor's own word; `unknown` for words that came after us. */
export function roleOf(accessRole: string | null): CalendarRole {
  return ROLES.get(accessRole ?? '') ?? 'unknown'
}
