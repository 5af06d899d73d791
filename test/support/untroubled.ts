// What a calendar's row says of places,
// ways of listing and failures while nothing is wrong with them.
import type { CalendarRow } from '#shared/store/calendars.ts'

export const UNTROUBLED = {
  reading: 'usual',
  usualFrom: null,
  placeFailures: 0,
  placeFailingSince: null,
  freshStarts: 0,
  freshAfter: null,
  readNeeded: false,
  failures: 0,
  errorCount: 0,
  lastCode: null,
  unrungFinds: 0,
  backoffUntil: null,
} as const satisfies Partial<CalendarRow>
