// A change worked out before it is applied: the next version of a document, which occurrences end
// with it, and the entry of the truth ledger. Pure, so that what the journal records and what the
// ledger says come from one computation.
import { type Calendar, type Ghost, plainOccurrences, type Write } from './calendar.ts'
import { contentHash } from './canary.ts'
import {
  type EventDoc,
  etagOf,
  type Fields,
  isSeries,
  readTimes,
  seriesStarts,
  occurrenceId,
} from './event-doc.ts'

export interface Draft {
  readonly id: string
  /** null deletes. */
  readonly fields: Fields | null
  readonly no: number
  /** Set for one occurrence of a series. */
  readonly origin: { readonly masterId: string; readonly start: number; readonly allDay: boolean } | null
}

export interface Change {
  readonly seq: number
  readonly at: number
  readonly accountId: string
  readonly calendarId: string
  readonly eventId: string
  /**
   * The occurrences (ids as a `singleEvents=true` reader sees them) that the change
   * touched and that live on.
   */
  readonly eventIds: readonly string[]
  readonly removedEventIds: readonly string[]
  readonly kind: 'create' | 'update' | 'delete'
  readonly version: number
  readonly etag: string
  readonly updated: string
  readonly hash: string
}

/** The version that the next change of an event, or of any part of its series, will carry. */
export function nextVersion(calendar: Calendar, id: string): number {
  const familyId = calendar.docs.get(id)?.masterId ?? id
  let version = calendar.docs.get(familyId)?.version ?? 0
  for (const exception of calendar.exceptions.get(familyId) ?? []) {
    version = Math.max(version, calendar.docs.get(exception)?.version ?? 0)
  }
  for (const ghost of calendar.ghosts.get(familyId)?.values() ?? [])
    version = Math.max(version, ghost.version)
  return version + 1
}

/** Works out a write. The caller has checked that the fields have readable times. */
export function prepareWrite(calendar: Calendar, draft: Draft, seq: number, at: number): Write {
  const previous = calendar.docs.get(draft.id)
  const times = draft.fields === null ? null : readTimes(draft.fields, calendar.timeZone)
  const doc: EventDoc = {
    id: draft.id,
    ord: previous?.ord ?? calendar.nextOrd,
    no: draft.no,
    version: nextVersion(calendar, draft.origin?.masterId ?? draft.id),
    seq,
    at,
    createdAt: previous?.createdAt ?? at,
    deleted: draft.fields === null,
    fields: draft.fields ?? uidOf(previous),
    times: times !== null && 'start' in times ? times : null,
    masterId: draft.origin?.masterId ?? null,
    originalStart: draft.origin?.start ?? null,
    originalAllDay: draft.origin?.allDay ?? false,
  }
  if (!previous || !isSeries(previous)) return { doc, ghosts: [], dropped: [] }
  return { doc, ...endedOccurrences(calendar, previous, doc) }
}

/**
 * All that is left of a deleted event besides its id: an iCalUID that a client gave stays taken.
 */
function uidOf(previous: EventDoc | undefined): Fields {
  const uid = previous?.fields['iCalUID']
  return uid === undefined ? {} : { iCalUID: uid }
}

/**
 * The ledger's entry for a write. Call before the write is applied:
 * it compares with what was there.
 */
export function describeWrite(calendar: Calendar, write: Write): Change {
  const { doc } = write
  const previous = calendar.docs.get(doc.id)
  const created = !previous || previous.deleted
  const removed = write.ghosts.map((ghost) => ghost.id)
  const livesOn = isSeries(doc) ? liveIds(calendar, doc) : doc.deleted ? [] : [doc.id]
  const wasSeries = previous !== undefined && isSeries(previous)
  return {
    seq: doc.seq,
    at: doc.at,
    accountId: calendar.accountId,
    calendarId: calendar.id,
    eventId: doc.id,
    eventIds: livesOn,
    removedEventIds: doc.deleted && !wasSeries ? [doc.id] : removed,
    kind: doc.deleted ? 'delete' : created && doc.masterId === null ? 'create' : 'update',
    version: doc.version,
    etag: etagOf(doc),
    updated: new Date(doc.at).toISOString(),
    hash: contentHash(doc.fields),
  }
}

function endedOccurrences(calendar: Calendar, previous: EventDoc, doc: EventDoc): Omit<Write, 'doc'> {
  const allDay = doc.times?.allDay ?? false
  const next = new Set(
    isSeries(doc) ? seriesStarts(doc).map((start) => occurrenceId(doc.id, start, allDay)) : [],
  )
  const exceptions = [...(calendar.exceptions.get(doc.id) ?? [])].map((id) => calendar.docs.get(id))
  const dropped = exceptions.filter((exception) => exception !== undefined && !next.has(exception.id))
  const ended = [
    ...plainOccurrences(calendar, previous).map(({ id, start }) => ({ id, start })),
    ...dropped.map((exception) => ({ id: exception?.id ?? '', start: exception?.originalStart ?? 0 })),
  ].filter(({ id }) => !next.has(id))
  const ghosts: readonly Ghost[] = ended.map(({ id, start }) => ({
    id,
    start,
    masterId: doc.id,
    allDay: previous.times?.allDay ?? false,
    seq: doc.seq,
    at: doc.at,
    version: doc.version,
  }))
  return { ghosts, dropped: dropped.map((exception) => exception?.id ?? '') }
}

function liveIds(calendar: Calendar, doc: EventDoc): readonly string[] {
  return plainOccurrences(calendar, doc).map((occurrence) => occurrence.id)
}
