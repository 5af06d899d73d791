// The rules by which a changed list of calendars is noticed.
import { describe, expect, test } from 'vitest'
import { calendarId } from '#shared/domain/ids.ts'
import type { HeldCalendar } from '#shared/store/calendar-list.ts'
import { compareCalendars } from '../../../services/scheduler/compare-calendars.ts'

const listed = (name: string, accessRole = 'owner') => ({
  vendorCalendarId: name,
  name,
  timeZone: 'Europe/Vienna',
  accessRole,
})

const held = (name: string, changes: Partial<HeldCalendar> = {}): HeldCalendar => ({
  ...listed(name),
  calendarId: calendarId(`id of ${name}`),
  selected: true,
  isRemoved: false,
  missingForSeconds: null,
  ...changes,
})

const NOTHING = { store: [], reread: [], missing: [], vanished: [], isWork: false, isEmpty: true }

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
})
