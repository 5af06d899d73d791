// Edits of events, by id as a client sees it: a document, or one occurrence of a series that
// has no document yet. Generated content gets a canary as its summary; a summary that a
// client wrote is left alone.
import type { Calendar } from './calendar.ts'
import { canaryText, contentHash, parseCanary } from './canary.ts'
import { type Change, nextVersion } from './commit.ts'
import { type EventDoc, type Fields, isSeries, occurrenceId, seriesStarts, wireEvent } from './event-doc.ts'
import { digest } from '../random.ts'
import type { World } from './world.ts'

export type Target =
  | { readonly kind: 'document'; readonly doc: EventDoc }
  | { readonly kind: 'occurrence'; readonly master: EventDoc; readonly start: number; readonly id: string }

/** The event with this id, deleted ones included; undefined when the calendar never had it. */
export function findEvent(calendar: Calendar, id: string): Target | undefined {
  const doc = calendar.docs.get(id)
  if (doc) return { kind: 'document', doc }
  const match = /^(.+)_\d{8}(?:T\d{6}Z)?$/.exec(id)
  const master = calendar.docs.get(match?.[1] ?? '')
  if (!master || !isSeries(master)) return undefined
  const allDay = master.times?.allDay ?? false
  const start = seriesStarts(master).find((candidate) => occurrenceId(master.id, candidate, allDay) === id)
  return start === undefined ? undefined : { kind: 'occurrence', master, start, id }
}

/** The event with this iCalUID, deleted ones included. */
export function docOfUid(calendar: Calendar, uid: string): EventDoc | undefined {
  const own = calendar.docs.get(uid.replace(/@google\.com$/, ''))
  if (own && own.masterId === null && uid.endsWith('@google.com')) return own
  return [...calendar.docs.values()].find((doc) => doc.masterId === null && doc.fields['iCalUID'] === uid)
}

/** The event as a client gets it. */
export function showEvent(calendar: Calendar, target: Target): Fields {
  return target.kind === 'document'
    ? wireEvent(target.doc, calendar)
    : wireEvent(target.master, calendar, target.start)
}

/** The fields that a patch is merged into. */
export function fieldsOf(calendar: Calendar, target: Target): Fields {
  if (target.kind === 'document') return target.doc.fields
  const { recurrence: _recurrence, ...fields } = target.master.fields
  const { start, end } = wireEvent(target.master, calendar, target.start)
  return { ...fields, start, end }
}

/**
 * Creates an event, or brings a deleted one back under its id. The fields must have readable times.
 */
export function insertEvent(world: World, calendar: Calendar, fields: Fields, id?: string): Change {
  const account = world.accounts.get(calendar.accountId)
  const no = calendar.docs.get(id ?? '')?.no ?? account?.nextNo ?? 1
  const eventId = id ?? `${calendar.accountId}e${no}k${digest(`${calendar.id}/${no}`, 8)}`
  const stamped = stamp(calendar, { id: eventId, no }, fields)
  return world.write(calendar, { id: eventId, no, fields: stamped, origin: null })
}

/** Replaces an event's fields. The fields must have readable times. */
export function replaceEvent(world: World, calendar: Calendar, target: Target, fields: Fields): Change {
  return world.write(calendar, { ...draftOf(target), fields: stamp(calendar, draftOf(target), fields) })
}

export function deleteEvent(world: World, calendar: Calendar, target: Target): Change {
  return world.write(calendar, { ...draftOf(target), fields: null })
}

/**
 * Moves a single event or a whole series, exceptions and all, to another calendar: it ends here and
 * begins there, under its id.
 */
export function moveEvent(world: World, from: Calendar, to: Calendar, doc: EventDoc): void {
  const exceptions = [...(from.exceptions.get(doc.id) ?? [])]
    .map((id) => from.docs.get(id))
    .filter((exception) => exception !== undefined)
  deleteEvent(world, from, { kind: 'document', doc })
  insertEvent(world, to, doc.fields, doc.id)
  const no = to.docs.get(doc.id)?.no ?? doc.no
  for (const exception of exceptions) {
    const draft = { ...draftOf({ kind: 'document', doc: exception }), no }
    world.write(to, { ...draft, fields: exception.deleted ? null : stamp(to, draft, exception.fields) })
  }
}

function draftOf(target: Target) {
  if (target.kind === 'occurrence') {
    const { master, start, id } = target
    return {
      id,
      no: master.no,
      origin: { masterId: master.id, start, allDay: master.times?.allDay ?? false },
    }
  }
  const { id, no, masterId, originalStart, originalAllDay } = target.doc
  const origin =
    masterId === null || originalStart === null
      ? null
      : { masterId, start: originalStart, allDay: originalAllDay }
  return { id, no, origin }
}

function stamp(
  calendar: Calendar,
  event: { readonly id: string; readonly no: number },
  fields: Fields,
): Fields {
  if (fields['summary'] !== undefined && parseCanary(fields['summary']) === null) return fields
  const familyId = event.id.includes('_') ? event.id.slice(0, event.id.lastIndexOf('_')) : event.id
  const version = nextVersion(calendar, calendar.docs.has(familyId) ? familyId : event.id)
  const canary = { accountId: calendar.accountId, eventNo: event.no, version, hash: contentHash(fields) }
  return { ...fields, summary: canaryText(canary) }
}
