// One calendar: its documents and the indices that keep every question cheap (what changed since,
// which events are alive). `applyWrite` is the only way in, for live writes and for the journal's
// replay alike, so both give the same calendar.
import { type EventDoc, isSeries, occurrenceId, seriesStarts } from './event-doc.ts'

/**
 * An occurrence that ceased to exist:
 * an increment must say so, or its reader would keep it for ever.
 */
export interface Ghost {
  readonly id: string
  readonly masterId: string
  readonly start: number
  readonly allDay: boolean
  readonly seq: number
  readonly at: number
  readonly version: number
}

/** One committed change of one document, with what it did to the occurrences of its series. */
export interface Write {
  readonly doc: EventDoc
  readonly ghosts: readonly Ghost[]
  /** Exceptions that went with their series. */
  readonly dropped: readonly string[]
}

export interface CalendarInfo {
  readonly accountId: string
  id: string
  readonly email: string
  readonly timeZone: string
  readonly primary: boolean
  name: string
  accessRole: string
  pushSupported: boolean
}

/** Who else may see the calendar. */
export interface AclRule {
  readonly id: string
  readonly role: string
  readonly scope: { readonly type: string; readonly value?: string }
}

export interface Calendar extends CalendarInfo {
  /** Change sequence of the calendar-list entry itself. */
  listSeq: number
  gone: boolean
  /** Hidden from the list; the calendar itself answers on. */
  hidden: boolean
  /** The list leaves it out, although it is there. */
  unlisted: boolean
  acl: readonly AclRule[]
  /** Sync tokens carry the epoch of their issue; raising it kills those issued before. */
  cursorEpoch: number
  /** Tombstones up to here were purged: older sync tokens cannot be answered. */
  purgedSeq: number
  nextOrd: number
  updatedAt: number
  readonly docs: Map<string, EventDoc>
  readonly exceptions: Map<string, Set<string>>
  readonly ghosts: Map<string, Map<string, Ghost>>
  readonly log: { seq: number; docId: string }[]
  readonly alive: { readonly ids: string[]; readonly position: Map<string, number> }
  readonly tombstones: string[]
}

/**
 * Google lets cancelled events disappear after a while;
 * here the oldest go beyond this many per calendar.
 */
const TOMBSTONES_MAX = 20_000
/** The same for occurrences of one series, about four full reschedulings of an endless one. */
const GHOSTS_MAX = 5_000

export function createCalendar(info: CalendarInfo, seq: number, at: number): Calendar {
  return {
    ...info,
    listSeq: seq,
    gone: false,
    hidden: false,
    unlisted: false,
    acl: [{ id: `user:${info.email}`, role: info.accessRole, scope: { type: 'user', value: info.email } }],
    cursorEpoch: 1,
    purgedSeq: 0,
    nextOrd: 1,
    updatedAt: at,
    docs: new Map(),
    exceptions: new Map(),
    ghosts: new Map(),
    log: [],
    alive: { ids: [], position: new Map() },
    tombstones: [],
  }
}

/** Puts a committed write into the calendar. Writes must come in the order of their `seq`. */
export function applyWrite(calendar: Calendar, write: Write): void {
  const { doc } = write
  calendar.docs.set(doc.id, doc)
  calendar.nextOrd = Math.max(calendar.nextOrd, doc.ord + 1)
  calendar.updatedAt = Math.max(calendar.updatedAt, doc.at)
  calendar.log.push({ seq: doc.seq, docId: doc.id })
  if (doc.masterId !== null) {
    const siblings = calendar.exceptions.get(doc.masterId) ?? new Set()
    calendar.exceptions.set(doc.masterId, siblings.add(doc.id))
  } else {
    setAlive(calendar, doc.id, !doc.deleted)
  }
  for (const id of write.dropped) dropException(calendar, id)
  keepGhosts(calendar, doc, write.ghosts)
  if (doc.deleted) calendar.tombstones.push(doc.id)
  if (calendar.tombstones.length > TOMBSTONES_MAX) purgeTombstones(calendar)
  if (calendar.log.length > 2 * calendar.docs.size + 1000) compactLog(calendar)
}

/** The documents that changed after `since`, in listing order. */
export function changedSince(calendar: Calendar, since: number): readonly EventDoc[] {
  let low = 0
  let high = calendar.log.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((calendar.log[middle]?.seq ?? 0) <= since) low = middle + 1
    else high = middle
  }
  const ids = new Set<string>()
  for (let at = low; at < calendar.log.length; at += 1) ids.add(calendar.log[at]?.docId ?? '')
  return [...ids]
    .map((id) => calendar.docs.get(id))
    .filter((doc) => doc !== undefined)
    .toSorted((a, b) => a.ord - b.ord)
}

/** The occurrences of a series that its rule gives and no exception replaces. */
export function plainOccurrences(
  calendar: Calendar,
  doc: EventDoc,
): readonly { id: string; start: number }[] {
  const exceptions = calendar.exceptions.get(doc.id)
  const allDay = doc.times?.allDay ?? false
  const all = seriesStarts(doc).map((start) => ({ id: occurrenceId(doc.id, start, allDay), start }))
  return exceptions ? all.filter((occurrence) => !exceptions.has(occurrence.id)) : all
}

/**
 * Everything of a calendar that changes without an event changing: what the journal keeps of it.
 */
export function stateOf(calendar: Calendar) {
  const { listSeq, gone, hidden, unlisted, acl, name, accessRole } = calendar
  const { pushSupported, cursorEpoch, purgedSeq, nextOrd } = calendar
  const listed = { listSeq, gone, hidden, unlisted, acl, name, accessRole }
  return { ...listed, pushSupported, cursorEpoch, purgedSeq, nextOrd }
}

export type CalendarState = ReturnType<typeof stateOf>

function setAlive(calendar: Calendar, id: string, alive: boolean): void {
  const { ids, position } = calendar.alive
  const at = position.get(id)
  if (alive && at === undefined) {
    position.set(id, ids.length)
    ids.push(id)
  }
  if (alive || at === undefined) return
  const last = ids.pop() ?? id
  position.delete(id)
  if (last === id) return
  ids[at] = last
  position.set(last, at)
}

function dropException(calendar: Calendar, id: string): void {
  const masterId = calendar.docs.get(id)?.masterId
  calendar.docs.delete(id)
  if (masterId) calendar.exceptions.get(masterId)?.delete(id)
}

function keepGhosts(calendar: Calendar, doc: EventDoc, ghosts: readonly Ghost[]): void {
  const known = calendar.ghosts.get(doc.id)
  if (!known && ghosts.length === 0) return
  const kept = known ?? new Map<string, Ghost>()
  if (isSeries(doc)) {
    for (const occurrence of plainOccurrences(calendar, doc)) kept.delete(occurrence.id)
  }
  for (const ghost of ghosts) kept.set(ghost.id, ghost)
  calendar.ghosts.set(doc.id, kept)
  for (const [id, ghost] of kept) {
    if (kept.size <= GHOSTS_MAX) break
    kept.delete(id)
    calendar.purgedSeq = Math.max(calendar.purgedSeq, ghost.seq)
  }
}

function purgeTombstones(calendar: Calendar): void {
  for (const id of calendar.tombstones.splice(0, TOMBSTONES_MAX / 2)) {
    const doc = calendar.docs.get(id)
    // A cancelled exception is part of its series and lives as long as that does.
    if (!doc?.deleted || doc.masterId !== null) continue
    calendar.docs.delete(id)
    calendar.ghosts.delete(id)
    calendar.exceptions.delete(id)
    calendar.purgedSeq = Math.max(calendar.purgedSeq, doc.seq)
  }
  compactLog(calendar)
}

function compactLog(calendar: Calendar): void {
  const kept = calendar.log.filter((entry) => calendar.docs.get(entry.docId)?.seq === entry.seq)
  calendar.log.splice(0, calendar.log.length, ...kept)
}
