// A server in Microsoft's place that answers as told, path by path,
// with an adapter that talks to it.
import { Secret } from '#shared/process/secret.ts'
import { createMicrosoft } from '#shared/vendors/microsoft/adapter.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Page, PageRequest, Vendor } from '#shared/vendors/vendor.ts'
import { answering, json, NOW, signal, type Answer, type Seen } from './answering-google.ts'

export const CALENDAR = 'AAMk/cal+1='
const PATH = `/v1.0/me/calendars/${encodeURIComponent(CALENDAR)}`
export const DELTA = `${PATH}/calendarView/delta`
export const FULL: PageRequest = {
  vendorCalendarId: CALENDAR,
  cursor: null,
  pageToken: null,
  window: { from: NOW - 30 * 86_400_000_000, to: NOW + 365 * 86_400_000_000 },
}

export interface World {
  readonly vendor: Vendor
  readonly seen: Seen[]
  readonly url: string
}

/** `prefix` is a path under which Graph lies. */
export function microsoft(answer: Answer, { now = () => NOW, prefix = '' } = {}): Promise<World> {
  return answering(answer, (url) =>
    createMicrosoft(
      {
        apiUrl: `${url}${prefix}`,
        loginUrl: `${url}/login/`,
        tenant: 'common',
        clientId: 'cid',
        clientSecret: new Secret('s3cr+t&'),
      },
      { now },
    ),
  )
}

/**
 * Answers by path (and, where it matters, query);
 * a list is given out one by one, its last for ever.
 */
export function routes(answers: Readonly<Record<string, Answer | Answer[]>>): Answer {
  return (response, seen) => {
    const { pathname, search } = seen.url
    const found = answers[`${pathname}${search}`] ?? answers[pathname]
    const answer = Array.isArray(found) ? (found.length > 1 ? found.shift() : found[0]) : found
    if (answer) answer(response, seen)
    else problem(404, 'ErrorItemNotFound')(response, seen)
  }
}

export function eventPath(id: string): string {
  return `${PATH}/events/${encodeURIComponent(id)}`
}

export function problem(status: number, code: string, message = 'No.'): Answer {
  return json({ error: { code, message, innerError: { 'request-id': 'r' } } }, status)
}

/** A page of the delta that leads to a link of this server. */
export function page(
  value: readonly unknown[],
  next: { more: string } | { end: string } = { end: 'd1' },
): Answer {
  return (response, seen) => {
    const origin = `http://${String(seen.headers['host'])}`
    const link = (token: string) => `${origin}${DELTA}?${token}`
    const links =
      'more' in next
        ? { '@odata.nextLink': link(`$skiptoken=${next.more}`) }
        : { '@odata.deltaLink': link(`$deltatoken=${next.end}`) }
    json({ value, ...links })(response, seen)
  }
}

export const EVENT = {
  '@odata.etag': 'W/"e1"',
  id: 'e1',
  type: 'singleInstance',
  subject: 'lunch',
  isAllDay: false,
  showAs: 'busy',
  start: { dateTime: '2026-12-01T10:00:00.0000000', timeZone: 'UTC' },
  end: { dateTime: '2026-12-01T11:00:00.0000000', timeZone: 'UTC' },
}

/** The `no`-th occurrence of a series, whole; without its fields it is bare as in a delta. */
export function occurrence(seriesId: string, no: number, fields: object | null = {}) {
  const day = String(no).padStart(2, '0')
  return {
    '@odata.etag': `W/"${seriesId}"`,
    id: `${seriesId}_${no}`,
    type: 'occurrence',
    seriesMasterId: seriesId,
    start: { dateTime: `2026-12-${day}T10:00:00.0000000`, timeZone: 'UTC' },
    end: { dateTime: `2026-12-${day}T11:00:00.0000000`, timeZone: 'UTC' },
    ...(fields === null ? {} : { subject: `of ${seriesId}`, showAs: 'busy', isAllDay: false, ...fields }),
  }
}

/** A series as a delta tells it; made before anything else happened, unless told otherwise. */
export function master(
  seriesId: string,
  changedAt = '2026-11-01T00:00:00Z',
  createdDateTime = '2026-10-01T00:00:00Z',
) {
  return {
    ...EVENT,
    '@odata.etag': `W/"${seriesId}"`,
    id: seriesId,
    type: 'seriesMaster',
    createdDateTime,
    lastModifiedDateTime: changedAt,
  }
}

/** As a delta tells it. */
export function removed(id: string): object {
  return { id, '@removed': { reason: 'deleted' } }
}

/** What is done, in short: titles of events, signs of removals, and series with what they name. */
export function shown(items: readonly PageItem[]): string[] {
  return items.map((item) => {
    if (item.kind === 'event') return `${item.event.vendorEventId} ${item.event.title}`
    return item.kind === 'removed'
      ? `${item.vendorEventId} ${item.reason}`
      : `${item.seriesId}: ${item.vendorEventIds.join(' ')}`
  })
}

/** All pages from here to the end of the run. */
export async function readAll(vendor: Vendor, from: PageRequest = FULL): Promise<Page[]> {
  const pages: Page[] = []
  let { pageToken } = from
  for (;;) {
    const read = await vendor.fetchPage('token', { ...from, pageToken }, signal)
    if (read.kind !== 'page') throw new Error('the cursor expired')
    pages.push(read)
    if (read.next.kind === 'end') return pages
    pageToken = read.next.pageToken
    if (pages.length > 200) throw new Error('the run does not end')
  }
}
