// Which scope opens which call: one of the listed ones is enough, as the reference says under
// "Authorization" of each method
// (https://developers.google.com/workspace/calendar/api/v3/reference). Scopes that show a
// part only are not simulated.
const PREFIX = 'https://www.googleapis.com/auth/'

const OPENED_BY = {
  calendarListRead: [
    'calendar',
    'calendar.calendarlist',
    'calendar.calendarlist.readonly',
    'calendar.readonly',
  ],
  calendarListWrite: ['calendar', 'calendar.calendarlist'],
  calendarRead: ['calendar', 'calendar.calendars', 'calendar.calendars.readonly', 'calendar.readonly'],
  eventsRead: [
    'calendar',
    'calendar.events',
    'calendar.events.readonly',
    'calendar.events.owned',
    'calendar.events.owned.readonly',
    'calendar.readonly',
  ],
  eventsWrite: ['calendar', 'calendar.events', 'calendar.events.owned'],
  freeBusy: ['calendar', 'calendar.events.freebusy', 'calendar.freebusy', 'calendar.readonly'],
  aclRead: ['calendar', 'calendar.acls', 'calendar.acls.readonly'],
  aclWrite: ['calendar', 'calendar.acls'],
  channels: [
    'calendar',
    'calendar.acls',
    'calendar.acls.readonly',
    'calendar.calendarlist',
    'calendar.calendarlist.readonly',
    'calendar.events',
    'calendar.events.readonly',
    'calendar.events.owned',
    'calendar.events.owned.readonly',
    'calendar.readonly',
  ],
} as const satisfies Record<string, readonly string[]>

export type Opening = keyof typeof OPENED_BY

/** Whether a token with this scope (space separated) may make calls of this kind. */
export function opens(scope: string, opening: Opening): boolean {
  const given = scope.split(' ')
  return OPENED_BY[opening].some((name) => given.includes(PREFIX + name))
}
