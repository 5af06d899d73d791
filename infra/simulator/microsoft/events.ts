// Events by themselves, read: one by its id, the instances of a series, plain lists and views.
// learn.microsoft.com/graph/api/event-get, …/event-list-instances, …/calendar-list-calendarview. A
// client gets what it selected, and extended properties only when it expands them.
import type { Answer, Call } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { listAll } from '../google/list-items.ts'
import { type Calendar, plainOccurrences } from '../world/calendar.ts'
import { findEvent, type Target } from '../world/edit.ts'
import { bounds, type EventDoc, isSeries } from '../world/event-doc.ts'
import type { World } from '../world/world.ts'
import { endsNever, readTime } from './delta.ts'
import { graphError } from './errors.ts'
import { type GraphEvent, type Preferences, showEvent } from './event-shape.ts'
import { expand, expandedIds, readFilter } from './extended-properties.ts'
import type { Located } from './locate.ts'
import { misnamed, project } from './select.ts'

export interface EventDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly origin: () => string
}

const TOP_DEFAULT = 10
const TOP_MAX = 1000

/** GET …/events/{id}; right after its notification an event may not be there yet. */
export function readEvent(
  { world, knobs }: Pick<EventDeps, 'world' | 'knobs'>,
  { calendar, target }: Located,
  call: Call,
  prefer: Preferences,
): Answer {
  if (docOf(target).at > world.now() - knobs.microsoft.invisibleForMs) return graphError('ErrorItemNotFound')
  const ids = expandedIds(call.query.get('$expand'))
  if (ids === 'unsupported') return graphError('ErrorInvalidUrlQuery')
  const event = show(calendar, target, prefer, ids)
  return misnamed(event, call.query) ?? shown(project(event, call.query), prefer)
}

/** GET …/events/{id}/instances: occurrences and exceptions in the window, whole. */
export function listInstances(
  deps: EventDeps,
  { calendar, target }: Located,
  call: Call,
  prefer: Preferences,
): Answer {
  const window = windowOf(call.query)
  if (window === null) return graphError('ErrorInvalidParameter')
  if (target.kind !== 'document' || !isSeries(target.doc)) return graphError('ErrorItemNotFound')
  if (endsNever([target.doc], window, deps.knobs.microsoft)) return tooLong()
  return paged(deps, instancesOf(calendar, target.doc, window, prefer), call, prefer)
}

/** GET …/calendarView: everything in the window, series expanded. */
export function listView(deps: EventDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const window = windowOf(call.query)
  if (window === null) return graphError('ErrorInvalidParameter')
  if (endsNever(calendar.docs.values(), window, deps.knobs.microsoft)) return tooLong()
  const [timeMin, timeMax] = window
  const items = listAll(calendar, { singleEvents: true, showDeleted: false, timeMin, timeMax })
  const found = items.flatMap(({ id }) => {
    const target = findEvent(calendar, id)
    return target ? [show(calendar, target, prefer)] : []
  })
  return paged(deps, found, call, prefer)
}

/**
 * GET …/events: singles and series, not expanded.
 * Of all filters it knows the one over extended properties.
 */
export function listEvents(deps: EventDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const filter = call.query.get('$filter')
  const matches = filter === null ? () => true : readFilter(filter)
  const ids = expandedIds(call.query.get('$expand'))
  if (matches === null) return graphError('ErrorInvalidUrlQueryFilter')
  if (ids === 'unsupported') return graphError('ErrorInvalidUrlQuery')
  const docs = [...calendar.docs.values()].filter(
    (doc) => !doc.deleted && doc.masterId === null && matches(doc.fields),
  )
  const events = docs.map((doc) => ({ ...showEvent(doc, calendar, prefer), ...expand(doc.fields, ids) }))
  return paged(deps, events, call, prefer)
}

/** The document that an event's change key and time of change come from. */
export function docOf(target: Target): EventDoc {
  return target.kind === 'occurrence' ? target.master : target.doc
}

/** An event as a client sees it. */
export function show(
  calendar: Calendar,
  target: Target,
  prefer: Preferences,
  ids: readonly string[] | null = null,
): GraphEvent {
  const event =
    target.kind === 'document'
      ? showEvent(target.doc, calendar, prefer)
      : showEvent(target.master, calendar, prefer, target.start)
  return { ...event, ...expand(docOf(target).fields, ids) }
}

/** The answer that holds one event. */
export function shown(event: GraphEvent, prefer: Preferences, status = 200): Answer {
  return { status, headers: { 'preference-applied': prefer.applied.join(', ') }, body: event }
}

/** The answer where expanding an endless series took too long. */
export function tooLong(): Answer {
  return graphError('UnknownError', { status: 504 })
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
  const page = events.slice(skip, skip + top)
  const next = new URLSearchParams(call.query)
  next.set('$skip', String(skip + top))
  const more = skip + top < events.length
  const problem = misnamed(events[0], call.query)
  if (problem) return problem
  return {
    status: 200,
    headers: { 'preference-applied': prefer.applied.join(', ') },
    body: {
      '@odata.context': `${deps.origin()}/v1.0/$metadata#Collection(event)`,
      ...(more ? { '@odata.nextLink': `${deps.origin()}${call.path}?${next.toString()}` } : {}),
      value: page.map((event) => project(event, call.query)),
    },
    note: { items: page.length },
  }
}

function windowOf(query: URLSearchParams): readonly [number, number] | null {
  const [from, to] = [readTime(query, 'startDateTime'), readTime(query, 'endDateTime')]
  return from === null || to === null || to <= from ? null : [from, to]
}
