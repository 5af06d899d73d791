// What private events are about does not leave the vendor's room when it is to be withheld.
import { describe, expect, test } from 'vitest'
import type { CalendarEvent } from '#shared/domain/event.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import { withPrivateTitles } from '#shared/vendors/private-titles.ts'
import type { Page, SeriesAnswer, Vendor } from '#shared/vendors/vendor.ts'

const event = (visibility: CalendarEvent['visibility']): PageItem => ({
  kind: 'event',
  event: {
    vendorEventId: visibility,
    title: `secret of ${visibility}`,
    status: 'confirmed',
    busy: true,
    response: 'none',
    kind: 'default',
    showAs: 'busy',
    visibility,
    allDay: false,
    start: { at: 1, date: null },
    end: { at: 2, date: null },
    timeZone: null,
    seriesId: null,
    originalStart: null,
    location: `place of ${visibility}`,
    organizer: 'ana@example.com',
    updatedAt: null,
    etag: '"1"',
  },
})
const ITEMS: readonly PageItem[] = [
  event('default'),
  event('private'),
  event('public'),
  event('confidential'),
  { kind: 'removed', vendorEventId: 'x', reason: 'deleted' },
]
const PAGE: Page = { kind: 'page', items: ITEMS, unreadable: [], next: { kind: 'end', cursor: 'c' } }
const WHOLE: SeriesAnswer = { kind: 'whole', items: ITEMS, unreadable: [] }

function vendorThat(page: Awaited<ReturnType<Vendor['fetchPage']>>, series: SeriesAnswer): Vendor {
  const none = () => expect.unreachable()
  return {
    name: 'google',
    consentUrl: none,
    exchangeCode: none,
    account: none,
    revoke: none,
    listCalendars: none,
    fetchPage: async () => page,
    fetchSeries: async () => series,
    lookUp: none,
    refresh: none,
    openChannel: none,
    renewChannel: none,
    stopChannel: none,
  }
}

async function told(titles: 'kept' | 'withheld', page: Page = PAGE, series = WHOLE) {
  const vendor = withPrivateTitles(new Map([['google', vendorThat(page, series)]]), titles).get('google')!
  const request = { vendorCalendarId: 'c', window: { from: 0, to: 1 } }
  const { signal } = new AbortController()
  const read = await vendor.fetchPage('t', { ...request, cursor: null, pageToken: null }, signal)
  return [
    read,
    await vendor.fetchSeries?.('t', { ...request, seriesId: 's', witness: null, isEnded: false }, signal),
  ]
}

describe('titles and places of private and confidential events', () => {
  test('are withheld in pages and series; all else is as it was', async () => {
    for (const answer of await told('withheld')) {
      const text = JSON.stringify(answer)
      for (const visibility of ['private', 'confidential'])
        for (const what of ['secret', 'place']) expect(text).not.toContain(`${what} of ${visibility}`)
      const items = (answer as Page).items
      const [plain, hidden, , , removed] = items
      expect([plain, removed]).toEqual([ITEMS[0], ITEMS[4]])
      const { title: _title, location: _location, ...rest } = (ITEMS[1] as { event: CalendarEvent }).event
      expect(hidden).toEqual({ kind: 'event', event: { ...rest, title: null, location: null } })
    }
  })

  test('are kept unless it is asked for', async () => {
    expect(await told('kept')).toEqual([PAGE, WHOLE])
  })

  test('answers without events pass', async () => {
    const vendor = vendorThat({ kind: 'cursor-expired' }, { kind: 'unsure' })
    const withheld = withPrivateTitles(new Map([['google', vendor]]), 'withheld').get('google')!
    const { signal } = new AbortController()
    const request = { vendorCalendarId: 'c', window: { from: 0, to: 1 }, cursor: null, pageToken: null }
    expect(await withheld.fetchPage('t', request, signal)).toEqual({ kind: 'cursor-expired' })
    const series = { ...request, seriesId: 's', witness: null, isEnded: false }
    expect(await withheld.fetchSeries?.('t', series, signal)).toEqual({ kind: 'unsure' })
  })
})
