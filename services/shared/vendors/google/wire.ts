// Google's JSON as it arrives, parsed from `unknown` and trusted after. Optional fields of a wrong
// type read as absent: only what makes an item meaningless (no id, no usable time) makes it
// unreadable. Shapes: Calendar API v3 reference, events and calendarList.
import { z } from 'zod'

const text = z.string().nullish().catch(null)

const flag = z.boolean().nullish().catch(null)

const wireTime = z.object({ date: text, dateTime: text, timeZone: text }).nullish().catch(null)

export const wireEvent = z.object({
  id: z.string().min(1),
  status: text,
  summary: text,
  location: text,
  transparency: text,
  etag: text,
  updated: text,
  start: wireTime,
  end: wireTime,
  recurringEventId: text,
  /** Of a series as such, which an expanded list does not show. */
  recurrence: z.array(z.string()).nullish().catch(null),
  originalStartTime: wireTime,
  organizer: z.object({ email: text, displayName: text, self: flag }).nullish().catch(null),
  /** Asked for with maxAttendees=1, which leaves the person's own entry. */
  attendees: z
    .array(z.object({ self: flag, organizer: flag, responseStatus: text }).nullish().catch(null))
    .nullish()
    .catch(null),
  eventType: text,
  visibility: text,
})
export type WireEvent = z.output<typeof wireEvent>
export type WireTime = NonNullable<z.output<typeof wireTime>>

/** Items stay unknown here: one bad item must not cost its page. */
export const wireEventPage = z.object({
  items: z.array(z.unknown()).nullish(),
  nextPageToken: z.string().min(1).nullish(),
  nextSyncToken: z.string().min(1).nullish(),
})

export const wireCalendarPage = z.object({
  items: z.array(z.unknown()).nullish(),
  nextPageToken: z.string().min(1).nullish(),
})

export const wireCalendar = z.object({
  id: z.string().min(1),
  summary: text,
  summaryOverride: text,
  timeZone: text,
  accessRole: text,
  primary: flag,
  deleted: flag,
})

/**
 * `expiration` is an int64, so a string; Google's own example shows a number. It may be absent.
 * Both ids are sent back in a body and stored.
 */
export const wireChannel = z.object({
  id: z.string().min(1),
  resourceId: z.string().regex(/^[!-~]{1,512}$/),
  expiration: z.coerce.number().int().positive().nullish().catch(null),
})

const reasons = z.array(z.object({ reason: text, message: text, location: text })).nullish()

/** The error body of §"Handle API errors"; newer answers carry `status` and `details` too. */
export const wireError = z.object({
  error: z.object({
    message: text,
    status: text,
    errors: reasons.catch(null),
    details: reasons.catch(null),
  }),
})
