// How a stored event looks at Graph: learn.microsoft.com/graph/api/resources/event. The documents
// are the world's; this side shows them in its own dialect: local times of seven digits with a
// Windows zone beside them, showAs, types, change keys. The names of the fields are held to
// Microsoft's own types by the compiler.
import type {
  DateTimeTimeZone,
  DayOfWeek,
  Event,
  EventType,
  FreeBusyStatus,
  PatternedRecurrence,
  ResponseType,
  Sensitivity,
} from '@microsoft/microsoft-graph-types'
import { type EventDoc, type Holder, isSeries, occurrenceId, seriesStarts } from '../world/event-doc.ts'
import { parseRule, type Rule } from '../world/recurrence.ts'
import { dayStart, instantOf, offsetAt } from '../world/zones.ts'
import { windowsName, zoneOf } from './zone-names.ts'

/** What OData puts beside the fields. */
interface Annotations {
  readonly '@odata.type'?: '#microsoft.graph.event'
  readonly '@odata.etag'?: string
  readonly '@removed'?: { readonly reason: 'deleted' | 'changed' }
}

export type GraphEvent = Readonly<Event> & Annotations

/** What the Prefer headers of a request ask for. */
export interface Preferences {
  /** IANA; UTC unless outlook.timezone says otherwise. */
  readonly zone: string
  readonly immutableIds: boolean
  readonly pageSize: number | null
  /** For Preference-Applied. */
  readonly applied: readonly string[]
}

/** Reads the Prefer headers; null when a zone is asked for that nobody knows. */
export function readPreferences(header: string | string[] | undefined): Preferences | null {
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '')
  const zoneName = /outlook\.timezone="([^"]*)"/i.exec(text)?.[1]
  const zone = zoneName === undefined ? 'UTC' : zoneOf(zoneName)
  if (zone === null) return null
  const size = /odata\.maxpagesize=(\d+)/i.exec(text)?.[1]
  const immutableIds = /IdType="ImmutableId"/i.test(text)
  const applied = [
    ...(zoneName === undefined ? [] : [`outlook.timezone="${zoneName}"`]),
    ...(size === undefined ? [] : [`odata.maxpagesize=${size}`]),
    ...(immutableIds ? ['IdType="ImmutableId"'] : []),
  ]
  return { zone, immutableIds, pageSize: size === undefined ? null : Number(size), applied }
}

/**
 * An id in the form that was asked for: the mutable one names the folder too, so a move changes it.
 */
export function shownId(id: string, folder: string, immutable: boolean): string {
  return immutable ? id : `AQMk${Buffer.from(`${folder}\n${id}`).toString('base64url')}`
}

/**
 * What either form of an id says: the immutable id, and the folder where the form names one. null
 * for what cannot be an id.
 */
export function readId(id: string): { readonly folder: string | null; readonly id: string } | null {
  if (!id.startsWith('AQMk')) return { folder: null, id }
  const [folder, own] = Buffer.from(id.slice(4), 'base64url').toString('utf8').split('\n')
  return folder === undefined || own === undefined ? null : { folder, id: own }
}

/** Quoted and weak, with a number that rises with every change of the world. */
export function graphEtag(doc: { readonly seq: number }): string {
  return `W/"${3_400_000_000_000_000 + doc.seq * 2000}"`
}

/** A whole event: a single, a series' master, an exception, or one occurrence of a series. */
export function showEvent(
  doc: EventDoc,
  holder: Holder,
  prefer: Pick<Preferences, 'zone' | 'immutableIds'>,
  occurrenceStart?: number,
): GraphEvent {
  const { fields, times } = doc
  const folder = holder.id
  const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : null)
  const description = text('description') ?? ''
  const zone = times?.allDay ? holder.timeZone : (times?.zone ?? holder.timeZone)
  const id =
    occurrenceStart === undefined ? doc.id : occurrenceId(doc.id, occurrenceStart, times?.allDay ?? false)
  const person = { name: holder.email, address: holder.email }
  const response = responseOf(fields)
  const zoneName = text('originalStartTimeZone') ?? windowsName(zone)
  return {
    '@odata.etag': graphEtag(doc),
    id: shownId(id, folder, prefer.immutableIds),
    createdDateTime: utc(doc.createdAt),
    lastModifiedDateTime: utc(doc.at),
    changeKey: graphEtag(doc).slice(3, -1),
    categories: [],
    transactionId: text('transactionId'),
    originalStartTimeZone: zoneName,
    originalEndTimeZone: zoneName,
    iCalUId: `${doc.masterId ?? doc.id}@outlook.com`,
    reminderMinutesBeforeStart: 15,
    isReminderOn: true,
    hasAttachments: false,
    subject: text('summary'),
    bodyPreview: description.slice(0, 255),
    importance: 'normal',
    sensitivity: sensitivityOf(fields),
    isAllDay: times?.allDay ?? false,
    isCancelled: fields['isCancelled'] === true,
    isOrganizer: response === 'organizer',
    responseRequested: true,
    seriesMasterId: seriesMasterOf(doc, folder, prefer.immutableIds, occurrenceStart),
    showAs: showAsOf(fields, response),
    type: typeOf(doc, occurrenceStart),
    webLink: `https://outlook.office365.com/owa/?itemid=${encodeURIComponent(id)}`,
    onlineMeetingUrl: null,
    isOnlineMeeting: false,
    onlineMeetingProvider: 'unknown',
    allowNewTimeProposals: true,
    hideAttendees: false,
    isDraft: false,
    responseStatus: { response, time: response === 'organizer' ? NEVER : utc(doc.at) },
    body: { contentType: 'text', content: description },
    ...spanOf(doc, prefer.zone, occurrenceStart),
    location: { displayName: text('location') ?? '', locationType: 'default' },
    locations: [],
    recurrence: occurrenceStart === undefined && isSeries(doc) ? recurrenceOf(doc, zone) : null,
    attendees: [],
    organizer: { emailAddress: person },
    ...originalStart(doc, holder, occurrenceStart),
  }
}

/**
 * An occurrence as a delta gives it: without subject and all the rest, which stand with the series.
 */
export function bareOccurrence(
  doc: EventDoc,
  holder: Holder,
  prefer: Pick<Preferences, 'zone' | 'immutableIds'>,
  start: number,
): GraphEvent {
  const whole = showEvent(doc, holder, prefer, start)
  return {
    '@odata.type': '#microsoft.graph.event',
    '@odata.etag': graphEtag(doc),
    id: whole.id ?? '',
    seriesMasterId: whole.seriesMasterId ?? null,
    type: 'occurrence',
    start: whole.start ?? null,
    end: whole.end ?? null,
  }
}

/** What ended, or left the window: nothing but its id. */
export function removal(id: string, holder: Holder, immutableIds: boolean): GraphEvent {
  return {
    '@odata.type': '#microsoft.graph.event',
    id: shownId(id, holder.id, immutableIds),
    '@removed': { reason: 'deleted' },
  }
}

function typeOf(doc: EventDoc, occurrenceStart?: number): EventType {
  if (occurrenceStart !== undefined) return 'occurrence'
  if (isSeries(doc)) return 'seriesMaster'
  return doc.masterId === null ? 'singleInstance' : 'exception'
}

function seriesMasterOf(doc: EventDoc, folder: string, immutable: boolean, start?: number): string | null {
  const masterId = start === undefined ? doc.masterId : doc.id
  return masterId === null ? null : shownId(masterId, folder, immutable)
}

const STATUSES: readonly FreeBusyStatus[] = [
  'free',
  'tentative',
  'busy',
  'oof',
  'workingElsewhere',
  'unknown',
]

const NEVER = '0001-01-01T00:00:00Z'
const RESPONSES: readonly ResponseType[] = [
  'none',
  'organizer',
  'tentativelyAccepted',
  'accepted',
  'declined',
  'notResponded',
]
const SENSITIVITIES: readonly Sensitivity[] = ['normal', 'personal', 'private', 'confidential']

/**
 * learn.microsoft.com/graph/api/resources/responsestatus; events that nobody else made are the
 * person's own.
 */
function responseOf(fields: EventDoc['fields']): ResponseType {
  const told = (fields['responseStatus'] as { response?: unknown } | undefined)?.response
  return RESPONSES.find((response) => response === told) ?? 'organizer'
}

function sensitivityOf(fields: EventDoc['fields']): Sensitivity {
  const told = fields['sensitivity'] ?? fields['visibility']
  return SENSITIVITIES.find((one) => one === told) ?? 'normal'
}

/**
 * A declined event that a mailbox keeps is kept as free, as people report it; no page of
 * Microsoft's says so.
 */
function showAsOf(fields: EventDoc['fields'], response: ResponseType): FreeBusyStatus {
  if (response === 'declined') return 'free'
  const written = STATUSES.find((status) => status === fields['showAs'])
  if (written !== undefined) return written
  if (fields['transparency'] === 'transparent') return 'free'
  return fields['status'] === 'tentative' ? 'tentative' : 'busy'
}

function spanOf(doc: EventDoc, zone: string, occurrenceStart?: number) {
  const { times } = doc
  if (!times) return {}
  const start = occurrenceStart ?? times.start
  const end = start + (times.end - times.start)
  // An all-day event is a literal date, shown as midnight in whatever zone was asked for.
  if (times.allDay) return { start: literal(start, zone), end: literal(end, zone) }
  return { start: showTime(start, zone), end: showTime(end, zone) }
}

/**
 * An instant (ms epoch) as Graph writes it:
 * the wall clock of a zone, with the zone's Windows name beside it.
 */
export function showTime(at: number, zone: string) {
  return literal(at + offsetAt(zone, at), zone)
}

function literal(wall: number, zone: string): DateTimeTimeZone {
  return { dateTime: `${new Date(wall).toISOString().slice(0, 23)}0000`, timeZone: windowsName(zone) }
}

function utc(at: number): string {
  return `${new Date(at).toISOString().slice(0, 23)}0000Z`
}

/** Of an all-day event the instant at which its day begins in the mailbox's zone. */
function originalStart(doc: EventDoc, holder: Holder, occurrenceStart?: number) {
  const wall = occurrenceStart ?? doc.originalStart
  const allDay = occurrenceStart === undefined ? doc.originalAllDay : doc.times?.allDay
  const at = wall !== null && allDay ? dayStart(holder.timeZone, wall) : wall
  return at === null || (occurrenceStart === undefined && doc.masterId === null)
    ? {}
    : { originalStart: utc(at) }
}

const WEEK: readonly DayOfWeek[] = [
  'sunday',
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
]

function recurrenceOf(doc: EventDoc, zone: string): PatternedRecurrence | null {
  const rule = parseRule(doc.fields['recurrence'] as string[])
  const starts = seriesStarts(doc)
  if (!rule || !doc.times) return null
  const day = (at: number) => new Date(at + offsetAt(zone, at)).toISOString().slice(0, 10)
  const first = new Date(doc.times.start + offsetAt(zone, doc.times.start))
  return {
    pattern: patternOf(rule, first),
    range: {
      type: rule.count !== null ? 'numbered' : rule.until !== null ? 'endDate' : 'noEnd',
      startDate: day(doc.times.start),
      endDate:
        rule.count === null && rule.until === null ? '0001-01-01' : day(starts.at(-1) ?? doc.times.start),
      recurrenceTimeZone: windowsName(zone),
      numberOfOccurrences: rule.count ?? 0,
    },
  }
}

function patternOf(rule: Rule, first: Date): NonNullable<PatternedRecurrence['pattern']> {
  const { interval } = rule
  const dayOfMonth = rule.byMonthDay ?? first.getUTCDate()
  switch (rule.freq) {
    case 'DAILY':
      return { type: 'daily', interval }
    case 'WEEKLY': {
      const days = (rule.byDay.length > 0 ? rule.byDay : [first.getUTCDay()]).flatMap(
        (index) => WEEK[index] ?? [],
      )
      return { type: 'weekly', interval, daysOfWeek: days, firstDayOfWeek: 'sunday' }
    }
    case 'MONTHLY':
      return { type: 'absoluteMonthly', interval, dayOfMonth }
    case 'YEARLY':
      return { type: 'absoluteYearly', interval, dayOfMonth, month: rule.byMonth ?? first.getUTCMonth() + 1 }
  }
}

/** The instant of a wall-clock time that a client wrote, in the zone it named. */
export function instantIn(dateTime: string, zone: string): number {
  const wall = Date.parse(/(?:Z|[+-]\d\d:\d\d)$/i.test(dateTime) ? dateTime : `${dateTime.slice(0, 23)}Z`)
  return /(?:Z|[+-]\d\d:\d\d)$/i.test(dateTime) ? wall : instantOf(zone, wall)
}
