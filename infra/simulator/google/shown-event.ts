// An event as one caller sees it: `maxAttendees` leaves the participant alone, and whoever may see
// free/busy only sees no details.
// https://developers.google.com/workspace/calendar/api/v3/reference/events/list#maxAttendees and
// …/concepts/sharing
import { blocks } from './free-busy.ts'
import type { Calendar } from '../world/calendar.ts'
import type { WireEvent } from '../world/event-doc.ts'

interface Attendee {
  readonly self?: boolean
}

/** What says when, and nothing of what it is about. */
const TIMES = [
  'kind',
  'etag',
  'id',
  'status',
  'created',
  'updated',
  'start',
  'end',
  'recurringEventId',
  'originalStartTime',
  'transparency',
  'iCalUID',
  'sequence',
  'eventType',
]

/** The event for the reader of a calendar who asked with this query. */
export function shownTo(calendar: Calendar, query: URLSearchParams, event: WireEvent): WireEvent {
  if (calendar.accessRole === 'freeBusyReader' && event['status'] !== 'cancelled') {
    // Whoever sees busy times alone does not see what is none.
    if (!blocks(event))
      return { kind: event['kind'], etag: event['etag'], id: event['id'], status: 'cancelled' }
    const kept = Object.entries(event).filter(([name]) => TIMES.includes(name))
    return { ...Object.fromEntries(kept), visibility: 'private' }
  }
  const most = Number(query.get('maxAttendees') ?? Infinity)
  const attendees = event['attendees'] as readonly Attendee[] | undefined
  if (!Array.isArray(attendees) || !(most > 0) || attendees.length <= most) return event
  return { ...event, attendees: attendees.filter((one: Attendee) => one.self), attendeesOmitted: true }
}
