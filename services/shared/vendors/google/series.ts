// Series of Google. A change of a series after which fewer, other or no occurrences exist is shown
// only in part: of a weekly series that was deleted, half a year of tombstones came and no more
// (github.com/googleapis/google-api-ruby-client issue 860, 2020). So a page names the series that
// it touches, and each of them is read whole from events.instances.
// Source: https://developers.google.com/workspace/calendar/api/v3/reference/events/instances (read
// 2026-11-29)
import { PAGE_ITEMS_MAX } from '#shared/domain/page-limits.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import { boundedItems, pathSegment, readAs, type Outcome, type Refused } from '../answer.ts'
import { mapAll } from '../storable.ts'
import type { Page, SeriesAnswer, SeriesRequest, SeriesTouch } from '../vendor.ts'
import { googleMask } from '../wire-fields.ts'
import { calendarParam, toRfc3339, VENDOR, type Call } from './call.ts'
import { readProblem } from './errors.ts'
import { mapEvent } from './map.ts'
import { wireEvent, wireEventPage } from './wire.ts'

/** The most that events.instances gives. */
const INSTANCES_PER_PAGE = 2500
/** An hourly series has 9 480 occurrences in the window. */
const INSTANCE_PAGES_MAX = 8
const DAY_MICROS = 86_400_000_000
const FIELDS = `nextPageToken,items(${googleMask(wireEvent)})`
/** `<series>_<start of the occurrence>`: a date, or a time in UTC. */
const OCCURRENCE_ID = /^(.+)_\d{8}(?:T\d{6}Z?)?$/
/** "This and all following" splits a series: the later part is `<series>_R<start>`. */
const SPLIT_ID = /^(.+)_R\d{8}(?:T\d{6}Z?)?$/

const wireTouch = wireEvent.pick({ id: true, status: true, recurringEventId: true, recurrence: true })

/**
 * The series that an incremental page touches, each once: by an occurrence, by a tombstone of one
 * or of the series itself, by a single event under the id of what was a series, and by a part that
 * was split off. `masters`: items that are a series as such, which is no event. Pure.
 */
export function touchedSeries(items: readonly unknown[]): {
  readonly touched: readonly SeriesTouch[]
  readonly masters: ReadonlySet<string>
} {
  const touched = new Map<string, boolean>()
  const ended = new Set<string>()
  const masters = new Set<string>()
  const touch = (seriesId: string, isLive: boolean) => {
    touched.set(seriesId, isLive || (touched.get(seriesId) ?? false))
    const root = SPLIT_ID.exec(seriesId)?.[1]
    if (root !== undefined && !touched.has(root)) touched.set(root, false)
  }
  for (const raw of items) {
    const { data } = wireTouch.safeParse(raw)
    if (data === undefined) continue
    const { id, status, recurringEventId, recurrence } = data
    const isLive = status !== 'cancelled'
    if (recurringEventId) touch(recurringEventId, isLive)
    else {
      const isMaster = isLive && (recurrence?.length ?? 0) > 0
      if (isMaster) masters.add(id)
      touch(id, isMaster)
      if (!isLive) ended.add(id)
      const series = isLive ? undefined : OCCURRENCE_ID.exec(id)?.[1]
      if (series !== undefined) touch(series, false)
    }
  }
  const all = [...touched].map(([seriesId, isLive]) => ({ seriesId, isLive, isEnded: ended.has(seriesId) }))
  return { touched: all, masters }
}

/** The port's `fetchSeries`. */
export async function fetchSeries(call: Call, request: SeriesRequest): Promise<SeriesAnswer> {
  const items: PageItem[] = []
  const unreadable: Page['unreadable'][number][] = []
  let pageToken: string | undefined
  for (let page = 0; page < INSTANCE_PAGES_MAX; page += 1) {
    const outcome = await instances(call, request, pageToken)
    if (outcome.kind === 'refused') return withoutSeries(call, request, outcome)
    const answer = readAs(wireEventPage, outcome.data, { vendor: VENDOR, what: 'list of occurrences' })
    const mapped = mapAll(boundedItems(answer.items ?? []), mapEvent)
    items.push(...mapped.items.filter(({ kind }) => kind === 'event'))
    unreadable.push(...mapped.unreadable)
    if (items.length > PAGE_ITEMS_MAX) return { kind: 'unsure' }
    if (!answer.nextPageToken) return { kind: 'whole', items, unreadable }
    pageToken = answer.nextPageToken
  }
  return { kind: 'unsure' }
}

function instances(call: Call, request: SeriesRequest, pageToken: string | undefined): Promise<Outcome> {
  pathSegment(request.seriesId, VENDOR)
  const params = {
    calendarId: calendarParam(request.vendorCalendarId),
    eventId: request.seriesId,
    timeMin: toRfc3339(request.window.from),
    timeMax: toRfc3339(request.window.to),
    maxResults: INSTANCES_PER_PAGE,
    maxAttendees: 1,
    fields: FIELDS,
    ...(pageToken === undefined ? {} : { pageToken }),
  }
  return call('series', (api, options) => api.events.instances(params, options))
}

/**
 * Google does not know the series, or not as one. Where a tombstone of its own says so too, it is
 * gone. Else it ends nothing while a list shows the witness: a person who is invited to single
 * occurrences of another's series has those and no series. Throws Failure for any other refusal.
 */
async function withoutSeries(
  call: Call,
  { vendorCalendarId, witness, isEnded }: SeriesRequest,
  { answer, failure }: Refused,
): Promise<SeriesAnswer> {
  const gone: SeriesAnswer = { kind: 'whole', items: [], unreadable: [] }
  if (![400, 404, 410].includes(answer.status) || readProblem(answer.data) === null) throw failure
  if (isEnded) return gone
  if (witness === null) return { kind: 'unsure' }
  const params = {
    calendarId: calendarParam(vendorCalendarId),
    singleEvents: true,
    timeMin: toRfc3339(witness.at - DAY_MICROS),
    timeMax: toRfc3339(witness.at + 2 * DAY_MICROS),
    maxResults: INSTANCES_PER_PAGE,
    fields: 'nextPageToken,items(id,status)',
  }
  const listed = await call('series', (api, options) => api.events.list(params, options))
  if (listed.kind === 'refused') throw listed.failure
  const page = readAs(wireEventPage, listed.data, { vendor: VENDOR, what: 'page of events' })
  const isThere = boundedItems(page.items ?? []).some((raw) => {
    const { data } = wireTouch.safeParse(raw)
    return data?.id === witness.vendorEventId && data.status !== 'cancelled'
  })
  return isThere || page.nextPageToken ? { kind: 'unsure' } : gone
}
