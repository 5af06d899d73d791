// events.get, insert, patch, update and delete,
// with etags and the answers that idempotent clients depend on.
// https://developers.google.com/workspace/calendar/api/v3/reference/events
import { type Answer, type Call, readObject } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import {
  deleteEvent,
  docOfUid,
  fieldsOf,
  findEvent,
  insertEvent,
  replaceEvent,
  showEvent,
  type Target,
} from '../world/edit.ts'
import { etagOf, type Fields, readTimes } from '../world/event-doc.ts'
import { parseRule } from '../world/recurrence.ts'
import { limitProperties } from './extended-properties.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'

/** Fields that the server owns: whatever a client sends for them is ignored. */
const SERVER_FIELDS = [
  'kind',
  'etag',
  'id',
  'htmlLink',
  'created',
  'updated',
  'creator',
  'organizer',
  'sequence',
  'recurringEventId',
  'originalStartTime',
  'reminders',
  'eventType',
]

/** GET …/events/:eventId. A deleted event is shown as cancelled. */
export function getEvent(calendar: Calendar, eventId: string, call: Call): Answer {
  const target = findEvent(calendar, eventId)
  if (!target) return googleError('notFound')
  const event = showEvent(calendar, target)
  const etag = String(event['etag'])
  if (call.headers['if-none-match'] === etag) return { status: 304, headers: { etag } }
  return { status: 200, body: event, headers: { etag } }
}

/** POST …/events. A client's own id stays taken after a delete. */
export function insert(world: World, calendar: Calendar, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const id = body['id']
  if (id !== undefined && (typeof id !== 'string' || !/^[a-v0-9]{5,1024}$/.test(id))) {
    return googleError('invalid', { message: 'Invalid resource id value.' })
  }
  if (id !== undefined && calendar.docs.has(id)) return googleError('duplicate')
  const uid = body['iCalUID']
  if (typeof uid === 'string' && docOfUid(calendar, uid)) return googleError('duplicate')
  const fields = limitProperties(clean(body))
  if (!fields) return tooManyProperties()
  const problem = check(fields, calendar) ?? checkZone(fields)
  if (problem) return problem
  const change = insertEvent(world, calendar, fields, id)
  return show(calendar, change.eventId)
}

/** PATCH merges (arrays are replaced whole, null removes), PUT replaces. */
export function edit(world: World, calendar: Calendar, eventId: string, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const target = findEvent(calendar, eventId)
  if (!target) return googleError('notFound')
  if (!matchesEtag(target, call)) return googleError('conditionNotMet')
  const limited = limitProperties(clean(body))
  if (!limited) return tooManyProperties()
  const before = fieldsOf(calendar, target)
  // The iCalUID belongs to the event and outlives every replacement.
  const uid = before['iCalUID'] === undefined ? {} : { iCalUID: before['iCalUID'] }
  const fields: Fields = { ...(call.method === 'PATCH' ? merge(before, limited) : limited), ...uid }
  if (fields['status'] === 'cancelled') {
    deleteEvent(world, calendar, target)
    return show(calendar, eventId)
  }
  const problem = check(fields, calendar)
  if (problem) return problem
  replaceEvent(world, calendar, target, fields)
  return show(calendar, eventId)
}

/** DELETE answers 204, and 410 the second time. */
export function remove(world: World, calendar: Calendar, eventId: string, call: Call): Answer {
  const target = findEvent(calendar, eventId)
  if (!target) return googleError('notFound')
  if (target.kind === 'document' && target.doc.deleted) return googleError('deleted')
  if (!matchesEtag(target, call)) return googleError('conditionNotMet')
  deleteEvent(world, calendar, target)
  return { status: 204 }
}

/** The problem of an event's fields, if they make no event. */
export function check(fields: Fields, calendar: Calendar): Answer | null {
  const times = readTimes(fields, calendar.timeZone)
  if ('reason' in times) {
    if (times.reason === 'timeRangeEmpty') return googleError('timeRangeEmpty')
    return times.reason === 'required'
      ? googleError('required', { message: 'Missing start or end time.' })
      : googleError('invalid', { message: 'Invalid start or end time.' })
  }
  const { recurrence } = fields
  if (recurrence === undefined) return null
  const lines = Array.isArray(recurrence) ? recurrence.filter((line) => typeof line === 'string') : []
  return parseRule(lines) ? null : googleError('invalid', { message: 'Invalid recurrence rule.' })
}

/** A client that repeats an event has to say in which zone its wall clock is kept. */
function checkZone(fields: Fields): Answer | null {
  const start = fields['start'] as { dateTime?: unknown; timeZone?: unknown } | undefined
  if (fields['recurrence'] === undefined || start?.dateTime === undefined || start.timeZone !== undefined)
    return null
  return googleError('required', { message: 'Missing time zone definition for start time.' })
}

function tooManyProperties(): Answer {
  return googleError('invalid', { message: 'The extended properties are too large.' })
}

/** A patch merged into fields: nested objects are merged, arrays replaced, null removes. */
export function merge(fields: Fields, patch: Fields): Fields {
  const merged: Record<string, unknown> = { ...fields }
  for (const [name, value] of Object.entries(patch)) {
    const before = merged[name]
    if (value === null) delete merged[name]
    else if (name === 'start' || name === 'end') merged[name] = mergeTime(before, value)
    else if (isPlain(value) && isPlain(before)) merged[name] = merge(before, value)
    else merged[name] = value
  }
  return merged
}

/** What a client may write. */
export function clean(body: Fields): Fields {
  const kept = Object.entries(body).filter(([name]) => !SERVER_FIELDS.includes(name))
  return Object.fromEntries(kept)
}

/** `date` and `dateTime` exclude each other, so a patch of one takes the other out. */
function mergeTime(before: unknown, value: unknown): unknown {
  if (!isPlain(before) || !isPlain(value)) return value
  const zone =
    before['timeZone'] === undefined || value['date'] !== undefined ? {} : { timeZone: before['timeZone'] }
  return { ...zone, ...value }
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function matchesEtag(target: Target, call: Call): boolean {
  const wanted = call.headers['if-match']
  const doc = target.kind === 'document' ? target.doc : target.master
  return wanted === undefined || wanted === '*' || wanted === etagOf(doc)
}

function show(calendar: Calendar, eventId: string): Answer {
  const target = findEvent(calendar, eventId)
  return target ? { status: 200, body: showEvent(calendar, target) } : googleError('notFound')
}
