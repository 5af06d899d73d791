// Graph's event becomes ours; pure. An all-day event stays a date, a timed one becomes an exact
// instant, and text is made fit for Postgres and Kafka (storable.ts says how). An item that cannot
// be read is returned as such and costs no other item its page. Times are asked for in UTC; one
// that comes in another zone is read in that zone.
import {
  isBusy,
  type CalendarEvent,
  type EventTime,
  type Response,
  type ShownAs,
  type Visibility,
} from '#shared/domain/event.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import {
  clean,
  cleanLine,
  dayAfter,
  ETAG_MAX,
  isDate,
  isStorableId,
  ORGANIZER_MAX,
  parseInstant,
  TITLE_MAX,
  unreadable,
  type MappedItem,
} from '../storable.ts'
import { wireCalendar, wireEvent, type WireEvent, type WireTime } from './wire.ts'
import { dateIn, ianaZoneOf, instantIn, offsetZone } from './zones.ts'

/** learn.microsoft.com/graph/api/resources/responsestatus, read 2026-11-29. */
const ANSWERS = new Map<string, Response>([
  ['organizer', 'organizer'],
  ['accepted', 'accepted'],
  ['tentativelyAccepted', 'tentative'],
  ['declined', 'declined'],
  ['notResponded', 'needs_action'],
])
/** learn.microsoft.com/graph/api/resources/event (showAs, sensitivity), read 2026-11-29. */
const STATUSES = new Map<string, ShownAs>([
  ['free', 'free'],
  ['tentative', 'tentative'],
  ['busy', 'busy'],
  ['oof', 'out_of_office'],
  ['workingElsewhere', 'working_elsewhere'],
])
const SENSITIVITIES = new Map<string, Visibility>([
  ['personal', 'private'],
  ['private', 'private'],
  ['confidential', 'confidential'],
])

/** A row of a delta: what it is about, and, where it is an event of its own, the event. */
type DeltaRow =
  | MappedItem
  | { readonly kind: 'removed'; readonly vendorEventId: string }
  /**
   * A series, or an occurrence of it: occurrences come bare,
   * so all of them are read from the series.
   */
  | {
      readonly kind: 'series'
      readonly seriesId: string
      readonly etag: string | null
      /** null unless the series itself is the row. */
      readonly createdAt: Micros | null
      readonly changedAt: Micros | null
    }

/** One row of calendarView/delta. Never throws, whatever it is given. */
export function mapRow(raw: unknown): DeltaRow {
  const wire = readEvent(raw)
  if ('problem' in wire) return wire
  if (wire['@removed'] !== undefined && wire['@removed'] !== null)
    return { kind: 'removed', vendorEventId: wire.id }
  const seriesId = wire.type === 'seriesMaster' ? wire.id : wire.seriesMasterId || null
  if (seriesId === null) return mapWire(wire)
  if (!isStorableId(seriesId)) return unreadable(wire.id, 'the id of the series cannot be stored')
  // An exception has a time of change of its own, which says nothing of the series.
  const isSeries = wire.type === 'seriesMaster'
  return {
    kind: 'series',
    seriesId,
    etag: wire['@odata.etag'] || null,
    createdAt: isSeries ? parseInstant(wire.createdDateTime ?? '') : null,
    changedAt: isSeries ? parseInstant(wire.lastModifiedDateTime ?? '') : null,
  }
}

/** One event that was read whole: a single, an occurrence or an exception. Never throws. */
export function mapEvent(raw: unknown): MappedItem {
  const wire = readEvent(raw)
  return 'problem' in wire ? wire : mapWire(wire)
}

/** What a calendar's entry does not say of itself. */
interface MailboxFacts {
  /** The address in the default calendar's entry: whose mailbox it is. */
  readonly owner: string | null
  /**
   * IANA name; Graph keeps the zone with the mailbox, and each event names the one it was made in.
   */
  readonly timeZone: string | null
}
const UNKNOWN_MAILBOX: MailboxFacts = { owner: null, timeZone: null }

/**
 * One entry of the calendar list; null if it is not readable. Calendars that others share stand in
 * the list under the address of their owner
 * (learn.microsoft.com/graph/outlook-get-shared-events-calendars, read 2026-11-29), those of
 * Outlook itself (birthdays, holidays) cannot be edited.
 */
export function mapCalendar(raw: unknown, mailbox: MailboxFacts = UNKNOWN_MAILBOX): VendorCalendar | null {
  const parsed = wireCalendar.safeParse(raw)
  if (!parsed.success || !isStorableId(parsed.data.id)) return null
  const { id, name, isDefaultCalendar, canEdit, canShare, owner } = parsed.data
  const primary = isDefaultCalendar ?? false
  const isOthers =
    !primary && owner?.address && mailbox.owner ? !isSameAddress(owner.address, mailbox.owner) : false
  const isOwned = primary || (!isOthers && (owner?.address ? canEdit === true : canShare === true))
  return {
    vendorCalendarId: id,
    name: cleanLine(name, TITLE_MAX),
    timeZone: isOthers ? null : mailbox.timeZone,
    accessRole: isOwned ? 'owner' : canEdit ? 'writer' : 'reader',
    primary,
    isOwned,
  }
}

/**
 * The address of the mailbox, from the entry of its default calendar;
 * null where that is not among them.
 */
export function ownerIn(entries: readonly unknown[]): string | null {
  const own = entries.find((raw) => wireCalendar.safeParse(raw).data?.isDefaultCalendar === true)
  return wireCalendar.safeParse(own).data?.owner?.address ?? null
}

function isSameAddress(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase()
}

function readEvent(raw: unknown): WireEvent | (MappedItem & { kind: 'unreadable' }) {
  const parsed = wireEvent.safeParse(raw)
  if (!parsed.success) return { kind: 'unreadable', vendorEventId: null, problem: 'the item has no id' }
  if (isStorableId(parsed.data.id)) return parsed.data
  const problem = 'the id is too long or holds characters that cannot be stored'
  return { kind: 'unreadable', vendorEventId: null, problem }
}

function mapWire(wire: WireEvent): MappedItem {
  if (wire.isCancelled) {
    return { kind: 'item', item: { kind: 'removed', vendorEventId: wire.id, reason: 'cancelled' } }
  }
  const seriesId = wire.seriesMasterId || null
  if (seriesId !== null && !isStorableId(seriesId))
    return unreadable(wire.id, 'the id of the series cannot be stored')
  const times = wire.isAllDay ? mapDates(wire) : mapInstants(wire)
  if (typeof times === 'string') return unreadable(wire.id, times)
  return { kind: 'item', item: { kind: 'event', event: toEvent(wire, seriesId, times) } }
}

interface Times {
  readonly start: EventTime
  readonly end: EventTime
  readonly originalStart: EventTime | null
}

function toEvent(wire: WireEvent, seriesId: string | null, times: Times): CalendarEvent {
  const organizer = wire.organizer?.emailAddress
  const claim = {
    response: ANSWERS.get(wire.responseStatus?.response ?? '') ?? 'none',
    kind: 'default',
    showAs: STATUSES.get(wire.showAs ?? '') ?? 'unknown',
  } as const
  return {
    vendorEventId: wire.id,
    title: clean(wire.subject, TITLE_MAX),
    status: wire.showAs === 'tentative' ? 'tentative' : 'confirmed',
    ...claim,
    busy: isBusy(claim),
    visibility: SENSITIVITIES.get(wire.sensitivity ?? '') ?? 'default',
    allDay: wire.isAllDay ?? false,
    start: times.start,
    end: times.end,
    timeZone: wire.isAllDay ? zoneOfDay(wire) : zoneOf(wire),
    seriesId,
    originalStart: seriesId === null ? null : times.originalStart,
    location: clean(wire.location?.displayName || null, TITLE_MAX),
    organizer: clean(organizer?.address || organizer?.name, ORGANIZER_MAX),
    updatedAt: wire.lastModifiedDateTime ? parseInstant(wire.lastModifiedDateTime) : null,
    etag: clean(wire['@odata.etag'], ETAG_MAX),
  }
}

/** The zone that the event was made in; times themselves come in UTC. */
function zoneOf(wire: WireEvent): string | null {
  const name = wire.originalStartTimeZone || wire.start?.timeZone
  return name ? ianaZoneOf(name) : null
}

/**
 * The zone whose midnights bound an all-day event: its name where that says more than UTC, which
 * Outlook on the web gives to events of people anywhere; else the offset at which the start was
 * given, of the event or of its original.
 */
function zoneOfDay(wire: WireEvent): string | null {
  const named = zoneOf(wire)
  if (named !== null && named !== 'UTC') return named
  const day = dateOf(wire.start, wire.originalStartTimeZone)
  const midnight = day === null ? null : parseInstant(`${day}T00:00:00Z`)
  if (midnight === null) return named
  const told = isMidnight(wire.start) ? null : instantOf(wire.start)
  const begun = told ?? (wire.originalStart ? parseInstant(wire.originalStart) : null)
  // Days apart when the occurrence was moved: what counts is the hour.
  const minutes = begun === null ? 0 : offsetOf((midnight - begun) / 60_000_000)
  return minutes === 0 ? named : offsetText(minutes)
}

const HALF_DAY_MICROS = 43_200_000_000
const DAY_MINUTES = 1440
/** Kiribati; what lies 12 hours and less behind counts as behind. */
const AHEAD_MINUTES_MAX = 14 * 60

/** Minutes ahead of UTC, from the distance of a midnight there and one here, whole days apart. */
function offsetOf(minutes: number): number {
  if (Math.abs(minutes) <= DAY_MINUTES / 2) return minutes
  const ahead = ((minutes % DAY_MINUTES) + DAY_MINUTES) % DAY_MINUTES
  if (minutes > 0 && minutes <= AHEAD_MINUTES_MAX) return minutes
  return ahead >= DAY_MINUTES / 2 ? ahead - DAY_MINUTES : ahead
}

function offsetText(minutes: number): string | null {
  if (!Number.isInteger(minutes)) return null
  const two = (part: number) => String(Math.floor(part)).padStart(2, '0')
  const size = Math.abs(minutes)
  return offsetZone(`${minutes < 0 ? '-' : '+'}${two(size / 60)}:${two(size % 60)}`)
}

function isMidnight(time: WireTime | null | undefined): boolean {
  return /^.{10}[Tt]00:00(?::00(?:\.0*)?)?[Zz]?$/.test(time?.dateTime ?? '')
}

function mapInstants(wire: WireEvent): Times | string {
  const start = instantOf(wire.start)
  if (start === null) return 'the start is missing or not a time in a known zone'
  const end = wire.end?.dateTime ? instantOf(wire.end) : start
  if (end === null) return 'the end is not a time in a known zone'
  const original = wire.originalStart ? parseInstant(wire.originalStart) : null
  return {
    start: { at: start, date: null },
    end: { at: Math.max(start, end), date: null },
    originalStart: original === null ? null : { at: original, date: null },
  }
}

function mapDates(wire: WireEvent): Times | string {
  const start = dateOf(wire.start, wire.originalStartTimeZone)
  if (start === null) return 'the start is missing or not a date'
  const end = wire.end?.dateTime ? dateOf(wire.end, wire.originalEndTimeZone) : start
  if (end === null) return 'the end is not a date'
  const last = end > start ? end : dayAfter(start)
  if (last === null) return 'the start is the last date there is'
  const original = dateOf({ dateTime: wire.originalStart, timeZone: 'UTC' }, wire.originalStartTimeZone)
  return {
    start: { at: null, date: start },
    end: { at: null, date: last },
    originalStart: original === null ? null : { at: null, date: original },
  }
}

function instantOf(time: WireTime | null | undefined): Micros | null {
  return time?.dateTime ? instantIn(time.dateTime, time.timeZone || 'UTC') : null
}

/**
 * The date of an all-day event, which comes as a midnight: that date as it stands, whatever the
 * zone. Another time of day is a midnight that was moved to another zone; it is moved back to the
 * zone that the event was made in, and where that is not known, or UTC, whose midnights come as
 * such, to the nearest midnight.
 */
function dateOf(time: WireTime | null | undefined, madeIn: string | null | undefined): string | null {
  const written = time?.dateTime?.slice(0, 10) ?? ''
  if (!isDate(written)) return null
  if (isMidnight(time)) return written
  const at = instantOf(time)
  if (at === null) return written
  const zone = madeIn ? ianaZoneOf(madeIn) : null
  const isNamed = zone !== null && zone !== 'UTC'
  return (isNamed ? dateIn(at, zone) : dateIn(at + HALF_DAY_MICROS, 'UTC')) ?? written
}
