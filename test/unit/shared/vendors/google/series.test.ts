// Which series a page touches, and what becomes of a series that is read whole.
import { describe, expect, test } from 'vitest'
import {
  EVENT,
  failureOf,
  FULL,
  google,
  json,
  NOW,
  problem,
  signal,
  type Answer,
} from '../../../../support/answering-google.ts'

const occurrence = (series: string, day: string, more: object = {}) => ({
  ...EVENT,
  id: `${series}_202612${day}T100000Z`,
  recurringEventId: series,
  ...more,
})

async function touchedBy(items: readonly unknown[], cursor: string | null = 'c1') {
  const { vendor } = await google(json({ items, nextSyncToken: 's' }))
  const page = await vendor.fetchPage('t', { ...FULL, cursor }, signal)
  return page.kind === 'page' ? { touched: page.touched, items: page.items } : expect.unreachable('a page')
}

describe('a page of changes touches', () => {
  test.each([
    ['the series of an occurrence, once', [occurrence('s', '01'), occurrence('s', '02')], [['s', true]]],
    [
      'the series of a tombstone that names it',
      [{ id: 'x', status: 'cancelled', recurringEventId: 's' }],
      [['s', false]],
    ],
    [
      'what a bare tombstone may be an occurrence of, or the series itself',
      [
        { id: 's_20261201T100000Z', status: 'cancelled' },
        { id: 's_20261201', status: 'cancelled' },
      ],
      [
        ['s_20261201T100000Z', false],
        ['s', false],
        ['s_20261201', false],
      ],
    ],
    ['what a single event may have been', [EVENT], [['e1', false]]],
    [
      'the series that a later part was split off',
      [occurrence('s_R20261205T100000', '06')],
      [
        ['s_R20261205T100000', true],
        ['s', false],
      ],
    ],
    [
      'a series that ended and lives on, as one that lives',
      [{ id: 's_20261201T100000Z', status: 'cancelled', recurringEventId: 's' }, occurrence('s', '02')],
      [['s', true]],
    ],
  ])('%s', async (_what, items, touched) => {
    const page = await touchedBy(items)
    expect(page.touched?.map(({ seriesId, isLive }) => [seriesId, isLive])).toEqual(touched)
  })

  test('a series that comes as such, which is no event', async () => {
    const master = { ...EVENT, id: 's', recurrence: ['RRULE:FREQ=DAILY'] }
    expect(await touchedBy([master, EVENT])).toMatchObject({
      touched: [
        { seriesId: 's', isLive: true, isEnded: false },
        { seriesId: 'e1', isLive: false },
      ],
      items: [{ event: { vendorEventId: 'e1' } }],
    })
  })

  test('nothing when it is a page of a full read, which shows all there is', async () => {
    expect((await touchedBy([occurrence('s', '01')], null)).touched).toEqual([])
  })
})

const REQUEST = {
  vendorCalendarId: 'ana@example.com',
  seriesId: 's',
  window: FULL.window,
  isEnded: false,
  witness: null,
}
const witness = { vendorEventId: 'w', at: NOW }

describe('a series', () => {
  test('is read to its end, in the window, with the fields that are read', async () => {
    const { vendor, seen } = await google((response, { url }) =>
      json(
        url.searchParams.has('pageToken')
          ? { items: [occurrence('s', '02'), { id: 'odd', start: {} }] }
          : { items: [occurrence('s', '01')], nextPageToken: 'p2' },
      )(response, seen[0]!),
    )
    const found = await vendor.fetchSeries!('t', REQUEST, signal)
    expect(found).toMatchObject({
      kind: 'whole',
      items: [
        { event: { vendorEventId: 's_20261201T100000Z', seriesId: 's' } },
        { event: { vendorEventId: 's_20261202T100000Z' } },
      ],
      unreadable: [{ vendorEventId: 'odd' }],
    })
    const [first, second] = seen.map(({ url }) => Object.fromEntries(url.searchParams))
    expect(seen[0]!.url.pathname).toBe('/calendar/v3/calendars/ana%40example.com/events/s/instances')
    const asked = {
      timeMin: '2026-10-21T12:00:00.000Z',
      timeMax: '2027-11-20T12:00:00.000Z',
      maxResults: '2500',
      maxAttendees: '1',
      fields: expect.stringMatching(/^nextPageToken,items\(id,/),
    }
    expect([first, second]).toEqual([asked, { ...asked, pageToken: 'p2' }])
  })

  test('that goes round in a circle is left as it is, after a bounded number of calls', async () => {
    const { vendor, seen } = await google(json({ items: [], nextPageToken: 'again' }))
    expect(await vendor.fetchSeries!('t', REQUEST, signal)).toEqual({ kind: 'unsure' })
    expect(seen).toHaveLength(8)
  })

  const witnessed = (witness: Answer) =>
    google((response, entry) =>
      (entry.url.pathname.endsWith('/instances') ? problem(404, 'notFound') : witness)(response, entry),
    )

  test.each([
    ['no list shows', json({ items: [{ id: 'other' }] }), 'whole'],
    ['a list shows as cancelled', json({ items: [{ id: 'w', status: 'cancelled' }] }), 'whole'],
    ['a list shows', json({ items: [{ id: 'w', status: 'confirmed' }] }), 'unsure'],
    ['may be on a later page', json({ items: [], nextPageToken: 'p2' }), 'unsure'],
  ] satisfies [string, Answer, string][])(
    'that Google does not know, and whose last occurrence %s: %s',
    async (_what, answer, kind) => {
      const { vendor, seen } = await witnessed(answer)
      const found = await vendor.fetchSeries!('t', { ...REQUEST, witness }, signal)
      expect(found).toMatchObject(kind === 'whole' ? { kind, items: [] } : { kind })
      expect(seen.map(({ url }) => url.pathname.split('/events/')[1])).toEqual(['s/instances', undefined])
    },
  )

  test('that a tombstone of its own says is deleted, and that Google does not know, is gone', async () => {
    const { vendor, seen } = await google(problem(404, 'notFound'))
    const ended = { ...REQUEST, isEnded: true, witness }
    expect(await vendor.fetchSeries!('t', ended, signal)).toMatchObject({ kind: 'whole', items: [] })
    expect(seen).toHaveLength(1)
    const { touched } = await touchedBy([{ id: 's', status: 'cancelled' }])
    expect(touched).toEqual([{ seriesId: 's', isLive: false, isEnded: true }])
  })

  test('that Google does not know ends nothing when nobody can be asked for', async () => {
    const { vendor, seen } = await google(problem(404, 'notFound'))
    expect(await vendor.fetchSeries!('t', REQUEST, signal)).toEqual({ kind: 'unsure' })
    expect(seen).toHaveLength(1)
  })

  test.each([
    ['an outage', problem(503, 'backendError'), 'vendor/unavailable'],
    [
      'a proxy that answers 404',
      (response) => response.writeHead(404).end('<html>'),
      'vendor/unreadable-answer',
    ],
    ['a refusal of its own', problem(403, 'forbidden'), 'vendor/rejected'],
    ['throttling', problem(403, 'rateLimitExceeded'), 'vendor/throttled'],
  ] satisfies [string, Answer, string][])(
    '%s is a failure and no end of the series',
    async (_what, answer, code) => {
      const { vendor } = await google(answer)
      expect((await failureOf(vendor.fetchSeries!('t', { ...REQUEST, witness }, signal))).code).toBe(code)
      const other = await witnessed(answer)
      expect((await failureOf(other.vendor.fetchSeries!('t', { ...REQUEST, witness }, signal))).code).toBe(
        code,
      )
    },
  )
})
