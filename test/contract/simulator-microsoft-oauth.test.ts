// The simulated Entra against learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow,
// with openid-client and plain HTTP as clients: consent with all its answers, codes, the rotation
// and the ends of refresh tokens, and error bodies in Entra's own shape.
import { createHash, randomBytes } from 'node:crypto'
import * as oauth from 'openid-client'
import { describe, expect, test } from 'vitest'
import { type GraphWorld, graphClient, openGraph, type OAuthAnswer, refusedAs } from '../support/graph-sdk.ts'

const REDIRECT = 'http://127.0.0.1:9/back'
const SCOPE = 'offline_access User.Read Calendars.Read'
const DAY_MS = 86_400_000

interface Asked {
  readonly back: URL
  readonly status: number
  readonly verifier: string
  readonly html: string
}

/** One trip to the consent page, as a browser makes it; null leaves a field out. */
async function consent(
  { simulator, mailbox }: GraphWorld,
  more: Readonly<Record<string, string | null>> = {},
): Promise<Asked> {
  const verifier = randomBytes(32).toString('base64url')
  const fields: Readonly<Record<string, string | null>> = {
    client_id: mailbox.account.clientId,
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: SCOPE,
    state: 'the-state',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    login_hint: mailbox.account.email,
    ...more,
  }
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) if (value !== null) query.set(name, value)
  const page = await fetch(`${simulator.microsoftUrl}/common/oauth2/v2.0/authorize?${query.toString()}`, {
    redirect: 'manual',
  })
  const back = new URL(page.headers.get('location') ?? 'none:')
  return { back, status: page.status, verifier, html: await page.text() }
}

function redeem(world: GraphWorld, { back, verifier }: Asked, more: Record<string, string> = {}) {
  return world.token({
    grant_type: 'authorization_code',
    code: back.searchParams.get('code') ?? '',
    redirect_uri: REDIRECT,
    code_verifier: verifier,
    ...more,
  })
}

const refresh = (world: GraphWorld, token: unknown = world.mailbox.account.refreshToken) =>
  world.token({ grant_type: 'refresh_token', refresh_token: String(token) })

/** Error word and AADSTS number of an answer. */
function problem({ status, body }: OAuthAnswer): string {
  const [code] = body['error_codes'] as number[]
  return `${status} ${String(body['error'])} ${code}`
}

describe('consent', () => {
  test('runs through openid-client: a code with S256 and state, a refresh that rotates', async () => {
    await using world = await openGraph()
    const { microsoftUrl } = world.simulator
    const { clientId, clientSecret, email } = world.mailbox.account
    const server = {
      issuer: `${microsoftUrl}/common/v2.0`,
      authorization_endpoint: `${microsoftUrl}/common/oauth2/v2.0/authorize`,
      token_endpoint: `${microsoftUrl}/common/oauth2/v2.0/token`,
    }
    const config = new oauth.Configuration(server, clientId, clientSecret)
    oauth.allowInsecureRequests(config)
    const pkceCodeVerifier = oauth.randomPKCECodeVerifier()
    const url = oauth.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT,
      scope: SCOPE,
      state: 'the-state',
      code_challenge: await oauth.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
      login_hint: email,
    })
    const page = await fetch(url, { redirect: 'manual' })
    const back = new URL(page.headers.get('location') ?? '')
    const checks = { pkceCodeVerifier, expectedState: 'the-state' }
    const granted = await oauth.authorizationCodeGrant(config, back, checks)
    expect(granted.expiresIn()).toBe(3599)
    const me = await graphClient(microsoftUrl, granted.access_token).api('/me').get()
    expect(me.mail).toBe(email)
    const next = await oauth.refreshTokenGrant(config, granted.refresh_token ?? '')
    expect(next.refresh_token).not.toBe(granted.refresh_token)
    const dead = oauth.refreshTokenGrant(config, 'none')
    await expect(dead).rejects.toMatchObject({ error: 'invalid_grant', status: 400 })
  })

  test('gives a code that works once, with the verifier of its challenge, for ten minutes', async () => {
    await using world = await openGraph({ clock: 'manual' })
    const asked = await consent(world)
    expect([asked.status, asked.back.searchParams.get('state')]).toEqual([302, 'the-state'])
    expect(asked.back.searchParams.get('session_state')).toBeTruthy()
    const granted = await redeem(world, asked)
    expect(granted).toMatchObject({
      status: 200,
      body: { token_type: 'Bearer', scope: 'User.Read Calendars.Read' },
    })
    expect(granted.body['refresh_token']).toBeTruthy()
    expect(problem(await redeem(world, asked))).toBe('400 invalid_grant 54005')
    const wrong = { code_verifier: randomBytes(32).toString('base64url') }
    expect(problem(await redeem(world, await consent(world), wrong))).toBe('400 invalid_grant 501481')
    const elsewhere = { redirect_uri: 'http://127.0.0.1:9/other' }
    expect(problem(await redeem(world, await consent(world), elsewhere))).toBe('400 invalid_grant 50011')
    const late = await consent(world)
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 601_000 })
    expect(problem(await redeem(world, late))).toBe('400 invalid_grant 54005')
  })

  test('without offline_access gives no refresh token', async () => {
    await using world = await openGraph()
    const granted = await redeem(world, await consent(world, { scope: 'User.Read Calendars.Read' }))
    expect([granted.status, granted.body['refresh_token']]).toEqual([200, undefined])
  })

  test('can be refused, and says so with the state echoed', async () => {
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/consent', { mode: 'deny' })
    const { back, status } = await consent(world)
    const { error, error_description, state, code } = Object.fromEntries(back.searchParams)
    expect([status, error, state, code]).toEqual([302, 'access_denied', 'the-state', undefined])
    expect(error_description).toMatch(/^AADSTS65004: /)
  })

  test('can be given for a part, and what is left opens no calendar', async () => {
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/consent', { mode: 'partial' })
    const { body } = await redeem(world, await consent(world))
    expect(body['scope']).toBe('User.Read')
    const graph = graphClient(world.simulator.microsoftUrl, String(body['access_token']))
    expect(await graph.api('/me').get()).toMatchObject({ mail: world.mailbox.account.email })
    expect(await refusedAs(graph.api('/me/calendars').get())).toBe('403 ErrorAccessDenied')
    await world.simulator.admin('POST', '/admin/consent', {
      mode: 'partial',
      scope: 'User.Read Calendars.Read',
    })
    const reader = (await redeem(world, await consent(world, { scope: `${SCOPE} Calendars.ReadWrite` }))).body
    const reading = graphClient(world.simulator.microsoftUrl, String(reader['access_token']))
    expect((await reading.api('/me/calendars').get()).value).toHaveLength(2)
    expect(await refusedAs(reading.api('/me/events').post({}))).toBe('403 ErrorAccessDenied')
  })

  test('asks in a page when nobody is hinted, with every name escaped', async () => {
    await using world = await openGraph()
    await world.join({ email: 'a"><script>@example.com' })
    const { status, html } = await consent(world, { login_hint: null, scope: 'User.Read <b>' })
    expect(status).toBe(200)
    expect(html).toContain(world.mailbox.account.email)
    expect(html).not.toMatch(/<script>|<b>/)
  })

  test.each([
    ['an unknown client', { client_id: 'nobody' }, 'AADSTS700016'],
    ['an address that is none', { redirect_uri: 'nowhere' }, 'AADSTS50011'],
  ])('does not redirect a request with %s', async (_what, more, code) => {
    await using world = await openGraph()
    const { status, html, back } = await consent(world, more)
    expect([status, back.href]).toEqual([400, 'none:'])
    expect(html).toContain(code)
  })
})

describe('refresh tokens', () => {
  test('rotate with each use and leave the one before alive, until the grant is revoked', async () => {
    await using world = await openGraph()
    const first = await refresh(world)
    const next = first.body['refresh_token']
    expect(next).not.toBe(world.mailbox.account.refreshToken)
    for (const token of [world.mailbox.account.refreshToken, next])
      expect((await refresh(world, token)).status).toBe(200)
    await world.simulator.admin('POST', `/admin/accounts/${world.mailbox.account.accountId}/revoke`)
    expect(problem(await refresh(world, next))).toBe('400 invalid_grant 50173')
    const healed = await redeem(world, await consent(world))
    expect((await refresh(world, healed.body['refresh_token'])).status).toBe(200)
    expect(problem(await refresh(world, next)), 'a new consent heals no old token').toBe(
      '400 invalid_grant 50173',
    )
  })

  test('may come back the same where Microsoft does not rotate', async () => {
    await using world = await openGraph()
    await world.knobs({ rotateRefreshTokens: false })
    const { status, body } = await refresh(world)
    expect([status, body['refresh_token']]).toEqual([200, undefined])
  })

  test('end after ninety days without use, and each use begins them again', async () => {
    await using world = await openGraph({ clock: 'manual' })
    const pass = (days: number) => world.simulator.admin('POST', '/admin/clock', { advanceMs: days * DAY_MS })
    await pass(80)
    expect((await refresh(world)).status).toBe(200)
    await pass(80)
    expect((await refresh(world)).status).toBe(200)
    await pass(91)
    expect(problem(await refresh(world))).toBe('400 invalid_grant 700082')
  })

  test('are for the client that they were given to', async () => {
    await using world = await openGraph()
    expect(problem(await refresh(world, 'none'))).toBe('400 invalid_grant 9002313')
    const stranger = { grant_type: 'refresh_token', client_id: 'nobody' }
    expect(problem(await world.token(stranger))).toBe('400 unauthorized_client 700016')
    const guess = { grant_type: 'refresh_token', client_secret: 'guess' }
    expect(problem(await world.token(guess))).toBe('401 invalid_client 7000215')
    expect(problem(await world.token({ grant_type: 'password' }))).toBe('400 unsupported_grant_type 70003')
  })
})

describe('faults of the sign-in', () => {
  const strike = (world: GraphWorld, respond: object) =>
    world.simulator.admin('POST', '/admin/faults', { match: { operation: 'token' }, times: 1, respond })

  test.each([
    [{ status: 400, reason: 'invalid_grant' }, '400 invalid_grant 700082'],
    [{ status: 400, reason: 'interaction_required' }, '400 interaction_required 50076'],
    [{ status: 400, reason: 'conditional_access' }, '400 interaction_required 53003'],
    [{ status: 400, reason: 'consent_required' }, '400 invalid_grant 65001'],
    [{ status: 400, reason: 'login_required' }, '400 login_required 50058'],
    [{ status: 400 }, '400 invalid_grant 700082'],
    [{ status: 401 }, '401 invalid_client 7000215'],
    [{ status: 429 }, '429 temporarily_unavailable 90033'],
    [{ status: 503 }, '503 temporarily_unavailable 90033'],
    [{ status: 500 }, '500 server_error 90012'],
  ])('%j is %s, in Entra’s shape and once', async (respond, expected) => {
    await using world = await openGraph()
    await strike(world, respond)
    const answer = await refresh(world)
    expect(problem(answer)).toBe(expected)
    const number = expected.split(' ').at(-1)
    expect(answer.body).toMatchObject({
      error_description: expect.stringMatching(
        new RegExp(`^AADSTS${number}: .+\\r\\nTrace ID: \\S+\\r\\nCorrelation ID: \\S+\\r\\nTimestamp: .+Z$`),
      ),
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$/),
      trace_id: expect.any(String),
      correlation_id: expect.any(String),
      error_uri: `https://login.microsoftonline.com/error?code=${number}`,
    })
    expect((await refresh(world)).status).toBe(200)
  })

  test('leave Graph’s own errors in Graph’s shape', async () => {
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/faults', {
      match: { operation: 'read' },
      times: 1,
      respond: { status: 503 },
    })
    expect(await refusedAs(world.mailbox.graph.api('/me').get())).toBe('503 UnknownError')
  })
})
