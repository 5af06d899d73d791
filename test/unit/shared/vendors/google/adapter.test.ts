// A page of events from Google: what goes over the wire, and what answers of all kinds become.
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { EachCall } from '#shared/vendors/vendor.ts'
import {
  EVENT,
  failureOf,
  FULL,
  google,
  json,
  problem,
  signal,
  type Answer,
} from '../../../../support/answering-google.ts'

describe('a page of events', () => {
  test('is asked for as Google documents it: the window on a full read only, the token in a header only', async () => {
    const { vendor, seen } = await google(json({ items: [], nextPageToken: 'p2' }))
    await vendor.fetchPage('access-token', FULL, signal)
    await vendor.fetchPage('access-token', { ...FULL, pageToken: 'p1' }, signal)
    await vendor.fetchPage('access-token', { ...FULL, cursor: 'c1', pageToken: 'p1' }, signal)
    expect(seen.map(({ url }) => url.pathname)).toEqual(
      Array.from({ length: 3 }, () => '/calendar/v3/calendars/ana%40example.com/events'),
    )
    const queries = seen.map(({ url }) => Object.fromEntries(url.searchParams))
    const fields = expect.stringMatching(/^nextPageToken,nextSyncToken,items\(id,/)
    const always = { singleEvents: 'true', maxResults: '2500', maxAttendees: '1', fields }
    const window = { timeMin: '2026-10-21T12:00:00.000Z', timeMax: '2027-11-20T12:00:00.000Z' }
    expect(queries).toEqual([
      { ...always, ...window },
      { ...always, ...window, pageToken: 'p1' },
      { ...always, syncToken: 'c1', pageToken: 'p1' },
    ])
    for (const { url, headers } of seen) {
      expect(headers.authorization).toBe('Bearer access-token')
      expect(url.href).not.toContain('access-token')
    }
  })

  test('sets unreadable items aside and keeps the others in their order', async () => {
    const items = [EVENT, { id: 'bad' }, { id: 'gone', status: 'cancelled' }, null]
    const { vendor } = await google(json({ items, nextSyncToken: 's1' }))
    const page = await vendor.fetchPage('t', FULL, signal)
    expect(page).toMatchObject({
      kind: 'page',
      items: [
        { kind: 'event', event: { vendorEventId: 'e1' } },
        { kind: 'removed', vendorEventId: 'gone', reason: 'deleted' },
      ],
      unreadable: [{ vendorEventId: 'bad' }, { vendorEventId: null }],
      next: { kind: 'end', cursor: 's1' },
    })
  })

  test('that is empty but names another is not the end', async () => {
    const { vendor } = await google(json({ nextPageToken: 'p2' }))
    expect(await vendor.fetchPage('t', FULL, signal)).toMatchObject({
      items: [],
      next: { kind: 'more', pageToken: 'p2' },
    })
  })

  test.each([
    ['ends without any token', { items: [EVENT] }],
    ['has items that are no list', { items: {}, nextSyncToken: 's' }],
    ['carries a token that cannot be stored', { items: [], nextSyncToken: 'a\0b' }],
    ['is a list', []],
    ['is null', null],
  ])('that %s fails loudly instead of losing changes', async (_what, body) => {
    const { vendor } = await google(json(body))
    const failure = await failureOf(vendor.fetchPage('t', { ...FULL, pageToken: 'p1' }, signal))
    expect(failure.code).toBe('vendor/unreadable-answer')
  })

  test('that names itself as the next gets nowhere', async () => {
    const { vendor } = await google(json({ items: [EVENT], nextPageToken: 'p1' }))
    const failure = await failureOf(vendor.fetchPage('t', { ...FULL, pageToken: 'p1' }, signal))
    expect(failure.code).toBe('vendor/no-progress')
  })

  test.each([
    ['usual', '2500'],
    ['other-pages', '1000'],
    ['small-pages', '250'],
    ['plain', '500'],
  ] as const)('read %s asks for %s items', async (reading, maxResults) => {
    const { vendor, seen } = await google(json({ items: [], nextSyncToken: 's' }))
    await vendor.fetchPage('t', { ...FULL, reading }, signal)
    expect(Object.fromEntries(seen[0]!.url.searchParams)).toMatchObject({ maxResults })
  })

  test('of a plain listing sends no cursor and keeps none', async () => {
    const { vendor, seen } = await google(json({ items: [EVENT], nextSyncToken: 's' }))
    const page = await vendor.fetchPage('t', { ...FULL, cursor: 'c', reading: 'plain' }, signal)
    expect(page).toMatchObject({ next: { kind: 'end', cursor: 'plain' } })
    expect([...seen[0]!.url.searchParams.keys()]).toEqual(expect.arrayContaining(['timeMin', 'timeMax']))
    expect(seen[0]!.url.searchParams.has('syncToken')).toBe(false)
  })

  test.each([
    ['HTML with status 200', (response: ServerResponse) => response.end('<html>Sign in</html>')],
    [
      'a body that is cut in the middle of the JSON',
      (response: ServerResponse) => response.end('{"items":[{"id"'),
    ],
    [
      'a body shorter than its length',
      (response: ServerResponse) => {
        response
          .writeHead(200, { 'content-length': '5000', 'content-type': 'application/json' })
          .write('{"items":[')
        setTimeout(() => response.destroy(), 20)
      },
    ],
    [
      'a redirect',
      (response: ServerResponse) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
    ],
    ['HTML with status 404', (response: ServerResponse) => response.writeHead(404).end('<html>')],
  ] satisfies [string, Answer][])('that is %s is unreadable, asked for once', async (_what, answer) => {
    const { vendor, seen } = await google(answer)
    expect((await failureOf(vendor.fetchPage('t', FULL, signal))).code).toBe('vendor/unreadable-answer')
    expect(seen).toHaveLength(1)
  })

  test('that never ends is cut', async () => {
    const { vendor } = await google((response) => {
      const chunk = Buffer.alloc(1024 * 1024, '[')
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      }
      response.writeHead(200, { 'content-type': 'application/json' }).on('drain', more)
      more()
    })
    expect((await failureOf(vendor.fetchPage('t', FULL, signal))).code).toBe('vendor/answer-too-large')
  })

  test('is asked for once when the server fails: the SDK does not retry behind our back', async () => {
    const { vendor, seen } = await google(problem(503, 'backendError'))
    expect((await failureOf(vendor.fetchPage('t', FULL, signal))).code).toBe('vendor/unavailable')
    expect(seen).toHaveLength(1)
  })

  test.each([
    ['410 fullSyncRequired', problem(410, 'fullSyncRequired')],
    ['410 updatedMinTooLongAgo', problem(410, 'updatedMinTooLongAgo')],
    ['410 of anybody', ((response) => response.writeHead(410).end('<html>')) as Answer],
    ['500 with the word for it', problem(500, 'fullSyncRequired')],
    ['400 about the sync token', problem(400, 'invalid', 'Invalid sync token value.')],
    ['400 about the page token', problem(400, 'invalid', 'Invalid pageToken.')],
    ['400 that names the parameter', problem(400, 'invalid', 'Parameters do not match.', 'syncToken')],
  ])('%s says that the cursor expired, as a value', async (_what, answer) => {
    const { vendor } = await google(answer)
    expect(await vendor.fetchPage('t', { ...FULL, cursor: 'c1' }, signal)).toEqual({ kind: 'cursor-expired' })
  })

  test.each([
    ['another 400', problem(400, 'badRequest', 'Bad Request'), { ...FULL, cursor: 'c1' }],
    [
      '400 about a parameter beside the token',
      problem(400, 'badRequest', 'timeMin cannot be specified together with syncToken.', 'timeMin'),
      { ...FULL, cursor: 'c1' },
    ],
    ['400 about a token that we did not send', problem(400, 'invalid', 'Invalid sync token value.'), FULL],
  ])('%s does not discard the cursor', async (_what, answer, request) => {
    const { vendor } = await google(answer)
    expect((await failureOf(vendor.fetchPage('t', request, signal))).code).toBe('vendor/rejected')
  })

  test("rejects with the reason of the caller's signal", async () => {
    const { vendor } = await google(() => {})
    const controller = new AbortController()
    const reason = new Error('the gate closed')
    const call = vendor.fetchPage('t', FULL, controller.signal)
    setTimeout(() => controller.abort(reason), 30)
    await expect(call).rejects.toBe(reason)
  })

  test('leaves no token in the failure, wherever one looks', async () => {
    const { vendor } = await google(problem(403, 'forbidden', 'Bearer ya29.canary is bad'))
    const failure = await failureOf(vendor.fetchPage('ya29.canary', FULL, signal))
    const inspected = [failure.message, failure.stack, JSON.stringify(failure), String(failure.cause)].join(
      '\n',
    )
    expect(inspected).not.toContain('ya29.canary')
  })
})

describe('what limits calls from outside', () => {
  test('sees each call of a method, also those of a list of several pages, and may keep one from going out', async () => {
    const pages = [{ items: [], nextPageToken: 'p2' }, { items: [], nextPageToken: 'p3' }, { items: [] }]
    const { vendor, seen } = await google((response) => response.end(JSON.stringify(pages.shift() ?? {})))
    let calls = 0
    const counting: EachCall = (send) => {
      calls += 1
      return send()
    }
    await vendor.listCalendars('token', signal, counting)
    expect([calls, seen.length]).toEqual([3, 3])
    await vendor.fetchPage('token', FULL, signal, counting).catch(() => undefined)
    expect([calls, seen.length]).toEqual([4, 4])
    const refusing: EachCall = () => Promise.reject(new Error('not now'))
    await expect(vendor.fetchPage('token', FULL, signal, refusing)).rejects.toThrow('not now')
    expect(seen).toHaveLength(4)
  })
})
