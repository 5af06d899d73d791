// The `fields` parameter: which parts of a success a client wants, as in
// https://developers.google.com/workspace/calendar/api/guides/performance#partial-response. Errors
// come whole. A name that no resource has is refused, as Google refuses it: a misspelt mask must
// not look like an event without that field.
import type { Answer } from '../http.ts'
import { googleError } from './errors.ts'

type Mask = ReadonlyMap<string, Mask | 'whole'>

/** Fields of the resources that this simulator shows, whether or not it fills them. */
const NAMES = new Set(
  [
    'kind,etag,id,status,htmlLink,created,updated,summary,description,location,colorId,creator,organizer,start,end',
    'endTimeUnspecified,recurrence,recurringEventId,originalStartTime,transparency,visibility,iCalUID,sequence',
    'attendees,attendeesOmitted,extendedProperties,hangoutLink,conferenceData,gadget,anyoneCanAddSelf,locked,source',
    'guestsCanInviteOthers,guestsCanModify,guestsCanSeeOtherGuests,privateCopy,reminders,attachments,birthdayProperties',
    'eventType,focusTimeProperties,outOfOfficeProperties,workingLocationProperties,date,dateTime,timeZone,email,self',
    'displayName,items,nextPageToken,nextSyncToken,accessRole,defaultReminders,summaryOverride,backgroundColor,deleted',
    'foregroundColor,hidden,selected,notificationSettings,primary,conferenceProperties,resourceId,resourceUri',
    'allowedConferenceSolutionTypes,token,expiration,type,address,payload,params,calendars,groups,timeMin,timeMax,busy',
    'private,shared,response,responseStatus,optional,resource,comment,additionalGuests,useDefault,overrides,method,minutes',
    'role,scope,value,dataOwner,autoAcceptInvitations',
  ]
    .join(',')
    .split(','),
)

/** The answer with what `fields` leaves of it; 400 for a selection that cannot be read. */
export function partial(answer: Answer, query: URLSearchParams): Answer {
  const text = query.get('fields')
  if (text === null || text === '*' || answer.status !== 200) return answer
  const reader = { text, at: 0 }
  const mask = readMask(reader)
  if (mask === null || reader.at < text.length) {
    return googleError('invalid', { parameter: 'fields', message: `Invalid field selection ${text}` })
  }
  return { ...answer, body: pick(answer.body, mask) }
}

function readMask(reader: { readonly text: string; at: number }): Mask | null {
  const mask = new Map<string, Mask | 'whole'>()
  for (;;) {
    const path = /^[A-Za-z]+(?:\/[A-Za-z]+)*/.exec(reader.text.slice(reader.at))?.[0]
    const names = path?.split('/') ?? []
    if (path === undefined || names.some((name) => !NAMES.has(name))) return null
    reader.at += path.length
    let inner: Mask | 'whole' = 'whole'
    if (reader.text[reader.at] === '(') {
      reader.at += 1
      const read = readMask(reader)
      if (read === null || reader.text[reader.at] !== ')') return null
      reader.at += 1
      inner = read
    }
    const [first = '', ...rest] = names
    mask.set(
      first,
      rest.reduceRight<Mask | 'whole'>((below, name) => new Map([[name, below]]), inner),
    )
    if (reader.text[reader.at] !== ',') return mask
    reader.at += 1
  }
}

function pick(value: unknown, mask: Mask | 'whole'): unknown {
  if (mask === 'whole' || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((one: unknown) => pick(one, mask))
  const kept = Object.entries(value).filter(([name]) => mask.has(name))
  return Object.fromEntries(kept.map(([name, one]) => [name, pick(one, mask.get(name) ?? 'whole')]))
}
