// The plan as given / when / then: what we hold, what the page says, what changes.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentHash, HASH_VERSION } from '#shared/domain/content-hash.ts'
import type { CalendarEvent } from '#shared/domain/event.ts'
import { calendarId, eventIdOf } from '#shared/domain/ids.ts'
import { planPage, rowsToRead, type StoredEvent, type PageItem } from '#shared/domain/plan.ts'
import { windowAt } from '#shared/domain/window.ts'

const CALENDAR = calendarId('0197a000-0000-7000-8000-000000000001')
const DAY = 86_400_000_000
const NOW = 20_000 * DAY
const GENERATION = 3

function event(vendorEventId: string, changes: Partial<CalendarEvent> = {}): CalendarEvent {
  return {
    vendorEventId,
    title: `title of ${vendorEventId}`,
    status: 'confirmed',
    busy: true,
    response: 'none',
    kind: 'default',
    showAs: 'busy',
    visibility: 'default',
    allDay: false,
    start: { at: NOW, date: null },
    end: { at: NOW + 3_600_000_000, date: null },
    timeZone: 'Europe/Berlin',
    seriesId: null,
    originalStart: null,
    location: null,
    organizer: null,
    updatedAt: NOW - DAY,
    etag: '"1"',
    ...changes,
  }
}

const says = (vendorEventId: string, changes: Partial<CalendarEvent> = {}): PageItem => ({
  kind: 'event',
  event: event(vendorEventId, changes),
})
const gone = (vendorEventId: string, reason: 'deleted' | 'cancelled' = 'deleted'): PageItem => ({
  kind: 'removed',
  vendorEventId,
  reason,
})

function holds(
  vendorEventId: string,
  changes: Partial<CalendarEvent> & { generation?: number; leftWindow?: boolean } = {},
): StoredEvent {
  const { generation = GENERATION, leftWindow = false, ...fields } = changes
  return {
    eventId: eventIdOf(CALENDAR, vendorEventId),
    vendorEventId,
    seriesId: fields.seriesId ?? null,
    leftWindow,
    contentHash: contentHash(event(vendorEventId, fields)),
    hashVersion: HASH_VERSION,
    generation,
  }
}

/** The plan in vendor ids. */
function plan(given: readonly StoredEvent[], when: readonly PageItem[], unreadable: readonly string[] = []) {
  const { vendorEventIds, seriesIds } = rowsToRead(when, unreadable)
  const isNamed = (row: StoredEvent) =>
    vendorEventIds.includes(row.vendorEventId) || (row.seriesId !== null && seriesIds.includes(row.seriesId))
  const names = new Map(given.map((row) => [row.eventId, row.vendorEventId]))
  const made = planPage({
    calendarId: CALENDAR,
    items: when,
    unreadable,
    // Only the rows that the caller would read.
    stored: given.filter(isNamed),
    window: windowAt(NOW),
    generation: GENERATION,
  })
  return {
    upserts: made.upserts.map((upsert) => `${upsert.event.vendorEventId}: ${upsert.event.title}`),
    removals: made.removals.map((removal) => `${removal.vendorEventId}: ${removal.reason}`),
    refreshed: made.refreshed.map((id) => names.get(id)),
  }
}

const whole = (seriesId: string, ...vendorEventIds: string[]): PageItem => ({
  kind: 'series',
  seriesId,
  vendorEventIds,
})
const of = (seriesId: string) => ({ seriesId })

const NOTHING = { upserts: [], removals: [], refreshed: [] }

describe('the plan', () => {
  test.each([
    { name: 'an empty page changes nothing', given: [holds('a')], when: [], then: NOTHING },
    { name: 'a new event is written', given: [], when: [says('a')], then: { upserts: ['a: title of a'] } },
    { name: 'an equal event changes nothing', given: [holds('a')], when: [says('a')], then: NOTHING },
    {
      name: 'a changed event is written',
      given: [holds('a')],
      when: [says('a', { title: 'moved' })],
      then: { upserts: ['a: moved'] },
    },
    {
      name: 'a new version with equal content is written too, so that row and vendor agree on the version',
      given: [holds('a')],
      when: [says('a', { etag: '"2"' })],
      then: { upserts: ['a: title of a'] },
    },
    {
      name: 'an equal event of an older generation takes the new one silently',
      given: [holds('a', { generation: 2 })],
      when: [says('a')],
      then: { refreshed: ['a'] },
    },
    {
      name: 'a deleted event is removed',
      given: [holds('a')],
      when: [gone('a')],
      then: { removals: ['a: deleted'] },
    },
    {
      name: 'a cancelled occurrence is removed and says so',
      given: [holds('a')],
      when: [gone('a', 'cancelled')],
      then: { removals: ['a: cancelled'] },
    },
    {
      name: 'the removal of what we never stored changes nothing',
      given: [],
      when: [gone('a')],
      then: NOTHING,
    },
    {
      name: 'repeated ids collapse to the version changed last, wherever it stands',
      given: [],
      when: [says('a', { title: 'new', updatedAt: NOW }), says('a', { title: 'old', updatedAt: NOW - DAY })],
      then: { upserts: ['a: new'] },
    },
    {
      name: 'without times of change the later of two wins',
      given: [],
      when: [says('a', { title: 'first', updatedAt: null }), says('a', { title: 'second', updatedAt: null })],
      then: { upserts: ['a: second'] },
    },
    {
      name: 'an event that is removed later in the page is removed',
      given: [holds('a')],
      when: [says('a', { title: 'moved' }), gone('a')],
      then: { removals: ['a: deleted'] },
    },
    {
      name: 'an event that was removed and is there again is written',
      given: [holds('a')],
      when: [gone('a'), says('a', { title: 'back' })],
      then: { upserts: ['a: back'] },
    },
    {
      name: 'a single that became a series loses its row to its occurrences',
      given: [holds('a')],
      when: [says('a_1', { seriesId: 'a' }), says('a_2', { seriesId: 'a' })],
      then: { upserts: ['a_1: title of a_1', 'a_2: title of a_2'], removals: ['a: deleted'] },
    },
    {
      name: 'an old single in the same page as its occurrences is not written',
      given: [holds('a')],
      when: [says('a_1', { seriesId: 'a', updatedAt: NOW }), says('a', { title: 'stale' })],
      then: { upserts: ['a_1: title of a_1'], removals: ['a: deleted'] },
    },
    {
      name: 'a series that became a single again keeps the single that changed last',
      given: [holds('a')],
      when: [says('a_1', { seriesId: 'a' }), says('a', { title: 'single again', updatedAt: NOW })],
      then: { upserts: ['a_1: title of a_1', 'a: single again'] },
    },
    {
      name: 'occurrences of a series that we never stored as a single remove nothing',
      given: [holds('b')],
      when: [says('a_1', { seriesId: 'a' })],
      then: { upserts: ['a_1: title of a_1'] },
    },
    {
      name: 'an event that moved out of the window is removed and says so',
      given: [holds('a')],
      when: [
        says('a', { start: { at: NOW + 400 * DAY, date: null }, end: { at: NOW + 401 * DAY, date: null } }),
      ],
      then: { removals: ['a: window'] },
    },
    {
      name: 'an event outside of the window that we never stored is ignored',
      given: [],
      when: [
        says('a', { start: { at: NOW - 40 * DAY, date: null }, end: { at: NOW - 39 * DAY, date: null } }),
      ],
      then: NOTHING,
    },
    {
      name: 'a series that is given as a whole loses the occurrences that it does not name',
      given: [holds('a_1', of('a')), holds('a_2', of('a')), holds('b_1', of('b')), holds('c')],
      when: [whole('a', 'a_2')],
      then: { removals: ['a_1: deleted'] },
    },
    {
      name: 'occurrences that left the window say so when their series no longer names them',
      given: [holds('a_1', { ...of('a'), leftWindow: true }), holds('a_2', of('a'))],
      when: [whole('a')],
      then: { removals: ['a_1: window', 'a_2: deleted'] },
    },
    {
      name: 'a series that is given as a whole keeps occurrences that are items of the page',
      given: [holds('a_1', of('a'))],
      when: [says('a_1', of('a')), whole('a')],
      then: NOTHING,
    },
    {
      name: 'a cancelled occurrence says so, whether its series names it or not',
      given: [holds('a_1', of('a'))],
      when: [whole('a'), gone('a_1', 'cancelled')],
      then: { removals: ['a_1: cancelled'] },
    },
    {
      name: 'a single whose id is a series now is removed, even if no occurrence lies in the window',
      given: [holds('a')],
      when: [whole('a')],
      then: { removals: ['a: deleted'] },
    },
    {
      name: 'a series that became a single loses its occurrences and keeps the single',
      given: [holds('a_1', of('a')), holds('a_2', of('a'))],
      when: [says('a'), whole('a')],
      then: { upserts: ['a: title of a'], removals: ['a_1: deleted', 'a_2: deleted'] },
    },
    {
      name: 'a single that its former series names stays, though no item of it comes',
      given: [holds('a'), holds('a_1', of('a'))],
      when: [whole('a', 'a')],
      then: { removals: ['a_1: deleted'] },
    },
  ])('$name', ({ given, when, then }) => {
    expect(plan(given, when)).toEqual({ ...NOTHING, ...then })
  })

  test('an item that cannot be read keeps the row that we hold, and its mark follows the read', () => {
    expect(plan([holds('a', { generation: 2 })], [says('b')], ['a'])).toEqual({
      upserts: ['b: title of b'],
      removals: [],
      refreshed: ['a'],
    })
  })

  test('an occurrence that cannot be read stays, named by its series or not', () => {
    expect(plan([holds('a_1', of('a'))], [whole('a')], ['a_1'])).toEqual(NOTHING)
  })

  test('a row with a hash of another version is written anew', () => {
    const row = { ...holds('a'), hashVersion: HASH_VERSION + 1 }
    expect(plan([row], [says('a')]).upserts).toEqual(['a: title of a'])
  })

  test('never writes and removes the same row, and planning the result again changes nothing', () => {
    const id = fc.constantFrom('a', 'b', 'a_1', 'b_1')
    const item: fc.Arbitrary<PageItem> = fc.oneof(
      fc
        .record({ id, title: fc.constantFrom('x', 'y'), updatedAt: fc.constantFrom(null, NOW, NOW + 1) })
        .map(({ id: name, ...fields }) =>
          says(name, { ...fields, seriesId: name.includes('_') ? name.slice(0, 1) : null }),
        ),
      id.map((name) => gone(name)),
      fc.constantFrom(whole('a'), whole('a', 'a_1'), whole('b')),
    )
    fc.assert(
      fc.property(fc.array(item, { maxLength: 8 }), fc.uniqueArray(id), (items, heldIds) => {
        const input = {
          calendarId: CALENDAR,
          items,
          unreadable: [],
          window: windowAt(NOW),
          generation: GENERATION,
        }
        const before = heldIds.map((name) => holds(name, name.includes('_') ? of(name.slice(0, 1)) : {}))
        const made = planPage({ ...input, stored: before })
        const written = new Set(made.upserts.map((upsert) => upsert.eventId))
        expect(made.removals.filter((removal) => written.has(removal.eventId))).toEqual([])
        const removed = new Set(made.removals.map((removal) => removal.eventId))
        const after = [
          ...before.filter((row) => !written.has(row.eventId) && !removed.has(row.eventId)),
          ...made.upserts.map(({ eventId, event: { vendorEventId, seriesId }, hash }) => ({
            eventId,
            vendorEventId,
            seriesId,
            leftWindow: false,
            contentHash: hash,
            hashVersion: HASH_VERSION,
            generation: GENERATION,
          })),
        ]
        expect(planPage({ ...input, stored: after })).toEqual({ upserts: [], removals: [], refreshed: [] })
      }),
    )
  })
})

describe('the window', () => {
  const days = (from: number, to: number) => ({
    start: { at: NOW + from * DAY, date: null },
    end: { at: NOW + to * DAY, date: null },
  })
  const dates = (start: string, end: string): Partial<CalendarEvent> => ({
    allDay: true,
    start: { at: null, date: start },
    end: { at: null, date: end },
  })
  const date = (day: number) => new Date((NOW + day * DAY) / 1000).toISOString().slice(0, 10)

  test.each([
    ['ends as the window begins', days(-31, -30), 0],
    ['ends just inside', days(-31, -29.999), 1],
    ['begins as the window ends', days(365, 366), 0],
    ['begins just inside', days(364.999, 366), 1],
    ['spans all of it', days(-100, 500), 1],
    ['is a day that may still be the first one somewhere', dates(date(-31), date(-30)), 1],
    ['is a day that has passed everywhere', dates(date(-32), date(-31)), 0],
    ['is a day that may already be the last one somewhere', dates(date(365), date(366)), 1],
    ['is a day that comes later everywhere', dates(date(366), date(367)), 0],
  ])('an event that %s', (_name, changes, written) => {
    expect(plan([], [says('a', changes)]).upserts).toHaveLength(written)
  })
})
