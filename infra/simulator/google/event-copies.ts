// events.import, events.move and events.instances.
// https://developers.google.com/workspace/calendar/api/v3/reference/events
import { type Answer, type Call, readObject } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import {
  docOfUid,
  findEvent,
  insertEvent,
  moveEvent as move,
  replaceEvent,
  showEvent,
} from '../world/edit.ts'
import { isSeries } from '../world/event-doc.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'
import { type Head, headOf } from './list-events.ts'
import { listAll } from './list-items.ts'
import { shownTo } from './shown-event.ts'
import { check, clean } from './write-events.ts'

const INSTANCES_MAX = 2500

/**
 * POST …/events/import: a private copy,
 * which takes the place of an event with the same iCalUID, a deleted one too.
 */
export function importEvent(world: World, calendar: Calendar, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const { iCalUID } = body
  if (typeof iCalUID !== 'string' || iCalUID === '') return googleError('required', { parameter: 'iCalUID' })
  const fields = { ...clean(body), iCalUID }
  const problem = check(fields, calendar)
  if (problem) return problem
  const known = docOfUid(calendar, iCalUID)
  const change = known
    ? replaceEvent(world, calendar, { kind: 'document', doc: known }, fields)
    : insertEvent(world, calendar, fields)
  return shown(calendar, change.eventId)
}

/**
 * POST …/events/:eventId/move: the event leaves a tombstone with nothing but its id and goes on
 * under the same id in the other calendar; a series takes its exceptions along.
 */
export function moveEvent(world: World, from: Calendar, eventId: string, to: Calendar | undefined): Answer {
  const target = findEvent(from, eventId)
  if (!target || !to) return googleError('notFound')
  if (target.kind === 'occurrence' || target.doc.masterId !== null) {
    return googleError('invalid', { message: 'Instances of a recurring event cannot be moved.' })
  }
  if (target.doc.deleted) return googleError('notFound')
  if (to.docs.get(eventId)?.deleted === false) return googleError('duplicate')
  move(world, from, to, target.doc)
  return shown(to, eventId)
}

/**
 * GET …/events/:eventId/instances: the occurrences of one series,
 * exceptions in their places, in pages by position.
 */
export function listInstances(calendar: Calendar, eventId: string, query: URLSearchParams): Answer {
  const doc = calendar.docs.get(eventId)
  if (!doc || doc.deleted) return googleError('notFound')
  const [timeMin, timeMax] = [instant(query, 'timeMin'), instant(query, 'timeMax')]
  if (Number.isNaN(timeMin ?? 0)) return googleError('badRequest', { parameter: 'timeMin' })
  if (Number.isNaN(timeMax ?? 0)) return googleError('badRequest', { parameter: 'timeMax' })
  const showDeleted = query.get('showDeleted') === 'true'
  const all = isSeries(doc)
    ? listAll(calendar, { singleEvents: true, showDeleted, timeMin, timeMax })
        .map((item) => shownTo(calendar, query, item.render()))
        .filter((event) => event['recurringEventId'] === eventId)
    : []
  const original = query.get('originalStart')
  const items = original === null ? all : all.filter((event) => startsAt(event) === Date.parse(original))
  const asked = Number(query.get('maxResults') ?? 250)
  const size = Number.isInteger(asked) && asked > 0 ? Math.min(INSTANCES_MAX, asked) : 250
  const from = Number(query.get('pageToken') ?? 0)
  if (!Number.isInteger(from) || from < 0) return googleError('invalid', { parameter: 'pageToken' })
  const head: Head = headOf(calendar)
  const more = from + size < items.length ? { nextPageToken: String(from + size) } : {}
  return { status: 200, body: { ...head, items: items.slice(from, from + size), ...more } }
}

function shown(calendar: Calendar, eventId: string): Answer {
  const target = findEvent(calendar, eventId)
  return target ? { status: 200, body: showEvent(calendar, target) } : googleError('notFound')
}

function startsAt(event: Readonly<Record<string, unknown>>): number {
  const time = event['originalStartTime'] as { date?: string; dateTime?: string } | undefined
  return Date.parse(time?.dateTime ?? time?.date ?? '')
}

function instant(query: URLSearchParams, name: string): number | null {
  const text = query.get(name)
  return text === null ? null : Date.parse(text)
}
