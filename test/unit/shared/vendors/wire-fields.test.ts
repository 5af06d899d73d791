// What is asked of a vendor: all that its mapper reads, and nothing that is large. Derived by
// watching the mappers at work.
import { describe, expect, test } from 'vitest'
import * as googleMap from '#shared/vendors/google/map.ts'
import * as googleWire from '#shared/vendors/google/wire.ts'
import * as microsoftMap from '#shared/vendors/microsoft/map.ts'
import * as microsoftWire from '#shared/vendors/microsoft/wire.ts'
import { fieldsOf, googleMask, odataSelect, type WireField } from '#shared/vendors/wire-fields.ts'
import { FULL, google, json, NOW, signal } from '../../../support/answering-google.ts'
import { microsoft, FULL as GRAPH } from '../../../support/answering-microsoft.ts'

/** Of those who were asked, Google sends the person alone, and of the person the answer. */
const OWN_ANSWER = 'attendees(self,organizer,responseStatus)'
const LARGE =
  /description|attendees|attachments|extendedProperties|conferenceData|body|bodyPreview|singleValue/i

const GOOGLE_EVENT = {
  id: 'e1',
  status: 'tentative',
  etag: '"1"',
  updated: '2026-11-20T09:30:15.123Z',
  summary: 'Check-up',
  description: 'x'.repeat(1000),
  location: 'Room 4',
  transparency: 'transparent',
  attendees: [{ email: 'x@example.com', self: true, organizer: false, responseStatus: 'declined' }],
  eventType: 'focusTime',
  visibility: 'private',
  extendedProperties: { private: { a: 'b' } },
  organizer: { email: null, displayName: 'Ana', self: true },
  start: { dateTime: '2026-12-01T11:00:00+01:00', timeZone: 'Europe/Berlin' },
  end: { dateTime: '2026-12-01T11:30:00+01:00', timeZone: 'Europe/Berlin' },
  recurringEventId: 's1',
  originalStartTime: { dateTime: '2026-12-01T10:00:00Z' },
}
const GOOGLE_DAY = {
  ...GOOGLE_EVENT,
  start: { date: '2026-12-01' },
  end: { date: '2026-12-02' },
  originalStartTime: { date: '2026-12-01' },
}
const GRAPH_EVENT = {
  '@odata.etag': 'W/"1"',
  id: 'e1',
  type: 'exception',
  subject: 'Check-up',
  body: { content: 'x'.repeat(1000) },
  isAllDay: false,
  isCancelled: false,
  showAs: 'tentative',
  responseStatus: { response: 'accepted', time: '2026-11-01T00:00:00Z' },
  sensitivity: 'private',
  start: { dateTime: '2026-12-01T10:00:00.0000000', timeZone: 'UTC' },
  end: { dateTime: '2026-12-01T11:00:00.0000000', timeZone: 'UTC' },
  originalStartTimeZone: 'Europe/Berlin',
  originalEndTimeZone: 'Europe/Berlin',
  seriesMasterId: 's1',
  originalStart: '2026-12-01T10:00:00Z',
  location: { displayName: 'Room 4' },
  organizer: { emailAddress: { name: 'Ana', address: 'ana@example.com' } },
  attendees: [{ emailAddress: { address: 'x@example.com' } }],
  createdDateTime: '2026-11-01T00:00:00Z',
  lastModifiedDateTime: '2026-11-20T09:30:15Z',
}
const GRAPH_DAY = {
  ...GRAPH_EVENT,
  isAllDay: true,
  start: { dateTime: '2026-11-30T23:00:00.0000000', timeZone: 'UTC' },
  end: { dateTime: '2026-12-01T23:00:00.0000000', timeZone: 'UTC' },
}

/** The value, and the paths of whatever is read of it. */
function watched(value: unknown, paths: Set<string>, at = ''): unknown {
  if (typeof value !== 'object' || value === null) return value
  return new Proxy(value, {
    get(target, name) {
      const read: unknown = Reflect.get(target, name)
      // The entries of a list go by the list's name.
      if (Array.isArray(target)) return /^\d+$/.test(String(name)) ? watched(read, paths, at) : read
      if (typeof name !== 'string' || !Object.hasOwn(target, name)) return read
      paths.add(`${at}${name}`)
      return watched(read, paths, `${at}${name}.`)
    },
  })
}

/** What a vendor leaves of an object. */
function kept(value: unknown, fields: readonly WireField[]): unknown {
  if (Array.isArray(value)) return value.map((one: unknown) => kept(one, fields))
  if (fields.length === 0 || typeof value !== 'object' || value === null) return value
  const names = new Map(fields.map(({ name, inner }) => [name, inner]))
  const entries = Object.entries(value).filter(([name]) => names.has(name) || name.startsWith('@'))
  return Object.fromEntries(entries.map(([name, one]) => [name, kept(one, names.get(name) ?? [])]))
}

const MAPPERS = [
  ['a timed event of Google', googleWire.wireEvent, googleMap.mapEvent, GOOGLE_EVENT],
  ['an all-day event of Google', googleWire.wireEvent, googleMap.mapEvent, GOOGLE_DAY],
  [
    'a calendar of Google',
    googleWire.wireCalendar,
    googleMap.mapCalendar,
    {
      id: 'c',
      summary: 'a',
      summaryOverride: 'b',
      timeZone: 'UTC',
      accessRole: 'owner',
      primary: true,
      notes: 'x',
    },
  ],
  ['an event of Graph', microsoftWire.wireEvent, microsoftMap.mapEvent, GRAPH_EVENT],
  ['an all-day event of Graph', microsoftWire.wireEvent, microsoftMap.mapEvent, GRAPH_DAY],
  [
    'a series of Graph',
    microsoftWire.wireEvent,
    microsoftMap.mapRow,
    { ...GRAPH_EVENT, type: 'seriesMaster', seriesMasterId: null },
  ],
  [
    'a calendar of Graph',
    microsoftWire.wireCalendar,
    (raw: unknown) => microsoftMap.mapCalendar(raw, { owner: 'ana@example.com', timeZone: null }),
    {
      id: 'c',
      name: 'a',
      isDefaultCalendar: false,
      canEdit: true,
      canShare: true,
      owner: { name: 'Bob', address: 'bob@example.com' },
      hexColor: '',
    },
  ],
] as const

describe.each(MAPPERS)('%s', (_what, schema, map, raw) => {
  const fields = fieldsOf(schema)

  test('is read by nothing but what is asked for', () => {
    const read = new Set<string>()
    map(watched(raw, read))
    const asked = new Set(
      fields.flatMap(({ name, inner }) => [name, ...inner.map((one) => `${name}.${one.name}`)]),
    )
    expect(read.size).toBeGreaterThan(4)
    const unasked = [...read].filter((path) => !path.startsWith('@') && !asked.has(path))
    // Graph selects whole properties: what lies inside of one comes along.
    expect(unasked.filter((path) => !asked.has(path.split('.')[0] ?? ''))).toEqual([])
    if (map === googleMap.mapEvent) expect(unasked).toEqual([])
  })

  test('becomes the same with only what is asked for', () => {
    const whole = map(raw)
    expect(map(kept(raw, fields))).toEqual(whole)
    // Control: the picker does take things away.
    expect(map(kept(raw, [{ name: 'id', inner: [] }]))).not.toEqual(whole)
  })

  test('is asked for without anything large', () => {
    expect(googleMask(schema).replace(OWN_ANSWER, '')).not.toMatch(LARGE)
    // Google's form alone names what lies inside.
    if (map !== googleMap.mapEvent) expect(odataSelect(schema)).not.toMatch(LARGE)
  })
})

describe('every call that brings resources', () => {
  test('names its fields at Google', async () => {
    const channel = { id: 'ch', resourceId: 'r', expiration: String(NOW / 1000) }
    const { vendor, seen } = await google(json({ items: [], nextSyncToken: 's', ...channel, id: 'ch' }))
    await vendor.fetchPage('t', FULL, signal)
    await vendor.listCalendars('t', signal)
    await vendor.account('t', signal)
    const request = {
      channelId: 'ch',
      vendorCalendarId: 'c',
      callbackUrl: 'https://x',
      token: 't',
      lifeMs: 1,
    }
    await vendor.openChannel('t', request, signal)
    expect(seen).toHaveLength(4)
    for (const { url } of seen) expect(url.searchParams.get('fields')).toMatch(/^(?:next|id)/)
  })

  test('names its fields at Graph, but for the delta, which takes no $select', async () => {
    const value = [{ ...GRAPH_EVENT, type: 'seriesMaster', seriesMasterId: null }]
    const { vendor, seen } = await microsoft((response, { url, headers }) => {
      const link = `http://${String(headers['host'])}/v1.0/me/calendarView/delta?$deltatoken=x`
      json({ id: 'u', value: url.pathname.endsWith('delta') ? value : [], '@odata.deltaLink': link })(
        response,
        seen[0]!,
      )
    })
    const page = await vendor.fetchPage('t', GRAPH, signal)
    if (page.kind !== 'page' || page.next.kind !== 'more') return expect.unreachable('a series was named')
    await vendor.fetchPage('t', { ...GRAPH, pageToken: page.next.pageToken }, signal)
    await vendor.listCalendars('t', signal)
    await vendor.account('t', signal)
    expect(seen.length).toBeGreaterThanOrEqual(4)
    const [delta, ...others] = seen
    expect(delta?.url.searchParams.has('$select')).toBe(false)
    for (const { url } of others) expect(url.searchParams.get('$select')).toMatch(/^(?:id,|timeZone$)/)
  })
})
