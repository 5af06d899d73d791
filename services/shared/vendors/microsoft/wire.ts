// Microsoft Graph's JSON as it arrives, parsed from `unknown` and trusted after. Optional fields of
// a wrong type read as absent: only what makes an item meaningless makes it unreadable. Shapes:
// learn.microsoft.com/graph/api/resources/{event,calendar,subscription,user}.
import { z } from 'zod'

const text = z.string().nullish().catch(null)
const flag = z.boolean().nullish().catch(null)

/** Without an offset: the zone stands beside it. */
const wireTime = z.object({ dateTime: text, timeZone: text }).nullish().catch(null)

const emailAddress = z.object({ name: text, address: text }).nullish().catch(null)

export const wireEvent = z.object({
  id: z.string().min(1),
  '@odata.etag': text,
  '@removed': z.unknown().optional(),
  type: text,
  subject: text,
  isAllDay: flag,
  isCancelled: flag,
  showAs: text,
  responseStatus: z.object({ response: text }).nullish().catch(null),
  sensitivity: text,
  start: wireTime,
  end: wireTime,
  originalStartTimeZone: text,
  originalEndTimeZone: text,
  seriesMasterId: text,
  originalStart: text,
  location: z.object({ displayName: text }).nullish().catch(null),
  organizer: z.object({ emailAddress }).nullish().catch(null),
  createdDateTime: text,
  lastModifiedDateTime: text,
})
export type WireEvent = z.output<typeof wireEvent>
export type WireTime = NonNullable<z.output<typeof wireTime>>

/** Items stay unknown here: one bad item must not cost its page. */
export const wirePage = z.object({
  value: z.array(z.unknown()),
  '@odata.nextLink': z.string().min(1).nullish(),
  '@odata.deltaLink': z.string().min(1).nullish(),
})

export const wireCalendar = z.object({
  id: z.string().min(1),
  name: text,
  isDefaultCalendar: flag,
  canEdit: flag,
  canShare: flag,
  owner: emailAddress,
})

export const wireMailbox = z.object({ timeZone: text })

export const wireUser = z.object({
  id: z.string().min(1),
  displayName: text,
  mail: text,
  userPrincipalName: text,
})

export const wireSubscription = z.object({
  id: z.string().regex(/^[!-~]{1,256}$/),
  /** Absent, it is as was asked for. */
  expirationDateTime: text,
})

/**
 * learn.microsoft.com/graph/errors; the inner error is spelled in two ways and may
 * nest: errors.ts reads it.
 */
export const wireError = z.object({
  error: z.object({
    code: text,
    message: text,
    innerError: z.unknown().optional(),
    innererror: z.unknown().optional(),
  }),
})
