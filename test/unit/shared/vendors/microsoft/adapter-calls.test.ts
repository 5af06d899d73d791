// Everything of Microsoft's adapter besides pages, from literal answers: account, calendars,
// subscriptions and consent.
import { describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { createMicrosoft } from '#shared/vendors/microsoft/adapter.ts'
import { failureOf, json, NOW, signal, type Answer } from '../../../../support/answering-google.ts'
import { CALENDAR, microsoft, problem, routes } from '../../../../support/answering-microsoft.ts'

describe('an account', () => {
  test.each([
    [
      { id: 'u', mail: 'ana@example.com', userPrincipalName: 'ana@corp', displayName: 'Ana' },
      'ana@example.com',
    ],
    [{ id: 'u', mail: null, userPrincipalName: 'ana@corp' }, 'ana@corp'],
    [{ id: 'u', displayName: 'Ana' }, 'Ana'],
    [{ id: 'u' }, null],
  ])('%j is known by its id and called %s', async (user, label) => {
    const { vendor } = await microsoft(routes({ '/v1.0/me': json(user) }))
    expect(await vendor.account('token', signal)).toEqual({ id: 'u', label })
  })

  test.each([
    ['no id', json({ displayName: 'x' }), 'vendor/unreadable-answer'],
    ['no mailbox', problem(404, 'MailboxNotEnabledForRESTAPI'), 'vendor/no-mailbox'],
    ['no consent', problem(403, 'Authorization_RequestDenied'), 'vendor/call-refused'],
  ] as const)('with %s is a failure', async (_what, answer, code) => {
    const { vendor } = await microsoft(answer)
    expect((await failureOf(vendor.account('token', signal))).code).toBe(code)
  })
})

describe('the calendar list', () => {
  test('is read to its end, and what is no calendar is left out', async () => {
    const first: Answer = (response, asked) => {
      const link = `http://${String(asked.headers['host'])}/v1.0/me/calendars?$skip=1`
      json({ value: [{ id: 'a', isDefaultCalendar: true }, 7], '@odata.nextLink': link })(response, asked)
    }
    const { vendor, seen } = await microsoft(
      routes({ '/v1.0/me/calendars': first, '/v1.0/me/calendars?$skip=1': json({ value: [{ id: 'b' }] }) }),
    )
    expect(
      (await vendor.listCalendars('token', signal)).map((calendar) => calendar.vendorCalendarId),
    ).toEqual(['a', 'b'])
    expect(seen[0]!.url.searchParams.get('$top')).toBe('100')
  })

  test('that never ends is cut off; one that leads elsewhere is not followed', async () => {
    const endless = await microsoft((response, asked) => {
      const link = `http://${String(asked.headers['host'])}/v1.0/me/calendars?n=${Math.random()}`
      json({ value: [], '@odata.nextLink': link })(response, asked)
    })
    expect((await failureOf(endless.vendor.listCalendars('token', signal))).code).toBe(
      'vendor/unreadable-answer',
    )
    expect(endless.seen).toHaveLength(40)
    const hostile = await microsoft(json({ value: [], '@odata.nextLink': 'https://evil.example/v1.0/me' }))
    expect((await failureOf(hostile.vendor.listCalendars('token', signal))).code).toBe(
      'vendor/unreadable-answer',
    )
    expect(hostile.seen).toHaveLength(1)
  })
})

describe('a channel', () => {
  const request = {
    channelId: 'ours',
    vendorCalendarId: CALENDAR,
    callbackUrl: 'https://calstream.example/hook',
    token: 'signed',
    lifeMs: 3_600_000,
  }
  const opened = json({ id: 'sub-1', expirationDateTime: '2026-11-20T13:00:00.0000000Z' }, 201)

  test('is opened as Graph documents it, and has the id that Graph gave', async () => {
    const { vendor, seen } = await microsoft(routes({ '/v1.0/subscriptions': opened }))
    expect(await vendor.openChannel('token', request, signal)).toEqual({
      kind: 'opened',
      channelId: 'sub-1',
      resourceId: null,
      expiresAt: Date.UTC(2026, 10, 20, 13) * 1000,
    })
    expect(seen[0]).toMatchObject({ method: 'POST', headers: { prefer: 'IdType="ImmutableId"' } })
    expect(JSON.parse(seen[0]!.body)).toEqual({
      changeType: 'created,updated,deleted',
      notificationUrl: 'https://calstream.example/hook',
      lifecycleNotificationUrl: 'https://calstream.example/hook',
      // Graph's ids end with `=` as they are,
      // and whoever compares its resources as texts finds them.
      resource: `me/calendars/${encodeURIComponent(CALENDAR).replace('%3D', '=')}/events`,
      expirationDateTime: '2026-11-20T13:00:00.000Z',
      clientState: 'signed',
    })
  })

  test('never asks for a longer life than Graph gives, by a clock that is an hour behind ours', async () => {
    const { vendor, seen } = await microsoft(opened)
    await vendor.openChannel('token', { ...request, lifeMs: 30 * 86_400_000 }, signal)
    await vendor.renewChannel('token', { channelId: 'sub-1', lifeMs: 30 * 86_400_000 }, signal)
    for (const { body } of seen) {
      const { expirationDateTime } = JSON.parse(body) as { expirationDateTime: string }
      const lifeMinutes = (Date.parse(expirationDateTime) - NOW / 1000) / 60_000
      expect(lifeMinutes + 60).toBeLessThanOrEqual(10_070)
      expect(lifeMinutes).toBeGreaterThan(6 * 24 * 60)
    }
  })

  test.each([
    [403, 'ExtensionError', 'Forbidden; Reason: The maximum number of subscriptions is reached.'],
    [
      429,
      'ExtensionError',
      "Operation: Create; Exception: [Status Code: 429; Reason: Resource 'SubscriptionCountReached' has reached limit of '1000'. Please retry after '12/31/9999 11:59:59 PM'].",
    ],
    [
      403,
      'ExtensionError',
      "Operation: Create; Exception: [Status Code: Forbidden; Reason: App 'a' has reached its limit of '1' 'USERS/X/CHATS' subscription on tenant 't'.]",
    ],
  ])(
    'beyond a limit that Microsoft names (%s) is a value, not a failure of the mailbox',
    async (...refusal) => {
      const { vendor } = await microsoft(problem(...refusal))
      expect(await vendor.openChannel('token', request, signal)).toEqual({ kind: 'limit-reached' })
      // The control: the same status in other words.
      const other = await microsoft(problem(429, 'TooManyRequests', 'Too many requests.'))
      expect((await failureOf(other.vendor.openChannel('token', request, signal))).code).toBe(
        'vendor/throttled',
      )
    },
  )

  test('without an end in the answer lives as long as was asked for', async () => {
    const { vendor } = await microsoft(json({ id: 'sub-1' }))
    const hour = { lifeMs: 3_600_000 }
    expect(await vendor.openChannel('token', { ...request, ...hour }, signal)).toMatchObject({
      expiresAt: NOW + 3_600_000_000,
    })
    expect(await vendor.renewChannel('token', { channelId: 's', ...hour }, signal)).toEqual({
      kind: 'renewed',
      expiresAt: NOW + 3_600_000_000,
    })
  })

  test.each([
    ['a calendar of somebody else', problem(403, 'ExtensionError'), null],
    ['a calendar that is gone', problem(404, 'ErrorItemNotFound'), 'vendor/calendar-gone'],
    [
      'an address that does not answer',
      problem(
        400,
        'ValidationError',
        'Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.',
      ),
      'vendor/callback-refused',
    ],
    [
      'an address that answers late',
      problem(400, 'InvalidRequest', 'Subscription validation request timed out.'),
      'vendor/callback-refused',
    ],
    ['a malformed request', problem(400, 'InvalidRequest', 'No.'), 'vendor/rejected'],
    ['a missing scope', problem(403, 'Authorization_RequestDenied'), 'vendor/call-refused'],
    ['throttling', problem(429, 'TooManyRequests'), 'vendor/throttled'],
    ['an end that is none', json({ id: 'x', expirationDateTime: 'soon' }, 201), 'vendor/unreadable-answer'],
    ['no id', json({ expirationDateTime: '2026-11-20T13:00:00Z' }, 201), 'vendor/unreadable-answer'],
  ] as const)('on %s is refused as such, after one call', async (_what, answer, code) => {
    const { vendor, seen } = await microsoft(answer)
    const opening = vendor.openChannel('token', request, signal)
    if (code === null) expect(await opening).toEqual({ kind: 'push-not-supported' })
    else expect((await failureOf(opening)).code).toBe(code)
    expect(seen).toHaveLength(1)
  })

  test('is renewed; one that Graph does not know any more is gone', async () => {
    const { vendor, seen } = await microsoft(opened)
    expect(await vendor.renewChannel('token', { channelId: 'sub/1', lifeMs: 3_600_000 }, signal)).toEqual({
      kind: 'renewed',
      expiresAt: Date.UTC(2026, 10, 20, 13) * 1000,
    })
    expect(seen[0]).toMatchObject({ method: 'PATCH' })
    expect(seen[0]!.url.pathname).toBe('/v1.0/subscriptions/sub%2F1')
    for (const code of ['ResourceNotFound', 'ExtensionError']) {
      const gone = await microsoft(problem(404, code))
      expect(await gone.vendor.renewChannel('token', { channelId: 's', lifeMs: 1 }, signal)).toEqual({
        kind: 'gone',
      })
    }
    const proxy = await microsoft((response) => response.writeHead(404).end('<html>'))
    const failure = await failureOf(proxy.vendor.renewChannel('token', { channelId: 's', lifeMs: 1 }, signal))
    expect(failure.code).toBe('vendor/unreadable-answer')
  })

  test('stops; one that is gone counts as stopped, a page of a proxy does not', async () => {
    const channel = { channelId: 's', resourceId: null }
    const done = await microsoft((response) => response.writeHead(204).end())
    await done.vendor.stopChannel('token', channel, signal)
    expect(done.seen[0]).toMatchObject({ method: 'DELETE', body: '' })
    const gone = await microsoft(problem(404, 'ResourceNotFound'))
    await gone.vendor.stopChannel('token', channel, signal)
    const proxy = await microsoft((response) => response.writeHead(404).end('<html>'))
    expect((await failureOf(proxy.vendor.stopChannel('token', channel, signal))).code).toBe(
      'vendor/unreadable-answer',
    )
  })
})

test('consent is asked of the tenant; a refresh names the scopes and tells of the rotated token; revoking asks nothing', async () => {
  const grant = {
    access_token: 'a1',
    expires_in: 3599,
    refresh_token: 'r1',
    scope: 'User.Read Calendars.Read',
    token_type: 'Bearer',
  }
  const { vendor, seen, url } = await microsoft(routes({ '/login/common/oauth2/v2.0/token': json(grant) }))
  const consent = new URL(
    vendor.consentUrl({
      redirectUri: 'http://127.0.0.1:9/back',
      state: 's',
      codeChallenge: 'c',
      loginHint: null,
    }),
  )
  expect(`${consent.origin}${consent.pathname}`).toBe(`${url}/login/common/oauth2/v2.0/authorize`)
  expect(Object.fromEntries(consent.searchParams)).toMatchObject({
    scope: 'offline_access User.Read Calendars.Read MailboxSettings.Read',
    response_mode: 'query',
    prompt: 'select_account',
  })
  expect((await vendor.refresh('r0', signal)).refreshToken).toBe('r1')
  expect(Object.fromEntries(new URLSearchParams(seen[0]!.body))).toMatchObject({
    grant_type: 'refresh_token',
    scope: 'offline_access User.Read Calendars.Read',
  })
  const code = { code: 'c', codeVerifier: 'v', redirectUri: 'http://127.0.0.1:9/back' }
  expect((await vendor.exchangeCode(code, signal)).missingScopes).toEqual([])
  await vendor.revoke('r1', signal)
  expect(seen).toHaveLength(2)
})

describe('clouds', () => {
  const ASKED = { redirectUri: 'http://127.0.0.1:9/back', state: 's', codeChallenge: 'c', loginHint: null }
  const at = (apiUrl: string, loginUrl: string, tenant = 'common') =>
    createMicrosoft({ apiUrl, loginUrl, tenant, clientId: 'cid', clientSecret: new Secret('secret') })

  test('people are sent to the address that their browsers reach; tokens are asked for at ours', () => {
    const config = { apiUrl: 'https://graph.example', loginUrl: 'http://vendors:4102', tenant: 'common' }
    const client = { clientId: 'cid', clientSecret: new Secret('secret') }
    const vendor = createMicrosoft({ ...config, ...client, authUrl: 'http://127.0.0.1:4102/' })
    expect(vendor.consentUrl(ASKED)).toMatch(
      /^http:\/\/127\.0\.0\.1:4102\/common\/oauth2\/v2\.0\/authorize\?/,
    )
    expect(vendor.approvalUrl).toMatch(/^http:\/\/127\.0\.0\.1:4102\/organizations\/adminconsent\?/)
    const alone = createMicrosoft({ ...config, ...client })
    expect(alone.consentUrl(ASKED)).toMatch(/^http:\/\/vendors:4102\/common\//)
  })

  test.each([
    ['https://graph.microsoft.com', 'offline_access User.Read Calendars.Read MailboxSettings.Read'],
    [
      'https://graph.microsoft.us',
      'offline_access https://graph.microsoft.us/User.Read https://graph.microsoft.us/Calendars.Read https://graph.microsoft.us/MailboxSettings.Read',
    ],
    [
      'https://dod-graph.microsoft.us/',
      'offline_access https://dod-graph.microsoft.us/User.Read https://dod-graph.microsoft.us/Calendars.Read https://dod-graph.microsoft.us/MailboxSettings.Read',
    ],
    [
      'https://microsoftgraph.chinacloudapi.cn',
      'offline_access https://microsoftgraph.chinacloudapi.cn/User.Read https://microsoftgraph.chinacloudapi.cn/Calendars.Read https://microsoftgraph.chinacloudapi.cn/MailboxSettings.Read',
    ],
  ])('%s is asked for by its own scopes', (apiUrl, scope) => {
    const consent = new URL(at(apiUrl, 'https://login.example').consentUrl(ASKED))
    expect(consent.searchParams.get('scope')).toBe(scope)
  })

  test.each([
    'https://graph.microsoft.com/',
    'https://graph.microsoft.com//',
    'https://graph.microsoft.us/',
    'https://microsoftgraph.chinacloudapi.cn/',
    '00000003-0000-0000-c000-000000000000/',
    '',
  ])('a scope that is named as %sCalendars.Read is not missing', async (resource) => {
    const grant = {
      access_token: 'a1',
      expires_in: 3599,
      refresh_token: 'r1',
      scope: `${resource}Calendars.Read ${resource}User.Read openid`,
      token_type: 'Bearer',
    }
    const { vendor } = await microsoft(routes({ '/login/common/oauth2/v2.0/token': json(grant) }))
    const code = { code: 'c', codeVerifier: 'v', redirectUri: ASKED.redirectUri }
    expect((await vendor.exchangeCode(code, signal)).missingScopes).toEqual([])
  })

  test.each([
    ['common', 'organizations'],
    ['consumers', 'organizations'],
    ['contoso.example', 'contoso.example'],
  ])('the administrator of %s approves at %s', (tenant, organization) => {
    const vendor = at('https://graph.microsoft.us', 'https://login.microsoftonline.us/', tenant)
    expect(vendor.approvalUrl).toBe(
      `https://login.microsoftonline.us/${organization}/adminconsent?client_id=cid`,
    )
  })
})

describe('the zone of a mailbox', () => {
  const own = { id: 'c', name: 'Mine', isDefaultCalendar: true, canEdit: true, owner: { address: 'a@x.org' } }
  const shared = { id: 'd', name: 'Bob', canEdit: true, owner: { address: 'b@x.org' } }
  const listedWith = async (settings: Parameters<typeof routes>[0][string] | null) => {
    const { vendor, seen } = await microsoft(
      routes({
        '/v1.0/me/calendars': json({ value: [own, shared] }),
        ...(settings === null ? {} : { '/v1.0/me/mailboxSettings': settings }),
      }),
    )
    const calendars = await vendor.listCalendars('token', signal)
    expect(seen.map(({ url }) => url.pathname)).toContain('/v1.0/me/mailboxSettings')
    return calendars.map(({ timeZone, isOwned }) => [timeZone, isOwned])
  }

  test('is that of its own calendars, and of no other', async () => {
    expect(await listedWith(json({ timeZone: 'Pacific Standard Time' }))).toEqual([
      ['America/Los_Angeles', true],
      [null, false],
    ])
  })

  test.each([
    ['may not be read', json({ error: { code: 'ErrorAccessDenied', message: 'No.' } }, 403)],
    ['is refused for a while', json({ error: { code: 'ApplicationThrottled', message: 'No.' } }, 429)],
    ['has no name that anybody knows', json({ timeZone: 'tzone://Microsoft/Custom' })],
    ['is told as something else', json({ timeZone: 5 })],
    ['is not told', null],
  ])('that %s costs nobody the list', async (_what, settings) => {
    expect(await listedWith(settings)).toEqual([
      [null, true],
      [null, false],
    ])
  })
})
