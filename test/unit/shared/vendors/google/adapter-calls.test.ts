// The calendar list, grants and channels of Google:
// what goes over the wire, and what answers of all kinds become.
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import {
  failureOf,
  google,
  json,
  NOW,
  problem,
  signal,
  type Answer,
} from '../../../../support/answering-google.ts'

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

test('consent is asked for calendars alone: not for what else the person gave to the client before', async () => {
  const { vendor } = await google(json({}))
  const asked = new URL(
    vendor.consentUrl({
      redirectUri: 'http://127.0.0.1:9/back',
      state: 's',
      codeChallenge: 'c',
      loginHint: null,
    }),
  )
  expect(asked.searchParams.get('scope')).toBe('openid https://www.googleapis.com/auth/calendar.readonly')
  expect(asked.searchParams.get('access_type')).toBe('offline')
  expect(asked.searchParams.has('include_granted_scopes')).toBe(false)
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
      subject: null,
      endsAt: null,
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

  test.each([{}, { expiration: null }, { expiration: 'soon' }, { expiration: '0' }])(
    'that says no end (%j) lives as long as was asked for',
    async (end) => {
      const { vendor } = await google(json({ id: 'ch1', resourceId: 'r1', ...end }))
      expect(await vendor.openChannel('t', request, signal)).toMatchObject({
        expiresAt: NOW + request.lifeMs * 1000,
      })
    },
  )

  test('beyond a limit of channels is a value, and throttling is none', async () => {
    const limited = await google(problem(403, 'quotaExceeded'))
    expect(await limited.vendor.openChannel('t', request, signal)).toEqual({ kind: 'limit-reached' })
    const throttled = await google(problem(403, 'rateLimitExceeded'))
    expect((await failureOf(throttled.vendor.openChannel('t', request, signal))).code).toBe(
      'vendor/throttled',
    )
  })

  test('on a calendar that never rings is a value, not a failure', async () => {
    const { vendor } = await google(problem(400, 'pushNotSupportedForRequestedResource'))
    expect(await vendor.openChannel('t', request, signal)).toEqual({ kind: 'push-not-supported' })
    const other = await google(problem(400, 'push.webhookUrlNotHttps'))
    expect((await failureOf(other.vendor.openChannel('t', request, signal))).code).toBe(
      'vendor/callback-refused',
    )
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
  const config = {
    authUrl: 'https://a',
    tokenUrl: 'https://t',
    revokeUrl: 'https://r',
    clientId: 'c',
    clientSecret: new Secret('s'),
  }
  expect(() => createGoogle({ ...config, apiUrl: 'https://proxy.example/google' })).toThrow(
    /^The settings cannot be used:\s+GOOGLE_API_URL cannot be used: it must be an origin/,
  )
  expect(createGoogle({ ...config, apiUrl: 'https://www.googleapis.com/' }).name).toBe('google')
})
