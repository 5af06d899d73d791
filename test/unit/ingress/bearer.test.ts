// Bearer tokens by published keys. Tokens by a shared secret are tried over HTTP in unit/ingress/http.test.ts.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type JWTHeaderParameters } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBearerCheck } from '../../../services/ingress/api/bearer.ts'

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
    secret: undefined,
    jwksUrl: `http://127.0.0.1:${port}/keys`,
    issuer: 'https://issuer.example.com',
    audience: 'calstream',
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
