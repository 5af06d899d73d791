// Values that no vendor should send: none of them reaches a row, a message, a log line, an address
// or a header as it came, and each costs at most its own item.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isPlainText } from '#shared/vendors/storable.ts'
import * as googleMap from '#shared/vendors/google/map.ts'
import * as microsoftMap from '#shared/vendors/microsoft/map.ts'
import { ianaZoneOf } from '#shared/vendors/microsoft/zones.ts'
import * as googles from '../../../support/answering-google.ts'
import * as microsofts from '../../../support/answering-microsoft.ts'

const { failureOf, json, NOW, signal } = googles

const ODD_IDS = [
  ['one dot', '.'],
  ['two dots', '..'],
  ['NUL', 'a\0b'],
  ['ESC', 'a\u001b[31mb'],
  ['a line end', 'a\r\nb'],
  ['a C1 control', 'a\u009bb'],
  ['an override of direction', 'a\u202eb'],
  ['half a character', 'a\ud800b'],
  ['a megabyte', 'a'.repeat(1_048_576)],
] as const

describe.each(ODD_IDS)('an id with %s', (_what, id) => {
  test('makes its event unreadable, and no story repeats it', () => {
    for (const mapped of [
      googleMap.mapEvent({ ...googles.EVENT, id }),
      microsoftMap.mapEvent({ ...microsofts.EVENT, id }),
      microsoftMap.mapRow({ ...microsofts.EVENT, id, '@removed': { reason: 'deleted' } }),
      microsoftMap.mapRow({ ...microsofts.EVENT, id, type: 'seriesMaster' }),
    ])
      expect(mapped).toMatchObject({ kind: 'unreadable', vendorEventId: null })
    for (const mapped of [
      googleMap.mapEvent({ ...googles.EVENT, recurringEventId: id }),
      microsoftMap.mapRow({ ...microsofts.EVENT, seriesMasterId: id }),
    ])
      expect(mapped).toMatchObject({ kind: 'unreadable', vendorEventId: 'e1' })
  })

  test('leaves its calendar out', () => {
    expect(googleMap.mapCalendar({ id, summary: 'a' })).toBeNull()
    expect(microsoftMap.mapCalendar({ id, name: 'a' })).toBeNull()
  })
})

test('an id that only looks odd in an address stays itself (control)', () => {
  for (const id of ['...', '.a', 'a/../b', '%2e%2e', 'a b', 'é', '👍', 'AAMk/cal+1=']) {
    expect(googleMap.mapCalendar({ id })).toMatchObject({ vendorCalendarId: id })
    expect(microsoftMap.mapEvent({ ...microsofts.EVENT, id })).toMatchObject({
      kind: 'item',
      item: { event: { vendorEventId: id } },
    })
  }
})

describe.each(['.', '..', 'a\ud800b', ''])(
  'a calendar that was stored under the id %j',
  (vendorCalendarId) => {
    const channel = { channelId: 'ch', vendorCalendarId, callbackUrl: 'https://x', token: 't', lifeMs: 1000 }

    test('is asked of neither vendor, for another resource would answer', async () => {
      for (const { vendor, seen } of [await googles.google(json({})), await microsofts.microsoft(json({}))]) {
        const page = vendor.fetchPage('t', { ...googles.FULL, vendorCalendarId }, signal)
        expect((await failureOf(page)).code).toBe('vendor/rejected')
        expect((await failureOf(vendor.openChannel('t', channel, signal))).code).toBe('vendor/rejected')
        expect(seen).toEqual([])
      }
    })
  },
)

test('a channel whose id would lead elsewhere is not stopped or renewed at all', async () => {
  const { vendor, seen } = await microsofts.microsoft(json({}))
  const stop = vendor.stopChannel('t', { channelId: '..', resourceId: null }, signal)
  expect((await failureOf(stop)).code).toBe('vendor/rejected')
  const renewal = vendor.renewChannel('t', { channelId: '..', lifeMs: 1 }, signal)
  expect((await failureOf(renewal)).code).toBe('vendor/rejected')
  expect(seen).toEqual([])
})

test.each(['a/b', 'a/../../x', '..%2f', '#x', '?x=1'])(
  'a calendar with the id %s is asked for under its own path',
  async (vendorCalendarId) => {
    for (const [base, { vendor, seen }] of [
      ['/calendar/v3/calendars/', await googles.google(json({ items: [], nextSyncToken: 's' }))],
      ['/v1.0/me/calendars/', await microsofts.microsoft(microsofts.page([]))],
    ] as const) {
      await vendor.fetchPage('t', { ...googles.FULL, vendorCalendarId }, signal)
      const [rest = ''] = seen.map(({ url }) => url.pathname.slice(base.length))
      expect(seen[0]?.url.pathname.startsWith(base)).toBe(true)
      expect(decodeURIComponent(rest.split('/')[0] ?? '')).toBe(vendorCalendarId)
    }
  },
)

describe('a text', () => {
  const odd = fc
    .array(
      fc.constantFrom(
        '\0',
        '\u001b',
        '\u0007',
        '\u009b',
        '\u007f',
        '\u202e',
        '\u2066',
        '\ud800',
        '\udc00',
        'a',
        '👍',
        'é',
      ),
      {
        maxLength: 3000,
      },
    )
    .map((parts) => parts.join(''))

  test('of any field is short and plain once it is ours', () => {
    fc.assert(
      fc.property(odd, (text) => {
        const google = googleMap.mapEvent({
          ...googles.EVENT,
          summary: text,
          location: text,
          etag: text,
          organizer: { email: text },
          start: { ...googles.EVENT.start, timeZone: text },
        })
        const graph = microsoftMap.mapEvent({
          ...microsofts.EVENT,
          subject: text,
          '@odata.etag': text,
          location: { displayName: text },
          organizer: { emailAddress: { address: text } },
          originalStartTimeZone: text,
        })
        const calendars = [
          googleMap.mapCalendar({ id: 'c', summary: text, timeZone: text, accessRole: text }),
          microsoftMap.mapCalendar({ id: 'c', name: text }),
        ]
        for (const one of [google, graph, ...calendars]) {
          const texts = textsOf(one)
          expect(texts.filter((value) => value.length > 1024 || !isPlainText(undirected(value)))).toEqual([])
        }
        // A name of a calendar is shown in a line, an event's text is data.
        expect(calendars.flatMap((one) => one?.name ?? []).filter((name) => !isPlainText(name))).toEqual([])
      }),
    )
  })

  test('keeps its tabs, line ends, letters of all directions and the marks between them (control)', () => {
    const text = 'Straße 1\n12345 Ort\t(שלום, \u2067سلام\u2069) \u202Eabc 👍'
    expect(googleMap.mapEvent({ ...googles.EVENT, location: text })).toMatchObject({
      item: { event: { location: text } },
    })
  })

  test('that names a zone is not remembered when no zone has such a name', () => {
    expect(ianaZoneOf('x'.repeat(1_048_576))).toBeNull()
    expect(ianaZoneOf('W. Europe Standard Time')).toBe('Europe/Berlin')
  })
})

/** Without marks of direction, which an event's text may have. */
function undirected(text: string): string {
  return text.replaceAll(/[\u202A-\u202E\u2066-\u2069]/g, '')
}

/** Every text in a value. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : []
}

describe('a link of Graph', () => {
  const links = (host: string) => [
    `http://:pw@${host}/v1.0/me/calendars/c/calendarView/delta?$skiptoken=x`,
    `http://me:pw@${host}/v1.0/me/calendars/c/calendarView/delta?$skiptoken=x`,
    `http://me@${host}/v1.0/me/calendars/c/calendarView/delta?$skiptoken=x`,
    `http://${host}/v1.0/../beta/me/delta?$skiptoken=x`,
    `http://${host}/v1.0/me\\@elsewhere.example/?$skiptoken=x#y`,
    `http://${host}:1/v1.0/me`,
    'http://elsewhere.example/v1.0/me',
  ]

  test.each(links('host').map((link, index) => [link, index] as const))(
    'that holds a password or leads elsewhere is not kept: %s',
    async (_link, index) => {
      for (const name of ['@odata.nextLink', '@odata.deltaLink']) {
        const { vendor } = await microsofts.microsoft((response, seen) =>
          json({ value: [], [name]: links(String(seen.headers['host']))[index] })(response, seen),
        )
        const failure = await failureOf(vendor.fetchPage('t', microsofts.FULL, signal))
        expect(failure.code).toBe('vendor/unreadable-answer')
        expect(failure.message).not.toContain('pw')
      }
    },
  )

  test('that was kept and cannot be followed is a cursor that is gone, each time, and nothing is sent', async () => {
    const { vendor, seen, url } = await microsofts.microsoft(microsofts.page([]))
    for (const link of links(new URL(url).host)) {
      const place = JSON.stringify({ link, details: null, seen: [] })
      for (const request of [{ cursor: link }, { pageToken: place }, { cursor: link, pageToken: place }])
        expect(await vendor.fetchPage('t', { ...microsofts.FULL, ...request }, signal)).toEqual({
          kind: 'cursor-expired',
        })
    }
    expect(seen).toEqual([])
  })

  test('is followed whatever the case of its scheme (control)', async () => {
    const { vendor, seen, url } = await microsofts.microsoft(microsofts.page([]))
    const cursor = `${url.replace('http', 'HTTP')}${microsofts.DELTA}?$deltatoken=x`
    expect(await vendor.fetchPage('t', { ...microsofts.FULL, cursor }, signal)).toMatchObject({
      kind: 'page',
    })
    expect(seen.map(({ url: asked }) => asked.pathname)).toEqual([microsofts.DELTA])
  })
})

describe('a channel', () => {
  const request = {
    channelId: 'ch',
    vendorCalendarId: 'c',
    callbackUrl: 'https://x',
    token: 't',
    lifeMs: 1000,
  }

  test.each(['r\0', 'r\r\nx: y', 'r r', '\u001br', 'r'.repeat(100_000), ''])(
    'of which a vendor says the odd id %j is no channel',
    async (id) => {
      const google = await googles.google(json({ id: 'ch', resourceId: id, expiration: String(NOW / 1000) }))
      expect((await failureOf(google.vendor.openChannel('t', request, signal))).code).toBe(
        'vendor/unreadable-answer',
      )
      const graph = await microsofts.microsoft(json({ id, expirationDateTime: '2026-12-01T00:00:00Z' }, 201))
      expect((await failureOf(graph.vendor.openChannel('t', request, signal))).code).toBe(
        'vendor/unreadable-answer',
      )
    },
  )

  test('that ends beyond all time ends at the edge of what can be stored', async () => {
    const { vendor } = await googles.google(
      json({ id: 'ch', resourceId: 'r', expiration: '9007199254740991' }),
    )
    const opened = await vendor.openChannel('t', request, signal)
    expect(Number.isSafeInteger(opened.kind === 'opened' && opened.expiresAt)).toBe(true)
  })
})

describe('a status', () => {
  test.each([999, 600, 700])('%i is trouble of the vendor at every call', async (status) => {
    const odd = (response: Parameters<googles.Answer>[0]) => {
      response.socket?.end(`HTTP/1.1 ${status} Odd\r\ncontent-length: 2\r\n\r\n{}`)
    }
    for (const { vendor } of [await googles.google(odd), await microsofts.microsoft(odd)]) {
      for (const call of [
        () => vendor.fetchPage('t', googles.FULL, signal),
        () => vendor.listCalendars('t', signal),
        () => vendor.account('t', signal),
        () => vendor.refresh('r', signal),
      ])
        expect((await failureOf(call())).code).toMatch(/^vendor\/(?:unreadable-answer|unavailable)$/)
    }
  })
})
