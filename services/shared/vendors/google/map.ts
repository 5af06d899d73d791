// Google's event becomes ours; pure. An all-day event stays a date, a timed one becomes an exact instant, and text is made fit
// for Postgres and Kafka. An item that cannot be read is returned as such and costs nobody else its page.
//
// What is bent, and how: NUL is dropped and a lone surrogate becomes U+FFFD (Postgres stores neither); title and location are
// cut at 1 024 characters, organizer at 320, zone at 128, etag at 256; an end before the start (imported calendars have
// them) becomes the start, for all-day events the day after it (RFC 5545 §3.6.1); an end that is missing likewise; a time
// outside 1684 … 2255 moves to that edge, because microseconds are exact only in there. Ids are never bent.
import type { CalendarEvent, EventTime } from '#shared/domain/event.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { PageItem, VendorCalendar } from '../vendor.ts'
import { wireCalendar, wireEvent, type WireEvent, type WireTime } from './wire.ts'

const TITLE_MAX = 1024
const ORGANIZER_MAX = 320
const ZONE_MAX = 128
const ETAG_MAX = 256
/** Google's ids have ≤ 1 024 characters, plus the start of an occurrence. An index row of Postgres holds ≤ 2 704 bytes. */
const ID_BYTES_MAX = 2048
/** 2255-06-05T23:47:34Z and its mirror: whole seconds inside the range in which a number counts microseconds exactly. */
const MICROS_MAX = 9_007_199_254_000_000

export type MappedItem =
  | { readonly kind: 'item'; readonly item: PageItem }
  | { readonly kind: 'unreadable'; readonly vendorEventId: string | null; readonly problem: string }

/** One item of events.list. Never throws, whatever it is given. */
export function mapEvent(raw: unknown): MappedItem {
  const parsed = wireEvent.safeParse(raw)
  if (!parsed.success) return unreadable(null, 'the item has no id')
  const wire = parsed.data
  if (!isStorableId(wire.id))
    return unreadable(null, 'the id is too long or holds characters that cannot be stored')
  if (wire.status === 'cancelled') {
    // A cancelled occurrence still names its series; a deleted event is an id and nothing else.
    const reason = wire.recurringEventId ? 'cancelled' : 'deleted'
    return { kind: 'item', item: { kind: 'removed', vendorEventId: wire.id, reason } }
  }
  const seriesId = wire.recurringEventId || null
  if (seriesId !== null && !isStorableId(seriesId))
    return unreadable(wire.id, 'the id of the series cannot be stored')
  const times = mapTimes(wire)
  if (typeof times === 'string') return unreadable(wire.id, times)
  return { kind: 'item', item: { kind: 'event', event: toEvent(wire, seriesId, times) } }
}

/** One entry of calendarList.list; null for one that is deleted, not readable, or not an entry at all. */
export function mapCalendar(raw: unknown): VendorCalendar | null {
  const parsed = wireCalendar.safeParse(raw)
  if (!parsed.success || !isStorableId(parsed.data.id)) return null
  const { id, summary, summaryOverride, timeZone, accessRole, primary, deleted } = parsed.data
  if (deleted || accessRole === 'none') return null
  return {
    vendorCalendarId: id,
    name: clean(summaryOverride ?? summary, TITLE_MAX),
    timeZone: clean(timeZone, ZONE_MAX),
    accessRole: clean(accessRole, ZONE_MAX),
    primary: primary ?? false,
  }
}

interface Times {
  readonly allDay: boolean
  readonly start: EventTime
  readonly end: EventTime
}

function toEvent(wire: WireEvent, seriesId: string | null, { allDay, start, end }: Times): CalendarEvent {
  return {
    vendorEventId: wire.id,
    title: clean(wire.summary, TITLE_MAX),
    status: wire.status === 'tentative' ? 'tentative' : 'confirmed',
    busy: wire.transparency !== 'transparent',
    allDay,
    start,
    end,
    timeZone: clean(wire.start?.timeZone, ZONE_MAX),
    seriesId,
    originalStart: mapTime(wire.originalStartTime),
    location: clean(wire.location, TITLE_MAX),
    organizer: clean(wire.organizer?.email ?? wire.organizer?.displayName, ORGANIZER_MAX),
    updatedAt: wire.updated ? parseInstant(wire.updated) : null,
    etag: clean(wire.etag, ETAG_MAX),
  }
}

/** Start and end, or why they cannot be read. */
function mapTimes(wire: WireEvent): Times | string {
  const start = mapTime(wire.start)
  if (start === null) return 'the start is missing or not a time'
  const end = hasTime(wire.end) ? mapTime(wire.end) : start
  if (end === null) return 'the end is not a time'
  if (start.date !== null) {
    if (end.date === null) return 'the start is a date, the end is not'
    const last = end.date > start.date ? end.date : dayAfter(start.date)
    if (last === null) return 'the start is the last date there is'
    return { allDay: true, start, end: { at: null, date: last } }
  }
  if (end.at === null) return 'the end is a date, the start is not'
  return { allDay: false, start, end: { at: Math.max(start.at, end.at), date: null } }
}

function hasTime(time: WireTime | null | undefined): boolean {
  return isPresent(time?.date) || isPresent(time?.dateTime)
}

function mapTime(time: WireTime | null | undefined): EventTime | null {
  if (isPresent(time?.dateTime)) {
    const at = parseInstant(time.dateTime)
    return at === null ? null : { at, date: null }
  }
  if (isPresent(time?.date)) return isDate(time.date) ? { at: null, date: time.date } : null
  return null
}

const INSTANT = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/

/**
 * RFC 3339 text with its offset → whole microseconds since 1970 (finer digits are cut), moved to the edge of the exact range
 * if outside; null if it is not such a time. `Date.parse` would cut at milliseconds and take 31 February for 3 March.
 */
export function parseInstant(source: string): Micros | null {
  const match = INSTANT.exec(source)
  if (!match) return null
  const [
    ,
    year,
    month,
    day,
    hour,
    minute,
    second,
    fraction = '',
    sign,
    offsetHour = '0',
    offsetMinute = '0',
  ] = match
  if (!isDate(`${year}-${month}-${day}`)) return null
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return null
  if (Number(offsetHour) > 23 || Number(offsetMinute) > 59) return null
  const offsetSeconds = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60 * (sign === '-' ? -1 : 1)
  const seconds =
    daysSince1970(Number(year), Number(month), Number(day)) * 86_400 +
    Number(hour) * 3600 +
    Number(minute) * 60 +
    Number(second) -
    offsetSeconds
  if (Math.abs(seconds) * 1_000_000 >= MICROS_MAX) return Math.sign(seconds) * MICROS_MAX
  return seconds * 1_000_000 + Number(fraction.padEnd(6, '0').slice(0, 6))
}

/** Whether the text is a real day of the calendar, 0001-01-01 … 9999-12-31 (Postgres has no year 0). */
function isDate(source: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(source)
  if (!match || match[1] === '0000') return false
  const time = dateOf(Number(match[1]), Number(match[2]), Number(match[3]))
  return time.getUTCMonth() + 1 === Number(match[2]) && time.getUTCDate() === Number(match[3])
}

function dayAfter(date: string): string | null {
  const next = new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000)
  return next.getUTCFullYear() > 9999 ? null : next.toISOString().slice(0, 10)
}

function daysSince1970(year: number, month: number, day: number): number {
  return dateOf(year, month, day).getTime() / 86_400_000
}

function dateOf(year: number, month: number, day: number): Date {
  const date = new Date(0)
  // Date.UTC takes the years 0 … 99 for 1900 … 1999.
  date.setUTCFullYear(year, month - 1, day)
  return date
}

/** Text as Postgres and Avro can hold it, cut at `max` UTF-16 units without splitting a pair; null stays null. */
export function clean(source: string | null | undefined, max: number): string | null {
  if (!isPresent(source)) return null
  // Cutting first leaves at most one half pair at the end, which is then dropped rather than replaced.
  const cut = source.slice(0, max)
  const whole = source.length > max && /[\uD800-\uDBFF]$/.test(cut) ? cut.slice(0, -1) : cut
  return whole.replaceAll('\0', '').toWellFormed()
}

function isPresent<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined
}

function isStorableId(id: string): boolean {
  return Buffer.byteLength(id) <= ID_BYTES_MAX && !id.includes('\0') && id.isWellFormed()
}

function unreadable(vendorEventId: string | null, problem: string): MappedItem {
  return { kind: 'unreadable', vendorEventId, problem }
}
