// The OAuth client against a token endpoint that answers as told: what is asked, how refusals read,
// and that no secret leaves in a URL or an error.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { createOAuth, failureOfGrant, type OAuthSettings } from '#shared/vendors/oauth.ts'
import { everythingIn, failureOf } from '../../../support/vendor-world.ts'

const NOW = Date.UTC(2026, 10, 20, 12) * 1000
const signal = AbortSignal.timeout(60_000)
const GRANT = {
  access_token: 'access-1',
  expires_in: 3599,
  refresh_token: 'refresh-1',
  scope: 'calendar.read profile',
  token_type: 'Bearer',
}
const ISSUER = 'https://accounts.example'
const CODE = { code: 'code-1', codeVerifier: 'verifier-1', redirectUri: 'http://127.0.0.1:9/back' }

interface Seen {
  readonly path: string
  readonly form: Readonly<Record<string, string>>
}

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

async function endpoint(status: number, body: unknown, overrides: Partial<OAuthSettings> = {}) {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString('utf8')))
      seen.push({ path: request.url ?? '', form })
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      response
        .writeHead(status, {
          'content-type': 'application/json',
          'www-authenticate': 'Bearer realm=""',
          'retry-after': '7',
        })
        .end(text)
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
  const settings: OAuthSettings = {
    name: 'google',
    vendor: 'Google',
    approvalUrl: null,
    subjectIssuers: [ISSUER],
    plainScope: (scope) => scope.toLowerCase().replace(/^.*\//, ''),
    authUrl: `${url}/consent`,
    tokenUrl: `${url}/token`,
    revokeUrl: `${url}/revoke`,
    clientId: 'cid',
    clientSecret: new Secret('s3cr+t&'),
    scope: 'Calendar.Read Profile',
    needed: [
      { scope: 'Calendar.Read', widerScopes: ['Calendar.ReadWrite'] },
      { scope: 'Profile', widerScopes: [] },
    ],
    consent: { prompt: 'consent' },
    tokenParameters: { scope: 'Calendar.Read' },
    ...overrides,
  }
  return { oauth: createOAuth(settings, { now: () => NOW }), seen }
}

describe('the consent address', () => {
  test('carries the client, the scopes, the challenge and the state, and never the secret', async () => {
    const { oauth, seen } = await endpoint(200, GRANT)
    const request = {
      redirectUri: 'https://calstream.example/back',
      state: 'st',
      codeChallenge: 'ch',
      loginHint: null,
    }
    const url = new URL(oauth.consentUrl(request))
    expect(Object.fromEntries(url.searchParams)).toEqual({
      client_id: 'cid',
      response_type: 'code',
      redirect_uri: 'https://calstream.example/back',
      scope: 'Calendar.Read Profile',
      state: 'st',
      code_challenge: 'ch',
      code_challenge_method: 'S256',
      prompt: 'consent',
    })
    const hinted = new URL(oauth.consentUrl({ ...request, loginHint: 'ana@example.com' }))
    expect(hinted.searchParams.get('login_hint')).toBe('ana@example.com')
    expect(seen).toEqual([])
  })
})

describe('a code', () => {
  test('is exchanged once, with its verifier, in a form', async () => {
    const { oauth, seen } = await endpoint(200, GRANT)
    expect(await oauth.exchangeCode(CODE, signal)).toEqual({
      accessToken: 'access-1',
      accessExpiresAt: NOW + 3_599_000_000,
      refreshToken: 'refresh-1',
      scope: 'calendar.read profile',
      missingScopes: [],
      subject: null,
      endsAt: null,
    })
    expect(seen).toEqual([
      {
        path: '/token',
        form: {
          grant_type: 'authorization_code',
          code: 'code-1',
          code_verifier: 'verifier-1',
          scope: 'Calendar.Read',
          redirect_uri: 'http://127.0.0.1:9/back',
          client_id: 'cid',
          client_secret: 's3cr+t&',
        },
      },
    ])
  })

  test.each([
    ['the one asked for is not given', 'profile', ['Calendar.Read']],
    ['none is given', '', ['Calendar.Read', 'Profile']],
    ['a wider one is given', 'Calendar.ReadWrite Profile openid', []],
    ['they are named with their resource', 'https://graph.microsoft.com/Calendar.Read profile', []],
    ['none is named, which means all', undefined, []],
  ])('tells which scopes are missing when %s', async (_what, scope, missing) => {
    const { oauth } = await endpoint(200, { ...GRANT, scope })
    expect((await oauth.exchangeCode(CODE, signal)).missingScopes).toEqual(missing)
  })

  test('keeps the scopes fit and compares them whole', async () => {
    const scope = `x\0 ${'y'.repeat(5000)} calendar.read profile`
    const { oauth } = await endpoint(200, { ...GRANT, scope })
    const grant = await oauth.exchangeCode(CODE, signal)
    expect(grant.missingScopes).toEqual([])
    expect(grant.scope).toMatch(/^x {1,2}y+$/)
    expect(grant.scope?.length).toBeLessThanOrEqual(4096)
    expect((await oauth.refresh('refresh-1', signal)).scope).toBe(grant.scope)
  })

  test('a grant that does not last is no grant', async () => {
    const { oauth } = await endpoint(200, { ...GRANT, refresh_token: undefined })
    expect((await failureOf(oauth.exchangeCode(CODE, signal))).code).toBe('vendor/no-offline-access')
  })

  test('an identity token that nobody asked for costs nothing', async () => {
    const { oauth } = await endpoint(200, { ...GRANT, id_token: 'neither.signed.nor-read' })
    expect(await oauth.exchangeCode(CODE, signal)).toMatchObject({ accessToken: 'access-1', subject: null })
  })

  test.each([
    ['names the account', { sub: '117' }, '117'],
    ['is of another app', { sub: '117', aud: 'other' }, null],
    ['is of somebody else', { sub: '117', iss: 'https://elsewhere.example' }, null],
    ['names nobody', {}, null],
    ['names nobody that can be stored', { sub: 'a\0b' }, null],
  ])('an identity token that %s', async (_what, claims, subject) => {
    const idToken = unsigned({ iss: ISSUER, aud: 'cid', ...claims })
    const { oauth } = await endpoint(200, { ...GRANT, id_token: idToken })
    expect((await oauth.exchangeCode(CODE, signal)).subject).toBe(subject)
    expect((await oauth.refresh('refresh-1', signal)).subject).toBe(subject)
  })

  test.each([
    ['a number', 1800, 1800],
    ['text', '1800', 1800],
    ['text that is none', 'soon', 300],
    ['missing', undefined, 300],
    ['null', null, 300],
    ['nought', 0, 300],
    ['negative', -5, 300],
    ['without end', 1e300, 86_400],
    ['an object', {}, 300],
  ])('a life that is %s costs no grant', async (_what, expiresIn, seconds) => {
    const { oauth } = await endpoint(200, { ...GRANT, expires_in: expiresIn })
    for (const grant of [await oauth.exchangeCode(CODE, signal), await oauth.refresh('refresh-1', signal)])
      expect(grant.accessExpiresAt).toBe(NOW + seconds * 1_000_000)
  })

  test.each([
    [604_799, NOW + 604_799_000_000],
    ['604799', NOW + 604_799_000_000],
    [-1, null],
    ['never', null],
    [undefined, null],
  ])('a grant that ends in %s says so', async (left, endsAt) => {
    const { oauth } = await endpoint(200, { ...GRANT, refresh_token_expires_in: left })
    expect((await oauth.exchangeCode(CODE, signal)).endsAt).toBe(endsAt)
    expect((await oauth.refresh('refresh-1', signal)).endsAt).toBe(endsAt)
  })

  test.each([
    [{ ...GRANT, token_type: 'mac' }],
    [{ ...GRANT, token_type: undefined }],
    [{ ...GRANT, scope: 7 }],
    [{ ...GRANT, access_token: '' }],
    [{ ...GRANT, access_token: 'access-1\r\nx: y' }],
    [{ ...GRANT, access_token: 'access-1\0' }],
    [{ ...GRANT, access_token: 'accéss-1' }],
    [{ ...GRANT, refresh_token: 'refresh-1\n' }],
    [{ ...GRANT, refresh_token: '\u001Brefresh-1' }],
    [{ ...GRANT, refresh_token: 'r'.repeat(16_385) }],
    [[GRANT]],
    ['<html>'],
  ])('an answer like %j is unreadable and not repeated in the failure', async (body) => {
    const { oauth } = await endpoint(200, body)
    const failure = await failureOf(oauth.exchangeCode(CODE, signal))
    expect(failure.code).toBe('vendor/unreadable-answer')
    for (const secret of ['access-1', 'refresh-1', 'code-1', 'verifier-1', 's3cr+t&']) {
      expect(everythingIn(failure)).not.toContain(secret)
    }
  })

  test('a refusal names the reason, keeps Retry-After, and carries no secret', async () => {
    const { oauth } = await endpoint(400, { error: 'invalid_grant', error_description: 'code-1 is used' })
    const failure = await failureOf(oauth.exchangeCode(CODE, signal))
    expect(failure).toMatchObject({ code: 'vendor/grant-revoked', retryAt: NOW + 7_000_000 })
    expect(failure.message).toBe("Google's token endpoint answered 400 (invalid_grant).")
    for (const secret of ['code-1', 'verifier-1', 's3cr+t&']) {
      expect(everythingIn(failure)).not.toContain(secret)
    }
  })

  test('a caller who gives up gets its own reason', async () => {
    const { oauth } = await endpoint(200, GRANT)
    const reason = new Error('gave up')
    await expect(oauth.exchangeCode(CODE, AbortSignal.abort(reason))).rejects.toBe(reason)
  })
})

describe('a refresh', () => {
  test('names a rotated token and only a rotated one', async () => {
    const { oauth, seen } = await endpoint(200, GRANT)
    expect((await oauth.refresh('refresh-1', signal)).refreshToken).toBeNull()
    expect((await oauth.refresh('refresh-0', signal)).refreshToken).toBe('refresh-1')
    expect(seen[1]?.form).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'refresh-0',
      scope: 'Calendar.Read',
      client_id: 'cid',
      client_secret: 's3cr+t&',
    })
  })
})

describe('a revocation', () => {
  test('sends the token alone, in the body', async () => {
    const { oauth, seen } = await endpoint(200, {})
    await oauth.revoke('refresh-1', signal)
    expect(seen).toEqual([{ path: '/revoke', form: { token: 'refresh-1' } }])
  })

  test('of a token that is gone is done; another refusal is a failure', async () => {
    const gone = await endpoint(400, { error: 'invalid_token' })
    await expect(gone.oauth.revoke('refresh-1', signal)).resolves.toBeUndefined()
    const refused = await endpoint(400, { error: 'invalid_request' })
    const failure = await failureOf(refused.oauth.revoke('refresh-1', signal))
    expect(failure.code).toBe('vendor/rejected')
    expect(everythingIn(failure)).not.toContain('refresh-1')
    const away = await endpoint(503, '')
    expect((await failureOf(away.oauth.revoke('refresh-1', signal))).code).toBe('vendor/unavailable')
  })

  test('asks nothing of a vendor without it', async () => {
    const { oauth, seen } = await endpoint(500, '', { revokeUrl: null })
    await oauth.revoke('refresh-1', signal)
    expect(seen).toEqual([])
  })
})

describe('a refusal of the token endpoint', () => {
  const SETTINGS = { name: 'google', vendor: 'Google', approvalUrl: null } as const
  const refused = (status: number, data: unknown, purpose: 'refresh' | 'exchange' | 'revoke' = 'refresh') =>
    failureOfGrant({ status, data, headers: new Headers() }, SETTINGS, purpose, NOW)

  test.each([
    [429, undefined, 'vendor/throttled'],
    [503, { error: 'temporarily_unavailable' }, 'vendor/unavailable'],
    [503, { error: 'invalid_grant' }, 'vendor/unavailable'],
    [400, { error: 'temporarily_unavailable' }, 'vendor/unavailable'],
    [400, '<html>', 'vendor/unreadable-answer'],
    [401, undefined, 'vendor/unreadable-answer'],
    [403, undefined, 'vendor/throttled'],
    [403, { error: 'rate_limit_exceeded' }, 'vendor/throttled'],
    [403, { error: { code: 403, status: 'RESOURCE_EXHAUSTED' } }, 'vendor/throttled'],
    [400, { error: 'slow_down' }, 'vendor/throttled'],
    [400, { error: 'invalid_request' }, 'vendor/token-refused'],
    [404, { error: 'not_found' }, 'vendor/token-refused'],
  ])('%i %j is %s', (status, data, code) => {
    expect(refused(status, data).code).toBe(code)
  })

  test('of a code says that the person has to consent again, whatever the text', () => {
    const data = { error: 'invalid_grant', error_description: 'Account disabled: try again.' }
    expect(refused(400, data, 'exchange').code).toBe('vendor/grant-revoked')
    expect(refused(400, data, 'refresh').code).toBe('vendor/token-refused')
  })
})

function unsigned(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part(claims)}.`
}
