// Google's OAuth server as simulated: consent and its refusals, PKCE, one-time codes, what a
// refresh token outlives, revocation, and which scope opens which call. The official SDK's OAuth
// client speaks where it can.
import { createHash, randomBytes } from 'node:crypto'
import { auth, calendar } from 'googleapis/build/src/apis/calendar/index.js'
import { unescape } from 'html-escaper'
import { describe, expect, it } from 'vitest'
import { startTestSimulator, type TestAccount, type TestSimulator } from '../support/simulator.ts'

const REDIRECT = 'http://127.0.0.1:1/callback'
const READ = 'https://www.googleapis.com/auth/calendar.readonly'
const FULL = 'https://www.googleapis.com/auth/calendar'
const DAY_MS = 86_400_000

type Query = Readonly<Record<string, string | null>>

function newProof() {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

function consentUrl(simulator: TestSimulator, query: Query): URL {
  const url = new URL('/o/oauth2/v2/auth', simulator.googleUrl)
  const all = {
    client_id: 'calstream-local',
    redirect_uri: REDIRECT,
    response_type: 'code',
    scope: READ,
    access_type: 'offline',
    prompt: 'consent',
    state: 's t&te',
    ...query,
  }
  for (const [name, value] of Object.entries(all)) if (value !== null) url.searchParams.set(name, value)
  return url
}

/** Follows the consent to the client's redirect address and gives what arrived there. */
async function consent(simulator: TestSimulator, query: Query): Promise<URLSearchParams> {
  const answer = await fetch(consentUrl(simulator, query), { redirect: 'manual' })
  expect(answer.status, await answer.text()).toBe(302)
  const back = new URL(answer.headers.get('location') ?? '')
  expect(`${back.origin}${back.pathname}`).toBe(REDIRECT)
  return back.searchParams
}

async function exchange(simulator: TestSimulator, form: Query) {
  const all = {
    grant_type: 'authorization_code',
    client_id: 'calstream-local',
    client_secret: 'calstream-local-secret',
    redirect_uri: REDIRECT,
    ...form,
  }
  const body = new URLSearchParams()
  for (const [name, value] of Object.entries(all)) if (value !== null) body.set(name, value)
  const answer = await fetch(new URL('/token', simulator.googleUrl), { method: 'POST', body })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

/** Consent and exchange in one. */
async function connect(simulator: TestSimulator, query: Query) {
  const code = (await consent(simulator, query)).get('code')
  return (await exchange(simulator, { code })).body as {
    access_token: string
    refresh_token?: string
    scope: string
  }
}

function refreshWith(simulator: TestSimulator, account: TestAccount, refreshToken: string) {
  return simulator.refresh({ ...account, refreshToken })
}

function sdkWith(simulator: TestSimulator, accessToken: string) {
  const headers = { Authorization: `Bearer ${accessToken}` }
  return calendar({ version: 'v3', rootUrl: `${simulator.googleUrl}/`, retry: false, headers })
}

describe('consent', () => {
  it('runs through the official OAuth client: S256, state, a code that works once, a refresh', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    const client = new auth.OAuth2({
      clientId: account.clientId,
      clientSecret: account.clientSecret,
      redirectUri: REDIRECT,
      endpoints: {
        oauth2AuthBaseUrl: `${simulator.googleUrl}/o/oauth2/v2/auth`,
        oauth2TokenUrl: `${simulator.googleUrl}/token`,
        oauth2RevokeUrl: `${simulator.googleUrl}/revoke`,
      },
    })
    const { codeVerifier, codeChallenge } = await client.generateCodeVerifierAsync()
    const url = client.generateAuthUrl({
      scope: [READ],
      access_type: 'offline',
      prompt: 'consent',
      state: 'abc',
      login_hint: account.email,
      code_challenge: codeChallenge ?? '',
      code_challenge_method: 'S256' as never,
    })
    const answer = await fetch(url, { redirect: 'manual' })
    const back = new URL(answer.headers.get('location') ?? '')
    expect([back.searchParams.get('state'), back.searchParams.get('scope')]).toEqual(['abc', READ])
    const code = back.searchParams.get('code') ?? ''
    const { tokens } = await client.getToken({ code, codeVerifier })
    expect(tokens).toMatchObject({ scope: READ, token_type: 'Bearer', refresh_token: expect.any(String) })
    await expect(client.getToken({ code, codeVerifier })).rejects.toMatchObject({
      status: 400,
      message: 'invalid_grant',
    })
    client.setCredentials({ refresh_token: tokens.refresh_token ?? null })
    const { token } = await client.getAccessToken()
    const lists = await sdkWith(simulator, token ?? '').calendarList.list()
    expect(lists.data.items?.[0]).toMatchObject({ id: account.email, primary: true })
    await client.revokeToken(tokens.refresh_token ?? '')
    await expect(client.refreshAccessToken()).rejects.toMatchObject({ message: 'invalid_grant' })
  })

  it('takes a code only with the verifier of its challenge, whatever is wrong with the verifier', async () => {
    await using simulator = await startTestSimulator()
    const { email } = await simulator.addAccount()
    const { verifier, challenge } = newProof()
    const asked = { login_hint: email, code_challenge: challenge, code_challenge_method: 'S256' }
    const attempt = async (query: Query, codeVerifier: string | null) => {
      const code = (await consent(simulator, query)).get('code')
      const { status, body } = await exchange(simulator, { code, code_verifier: codeVerifier })
      return [status, body['error'] ?? 'fine']
    }
    const refused = [400, 'invalid_grant']
    expect(await attempt(asked, verifier)).toEqual([200, 'fine'])
    expect(await attempt(asked, newProof().verifier)).toEqual(refused)
    expect(await attempt(asked, challenge), 'the challenge is no proof of itself').toEqual(refused)
    expect(await attempt(asked, null)).toEqual(refused)
    expect(await attempt({ login_hint: email }, verifier), 'a verifier without a challenge').toEqual(refused)
    // Without a method it is `plain`, so that a client that hashes but does
    // not say so is found out.
    const plain = { ...asked, code_challenge_method: null }
    expect(await attempt(plain, verifier)).toEqual(refused)
    expect(await attempt(plain, challenge)).toEqual([200, 'fine'])
  })

  it('does not redirect a request that it does not trust', async () => {
    await using simulator = await startTestSimulator()
    const { email: login_hint } = await simulator.addAccount()
    const wrong: readonly Query[] = [
      { client_id: 'somebody' },
      { redirect_uri: null },
      { response_type: 'token' },
      { scope: null },
      { code_challenge: newProof().challenge, code_challenge_method: 'S512' },
    ]
    for (const query of wrong) {
      const answer = await fetch(consentUrl(simulator, { login_hint, ...query }), { redirect: 'manual' })
      expect([answer.status, answer.headers.get('content-type')]).toEqual([400, 'text/html; charset=UTF-8'])
    }
    expect((await consent(simulator, { login_hint })).get('code')).toMatch(/^4\//)
  })

  it('binds a code to its redirect address and to ten minutes', async () => {
    await using simulator = await startTestSimulator({ clock: 'manual' })
    const { email: login_hint } = await simulator.addAccount()
    const elsewhere = (await consent(simulator, { login_hint })).get('code')
    expect(await exchange(simulator, { code: elsewhere, redirect_uri: `${REDIRECT}/2` })).toMatchObject({
      status: 400,
      body: { error: 'redirect_uri_mismatch' },
    })
    const late = (await consent(simulator, { login_hint })).get('code')
    await simulator.admin('POST', '/admin/clock', { advanceMs: 601_000 })
    expect(await exchange(simulator, { code: late })).toMatchObject({ body: { error: 'invalid_grant' } })
    const fresh = (await consent(simulator, { login_hint })).get('code')
    expect((await exchange(simulator, { code: fresh })).status).toBe(200)
  })

  it('can be refused, or given for a part, and says so with the state echoed', async () => {
    await using simulator = await startTestSimulator()
    const { email: login_hint } = await simulator.addAccount()
    await simulator.admin('POST', '/admin/consent', { mode: 'deny' })
    const refused = await consent(simulator, { login_hint })
    expect(Object.fromEntries(refused)).toEqual({ error: 'access_denied', state: 's t&te' })
    await simulator.admin('POST', '/admin/consent', { mode: 'partial' })
    const partial = await connect(simulator, { login_hint, scope: `openid ${READ}` })
    expect(partial.scope).toBe('openid')
    await expect(sdkWith(simulator, partial.access_token).calendarList.list()).rejects.toMatchObject({
      status: 403,
      response: { data: { error: { errors: [{ reason: 'insufficientPermissions' }] } } },
    })
    await simulator.admin('POST', '/admin/consent', { mode: 'grant' })
    const whole = await connect(simulator, { login_hint })
    expect((await sdkWith(simulator, whole.access_token).calendarList.list()).status).toBe(200)
  })

  it('lets the knob name another account than the hint, and makes an account for an unknown hint', async () => {
    await using simulator = await startTestSimulator()
    const [first, second] = [await simulator.addAccount(), await simulator.addAccount()]
    const who = async (login_hint: string) => {
      const { access_token } = await connect(simulator, { login_hint })
      return (await sdkWith(simulator, access_token).calendars.get({ calendarId: 'primary' })).data.id
    }
    expect(await who(first.email)).toBe(first.email)
    await simulator.admin('POST', '/admin/consent', { account: second.accountId })
    expect(await who(first.email)).toBe(second.email)
    await simulator.admin('POST', '/admin/consent', { account: null })
    expect(await who('new@example.com')).toBe('new@example.com')
  })

  it('asks in a page, with every name escaped, when nobody is hinted', async () => {
    await using simulator = await startTestSimulator()
    const { email } = await simulator.addAccount({ email: 'a"<b>@example.com' })
    const answer = await fetch(consentUrl(simulator, {}), { redirect: 'manual' })
    const html = await answer.text()
    expect([answer.status, html.includes(email)]).toEqual([200, false])
    const links = [...html.matchAll(/href="([^"]+)"/g)].map(([, href]) => unescape(href ?? ''))
    expect(links).toHaveLength(6)
    const followed = await fetch(new URL(links[0] ?? '', simulator.googleUrl), { redirect: 'manual' })
    const back = new URL(followed.headers.get('location') ?? '')
    expect(back.searchParams.get('state')).toBe('s t&te')
    const { body } = await exchange(simulator, { code: back.searchParams.get('code') })
    const sdk = sdkWith(simulator, String(body['access_token']))
    expect((await sdk.calendars.get({ calendarId: 'primary' })).data.id).toBe(email)
  })
})

describe('grants', () => {
  it('give a refresh token the first time, and again only when the person is asked again', async () => {
    await using simulator = await startTestSimulator()
    const { email: login_hint } = await simulator.addAccount()
    const first = await connect(simulator, { login_hint, prompt: null })
    const again = await connect(simulator, { login_hint, prompt: null })
    const asked = await connect(simulator, { login_hint })
    const online = await connect(simulator, { login_hint, access_type: null })
    const had = [first, again, asked, online].map(({ refresh_token }) => refresh_token !== undefined)
    expect(had).toEqual([true, false, true, false])
    expect(asked.refresh_token).not.toBe(first.refresh_token)
  })

  it('die together by a revocation, and a new consent heals the account but not the old tokens', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    const old = await connect(simulator, { login_hint: account.email })
    const body = new URLSearchParams({ token: old.access_token })
    const revoke = () => fetch(new URL('/revoke', simulator.googleUrl), { method: 'POST', body })
    expect((await revoke()).status).toBe(200)
    expect([(await revoke()).status, await (await revoke()).json()]).toMatchObject([
      400,
      { error: 'invalid_token' },
    ])
    for (const token of [old.refresh_token ?? '', account.refreshToken])
      expect(await (await refreshWith(simulator, account, token)).json()).toEqual({
        error: 'invalid_grant',
        error_description: 'Token has been expired or revoked.',
      })
    const fresh = await connect(simulator, { login_hint: account.email, prompt: null })
    expect((await refreshWith(simulator, account, fresh.refresh_token ?? '')).status).toBe(200)
    expect((await sdkWith(simulator, fresh.access_token).calendarList.list()).status).toBe(200)
    expect((await refreshWith(simulator, account, old.refresh_token ?? '')).status).toBe(400)
    await expect(sdkWith(simulator, old.access_token).calendarList.list()).rejects.toMatchObject({
      status: 401,
    })
  })

  it('end by age, by half a year without a use, and by the hundred and first', async () => {
    await using simulator = await startTestSimulator({ clock: 'manual' })
    const account = await simulator.addAccount()
    const login_hint = account.email
    const status = async (token: string) => (await refreshWith(simulator, account, token)).status
    const advance = (days: number) => simulator.admin('POST', '/admin/clock', { advanceMs: days * DAY_MS })
    const { refresh_token: used = '' } = await connect(simulator, { login_hint })
    const { refresh_token: idle = '' } = await connect(simulator, { login_hint })
    await advance(100)
    expect(await status(used)).toBe(200)
    await advance(100)
    expect([await status(used), await status(idle)]).toEqual([200, 400])
    for (let count = 0; count < 98; count += 1) await connect(simulator, { login_hint })
    expect(await status(used)).toBe(200)
    await connect(simulator, { login_hint })
    expect(await status(used)).toBe(400)
    await simulator.admin('POST', '/admin/grants', { refreshTokenSeconds: 7 * 86_400 })
    const { refresh_token: short = '', ...told } = await connect(simulator, { login_hint })
    expect(told).toMatchObject({ refresh_token_expires_in: 604_800 })
    await advance(6)
    expect(await status(short)).toBe(200)
    await advance(1)
    expect(await status(short)).toBe(400)
  })

  it('rotate when told to, and the token before stays good', async () => {
    await using simulator = await startTestSimulator()
    const account = await simulator.addAccount()
    const plain = (await (await simulator.refresh(account)).json()) as Record<string, unknown>
    expect(plain['refresh_token']).toBeUndefined()
    await simulator.admin('POST', '/admin/grants', { rotate: true })
    const rotated = (await (await simulator.refresh(account)).json()) as Record<string, unknown>
    expect((await refreshWith(simulator, account, String(rotated['refresh_token']))).status).toBe(200)
    expect((await simulator.refresh(account)).status).toBe(200)
  })

  it('open what their scope covers and nothing else', async () => {
    await using simulator = await startTestSimulator()
    const { email: login_hint } = await simulator.addAccount({ eventsPerCalendar: 0 })
    const outcomes = async (scope: string) => {
      const sdk = sdkWith(simulator, (await connect(simulator, { login_hint, scope })).access_token)
      const day = { start: { date: '2026-12-01' }, end: { date: '2026-12-02' } }
      const calls = [
        sdk.calendarList.list(),
        sdk.events.list({ calendarId: 'primary' }),
        sdk.events.insert({ calendarId: 'primary', requestBody: day }),
        sdk.freebusy.query({
          requestBody: { timeMin: '2026-12-01T00:00:00Z', timeMax: '2026-12-02T00:00:00Z', items: [] },
        }),
      ]
      return Promise.all(
        calls.map((call) =>
          call.then(({ status }) => status).catch((error: { status: number }) => error.status),
        ),
      )
    }
    expect(await outcomes(FULL)).toEqual([200, 200, 200, 200])
    expect(await outcomes(READ)).toEqual([200, 200, 403, 200])
    expect(await outcomes(`${FULL}.events`)).toEqual([403, 200, 200, 403])
    expect(await outcomes(`${FULL}.freebusy`)).toEqual([403, 403, 403, 200])
    expect(await outcomes(`${FULL}.calendarlist.readonly`)).toEqual([200, 403, 403, 403])
  })
})
