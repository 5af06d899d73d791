// What a listing contains, before it is cut into pages: a full read of a window, or everything that
// changed since a sync token. Items hold documents that never change, so a run keeps showing the
// moment of its first page however long its paging takes.
import { type Calendar, changedSince, plainOccurrences } from '../world/calendar.ts'
import {
  bounds,
  type EventDoc,
  isSeries,
  type WireEvent,
  wireEvent,
  wireTombstone,
} from '../world/event-doc.ts'
import type { SeriesKnobs } from '../control/knobs.ts'
import type { ItemKey } from './tokens.ts'

export interface ListItem extends ItemKey {
  readonly render: () => WireEvent
  readonly version: number
}

export interface Selection {
  readonly singleEvents: boolean
  readonly showDeleted: boolean
  /** Exclusive bounds in ms epoch: `timeMin` on the end, `timeMax` on the start. */
  readonly timeMin: number | null
  readonly timeMax: number | null
}

/**
 * Everything alive that meets the window (and what is deleted, if that is
 * asked for), in listing order.
 */
export function listAll(calendar: Calendar, selection: Selection): ListItem[] {
  const items: ListItem[] = []
  for (const doc of calendar.docs.values()) {
    if (doc.deleted) {
      // A cancelled occurrence is part of its unexpanded series,
      // whether or not deleted events are asked for.
      if (selection.showDeleted || (doc.masterId !== null && !selection.singleEvents))
        items.push(tombstone(calendar, doc))
    } else if (isSeries(doc)) {
      items.push(...seriesItems(calendar, doc, selection))
    } else if (doc.times && inWindow(bounds(doc.times, calendar), selection)) {
      items.push(single(calendar, doc))
    }
  }
  return items.toSorted(byKey)
}

/**
 * What an increment covers: a document that changed again after `until` belongs to the one after
 * that.
 */
export interface Increment {
  readonly since: number
  readonly until?: number
  readonly told?: SeriesKnobs
}

/**
 * What a reader who has seen everything up to `since` does not know yet: new states, and tombstones
 * for what ended.
 */
export function listChanges(
  calendar: Calendar,
  selection: Selection,
  { since, until = Infinity, told = { toldShare: 1, tombstones: 'whole' } }: Increment,
): ListItem[] {
  const items: ListItem[] = []
  for (const doc of changedSince(calendar, since)) {
    if (doc.seq > until) continue
    // The window limits only how far a series is expanded:
    // a single event that left it must still be reported.
    if (isSeries(doc)) items.push(...seriesItems(calendar, doc, selection))
    else if (!doc.deleted) items.push(single(calendar, doc))
    else if (!selection.singleEvents || !calendar.ghosts.has(doc.id)) items.push(tombstone(calendar, doc))
    if (selection.singleEvents) items.push(...ghostItems(calendar, doc, since, told))
  }
  return items.toSorted(byKey)
}

/** Items after `key`, in listing order. */
export function indexAfter(items: readonly ListItem[], key: ItemKey | null): number {
  if (key === null) return 0
  const index = items.findIndex((item) => byKey(item, key) > 0)
  return index === -1 ? items.length : index
}

function byKey(a: ItemKey, b: ItemKey): number {
  return a.ord - b.ord || a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

function seriesItems(calendar: Calendar, doc: EventDoc, selection: Selection): ListItem[] {
  const { times } = doc
  if (!times) return []
  const within = plainOccurrences(calendar, doc).filter(({ start }) =>
    inWindow(bounds(times, calendar, start), selection),
  )
  if (!selection.singleEvents) return within.length > 0 ? [single(calendar, doc)] : []
  return within.map(({ id, start }) => ({
    ord: doc.ord,
    at: start,
    id,
    version: doc.version,
    render: () => wireEvent(doc, calendar, start),
  }))
}

function ghostItems(calendar: Calendar, doc: EventDoc, since: number, told: SeriesKnobs): ListItem[] {
  const ended = [...(calendar.ghosts.get(doc.id)?.values() ?? [])].filter((ghost) => ghost.seq > since)
  if (ended.length > 0 && doc.deleted && told.tombstones === 'series') return [tombstone(calendar, doc)]
  const earliest = ended.toSorted((a, b) => a.start - b.start)
  return earliest.slice(0, Math.ceil(ended.length * told.toldShare)).map((ghost) => ({
    ord: doc.ord,
    at: ghost.start,
    id: ghost.id,
    version: ghost.version,
    render: () => wireTombstone(ghost, told.tombstones === 'sparse' ? null : ghost, calendar),
  }))
}

function single(calendar: Calendar, doc: EventDoc): ListItem {
  return { ord: doc.ord, at: 0, id: doc.id, version: doc.version, render: () => wireEvent(doc, calendar) }
}

function tombstone(calendar: Calendar, doc: EventDoc): ListItem {
  const { masterId, originalStart, originalAllDay } = doc
  const origin =
    masterId === null || originalStart === null
      ? null
      : { masterId, start: originalStart, allDay: originalAllDay }
  return {
    ord: doc.ord,
    at: 0,
    id: doc.id,
    version: doc.version,
    render: () => wireTombstone(doc, origin, calendar),
  }
}

function inWindow(span: { readonly start: number; readonly end: number }, selection: Selection): boolean {
  const { timeMin, timeMax } = selection
  return (timeMin === null || span.end > timeMin) && (timeMax === null || span.start < timeMax)
}
