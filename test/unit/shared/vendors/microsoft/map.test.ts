// Graph's events as ours: dates stay dates, times become instants,
// and nothing that Graph may send breaks its neighbours.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentHash } from '#shared/domain/content-hash.ts'
import { mapCalendar, mapEvent, mapRow, ownerIn } from '#shared/vendors/microsoft/map.ts'
import { EVENT } from '../../../../support/answering-microsoft.ts'

const at = (iso: string) => ({ at: Date.parse(iso) * 1000, date: null })
const on = (date: string) => ({ at: null, date })

function mapped(fields: object) {
  const found = mapEvent({ ...EVENT, ...fields })
  if (found.kind !== 'item' || found.item.kind !== 'event') return expect.unreachable(JSON.stringify(found))
  return found.item.event
}

describe('an event of Graph', () => {
  test('keeps all that we hold of it', () => {
    expect(
      mapped({
        originalStartTimeZone: 'W. Europe Standard Time',
        location: { displayName: 'here' },
        organizer: { emailAddress: { name: 'Ana', address: 'ana@example.com' } },
        lastModifiedDateTime: '2026-11-20T09:30:00.1234567Z',
      }),
    ).toEqual({
      vendorEventId: 'e1',
      title: 'lunch',
      status: 'confirmed',
      busy: true,
      response: 'none',
      kind: 'default',
      showAs: 'busy',
      visibility: 'default',
      allDay: false,
      start: at('2026-12-01T10:00:00Z'),
      end: at('2026-12-01T11:00:00Z'),
      timeZone: 'Europe/Berlin',
      seriesId: null,
      originalStart: null,
      location: 'here',
      organizer: 'ana@example.com',
      updatedAt: Date.UTC(2026, 10, 20, 9, 30) * 1000 + 123_456,
      etag: 'W/"e1"',
    })
  })

  test.each([
    ['busy', true, 'confirmed'],
    ['oof', true, 'confirmed'],
    ['tentative', true, 'tentative'],
    ['free', false, 'confirmed'],
    ['workingElsewhere', false, 'confirmed'],
    ['unknown', true, 'confirmed'],
    [null, true, 'confirmed'],
    ['something new', true, 'confirmed'],
  ])('shown as %s is busy: %s, %s', (showAs, busy, status) => {
    expect(mapped({ showAs })).toMatchObject({ busy, status })
  })

  test.each([
    ['organizer', 'organizer', true],
    ['accepted', 'accepted', true],
    ['tentativelyAccepted', 'tentative', true],
    ['declined', 'declined', false],
    ['notResponded', 'needs_action', true],
    ['none', 'none', true],
    ['valueOf', 'none', true],
    [null, 'none', true],
  ])('answered with %j is %s, busy %s', (response, kept, busy) => {
    expect(mapped({ showAs: 'busy', responseStatus: { response } })).toMatchObject({ response: kept, busy })
  })

  test.each([
    ['normal', 'default'],
    ['personal', 'private'],
    ['private', 'private'],
    ['confidential', 'confidential'],
    [undefined, 'default'],
    ['toString', 'default'],
  ])('of sensitivity %j is %s', (sensitivity, visibility) => {
    expect(mapped({ sensitivity })).toMatchObject({ visibility, kind: 'default' })
  })

  test.each([
    ['in UTC', { dateTime: '2026-07-01T10:00:00.0000000', timeZone: 'UTC' }, '2026-07-01T10:00:00Z'],
    [
      'in a zone of Windows',
      { dateTime: '2026-07-01T10:00:00.0000000', timeZone: 'Pacific Standard Time' },
      '2026-07-01T17:00:00Z',
    ],
    [
      'in a zone of IANA',
      { dateTime: '2026-07-01T10:00:00', timeZone: 'Europe/Berlin' },
      '2026-07-01T08:00:00Z',
    ],
    ['without a zone', { dateTime: '2026-07-01T10:00:00' }, '2026-07-01T10:00:00Z'],
  ])('that starts %s is an instant', (_what, start, instant) => {
    expect(mapped({ start, end: start })).toMatchObject({ start: at(instant), end: at(instant) })
  })

  test.each([
    ['midnight in UTC', 'W. Europe Standard Time', '2026-12-01T00:00:00.0000000', 'UTC'],
    ['midnight in its own zone', null, '2026-12-01T00:00:00.0000000', 'Pacific Standard Time'],
    ['midnight moved to UTC', 'W. Europe Standard Time', '2026-11-30T23:00:00.0000000', 'UTC'],
    ['midnight moved from the west', 'Pacific Standard Time', '2026-12-01T08:00:00.0000000', 'UTC'],
    [
      'an hour west of UTC, of no named zone',
      'tzone://Microsoft/Custom',
      '2026-12-01T05:00:00.0000000',
      'UTC',
    ],
    [
      'an hour east of UTC, of no named zone',
      'tzone://Microsoft/Custom',
      '2026-11-30T22:00:00.0000000',
      'UTC',
    ],
    ['an hour east of UTC, said to be UTC', 'UTC', '2026-11-30T22:00:00.0000000', 'UTC'],
  ])('of whole days that starts at %s is a date', (_what, originalStartTimeZone, dateTime, timeZone) => {
    const event = mapped({
      isAllDay: true,
      start: { dateTime, timeZone },
      end: { dateTime: '2026-12-03T00:00:00.0000000', timeZone: 'UTC' },
      originalStartTimeZone,
    })
    expect(event).toMatchObject({ allDay: true, start: on('2026-12-01'), end: on('2026-12-03') })
  })

  test.each([
    ['named', 'Pacific Standard Time', null, '2026-12-01T00:00:00', 'America/Los_Angeles'],
    [
      'named, whatever its original start',
      'Tokyo Standard Time',
      '2026-12-01T08:00:00Z',
      '2026-12-01T00:00:00',
      'Asia/Tokyo',
    ],
    ['UTC, begun in the west', 'UTC', '2026-12-01T08:00:00Z', '2026-12-01T00:00:00', '-08:00'],
    ['UTC, begun in the east', 'UTC', '2026-11-30T23:00:00Z', '2026-12-01T00:00:00', '+01:00'],
    [
      'custom, begun at half an hour',
      'Customized Time Zone',
      '2026-11-30T18:30:00Z',
      '2026-12-01T00:00:00',
      '+05:30',
    ],
    ['UTC, begun in Kiribati', 'UTC', '2026-11-30T10:00:00Z', '2026-12-01T00:00:00', '+14:00'],
    ['UTC, moved by five days', 'UTC', '2026-11-26T08:00:00Z', '2026-12-01T00:00:00', '-08:00'],
    ['UTC, moved back by five days', 'UTC', '2026-12-05T23:00:00Z', '2026-12-01T00:00:00', '+01:00'],
    ['UTC, begun there', 'UTC', '2026-12-01T00:00:00Z', '2026-12-01T00:00:00', 'UTC'],
    ['UTC alone', 'UTC', null, '2026-12-01T00:00:00', 'UTC'],
    ['custom alone', 'tzone://Microsoft/Custom', null, '2026-12-01T00:00:00', null],
    ['custom, told at its own hour', 'tzone://Microsoft/Custom', null, '2026-11-30T22:00:00', '+02:00'],
    [
      'custom, with an original that is no time',
      'tzone://Microsoft/Custom',
      'soon',
      '2026-12-01T00:00:00',
      null,
    ],
  ])(
    'of whole days lies in a zone that is %s',
    (_what, originalStartTimeZone, originalStart, ...[dateTime, zone]) => {
      const event = mapped({
        isAllDay: true,
        start: { dateTime, timeZone: 'UTC' },
        end: {
          dateTime: dateTime!.replace('11-30', '12-01').replace('12-01T00', '12-02T00'),
          timeZone: 'UTC',
        },
        originalStartTimeZone,
        originalStart,
      })
      expect(event).toMatchObject({ allDay: true, start: on('2026-12-01'), timeZone: zone })
    },
  )

  test('whose end is missing or before its start ends with it, of whole days the day after', () => {
    expect(mapped({ end: null }).end).toEqual(at('2026-12-01T10:00:00Z'))
    expect(mapped({ end: { dateTime: '2026-11-01T00:00:00', timeZone: 'UTC' } }).end).toEqual(
      at('2026-12-01T10:00:00Z'),
    )
    const day = { dateTime: '2026-12-31T00:00:00', timeZone: 'UTC' }
    expect(mapped({ isAllDay: true, start: day, end: day }).end).toEqual(on('2027-01-01'))
  })

  test('names its series and the start that it had', () => {
    const timed = { type: 'exception', seriesMasterId: 's', originalStart: '2026-12-01T09:00:00Z' }
    expect(mapped(timed)).toMatchObject({ seriesId: 's', originalStart: at('2026-12-01T09:00:00Z') })
    const days = {
      ...timed,
      isAllDay: true,
      originalStart: '2026-12-01T00:00:00Z',
      start: { dateTime: '2026-12-02T00:00:00', timeZone: 'UTC' },
      end: { dateTime: '2026-12-03T00:00:00', timeZone: 'UTC' },
    }
    expect(mapped(days)).toMatchObject({ seriesId: 's', originalStart: on('2026-12-01') })
  })

  test('that its organizer cancelled is removed', () => {
    expect(mapEvent({ ...EVENT, isCancelled: true })).toEqual({
      kind: 'item',
      item: { kind: 'removed', vendorEventId: 'e1', reason: 'cancelled' },
    })
  })

  test.each([
    [
      'null for its texts',
      { subject: null, location: null, organizer: null, lastModifiedDateTime: null, '@odata.etag': null },
    ],
    [
      'other types for its texts',
      { subject: 7, location: 'x', organizer: [], lastModifiedDateTime: {}, showAs: 1 },
    ],
  ])('with %s is an event without them', (_what, fields) => {
    expect(mapped(fields)).toMatchObject({ title: null, location: null, organizer: null, updatedAt: null })
  })

  test.each([
    ['no id', { id: undefined }, null],
    ['an empty id', { id: '' }, null],
    ['an id with a NUL', { id: 'a\0' }, null],
    ['no start', { start: null }, 'e1'],
    [
      'a start in a zone that nobody knows',
      { start: { dateTime: '2026-12-01T10:00:00', timeZone: 'Mars' } },
      'e1',
    ],
    [
      'a day that is none',
      { isAllDay: true, start: { dateTime: '2026-02-30T00:00:00', timeZone: 'UTC' } },
      'e1',
    ],
  ])('with %s is unreadable', (_what, fields, vendorEventId) => {
    expect(mapEvent({ ...EVENT, ...fields })).toMatchObject({ kind: 'unreadable', vendorEventId })
  })

  test('never throws, whatever JSON it is made of, and what comes out can be stored', () => {
    const anything = fc.oneof(
      fc.jsonValue(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('2026-12-01T10:00:00', 'UTC', 'Mars'),
    )
    const time = fc.oneof(anything, fc.record({ dateTime: anything, timeZone: anything }))
    const item = fc.record(
      {
        id: fc.oneof(fc.constant('x'), anything),
        '@odata.etag': anything,
        '@removed': anything,
        type: fc.oneof(fc.constantFrom('occurrence', 'seriesMaster', 'singleInstance'), anything),
        subject: anything,
        isAllDay: fc.oneof(fc.boolean(), anything),
        isCancelled: anything,
        showAs: anything,
        start: time,
        end: time,
        originalStartTimeZone: anything,
        seriesMasterId: anything,
        originalStart: anything,
        location: anything,
        organizer: anything,
        lastModifiedDateTime: anything,
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(item, anything), (raw) => {
        mapRow(raw)
        const found = mapEvent(raw)
        if (found.kind !== 'item' || found.item.kind !== 'event') return
        const { event } = found.item
        contentHash(event)
        expect(JSON.stringify(event)).not.toContain(String.raw`\u0000`)
        expect(event.allDay).toBe(event.start.date !== null)
        for (const { at: micros } of [event.start, event.end]) {
          expect(micros === null || Number.isSafeInteger(micros)).toBe(true)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('a row of a delta', () => {
  test.each([
    [
      'a removed event',
      { id: 'x', '@removed': { reason: 'deleted' } },
      { kind: 'removed', vendorEventId: 'x' },
    ],
    [
      'a bare occurrence',
      { id: 'x', type: 'occurrence', seriesMasterId: 's', '@odata.etag': 'v' },
      { kind: 'series', seriesId: 's', etag: 'v', changedAt: null },
    ],
    ['an exception', { ...EVENT, type: 'exception', seriesMasterId: 's' }, { kind: 'series', seriesId: 's' }],
    [
      'a series',
      { ...EVENT, type: 'seriesMaster', id: 's' },
      { kind: 'series', seriesId: 's', etag: 'W/"e1"' },
    ],
    [
      'a series that names itself',
      { ...EVENT, type: 'seriesMaster', id: 's', seriesMasterId: 'other' },
      { kind: 'series', seriesId: 's' },
    ],
    ['a single event', { ...EVENT, seriesMasterId: null }, { kind: 'item', item: { kind: 'event' } }],
    ['an event of an unknown type', { ...EVENT, type: 'new' }, { kind: 'item', item: { kind: 'event' } }],
    [
      'an exception that names no series',
      { ...EVENT, type: 'exception', seriesMasterId: null },
      { kind: 'item' },
    ],
  ])('%s', (_what, raw, row) => {
    expect(mapRow(raw)).toMatchObject(row)
  })
})

describe('a calendar', () => {
  test.each([
    [{ id: 'c', name: 'Mine', isDefaultCalendar: true, canEdit: true, canShare: true }, 'owner', true],
    [{ id: 'c', name: 'Shared', canEdit: true, canShare: false }, 'writer', false],
    [{ id: 'c', name: 'Holidays' }, 'reader', false],
  ])('%j is one of a(n) %s', (raw, accessRole, primary) => {
    expect(mapCalendar(raw)).toMatchObject({
      vendorCalendarId: 'c',
      name: raw.name,
      accessRole,
      primary,
      timeZone: null,
    })
  })

  const OWN = 'Ana@Example.com'
  const by = (address: string | null) => ({ owner: { name: 'x', address } })
  test.each([
    ['the default one', { isDefaultCalendar: true, ...by('other@example.com') }, true, 'owner'],
    ['one of the mailbox', { canEdit: true, ...by('ana@example.COM') }, true, 'owner'],
    ['the birthdays of the mailbox', { canEdit: false, ...by('ana@example.com') }, false, 'reader'],
    [
      "a colleague's that may be edited",
      { canEdit: true, canShare: true, ...by('bob@x.org') },
      false,
      'writer',
    ],
    ["a colleague's", { canEdit: false, ...by('bob@x.org') }, false, 'reader'],
    ['one that names nobody and may be shared', { canEdit: true, canShare: true }, true, 'owner'],
    ['one that names nobody and may not', { canEdit: true, canShare: false, ...by(null) }, false, 'writer'],
  ])('%s is owned or offered', (_what, fields, isOwned, accessRole) => {
    const mailbox = { owner: OWN, timeZone: 'Europe/Berlin' }
    expect(mapCalendar({ id: 'c', ...fields }, mailbox)).toMatchObject({ isOwned, accessRole })
  })

  test('has the zone of the mailbox that it lies in, and of no other', () => {
    const mailbox = { owner: OWN, timeZone: 'Asia/Tokyo' }
    expect(mapCalendar({ id: 'c', ...by(OWN) }, mailbox)?.timeZone).toBe('Asia/Tokyo')
    expect(mapCalendar({ id: 'c', ...by('bob@x.org') }, mailbox)?.timeZone).toBeNull()
    expect(
      ownerIn([null, { id: 'a', ...by('b@x.org') }, { id: 'c', isDefaultCalendar: true, ...by(OWN) }]),
    ).toBe(OWN)
    expect(ownerIn([{ id: 'c', ...by(OWN) }])).toBeNull()
  })

  test.each([[null], [{}], [{ id: 'a\0' }], ['c']])('%j is none', (raw) => {
    expect(mapCalendar(raw)).toBeNull()
  })
})
