// Events by themselves: reading one, the instances of a series, plain lists and views, and writing. learn.microsoft.com/graph/api/event-get,
// …/event-list-instances, …/calendar-list-calendarview, …/calendar-post-events, …/event-update, …/event-delete.
import { type Answer, type Call, readObject } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { listAll } from '../google/list-items.ts'
import { type Calendar, plainOccurrences } from '../world/calendar.ts'
import { deleteEvent, fieldsOf, findEvent, insertEvent, replaceEvent, type Target } from '../world/edit.ts'
import { bounds, type EventDoc, type Fields, isSeries, readTimes } from '../world/event-doc.ts'
import type { World } from '../world/world.ts'
import { graphError } from './errors.ts'
import {
  graphEtag,
  type GraphEvent,
  instantIn,
  type Preferences,
  showEvent,
  storedId,
} from './event-shape.ts'
import { readTime } from './delta.ts'
import { formatIn } from '../world/zones.ts'
import { zoneOf } from './zone-names.ts'

export interface EventDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly origin: () => string
  /** Transaction ids of creations → event id, by calendar. */
  readonly transactions: Map<string, string>
}

const TOP_DEFAULT = 10
const TOP_MAX = 1000

/** GET …/events/{id}; right after its notification an event may not be there yet. */
export function readEvent(
  { world, knobs }: Pick<EventDeps, 'world' | 'knobs'>,
  { calendar, id }: { readonly calendar: Calendar; readonly id: string },
  prefer: Preferences,
): Answer {
  const target = liveTarget(calendar, id)
  const doc = target?.kind === 'occurrence' ? target.master : target?.doc
  const hidden = doc !== undefined && doc.at > world.now() - knobs.microsoft.invisibleForMs
  return target && !hidden ? ok(show(calendar, target, prefer), prefer) : graphError('ErrorItemNotFound')
}

/** GET …/events/{id}/instances: occurrences and exceptions in the window, whole. */
export function listInstances(
  deps: EventDeps,
  { calendar, id }: { readonly calendar: Calendar; readonly id: string },
  call: Call,
  prefer: Preferences,
): Answer {
  const window = windowOf(call.query)
  if (window === null) return graphError('ErrorInvalidParameter')
  const target = liveTarget(calendar, id)
  if (target?.kind !== 'document' || !isSeries(target.doc)) return graphError('ErrorItemNotFound')
  return paged(deps, instancesOf(calendar, target.doc, window, prefer), call, prefer)
}

/** GET …/calendarView: everything in the window, series expanded. */
export function listView(deps: EventDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const window = windowOf(call.query)
  if (window === null) return graphError('ErrorInvalidParameter')
  const [timeMin, timeMax] = window
  const items = listAll(calendar, { singleEvents: true, showDeleted: false, timeMin, timeMax })
  const shown = items.flatMap(({ id }) => {
    const target = findEvent(calendar, id)
    return target ? [show(calendar, target, prefer)] : []
  })
  return paged(deps, shown, call, prefer)
}

/** GET …/events: singles and series, not expanded. */
export function listEvents(deps: EventDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const docs = [...calendar.docs.values()].filter((doc) => !doc.deleted && doc.masterId === null)
  return paged(
    deps,
    docs.map((doc) => showEvent(doc, calendar, prefer)),
    call,
    prefer,
  )
}

/** POST …/events. A transaction id that was used before creates nothing more. */
export function createEvent(deps: EventDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const transaction =
    typeof body['transactionId'] === 'string' ? `${calendar.id}/${body['transactionId']}` : null
  const known = transaction === null ? undefined : deps.transactions.get(transaction)
  if (known !== undefined) {
    if (deps.knobs.microsoft.duplicateTransaction === 'conflict')
      return graphError('ErrorDuplicateTransactionId')
    return { ...readEvent(deps, { calendar, id: known }, prefer), status: 201 }
  }
  const fields = fieldsFrom(body, {}, calendar)
  if ('status' in fields && 'headers' in fields) return fields as unknown as Answer
  const change = insertEvent(deps.world, calendar, fields as Fields)
  if (transaction !== null) keepTransaction(deps.transactions, transaction, change.eventId)
  return { ...readEvent(deps, { calendar, id: change.eventId }, prefer), status: 201 }
}

const TRANSACTIONS_MAX = 10_000

function keepTransaction(transactions: Map<string, string>, transaction: string, eventId: string): void {
  transactions.set(transaction, eventId)
  const [oldest] = transactions.keys()
  if (transactions.size > TRANSACTIONS_MAX && oldest !== undefined) transactions.delete(oldest)
}

/** PATCH …/events/{id}: what is not named stays. */
export function updateEvent(
  deps: EventDeps,
  { calendar, id }: { calendar: Calendar; id: string },
  call: Call,
  prefer: Preferences,
): Answer {
  const target = liveTarget(calendar, id)
  if (!target) return graphError('ErrorItemNotFound')
  if (!matches(call, target)) return graphError('ErrorIrresolvableConflict')
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const fields = fieldsFrom(body, fieldsOf(calendar, target), calendar)
  if ('status' in fields && 'headers' in fields) return fields as unknown as Answer
  replaceEvent(deps.world, calendar, target, fields as Fields)
  return readEvent(deps, { calendar, id: storedId(id) }, prefer)
}

/** DELETE …/events/{id} */
export function removeEvent(deps: EventDeps, calendar: Calendar, id: string, call: Call): Answer {
  const target = liveTarget(calendar, id)
  if (!target) return graphError('ErrorItemNotFound')
  if (!matches(call, target)) return graphError('ErrorIrresolvableConflict')
  deleteEvent(deps.world, calendar, target)
  return { status: 204 }
}

function matches(call: Call, target: Target): boolean {
  const wanted = call.headers['if-match']
  const doc = target.kind === 'document' ? target.doc : target.master
  return wanted === undefined || wanted === '*' || wanted === graphEtag(doc)
}

function liveTarget(calendar: Calendar, id: string): Target | null {
  const target = findEvent(calendar, storedId(id))
  if (!target || (target.kind === 'document' && target.doc.deleted)) return null
  return target
}

function show(calendar: Calendar, target: Target, prefer: Preferences): GraphEvent {
  return target.kind === 'document'
    ? showEvent(target.doc, calendar, prefer)
    : showEvent(target.master, calendar, prefer, target.start)
}

function instancesOf(
  calendar: Calendar,
  doc: EventDoc,
  [from, to]: readonly [number, number],
  prefer: Preferences,
): GraphEvent[] {
  const { times } = doc
  if (!times) return []
  const inside = (span: { start: number; end: number }) => span.end > from && span.start < to
  const plain = plainOccurrences(calendar, doc)
    .filter(({ start }) => inside(bounds(times, calendar, start)))
    .map(({ start }) => ({ start, event: showEvent(doc, calendar, prefer, start) }))
  const exceptions = [...(calendar.exceptions.get(doc.id) ?? [])].flatMap((id) => {
    const exception = calendar.docs.get(id)
    const live =
      exception && !exception.deleted && exception.times && inside(bounds(exception.times, calendar))
    return live ? [{ start: exception.times?.start ?? 0, event: showEvent(exception, calendar, prefer) }] : []
  })
  return [...plain, ...exceptions].toSorted((a, b) => a.start - b.start).map(({ event }) => event)
}

function paged(deps: EventDeps, events: readonly GraphEvent[], call: Call, prefer: Preferences): Answer {
  const top = Math.min(
    TOP_MAX,
    Number(call.query.get('$top') ?? prefer.pageSize ?? TOP_DEFAULT) || TOP_DEFAULT,
  )
  const skip = Number(call.query.get('$skip') ?? 0) || 0
  const select = call.query.get('$select')?.split(',') ?? null
  const shown = events.slice(skip, skip + top)
  const next = new URLSearchParams(call.query)
  next.set('$skip', String(skip + top))
  const more = skip + top < events.length
  const chosen = select
    ? shown.map((event) =>
        Object.fromEntries(
          Object.entries(event).filter(
            ([name]) => select.includes(name) || name === 'id' || name.startsWith('@'),
          ),
        ),
      )
    : shown
  return {
    status: 200,
    headers: { 'preference-applied': prefer.applied.join(', ') },
    body: {
      '@odata.context': `${deps.origin()}/v1.0/$metadata#Collection(event)`,
      ...(more ? { '@odata.nextLink': `${deps.origin()}${call.path}?${next.toString()}` } : {}),
      value: chosen,
    },
    note: { items: shown.length },
  }
}

function ok(event: GraphEvent, prefer: Preferences): Answer {
  return { status: 200, headers: { 'preference-applied': prefer.applied.join(', ') }, body: event }
}

function windowOf(query: URLSearchParams): readonly [number, number] | null {
  const [from, to] = [readTime(query, 'startDateTime'), readTime(query, 'endDateTime')]
  return from === null || to === null || to <= from ? null : [from, to]
}

interface GraphTime {
  readonly dateTime?: unknown
  readonly timeZone?: unknown
}

/** A written event as the world stores it, merged over what was there; the error answer when it makes no event. */
function fieldsFrom(
  body: Readonly<Record<string, unknown>>,
  before: Fields,
  calendar: Calendar,
): Fields | Answer {
  const allDay = typeof body['isAllDay'] === 'boolean' ? body['isAllDay'] : isDate(before)
  const times: Record<string, unknown> = {}
  for (const name of ['start', 'end'] as const) {
    const time = body[name] as GraphTime | undefined
    if (time === undefined) continue
    const zone = zoneOf(typeof time.timeZone === 'string' ? time.timeZone : 'UTC')
    if (zone === null) return graphError('TimeZoneNotSupportedException')
    if (typeof time.dateTime !== 'string' || Number.isNaN(instantIn(time.dateTime, zone)))
      return graphError('ErrorPropertyValidationFailure')
    if (allDay && !/T00:00:00(?:\.0+)?Z?$/.test(time.dateTime))
      return graphError('ErrorPropertyValidationFailure', {
        message: 'The Event.Start and Event.End properties of an all-day event must be set to midnight.',
      })
    times[name] = allDay
      ? { date: time.dateTime.slice(0, 10) }
      : { dateTime: formatIn(zone, instantIn(time.dateTime, zone)), timeZone: zone }
  }
  const location = body['location'] as { displayName?: unknown } | undefined
  const fields: Record<string, unknown> = {
    ...before,
    ...times,
    ...('subject' in body ? { summary: body['subject'] ?? undefined } : {}),
    ...(location ? { location: location.displayName ?? '' } : {}),
    ...(typeof body['showAs'] === 'string' ? { showAs: body['showAs'] } : {}),
    ...('isCancelled' in body ? { isCancelled: body['isCancelled'] } : {}),
    ...(typeof body['transactionId'] === 'string' ? { transactionId: body['transactionId'] } : {}),
    ...recurrenceFrom(body),
  }
  const pattern = (body['recurrence'] as GraphRecurrence | null | undefined)?.pattern
  if (pattern && !['daily', 'weekly'].includes(pattern.type ?? ''))
    return graphError('ErrorPropertyValidationFailure', {
      message: 'This simulator expands daily and weekly recurrences only.',
    })
  const read = readTimes(fields, calendar.timeZone)
  if ('reason' in read)
    return graphError('ErrorPropertyValidationFailure', { message: `The event's times are ${read.reason}.` })
  return fields
}

function isDate(fields: Fields): boolean {
  return typeof (fields['start'] as { date?: unknown } | undefined)?.date === 'string'
}

interface GraphRecurrence {
  readonly pattern?: {
    readonly type?: string
    readonly interval?: number
    readonly daysOfWeek?: readonly string[]
  }
  readonly range?: {
    readonly type?: string
    readonly endDate?: string
    readonly numberOfOccurrences?: number
  }
}

function recurrenceFrom(body: Readonly<Record<string, unknown>>): { recurrence?: unknown } {
  if (!('recurrence' in body)) return {}
  const { pattern, range } = (body['recurrence'] ?? {}) as GraphRecurrence
  if (!pattern) return { recurrence: undefined }
  const parts = [
    `FREQ=${pattern.type === 'weekly' ? 'WEEKLY' : 'DAILY'}`,
    `INTERVAL=${pattern.interval ?? 1}`,
  ]
  if (pattern.type === 'weekly' && pattern.daysOfWeek)
    parts.push(`BYDAY=${pattern.daysOfWeek.map((day) => day.slice(0, 2).toUpperCase()).join(',')}`)
  if (range?.type === 'numbered') parts.push(`COUNT=${range.numberOfOccurrences ?? 1}`)
  if (range?.type === 'endDate') parts.push(`UNTIL=${(range.endDate ?? '').replaceAll('-', '')}`)
  return { recurrence: [`RRULE:${parts.join(';')}`] }
}
