// Google's items become ours, or are set aside; nothing Google may send throws.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CalendarEvent } from '#shared/domain/event.ts'
import { clean, parseInstant } from '#shared/vendors/storable.ts'
import { mapCalendar, mapEvent } from '#shared/vendors/google/map.ts'

const TIMED = {
  kind: 'calendar#event',
  etag: '"3181161784712000"',
  id: 'abc123',
  status: 'confirmed',
  updated: '2026-11-20T09:30:15.123Z',
  summary: 'Check-up',
  location: 'Room 4',
  organizer: { email: 'ana@example.com', displayName: 'Ana' },
  start: { dateTime: '2026-12-01T11:00:00+01:00', timeZone: 'Europe/Berlin' },
  end: { dateTime: '2026-12-01T11:30:00+01:00', timeZone: 'Europe/Berlin' },
}

function eventOf(raw: unknown): CalendarEvent {
  const mapped = mapEvent(raw)
  if (mapped.kind !== 'item' || mapped.item.kind !== 'event')
    return expect.unreachable(JSON.stringify(mapped))
  return mapped.item.event
}

describe('an event of Google', () => {
  test('becomes ours field by field, its times exact instants', () => {
    expect(eventOf(TIMED)).toEqual({
      vendorEventId: 'abc123',
      title: 'Check-up',
      status: 'confirmed',
      busy: true,
      response: 'none',
      kind: 'default',
      showAs: 'busy',
      visibility: 'default',
      allDay: false,
      start: { at: Date.UTC(2026, 11, 1, 10) * 1000, date: null },
      end: { at: Date.UTC(2026, 11, 1, 10, 30) * 1000, date: null },
      timeZone: 'Europe/Berlin',
      seriesId: null,
      originalStart: null,
      location: 'Room 4',
      organizer: 'ana@example.com',
      updatedAt: Date.UTC(2026, 10, 20, 9, 30, 15, 123) * 1000,
      etag: '"3181161784712000"',
    })
  })

  test('that lasts whole days stays dates', () => {
    const event = eventOf({ ...TIMED, start: { date: '2026-12-24' }, end: { date: '2026-12-27' } })
    expect(event).toMatchObject({
      allDay: true,
      start: { at: null, date: '2026-12-24' },
      end: { at: null, date: '2026-12-27' },
    })
  })

  test('of a series names it and the start it had', () => {
    const event = eventOf({
      ...TIMED,
      id: 'abc123_20261201T100000Z',
      recurringEventId: 'abc123',
      originalStartTime: { dateTime: '2026-12-01T10:00:00Z' },
    })
    expect(event).toMatchObject({
      seriesId: 'abc123',
      originalStart: { at: Date.UTC(2026, 11, 1, 10) * 1000, date: null },
    })
  })

  test.each([
    ['accepted', {}, 'accepted', 'busy', true],
    ['declined', {}, 'declined', 'busy', false],
    ['tentative', {}, 'tentative', 'tentative', true],
    ['needsAction', {}, 'needs_action', 'tentative', true],
    ['accepted', { organizer: true }, 'organizer', 'busy', true],
    ['needsAction', { organizer: true }, 'organizer', 'busy', true],
    ['declined', { organizer: true }, 'declined', 'busy', false],
    ['somethingNew', {}, 'none', 'busy', true],
    ['constructor', {}, 'none', 'busy', true],
    [5, {}, 'none', 'busy', true],
  ])(
    'answered with %j by %j is %s, shown as %s, busy %s',
    (responseStatus, more, ...[response, showAs, busy]) => {
      const others = [{ email: 'x@example.com', responseStatus: 'declined' }, null, 7]
      const attendees = [...others, { email: 'ana@example.com', self: true, responseStatus, ...more }]
      expect(eventOf({ ...TIMED, attendees })).toMatchObject({ response, showAs, busy })
      // The answers of others say nothing of this person.
      expect(eventOf({ ...TIMED, attendees: others })).toMatchObject({ response: 'none', busy: true })
    },
  )

  test('that is transparent is free, whatever else it says', () => {
    for (const responseStatus of ['accepted', 'tentative', 'needsAction', 'declined']) {
      const attendees = [{ self: true, responseStatus }]
      const raw = { ...TIMED, attendees, transparency: 'transparent', eventType: 'outOfOffice' }
      expect(eventOf(raw)).toMatchObject({ showAs: 'free', busy: false, kind: 'out_of_office' })
    }
  })

  test('of the person alone is the own of its organizer', () => {
    expect(eventOf({ ...TIMED, organizer: { email: 'a@example.com', self: true } }).response).toBe(
      'organizer',
    )
    expect(eventOf(TIMED).response).toBe('none')
  })

  test.each([
    ['outOfOffice', 'out_of_office', 'out_of_office', true],
    ['focusTime', 'focus_time', 'busy', true],
    ['workingLocation', 'working_location', 'busy', false],
    ['birthday', 'birthday', 'busy', true],
    ['fromGmail', 'from_gmail', 'busy', true],
    ['task', 'task', 'busy', true],
    ['default', 'default', 'busy', true],
    ['__proto__', 'unknown', 'busy', true],
    [null, 'default', 'busy', true],
  ])('of type %j is of kind %s, shown as %s, busy %s', (eventType, kind, showAs, busy) => {
    expect(eventOf({ ...TIMED, eventType })).toMatchObject({ kind, showAs, busy })
  })

  test.each([
    ['private', 'private'],
    ['confidential', 'confidential'],
    ['public', 'public'],
    ['default', 'default'],
    [undefined, 'default'],
    ['secret', 'default'],
  ])('with visibility %j is %s', (visibility, kept) => {
    expect(eventOf({ ...TIMED, visibility }).visibility).toBe(kept)
  })

  test('that is transparent leaves the person free; one without transparency does not', () => {
    expect(eventOf({ ...TIMED, transparency: 'transparent' }).busy).toBe(false)
    expect(eventOf({ ...TIMED, transparency: 'opaque' }).busy).toBe(true)
    expect(eventOf(TIMED).busy).toBe(true)
  })

  test('without details, as a free/busy reader sees it, is an event without a title', () => {
    const { id, start, end, etag } = TIMED
    expect(eventOf({ id, start, end, etag, visibility: 'private' })).toMatchObject({
      title: null,
      status: 'confirmed',
      organizer: null,
      updatedAt: null,
    })
  })

  test('takes the name of an organizer who has no address', () => {
    expect(eventOf({ ...TIMED, organizer: { displayName: 'Ana' } }).organizer).toBe('Ana')
  })

  test('keeps a time zone that nobody knows as the text that it is', () => {
    const start = { ...TIMED.start, timeZone: 'Mars/Olympus_Mons' }
    expect(eventOf({ ...TIMED, start }).timeZone).toBe('Mars/Olympus_Mons')
  })

  test('reads optional fields of a wrong type as absent', () => {
    const event = eventOf({
      ...TIMED,
      summary: 42,
      location: {},
      organizer: 'x',
      updated: 'yesterday',
      etag: [],
    })
    expect(event).toMatchObject({ title: null, location: null, organizer: null, updatedAt: null, etag: null })
  })

  test.each([
    ['a deleted event', { id: 'abc123', status: 'cancelled' }, 'deleted'],
    [
      'a cancelled occurrence',
      { id: 'abc123_20261201T100000Z', status: 'cancelled', recurringEventId: 'abc123' },
      'cancelled',
    ],
  ])('%s is a removal', (_what, raw, reason) => {
    expect(mapEvent(raw)).toEqual({
      kind: 'item',
      item: { kind: 'removed', vendorEventId: raw.id, reason },
    })
  })

  test.each([
    ['ends before it starts', { dateTime: '2026-12-01T10:00:00+01:00' }],
    ['ends when it starts', TIMED.start],
    ['has no end', undefined],
    ['has an empty end', {}],
  ])('that %s is a moment at its start', (_what, end) => {
    const event = eventOf({ ...TIMED, end })
    expect(event.end).toEqual(event.start)
  })

  test.each([
    ['ends before it starts', { date: '2026-02-01' }],
    ['ends on its first day', { date: '2026-02-28' }],
    ['has no end', undefined],
  ])('of a whole day that %s lasts that day', (_what, end) => {
    const event = eventOf({ ...TIMED, start: { date: '2026-02-28' }, end })
    expect(event.end).toEqual({ at: null, date: '2026-03-01' })
  })

  test('until the year 9999 ends at the edge of what can be counted exactly', () => {
    const event = eventOf({ ...TIMED, end: { dateTime: '9999-12-31T23:59:59Z' } })
    expect(event.end.at).toBe(9_007_199_254_000_000)
    expect(Number.isSafeInteger(event.end.at)).toBe(true)
    expect(eventOf({ ...TIMED, start: { date: '2026-01-01' }, end: { date: '9999-12-31' } }).end.date).toBe(
      '9999-12-31',
    )
  })

  test.each([
    ['no id', { ...TIMED, id: undefined }],
    ['an id that is a number', { ...TIMED, id: 7 }],
    ['an id with a NUL', { ...TIMED, id: 'a\0b' }],
    ['an id of 3 000 characters', { ...TIMED, id: 'a'.repeat(3000) }],
    ['a series id that cannot be stored', { ...TIMED, recurringEventId: '\uD800' }],
    ['no start', { ...TIMED, start: undefined }],
    ['a start without a time', { ...TIMED, start: { timeZone: 'UTC' } }],
    ['31 February', { ...TIMED, start: { date: '2026-02-31' }, end: { date: '2026-03-01' } }],
    ['the year 0', { ...TIMED, start: { date: '0000-01-01' }, end: { date: '0000-01-02' } }],
    ['a time without an offset', { ...TIMED, start: { dateTime: '2026-12-01T11:00:00' } }],
    ['25 o’clock', { ...TIMED, start: { dateTime: '2026-12-01T25:00:00Z' } }],
    ['a date and a time mixed', { ...TIMED, end: { date: '2026-12-02' } }],
    ['a time and a date mixed', { ...TIMED, start: { date: '2026-12-01' } }],
    ['an end that is not a time', { ...TIMED, end: { dateTime: 'later' } }],
    ['null', null],
    ['a string', 'event'],
    ['a list', []],
  ])('with %s is set aside', (_what, raw) => {
    expect(mapEvent(raw).kind).toBe('unreadable')
  })

  test('keeps its id in the story of what could not be read', () => {
    expect(mapEvent({ ...TIMED, start: null })).toEqual({
      kind: 'unreadable',
      vendorEventId: 'abc123',
      problem: 'the start is missing or not a time',
    })
  })

  test('never throws, whatever JSON it is made of, and what comes out can be stored', () => {
    const junk = fc.jsonValue({ maxDepth: 2 })
    const maybe = <T>(good: fc.Arbitrary<T>) =>
      fc.oneof({ weight: 3, arbitrary: good }, { weight: 1, arbitrary: junk })
    const unicode = fc.string({ unit: 'binary', maxLength: 1500 })
    const time = fc.record(
      {
        date: maybe(fc.constant('2026-12-01')),
        dateTime: maybe(fc.constant('2026-12-01T11:00:00Z')),
        timeZone: maybe(unicode),
      },
      { requiredKeys: [] },
    )
    const item = fc.record(
      {
        id: maybe(unicode),
        status: maybe(fc.constantFrom('confirmed', 'tentative', 'cancelled')),
        summary: maybe(unicode),
        location: maybe(unicode),
        organizer: maybe(fc.record({ email: maybe(unicode) })),
        etag: maybe(unicode),
        updated: maybe(unicode),
        start: maybe(time),
        end: maybe(time),
        recurringEventId: maybe(unicode),
        originalStartTime: maybe(time),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(item, junk), (raw) => {
        const mapped = mapEvent(raw)
        if (mapped.kind !== 'item') return
        const all = JSON.stringify(mapped)
        expect(all.includes('\\u0000')).toBe(false)
        expect(all).not.toMatch(/\\ud[89a-f]/i)
        if (mapped.item.kind !== 'event') return
        const { event } = mapped.item
        expect(event.title?.length ?? 0).toBeLessThanOrEqual(1024)
        expect(event.allDay ? event.end.date! > event.start.date! : event.end.at! >= event.start.at!).toBe(
          true,
        )
      }),
      { numRuns: 500 },
    )
  })
})

describe('parseInstant', () => {
  test('is exact to the microsecond with any offset, and back', () => {
    const offset = fc.record({ minutes: fc.integer({ min: -14 * 60, max: 14 * 60 }) })
    fc.assert(
      fc.property(
        fc.integer({ min: -8_900_000_000, max: 8_900_000_000 }),
        fc.integer({ min: 0, max: 999_999 }),
        offset,
        (seconds, micros, { minutes }) => {
          const local = new Date((seconds + minutes * 60) * 1000).toISOString().slice(0, 19)
          const size = Math.abs(minutes)
          const two = (value: number) => String(value).padStart(2, '0')
          const zone = `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
          const source = `${local}.${String(micros).padStart(6, '0')}${zone}`
          expect(parseInstant(source)).toBe(seconds * 1_000_000 + micros)
        },
      ),
    )
  })

  test.each([
    ['2026-12-01T10:00:00Z', Date.UTC(2026, 11, 1, 10) * 1000],
    ['2026-12-01t10:00:00z', Date.UTC(2026, 11, 1, 10) * 1000],
    ['2026-12-01T10:00:00.1Z', Date.UTC(2026, 11, 1, 10) * 1000 + 100_000],
    ['2026-12-01T10:00:00.123456789Z', Date.UTC(2026, 11, 1, 10) * 1000 + 123_456],
    ['2016-12-31T23:59:60Z', Date.UTC(2017, 0, 1) * 1000],
    ['1969-12-31T23:59:59.5Z', -500_000],
    ['0001-01-01T00:00:00Z', -9_007_199_254_000_000],
    ['9999-12-31T23:59:59Z', 9_007_199_254_000_000],
  ])('reads %s', (source, expected) => {
    expect(parseInstant(source)).toBe(expected)
  })

  test.each([
    '2026-12-01',
    '2026-12-01T10:00Z',
    '2026-02-29T10:00:00Z',
    '2026-12-01T10:00:00+24:00',
    '',
    'now',
  ])('does not read %j', (source) => {
    expect(parseInstant(source)).toBeNull()
  })
})

describe('clean', () => {
  test('drops NUL, replaces lone surrogates and cuts without splitting a character', () => {
    expect(clean('a\0b', 10)).toBe('ab')
    expect(clean('a\uD800b', 10)).toBe('a\uFFFDb')
    expect(clean('ab😀', 3)).toBe('ab')
    expect(clean('ab😀', 4)).toBe('ab😀')
    expect(clean(undefined, 4)).toBeNull()
  })
})

describe('a calendar of Google', () => {
  test('becomes ours, with the name that its owner gave it in the list', () => {
    const raw = {
      id: 'ana@example.com',
      summary: 'ana@example.com',
      summaryOverride: 'Practice',
      timeZone: 'Europe/Berlin',
      accessRole: 'writerWithoutPrivateAccess',
      primary: true,
    }
    expect(mapCalendar(raw)).toEqual({
      vendorCalendarId: 'ana@example.com',
      name: 'Practice',
      timeZone: 'Europe/Berlin',
      accessRole: 'writerWithoutPrivateAccess',
      primary: true,
      isOwned: true,
    })
    expect(mapCalendar({ id: 'c1' })).toMatchObject({ vendorCalendarId: 'c1', name: null, primary: false })
  })

  test.each([
    ['owner', undefined, true],
    ['writer', true, true],
    ['writer', undefined, false],
    ['writerWithoutPrivateAccess', undefined, false],
    ['reader', undefined, false],
    ['freeBusyReader', false, false],
    [undefined, undefined, false],
  ])('with the role %s, primary %s, is owned: %s', (accessRole, primary, isOwned) => {
    expect(mapCalendar({ id: 'c', accessRole, primary })).toMatchObject({ isOwned })
  })

  test.each([
    ['deleted', { id: 'c1', deleted: true }],
    ['closed to the account', { id: 'c1', accessRole: 'none' }],
    ['not an entry', 'c1'],
  ])('that is %s is left out', (_what, raw) => {
    expect(mapCalendar(raw)).toBeNull()
  })
})
