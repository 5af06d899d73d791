// The Google adapter against a server that answers as told: what goes over the wire, and what answers of all kinds become.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/platform/env.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import type { PageRequest, Vendor } from '#shared/vendors/vendor.ts'

const NOW = Date.UTC(2026, 10, 20, 12) * 1000
const signal = AbortSignal.timeout(60_000)
const FULL: PageRequest = {
  vendorCalendarId: 'ana@example.com',
  cursor: null,
  pageToken: null,
  window: { from: NOW - 30 * 86_400_000_000, to: NOW + 365 * 86_400_000_000 },
}

interface Seen {
  readonly method: string
  readonly url: URL
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: string
}

type Answer = (response: ServerResponse, seen: Seen) => void

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

async function google(answer: Answer): Promise<{ vendor: Vendor; seen: Seen[] }> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://localhost')
      const { method = '', headers } = request
      const entry: Seen = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') }
      seen.push(entry)
      answer(response, entry)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const config = {
    apiUrl: url,
    tokenUrl: `${url}/token`,
    clientId: 'cid',
    clientSecret: new Secret('s3cr+t&'),
  }
  return { vendor: createGoogle(config, { now: () => NOW }), seen }
}

function json(body: unknown, status = 200): Answer {
  return (response) => {
    response
      .writeHead(status, { 'content-type': 'application/json; charset=UTF-8' })
      .end(JSON.stringify(body))
  }
}

function problem(status: number, reason: string, message = 'No.', location?: string): Answer {
  return json(
    { error: { errors: [{ domain: 'x', reason, message, location }], code: status, message } },
    status,
  )
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => expect.unreachable('the call should have failed'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Failure)
  return error as Failure
}

const EVENT = {
  id: 'e1',
  start: { dateTime: '2026-12-01T10:00:00Z' },
  end: { dateTime: '2026-12-01T11:00:00Z' },
}

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
    const always = { singleEvents: 'true', maxResults: '2500', maxAttendees: '1' }
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
    ['names itself as the next', { items: [EVENT], nextPageToken: 'p1' }],
    ['has items that are no list', { items: {}, nextSyncToken: 's' }],
    ['carries a token that cannot be stored', { items: [], nextSyncToken: 'a\0b' }],
    ['is a list', []],
    ['is null', null],
  ])('that %s fails loudly instead of losing changes', async (_what, body) => {
    const { vendor } = await google(json(body))
    const failure = await failureOf(vendor.fetchPage('t', { ...FULL, pageToken: 'p1' }, signal))
    expect(failure.code).toBe('vendor/unreadable-answer')
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

  test('that never ends is cut at 64 MB', async () => {
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

describe('calls of one account', () => {
  test('are four at a time at most; those of another go beside them', async () => {
    let running = 0
    let most = 0
    const { vendor } = await google((response) => {
      most = Math.max(most, ++running)
      setTimeout(() => {
        running -= 1
        response.end(JSON.stringify({ items: [], nextSyncToken: 's' }))
      }, 20)
    })
    await Promise.all(Array.from({ length: 12 }, () => vendor.fetchPage('one', FULL, signal)))
    expect(most).toBe(4)
    most = 0
    await Promise.all(
      ['one', 'two'].flatMap((token) =>
        Array.from({ length: 8 }, () => vendor.fetchPage(token, FULL, signal)),
      ),
    )
    expect(most).toBe(8)
  })
})

describe('the calendar list', () => {
  test('is read to its end', async () => {
    const { vendor, seen } = await google((response, { url }) => {
      const second = url.searchParams.get('pageToken') === 'p2'
      json(
        second ? { items: [{ id: 'c2' }] } : { items: [{ id: 'c1', primary: true }], nextPageToken: 'p2' },
      )(response, seen[0]!)
    })
    const calendars = await vendor.listCalendars('t', signal)
    expect(calendars.map(({ vendorCalendarId, primary }) => [vendorCalendarId, primary])).toEqual([
      ['c1', true],
      ['c2', false],
    ])
    expect(seen[0]!.url.href).toContain('/calendar/v3/users/me/calendarList?maxResults=250')
  })

  test('that goes round in a circle ends', async () => {
    const { vendor, seen } = await google(json({ items: [], nextPageToken: 'again' }))
    expect((await failureOf(vendor.listCalendars('t', signal))).code).toBe('vendor/unreadable-answer')
    expect(seen).toHaveLength(40)
  })
})

describe('a refresh', () => {
  test('posts a form once and reads the grant; a token that came back unchanged is not a rotation', async () => {
    const body = {
      access_token: 'a1',
      expires_in: 3599,
      refresh_token: 'r1',
      scope: 'calendar',
      token_type: 'Bearer',
    }
    const { vendor, seen } = await google(json(body))
    expect(await vendor.refresh('r1', signal)).toEqual({
      accessToken: 'a1',
      accessExpiresAt: NOW + 3_599_000_000,
      refreshToken: null,
      scope: 'calendar',
    })
    expect((await vendor.refresh('r0', signal)).refreshToken).toBe('r1')
    expect(seen[0]).toMatchObject({
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' },
    })
    expect(Object.fromEntries(new URLSearchParams(seen[0]!.body))).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'r1',
      client_id: 'cid',
      client_secret: 's3cr+t&',
    })
  })

  test.each([
    ['a dead grant', json({ error: 'invalid_grant' }, 400), 'vendor/grant-revoked'],
    ['a wrong client', json({ error: 'invalid_client' }, 401), 'vendor/client-rejected'],
    ['a server error', json({}, 503), 'vendor/unavailable'],
    ['a grant without a token', json({ expires_in: 3599 }), 'vendor/unreadable-answer'],
    ['HTML', (response: ServerResponse) => response.end('<html>'), 'vendor/unreadable-answer'],
    [
      'a redirect, which would take the secret along',
      (response: ServerResponse) => response.writeHead(307, { location: '/elsewhere' }).end(),
      'vendor/unreadable-answer',
    ],
    [
      '2 MB',
      (response: ServerResponse) => response.end(Buffer.alloc(2_000_000, ' ')),
      'vendor/answer-too-large',
    ],
  ] satisfies [string, Answer, string][])(
    'answered by %s is a failure after one try',
    async (_what, answer, code) => {
      const { vendor, seen } = await google(answer)
      expect((await failureOf(vendor.refresh('r1', signal))).code).toBe(code)
      expect(seen).toHaveLength(1)
    },
  )
})

describe('a channel', () => {
  const request = {
    channelId: 'ch1',
    vendorCalendarId: 'ana@example.com',
    callbackUrl: 'https://calstream.example/webhooks/google',
    token: 'signed',
    lifeMs: 604_800_000,
  }

  test('is opened with its life in seconds, and ends when Google says', async () => {
    const { vendor, seen } = await google(json({ id: 'ch1', resourceId: 'r1', expiration: '1800000000000' }))
    expect(await vendor.openChannel('t', request, signal)).toEqual({
      kind: 'opened',
      channelId: 'ch1',
      resourceId: 'r1',
      expiresAt: 1_800_000_000_000_000,
    })
    expect(seen[0]!.url.pathname).toBe('/calendar/v3/calendars/ana%40example.com/events/watch')
    expect(JSON.parse(seen[0]!.body)).toEqual({
      id: 'ch1',
      type: 'web_hook',
      address: request.callbackUrl,
      token: 'signed',
      params: { ttl: '604800' },
    })
  })

  test('reads an expiration that is a number, as in the documentation', async () => {
    const { vendor } = await google(json({ id: 'ch1', resourceId: 'r1', expiration: 1_800_000_000_000 }))
    expect(await vendor.openChannel('t', request, signal)).toMatchObject({ expiresAt: 1_800_000_000_000_000 })
  })

  test('on a calendar that never rings is a value, not a failure', async () => {
    const { vendor } = await google(problem(400, 'pushNotSupportedForRequestedResource'))
    expect(await vendor.openChannel('t', request, signal)).toEqual({ kind: 'push-not-supported' })
    const other = await google(problem(400, 'push.webhookUrlNotHttps'))
    expect((await failureOf(other.vendor.openChannel('t', request, signal))).code).toBe('vendor/rejected')
  })

  test.each([404, 410])('that is already gone (%i) counts as stopped', async (status) => {
    const { vendor, seen } = await google(problem(status, 'notFound'))
    await vendor.stopChannel('t', { channelId: 'ch1', resourceId: 'r1' }, signal)
    expect(JSON.parse(seen[0]!.body)).toEqual({ id: 'ch1', resourceId: 'r1' })
  })

  test('is stopped by an empty 204, and a page of a proxy is no stop', async () => {
    const done = await google((response) => response.writeHead(204).end())
    await done.vendor.stopChannel('t', { channelId: 'ch1', resourceId: 'r1' }, signal)
    const proxy = await google((response) => response.writeHead(404).end('<html>'))
    const failure = await failureOf(
      proxy.vendor.stopChannel('t', { channelId: 'ch1', resourceId: null }, signal),
    )
    expect(failure.code).toBe('vendor/unreadable-answer')
  })
})

test('an API URL with a path is refused, for the SDK would drop it in silence', () => {
  const config = { tokenUrl: 'https://t', clientId: 'c', clientSecret: new Secret('s') }
  expect(() => createGoogle({ ...config, apiUrl: 'https://proxy.example/google' })).toThrow(RangeError)
  expect(createGoogle({ ...config, apiUrl: 'https://www.googleapis.com/' }).name).toBe('google')
})
