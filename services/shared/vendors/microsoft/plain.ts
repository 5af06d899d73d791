// A page of calendarView: the window as it is, every occurrence whole. It is read when the delta of
// a calendar leads nowhere, costs a listing of the whole window each time, and leaves no cursor.
// What it does not name, the sweep of the full read removes.
// Source: https://learn.microsoft.com/graph/api/calendar-list-calendarview
import { Failure } from '#shared/domain/failure.ts'
import { shrunkSize } from '#shared/domain/page-limits.ts'
import { PLAIN_END } from '#shared/domain/reading.ts'
import { boundedItems, readAs } from '../answer.ts'
import { mapAll } from '../storable.ts'
import type { CursorExpired, Page } from '../vendor.ts'
import { odataSelect } from '../wire-fields.ts'
import type { Graph } from './call.ts'
import { calendarPath, PREFER_EVENTS, windowQuery, type Asking } from './delta.ts'
import { isTokenExpired } from './errors.ts'
import { mapEvent } from './map.ts'
import { wireEvent, wirePage } from './wire.ts'

const VENDOR = 'Microsoft'
/** calendarView takes 1 000; bodies are not asked for, so 500 have about 0.5 MB. */
const EVENTS_PER_PAGE = 500
const FIELDS = odataSelect(wireEvent)

/** One page of a plain listing; its page token is the link. Throws Failure. */
export async function readPlainly({ graph, request }: Asking): Promise<Page | CursorExpired> {
  const { pageToken, shrunk = 0 } = request
  const path = pageToken === null ? `${calendarPath(request)}/calendarView` : graph.followable(pageToken)
  if (path === null) return { kind: 'cursor-expired' }
  const query = {
    ...windowQuery(request),
    $select: FIELDS,
    $top: String(shrunkSize(EVENTS_PER_PAGE, shrunk)),
  }
  const call = { subject: 'calendar', path, prefer: PREFER_EVENTS } as const
  const outcome = await graph.call(pageToken === null ? { ...call, query } : call)
  if (outcome.kind === 'refused') {
    const { answer, failure } = outcome
    if (pageToken !== null && isTokenExpired(answer)) return { kind: 'cursor-expired' }
    throw failure
  }
  const data = readAs(wirePage, outcome.data, { vendor: VENDOR, what: 'listing of a calendar' })
  const mapped = mapAll(boundedItems(data.value), mapEvent)
  return { kind: 'page', ...mapped, next: nextOf(graph, data['@odata.nextLink'] ?? null, pageToken) }
}

function nextOf(graph: Graph, link: string | null, current: string | null): Page['next'] {
  if (link === null) return { kind: 'end', cursor: PLAIN_END }
  if (link !== current) return { kind: 'more', pageToken: graph.linkHere(link) }
  throw new Failure('vendor/no-progress', 'Microsoft named the page that it just sent as the next one.')
}
