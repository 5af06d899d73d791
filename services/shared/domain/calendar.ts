// What an account may do with a calendar, in one word for both vendors. Pure.
// Source: developers.google.com/workspace/calendar/api/v3/reference/calendarList#accessRole, read
// 2026-11-29.

export const CALENDAR_ROLES = ['owner', 'writer', 'reader', 'free_busy_reader', 'unknown'] as const
export type CalendarRole = (typeof CALENDAR_ROLES)[number]

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
