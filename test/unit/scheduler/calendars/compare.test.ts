// The rules by which a changed list of calendars is noticed.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { calendarId } from '#shared/domain/ids.ts'
import type { StoredCalendar } from '#shared/store/calendar-list.ts'
import {
  compareCalendars,
  MISSING_SECONDS,
  UNREAD_WAIT_SECONDS,
  type Comparison,
} from '../../../../services/scheduler/calendars/compare.ts'

const listed = (name: string, accessRole = 'owner') => ({
  vendorCalendarId: name,
  name,
  timeZone: 'Europe/Vienna',
  accessRole,
  primary: false,
  isOwned: accessRole === 'owner',
})

const held = (name: string, changes: Partial<StoredCalendar> = {}): StoredCalendar => ({
  ...listed(name),
  calendarId: calendarId(`id of ${name}`),
  selected: true,
  isRefused: false,
  isRead: true,
  knownForSeconds: 90_000,
  isRemoved: false,
  missingForSeconds: null,
  ...changes,
})

const NOTHING = {
  adopted: [],
  store: [],
  reread: [],
  missing: [],
  vanished: [],
  isWork: false,
  isUndecided: false,
  isEmpty: true,
}

describe('a list of calendars', () => {
  test('that is as it was changes nothing', () => {
    expect(compareCalendars([held('a'), held('b')], [listed('b'), listed('a')])).toEqual(NOTHING)
  })

  test('with a new calendar stores it and asks for a unit', () => {
    expect(compareCalendars([held('a')], [listed('a'), listed('b')])).toEqual({
      ...NOTHING,
      store: [listed('b')],
      isWork: true,
      isEmpty: false,
    })
  })

  test.each(['reader', 'writer', 'freeBusyReader'])(
    'with a new calendar of somebody else (%s) stores it and asks for nothing',
    (role) => {
      expect(compareCalendars([held('a')], [listed('a'), listed('b', role)])).toEqual({
        ...NOTHING,
        store: [listed('b', role)],
        isEmpty: false,
      })
    },
  )

  test('that tells no zone where one is held leaves it', () => {
    expect(compareCalendars([held('a')], [{ ...listed('a'), timeZone: null }])).toEqual(NOTHING)
    // Control: another zone is stored.
    expect(compareCalendars([held('a')], [{ ...listed('a'), timeZone: 'Asia/Tokyo' }]).store).toHaveLength(1)
  })

  test('with another name stores it and asks for nothing', () => {
    const renamed = { ...listed('a'), name: 'other' }
    expect(compareCalendars([held('a')], [renamed])).toEqual({ ...NOTHING, store: [renamed], isEmpty: false })
  })

  test('with another role reads the calendar anew, unless nobody reads it', () => {
    const reader = listed('a', 'reader')
    const change = { ...NOTHING, store: [reader], isEmpty: false }
    expect(compareCalendars([held('a')], [reader])).toEqual({
      ...change,
      reread: ['id of a'],
      isWork: true,
    })
    expect(compareCalendars([held('a', { selected: false })], [reader])).toEqual(change)
  })

  test('without a calendar removes it only when it is missing a second time, ten minutes later', () => {
    const looks = [null, 0, 599, 600, 86_400].map((missingForSeconds) =>
      compareCalendars([held('a'), held('b', { missingForSeconds })], [listed('a')]),
    )
    expect(looks.map(({ missing, vanished, isWork }) => [missing.length, vanished.length, isWork])).toEqual([
      [1, 0, false],
      [0, 0, false],
      [0, 0, false],
      [0, 1, true],
      [0, 1, true],
    ])
  })

  test('with a calendar that was missing for a moment keeps it and reads nothing anew', () => {
    const back = compareCalendars([held('a', { missingForSeconds: 700 })], [listed('a')])
    expect(back).toEqual({ ...NOTHING, store: [listed('a')], isEmpty: false })
  })

  test('with a calendar that we removed brings it back, also when its events are not gone yet', () => {
    for (const selected of [true, false]) {
      const back = compareCalendars([held('a', { isRemoved: true, selected })], [listed('a')])
      expect(back).toMatchObject({ store: [listed('a')], isWork: true })
    }
  })

  test('without a calendar that is removed, or that a person took out, has nothing to say about it', () => {
    const out = [held('a', { isRemoved: true }), held('b', { isRemoved: true, selected: false })]
    expect(compareCalendars([...out, held('c', { selected: false })], [])).toEqual(NOTHING)
    expect(compareCalendars([held('c', { selected: false })], [listed('c')])).toEqual(NOTHING)
  })

  test('that confirms a removal and names something new reads what is new first', () => {
    const gone = held('b', { missingForSeconds: 900 })
    const first = compareCalendars([held('a'), gone], [listed('a'), listed('c')])
    expect(first).toMatchObject({ store: [listed('c')], vanished: [], isUndecided: true, isWork: true })
    const unread = compareCalendars(
      [held('a'), gone, held('c', { isRead: false, knownForSeconds: 900 })],
      [listed('a'), listed('c')],
    )
    expect(unread).toMatchObject({ vanished: [], isUndecided: true })
    const read = compareCalendars([held('a'), gone, held('c')], [listed('a'), listed('c')])
    expect(read).toMatchObject({ vanished: ['id of b'], isUndecided: false })
    // One that was listed before has nothing to do with it, read or not.
    const elder = compareCalendars(
      [held('a'), gone, held('c', { isRead: false })],
      [listed('a'), listed('c')],
    )
    expect(elder).toMatchObject({ vanished: ['id of b'] })
    // One that can never be read keeps nothing for ever.
    const old = held('b', { missingForSeconds: UNREAD_WAIT_SECONDS })
    const late = compareCalendars(
      [held('a'), old, held('c', { isRead: false, knownForSeconds: 900 })],
      [listed('a'), listed('c')],
    )
    expect(late).toMatchObject({ vanished: ['id of b'] })
  })
})

test('a calendar of which only busy times may be seen counts as missing once its events are refused', () => {
  const busyOnly = listed('b', 'freeBusyReader')
  const rows = (changes: Partial<StoredCalendar>) => [held('a'), held('b', { ...busyOnly, ...changes })]
  const look = (changes: Partial<StoredCalendar>) => compareCalendars(rows(changes), [listed('a'), busyOnly])
  expect(look({})).toEqual(NOTHING)
  expect(look({ isRefused: true })).toMatchObject({ missing: ['id of b'] })
  expect(look({ isRefused: true, missingForSeconds: 900 })).toMatchObject({ vanished: ['id of b'] })
  // What was removed for that does not come back with every list.
  expect(look({ isRemoved: true, selected: false })).toEqual(NOTHING)
})

describe("the account's own calendar", () => {
  const own = (name: string) => ({ ...listed(name), primary: true })

  test('under a new id is the same row, read anew', () => {
    const change = compareCalendars([held('old', { primary: true }), held('b')], [own('new'), listed('b')])
    expect(change).toMatchObject({
      adopted: [{ calendarId: 'id of old', vendorCalendarId: 'new' }],
      reread: ['id of old'],
      missing: [],
      isWork: true,
      isEmpty: false,
    })
    // The listing names it otherwise too, so all that is listed of it is stored.
    expect(change.store).toEqual([own('new')])
  })

  test.each([
    ['the old one is listed too', [held('old', { primary: true })], [listed('old'), own('new')]],
    ['the new one is held already', [held('old', { primary: true }), held('new')], [own('new')]],
    ['two claim to be it', [held('old', { primary: true })], [own('new'), own('other')]],
    ['two were it', [held('old', { primary: true }), held('b', { primary: true })], [own('new')]],
    ['nobody knows which it was', [held('old')], [own('new')]],
  ])('is nobody else when %s', (_when, rows, listing) => {
    expect(compareCalendars(rows, listing).adopted).toEqual([])
  })

  test('is in every whole list: one without it removes nothing', () => {
    const rows = [
      held('own', { primary: true, missingForSeconds: 9000 }),
      held('b', { missingForSeconds: 9000 }),
    ]
    expect(compareCalendars(rows, [listed('c')])).toMatchObject({ missing: [], vanished: [] })
    expect(compareCalendars(rows, [own('own')])).toMatchObject({ vanished: ['id of b'] })
  })
})

describe('for any two listings', () => {
  const NAMES = ['a', 'b', 'c', 'd', 'e'] as const
  const listing = fc
    .record({ names: fc.uniqueArray(fc.constantFrom(...NAMES)), own: fc.constantFrom(null, ...NAMES) })
    .map(({ names, own }) => names.map((name) => ({ ...listed(name), primary: name === own })))
  const rows = fc
    .uniqueArray(fc.constantFrom(...NAMES), { minLength: 1 })
    .chain((names) =>
      fc.tuple(
        ...names.map((name) =>
          fc
            .record({ primary: fc.boolean(), isRead: fc.boolean(), selected: fc.boolean() })
            .map((changes) => held(name, changes)),
        ),
      ),
    )

  /** What the rows become by a comparison, `seconds` later. */
  function after(before: readonly StoredCalendar[], change: Comparison, seconds: number): StoredCalendar[] {
    const ids = new Map(change.adopted.map((one) => [one.calendarId, one.vendorCalendarId]))
    const named = before.map((row) => ({
      ...row,
      vendorCalendarId: ids.get(row.calendarId) ?? row.vendorCalendarId,
    }))
    const stored = new Map(change.store.map((one) => [one.vendorCalendarId, one]))
    const kept = named.map((row) => ({
      ...row,
      ...stored.get(row.vendorCalendarId),
      isRemoved: change.vanished.includes(row.calendarId),
      missingForSeconds: stored.has(row.vendorCalendarId)
        ? null
        : change.missing.includes(row.calendarId)
          ? seconds
          : row.missingForSeconds === null
            ? null
            : row.missingForSeconds + seconds,
    }))
    const known = new Set(kept.map((row) => row.vendorCalendarId))
    const added = change.store.filter((one) => !known.has(one.vendorCalendarId))
    return [...kept, ...added.map((one) => held(one.vendorCalendarId, { primary: one.primary }))]
  }

  test('nothing is removed unless both lack it, minutes apart', () => {
    let removed = 0
    fc.assert(
      fc.property(rows, listing, listing, fc.integer({ min: 0, max: 2000 }), (before, one, two, seconds) => {
        const first = compareCalendars(before, one)
        expect(first.vanished).toEqual([])
        const between = after(before, first, seconds)
        const second = compareCalendars(between, two)
        removed += second.vanished.length
        for (const id of second.vanished) {
          const row = between.find(({ calendarId: own }) => own === id)!
          for (const names of [one, two])
            expect(names.map(({ vendorCalendarId }) => vendorCalendarId)).not.toContain(row.vendorCalendarId)
          expect(seconds).toBeGreaterThanOrEqual(MISSING_SECONDS)
        }
      }),
      { numRuns: 3000 },
    )
    // The control: some are.
    expect(removed).toBeGreaterThan(0)
  })

  test('every row keeps its id, and no two rows come to have one', () => {
    fc.assert(
      fc.property(rows, listing, (before, one) => {
        const next = after(before, compareCalendars(before, one), 0)
        expect(next.slice(0, before.length).map((row) => row.calendarId)).toEqual(
          before.map((row) => row.calendarId),
        )
        expect(new Set(next.map((row) => row.vendorCalendarId)).size).toBe(next.length)
      }),
      { numRuns: 1000 },
    )
  })
})
