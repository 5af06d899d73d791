import { describe, expect, test } from 'vitest'
import { contentHash } from '#shared/domain/content-hash.ts'
import type { CalendarEvent } from '#shared/domain/event.ts'

const EVENT: CalendarEvent = {
  vendorEventId: 'a',
  title: 'standup',
  status: 'confirmed',
  busy: true,
  response: 'none',
  kind: 'default',
  showAs: 'busy',
  visibility: 'default',
  allDay: false,
  start: { at: 1, date: null },
  end: { at: 2, date: null },
  timeZone: null,
  seriesId: null,
  originalStart: null,
  location: null,
  organizer: null,
  updatedAt: null,
  etag: null,
}

const OTHER: { readonly [K in keyof CalendarEvent]: CalendarEvent[K] } = {
  vendorEventId: 'b',
  title: null,
  status: 'tentative',
  busy: false,
  response: 'declined',
  kind: 'focus_time',
  showAs: 'free',
  visibility: 'private',
  allDay: true,
  start: { at: null, date: '2026-11-20' },
  end: { at: 3, date: null },
  timeZone: 'UTC',
  seriesId: 's',
  originalStart: { at: 1, date: null },
  location: 'here',
  organizer: 'a@example.com',
  updatedAt: 5,
  etag: '"2"',
}

describe('the content hash', () => {
  test('is equal for equal events', () => {
    expect(contentHash({ ...EVENT })).toEqual(contentHash(EVENT))
    expect(contentHash(EVENT)).toHaveLength(32)
  })

  test.each(Object.keys(OTHER) as (keyof CalendarEvent)[])('differs when %s differs', (field) => {
    expect(contentHash({ ...EVENT, [field]: OTHER[field] })).not.toEqual(contentHash(EVENT))
  })

  test('tells a text that moved from one field into another', () => {
    expect(contentHash({ ...EVENT, location: 'x' })).not.toEqual(contentHash({ ...EVENT, organizer: 'x' }))
  })
})
