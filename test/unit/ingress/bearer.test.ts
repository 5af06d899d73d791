// Bearer tokens by published keys and by a shared secret, and who the claims of a good one name.
// Over HTTP: sync-api.test.ts.
import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type JWTHeaderParameters } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { createBearerCheck } from '#shared/process/bearer.ts'
import { callerOf, UNAUTHORIZED } from '../../../services/ingress/api/caller.ts'
import { BEARER_LIFE_MAX_S } from '#shared/process/bearer-settings.ts'

const { publicKey, privateKey } = await generateKeyPair('ES256')
const stranger = await generateKeyPair('ES256')
let answer: { status: number; body: string } = { status: 500, body: '' }
const server = createServer((_request, response) => {
  response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
})
const good = {
  status: 200,
  body: JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256', use: 'sig' }] }),
}

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => {
  server.close()
  server.closeAllConnections()
})

function check() {
  const { port } = server.address() as AddressInfo
  return createBearerCheck({
    API_JWKS_URL: `http://127.0.0.1:${port}/keys`,
    API_JWT_ISSUER: 'https://issuer.example.com',
    API_JWT_AUDIENCE: 'calstream',
  })
}

async function token(
  changes: {
    iss?: string
    aud?: string
    key?: typeof privateKey
    header?: Partial<JWTHeaderParameters>
  } = {},
): Promise<string> {
  const signed = await new SignJWT({ provider_id: 'p' })
    .setProtectedHeader({ alg: 'ES256', kid: 'a', ...changes.header })
    .setIssuer(changes.iss ?? 'https://issuer.example.com')
    .setAudience(changes.aud ?? 'calstream')
    .setExpirationTime('1m')
    .sign(changes.key ?? privateKey)
  return `Bearer ${signed}`
}

describe('a bearer token by published keys', () => {
  test('counts with a good signature, issuer and audience', async () => {
    answer = good
    expect(await check()(await token())).toMatchObject({ provider_id: 'p' })
    expect(await check()((await token()).replace('Bearer', 'bearer'))).toMatchObject({ provider_id: 'p' })
  })

  test('does not count with another issuer, audience, key or key id', async () => {
    answer = good
    const bearer = check()
    expect(await bearer(await token({ iss: 'https://other.example.com' }))).toBeNull()
    expect(await bearer(await token({ aud: 'other' }))).toBeNull()
    expect(await bearer(await token({ key: stranger.privateKey }))).toBeNull()
    expect(await bearer(await token({ header: { kid: 'b' } }))).toBeNull()
    expect(await bearer(await token())).not.toBeNull()
  })

  test('signed with the public key as a shared secret (algorithm confusion) does not count', async () => {
    answer = good
    const asSecret = new TextEncoder().encode(good.body)
    const forged = await new SignJWT({ provider_id: 'p' })
      .setProtectedHeader({ alg: 'HS256', kid: 'a' })
      .setExpirationTime('1m')
      .sign(asSecret)
    expect(await check()(`Bearer ${forged}`)).toBeNull()
  })

  test.each([
    ['refuses', { status: 503, body: '' }],
    ['sends something else', { status: 200, body: '<html>' }],
    ['sends no key set', { status: 200, body: '{"keys": 7}' }],
  ])('is neither good nor bad when the key server %s', async (_what, broken) => {
    answer = broken
    await expect(check()(await token())).rejects.toThrow(/API_JWKS_URL/)
    answer = good
    expect(await check()(await token())).not.toBeNull()
  })
})

describe('a bearer token by a shared secret', () => {
  const secret = 'a-secret-of-thirty-two-bytes-or-more'
  const key = new TextEncoder().encode(secret)
  const now = () => Math.floor(Date.now() / 1000)
  const settings = { API_JWT_SECRET: new Secret(secret) }
  const open = createBearerCheck(settings)

  /** Signed over exactly this payload: JSON.stringify would not write 1e400. */
  async function signed(payload: string, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
    const input = [JSON.stringify({ alg: 'HS256', ...header }), payload]
      .map((part) => Buffer.from(part).toString('base64url'))
      .join('.')
    return `Bearer ${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
  }
  const withTimes = (times: string) => signed(`{"provider_id": "p"${times}}`)

  test.each([undefined, 'JWT', 'jwt', 'at+jwt', 'application/at+jwt', 'application/jwt'])(
    'of the type %s is an access token',
    async (typ) => {
      const header = typ === undefined ? {} : { typ }
      expect(await open(await signed(`{"exp": ${now() + 60}}`, header))).not.toBeNull()
    },
  )

  test.each([
    'logout+jwt',
    'secevent+jwt',
    'dpop+jwt',
    'id+jwt',
    'at+jwt ',
    '',
    'JWT, at+jwt',
    7,
    null,
    ['JWT'],
  ])('of the type %j is none', async (typ) => {
    const header = { typ } as Partial<JWTHeaderParameters>
    expect(await open(await signed(`{"exp": ${now() + 60}}`, header))).toBeNull()
  })

  test('lives for a day at most, whatever a number can say', async () => {
    const day = BEARER_LIFE_MAX_S
    const kept = [
      `, "exp": ${now() + day}`,
      `, "exp": ${now() + day}, "iat": ${now()}, "nbf": ${now()}`,
      `, "exp": ${now() + 60}, "iat": ${now() - day + 60}`,
    ]
    for (const times of kept) expect(await open(await withTimes(times)), times).not.toBeNull()
    const refused = [
      '',
      ', "exp": 1e400',
      ', "exp": "9999999999"',
      `, "exp": ${now() + 100 * 365 * day}`,
      `, "exp": ${now() + day + 60}`,
      `, "exp": ${(now() + 60) * 1000}`,
      `, "exp": ${now() + 60}, "iat": ${now() - day}`,
      `, "exp": ${now() + 60}, "iat": ${now() + 60}`,
      `, "exp": ${now() + 60}, "iat": -1e400`,
      `, "exp": ${now() + 60}, "iat": 1e400`,
      `, "exp": ${now() + 60}, "iat": "now"`,
      `, "exp": ${now() + 60}, "iat": null`,
      `, "exp": ${now() + 60}, "nbf": -1e400`,
      `, "exp": ${now() + 60}, "nbf": ${now() + 30}`,
      `, "exp": ${now() + 60}, "nbf": []`,
    ]
    for (const times of refused) expect(await open(await withTimes(times)), times).toBeNull()
    expect(UNAUTHORIZED.detail).toContain(`within ${BEARER_LIFE_MAX_S / 3600} hours`)
  })

  test('names the issuer and the audience where they are set', async () => {
    const strict = createBearerCheck({
      ...settings,
      API_JWT_ISSUER: 'https://issuer.example.com',
      API_JWT_AUDIENCE: 'calstream',
    })
    const token = (claims: object) => signed(JSON.stringify({ exp: now() + 60, ...claims }))
    const good = { iss: 'https://issuer.example.com', aud: ['other', 'calstream'] }
    expect(await strict(await token(good))).not.toBeNull()
    for (const bad of [
      {},
      { ...good, iss: 'x' },
      { ...good, aud: 'x' },
      { ...good, aud: [] },
      { ...good, aud: {} },
    ])
      expect(await strict(await token(bad)), JSON.stringify(bad)).toBeNull()
    expect(await open(await token({}))).not.toBeNull()
  })
})

describe('the claims of a good token', () => {
  const id = 'a9f0e61a-137d-4a2d-9c5f-2a8a0f1c6a10'

  test('name one provider, or an operator', () => {
    expect(callerOf({ provider_id: id.toUpperCase() })).toEqual({ kind: 'provider', id })
    expect(callerOf({ provider_id: id, scope: 'operator' })).toEqual({ kind: 'provider', id })
    expect(callerOf({ provider_id: id, scope: ['operator'] })).toEqual({ kind: 'provider', id })
    expect(callerOf({ scope: 'calendar operator' })).toEqual({ kind: 'operator' })
  })

  test.each([
    ...[null, '', 'x', `${id} `, `${id}\n`, `{${id}}`, 7, true, [id], { id }].map((bad) => ({
      provider_id: bad,
      scope: 'operator',
    })),
    ...[
      ['operator'],
      { operator: true },
      'Operator',
      'operators',
      'operator\n',
      'operator,x',
      7,
      null,
      true,
    ].map((scope) => ({ scope })),
    { scp: 'operator' },
    { roles: ['operator'] },
    {},
  ])('like %j name nobody', (claims) => expect(callerOf(claims)).toBeNull())

  test('of no token name nobody', () => expect(callerOf(null)).toBeNull())
})
