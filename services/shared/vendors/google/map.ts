// Google's event becomes ours; pure. An all-day event stays a date, a timed one becomes an exact
// instant, and text is made fit for Postgres and Kafka. An item that cannot be read is returned as
// such and costs no other item its page. What is bent, and how, is said in storable.ts; an end that
// is missing counts as one before the start.
import {
  isBusy,
  VISIBILITIES,
  type CalendarEvent,
  type EventKind,
  type EventTime,
  type Response,
  type ShownAs,
} from '#shared/domain/event.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import {
  clean,
  cleanLine,
  dayAfter,
  ETAG_MAX,
  isDate,
  isPresent,
  isStorableId,
  ORGANIZER_MAX,
  parseInstant,
  TITLE_MAX,
  unreadable,
  ZONE_MAX,
  type MappedItem,
} from '../storable.ts'
import { wireCalendar, wireEvent, type WireEvent, type WireTime } from './wire.ts'

/**
 * developers.google.com/workspace/calendar/api/v3/reference/events#attendees.responseStatus, read
 * 2026-11-29.
 */
const ANSWERS = new Map<string, Response>([
  ['accepted', 'accepted'],
  ['declined', 'declined'],
  ['tentative', 'tentative'],
  ['needsAction', 'needs_action'],
])
/** The same page, eventType. */
const KINDS = new Map<string, EventKind>([
  ['default', 'default'],
  ['outOfOffice', 'out_of_office'],
  ['focusTime', 'focus_time'],
  ['workingLocation', 'working_location'],
  ['birthday', 'birthday'],
  ['fromGmail', 'from_gmail'],
  ['task', 'task'],
])

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

/**
 * One entry of calendarList.list; null for one that is deleted,
 * not readable, or not an entry at all.
 */
export function mapCalendar(raw: unknown): VendorCalendar | null {
  const parsed = wireCalendar.safeParse(raw)
  if (!parsed.success || !isStorableId(parsed.data.id)) return null
  const { id, summary, summaryOverride, timeZone, accessRole, primary, deleted } = parsed.data
  if (deleted || accessRole === 'none') return null
  return {
    vendorCalendarId: id,
    name: cleanLine(summaryOverride ?? summary, TITLE_MAX),
    timeZone: clean(timeZone, ZONE_MAX),
    accessRole: clean(accessRole, ZONE_MAX),
    primary: primary ?? false,
    // What others share with full rights is the account's own too: Google calls both owner.
    isOwned: primary === true || accessRole === 'owner',
  }
}

interface Times {
  readonly allDay: boolean
  readonly start: EventTime
  readonly end: EventTime
}

function toEvent(wire: WireEvent, seriesId: string | null, { allDay, start, end }: Times): CalendarEvent {
  const claim = claimOf(wire)
  return {
    vendorEventId: wire.id,
    title: clean(wire.summary, TITLE_MAX),
    status: wire.status === 'tentative' ? 'tentative' : 'confirmed',
    ...claim,
    busy: isBusy(claim),
    visibility: VISIBILITIES.find((one) => one === wire.visibility) ?? 'default',
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

type Claim = Pick<CalendarEvent, 'response' | 'kind' | 'showAs'>

function claimOf(wire: WireEvent): Claim {
  const response = responseOf(wire)
  const kind = wire.eventType ? (KINDS.get(wire.eventType) ?? 'unknown') : 'default'
  return { response, kind, showAs: showAsOf(wire, response, kind) }
}

/**
 * The entry that stands for this calendar is `self`;
 * the maker of the event need not be among those asked.
 */
function responseOf({ attendees, organizer }: WireEvent): Response {
  const self = attendees?.find((one) => one?.self)
  if (!self) return organizer?.self ? 'organizer' : 'none'
  const response = ANSWERS.get(self.responseStatus ?? '') ?? 'none'
  // The one who asks need not answer.
  const isOwn = self.organizer && (response === 'accepted' || response === 'needs_action')
  return isOwn ? 'organizer' : response
}

/** Google says free or not, and by other fields what else Microsoft says. */
function showAsOf(wire: WireEvent, response: Response, kind: EventKind): ShownAs {
  if (wire.transparency === 'transparent') return 'free'
  if (kind === 'out_of_office') return 'out_of_office'
  const isOpen = response === 'tentative' || response === 'needs_action'
  return isOpen || wire.status === 'tentative' ? 'tentative' : 'busy'
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
