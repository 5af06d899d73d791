// What a calendar's row says of places and ways of listing while nothing is wrong with them.
import type { CalendarRow } from '#shared/store/calendars.ts'

export const UNTROUBLED = {
  reading: 'usual',
  usualFrom: null,
  placeFailures: 0,
  placeFailingSince: null,
  freshStarts: 0,
  freshAfter: null,
} as const satisfies Partial<CalendarRow>
