// One stored version of an event, and how it looks on the wire. A document is never
// changed: a write replaces it. That is what makes a page of an earlier snapshot cheap to
// keep and impossible to tear.
import { occurrences, parseRule } from './recurrence.ts'
import { dayStart, formatIn, instantOf, isZone } from './zones.ts'

/** What clients write: summary, start, end, recurrence, location and so on, kept as they came. */
export type Fields = Readonly<Record<string, unknown>>
export type WireEvent = Readonly<Record<string, unknown>>

export interface Times {
  readonly allDay: boolean
  /** ms epoch; for all-day events midnight UTC of the date. */
  readonly start: number
  readonly end: number
  /** The zone in which a series keeps its wall clock; UTC for all-day events. */
  readonly zone: string
}

export interface EventDoc {
  readonly id: string
  /** Creation order within the calendar: the order of listing. */
  readonly ord: number
  /** Running number within the account, for canaries. */
  readonly no: number
  /**
   * Counts the changes of an event and, for a series, of its exceptions too: of two states of one
   * occurrence the later is higher.
   */
  readonly version: number
  /** Change sequence number of the world; also gives the etag. */
  readonly seq: number
  /** ms epoch, fractional. */
  readonly at: number
  readonly createdAt: number
  readonly deleted: boolean
  readonly fields: Fields
  /** null once deleted. */
  readonly times: Times | null
  /** Set on an exception: the series and the start that it would have had. */
  readonly masterId: string | null
  readonly originalStart: number | null
  readonly originalAllDay: boolean
}

/** What the wire shape needs to know of the calendar that holds the event. */
export interface Holder {
  readonly id: string
  readonly email: string
  readonly timeZone: string
}

const starts = new WeakMap<EventDoc, readonly number[]>()

/** Whether the document is the master of a series. */
export function isSeries(doc: EventDoc): boolean {
  return !doc.deleted && doc.masterId === null && Array.isArray(doc.fields['recurrence'])
}

/** The original starts of a series, expanded once per version. */
export function seriesStarts(doc: EventDoc): readonly number[] {
  const known = starts.get(doc)
  if (known) return known
  const rule = parseRule(doc.fields['recurrence'] as string[])
  const expanded = rule && doc.times ? occurrences(rule, doc.times.start, doc.times.zone) : []
  starts.set(doc, expanded)
  return expanded
}

/**
 * `<series>_20261201T100000Z`, or `<series>_20261201` for all-day events:
 * the id that Google gives an occurrence.
 */
export function occurrenceId(masterId: string, start: number, allDay: boolean): string {
  const text = new Date(start).toISOString().replaceAll(/[-:]/g, '')
  return allDay ? `${masterId}_${text.slice(0, 8)}` : `${masterId}_${text.slice(0, 15)}Z`
}

/** Quoted, numeric, different after every write. */
export function etagOf(doc: { readonly seq: number }): string {
  return `"${3_400_000_000_000_000 + doc.seq * 2000}"`
}

/**
 * Reads start and end; the result is a problem's reason (Google's words) when they make no event.
 */
export function readTimes(fields: Fields, calendarZone: string): Times | { readonly reason: string } {
  const start = readTime(fields['start'], calendarZone)
  const end = readTime(fields['end'], calendarZone)
  if (!start || !end) return { reason: 'required' }
  if (start.allDay !== end.allDay) return { reason: 'invalid' }
  if (end.at <= start.at) return { reason: 'timeRangeEmpty' }
  return { allDay: start.allDay, start: start.at, end: end.at, zone: start.zone }
}

function readTime(
  value: unknown,
  calendarZone: string,
): { allDay: boolean; at: number; zone: string } | null {
  if (typeof value !== 'object' || value === null) return null
  const { date, dateTime, timeZone } = value as Record<string, unknown>
  if (typeof date === 'string') {
    const at = /^\d{4}-\d\d-\d\d$/.test(date) ? Date.parse(`${date}T00:00:00Z`) : Number.NaN
    return Number.isNaN(at) ? null : { allDay: true, at, zone: 'UTC' }
  }
  if (typeof dateTime !== 'string') return null
  const zone = typeof timeZone === 'string' && isZone(timeZone) ? timeZone : calendarZone
  const hasOffset = /(Z|[+-]\d\d:\d\d)$/i.test(dateTime)
  const at = hasOffset ? Date.parse(dateTime) : instantOf(zone, Date.parse(`${dateTime}Z`))
  return Number.isNaN(at) ? null : { allDay: false, at, zone }
}

/** When the event is in the calendar's own zone: what timeMin and timeMax are compared with. */
export function bounds(times: Times, holder: Holder, start = times.start): { start: number; end: number } {
  const end = start + (times.end - times.start)
  if (!times.allDay) return { start, end }
  return { start: dayStart(holder.timeZone, start), end: dayStart(holder.timeZone, end) }
}

/**
 * The resource as Google shows it: a single event, a series' master, an exception,
 * or one occurrence of a series.
 */
export function wireEvent(doc: EventDoc, holder: Holder, occurrenceStart?: number): WireEvent {
  const { start: _start, end: _end, recurrence, status, ...rest } = doc.fields
  const id =
    occurrenceStart === undefined ? doc.id : occurrenceId(doc.id, occurrenceStart, doc.times?.allDay ?? false)
  const person = { email: holder.email, self: true }
  return {
    kind: 'calendar#event',
    etag: etagOf(doc),
    id,
    status: doc.deleted ? 'cancelled' : (status ?? 'confirmed'),
    htmlLink: `https://www.google.com/calendar/event?eid=${Buffer.from(`${id} ${holder.id}`).toString('base64url')}`,
    created: new Date(doc.createdAt).toISOString(),
    updated: new Date(doc.at).toISOString(),
    creator: person,
    organizer: person,
    eventType: 'default',
    ...rest,
    ...(doc.times ? wireTimes(doc.times, holder, occurrenceStart) : {}),
    ...(occurrenceStart === undefined && recurrence !== undefined ? { recurrence } : {}),
    ...originOf(doc, holder, occurrenceStart),
    iCalUID: doc.fields['iCalUID'] ?? `${doc.masterId ?? doc.id}@google.com`,
    sequence: doc.version - 1,
    reminders: { useDefault: true },
  }
}

/**
 * A deletion in an increment: only the id is guaranteed,
 * plus where it stood when it was one occurrence of a series.
 */
export function wireTombstone(
  gone: { readonly id: string; readonly seq: number },
  origin: { readonly masterId: string; readonly start: number; readonly allDay: boolean } | null,
  holder: Holder,
): WireEvent {
  return {
    kind: 'calendar#event',
    etag: etagOf(gone),
    id: gone.id,
    status: 'cancelled',
    ...(origin
      ? {
          recurringEventId: origin.masterId,
          originalStartTime: wireTime(origin.start, origin.allDay, holder.timeZone),
        }
      : {}),
  }
}

function originOf(doc: EventDoc, holder: Holder, occurrenceStart?: number): Fields {
  const masterId = occurrenceStart === undefined ? doc.masterId : doc.id
  const start = occurrenceStart ?? doc.originalStart
  if (masterId === null || start === null) return {}
  const allDay = occurrenceStart === undefined ? doc.originalAllDay : (doc.times?.allDay ?? false)
  return { recurringEventId: masterId, originalStartTime: wireTime(start, allDay, holder.timeZone) }
}

function wireTimes(times: Times, holder: Holder, occurrenceStart = times.start): Fields {
  const end = occurrenceStart + (times.end - times.start)
  if (times.allDay) return { start: wireTime(occurrenceStart, true, ''), end: wireTime(end, true, '') }
  return {
    start: { ...wireTime(occurrenceStart, false, holder.timeZone), timeZone: times.zone },
    end: { ...wireTime(end, false, holder.timeZone), timeZone: times.zone },
  }
}

function wireTime(at: number, allDay: boolean, zone: string): { date: string } | { dateTime: string } {
  return allDay ? { date: new Date(at).toISOString().slice(0, 10) } : { dateTime: formatIn(zone, at) }
}
