// Who we are to the schema registry: login and authority go with every request of both ways to it,
// and a refusal says which it was.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openCodec } from '#shared/kafka/codec.ts'
import { verifySchemas } from '#shared/kafka/schemas.ts'
import { kafkaEnv, registryConfigOf, registryEnv } from '#shared/kafka/settings.ts'
import { ConfigError, readEnv } from '#shared/process/settings.ts'
import { type CertificateAuthority, newAuthority } from '../../../../infra/stack/certificates.ts'

const TOPICS = ['calendar.sync.requested.google.v1'] as const
const PASSWORD = 'hunter2-hunter2'
const schema = z.object({ ...registryEnv, KAFKA_PREFIX: kafkaEnv.KAFKA_PREFIX })
const signal = () => AbortSignal.timeout(20_000)

let authority: CertificateAuthority
let folder: string
const open: AsyncDisposable[] = []
beforeAll(async () => {
  authority = await newAuthority()
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-registry-'))
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server[Symbol.asyncDispose]()))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** A registry that has every schema, for those whom `admit` lets in with 200. */
async function registry(
  admit: (authorization: string | undefined) => number,
  over: 'http' | 'https' = 'http',
): Promise<string> {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    request.resume()
    const status = admit(request.headers.authorization)
    response.writeHead(status, { 'content-type': 'application/json' })
    const body = status === 200 ? { id: 7, compatibilityLevel: 'BACKWARD_TRANSITIVE' } : { message: 'no' }
    response.end(JSON.stringify(body))
  }
  const { certificate: cert, key } = await authority.issue({ commonName: 'registry', names: ['127.0.0.1'] })
  const server = over === 'http' ? createServer(answer) : createTlsServer({ cert, key }, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
  return `${over}://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What each of the two ways to the registry says: the code of its failure, or that all is well. */
async function saidOf(env: Record<string, string>): Promise<readonly string[]> {
  const config = registryConfigOf(readEnv(schema, env))
  const ways = [
    async () => void (await openCodec({ ...config, topics: TOPICS }, signal())),
    async () => expect((await verifySchemas(config, signal())).problems).toEqual([]),
  ]
  return Promise.all(
    ways.map(async (way) =>
      way().then(
        () => 'well',
        (error: unknown) => (error as { code?: string }).code ?? String(error),
      ),
    ),
  )
}

const basic = (password: string) => `Basic ${Buffer.from(`calstream:${password}`).toString('base64')}`

describe('the login', () => {
  test('by user and password, and by token, goes with every request', async () => {
    const byPassword = await registry((said) => (said === basic(PASSWORD) ? 200 : 401))
    const login = { SCHEMA_REGISTRY_USERNAME: 'calstream', SCHEMA_REGISTRY_PASSWORD: PASSWORD }
    expect(await saidOf({ SCHEMA_REGISTRY_URL: byPassword, ...login })).toEqual(['well', 'well'])
    expect(await saidOf({ SCHEMA_REGISTRY_URL: byPassword })).toEqual(twice('registry/login-refused'))
    const byToken = await registry((said) => (said === 'Bearer a-token-of-ours' ? 200 : 401))
    const token = { SCHEMA_REGISTRY_BEARER_TOKEN: 'a-token-of-ours' }
    expect(await saidOf({ SCHEMA_REGISTRY_URL: byToken, ...token })).toEqual(['well', 'well'])
    expect(await saidOf({ SCHEMA_REGISTRY_URL: byToken, ...login })).toEqual(twice('registry/login-refused'))
  })

  test('is read again when its file changes', async () => {
    let right = PASSWORD
    const url = await registry((said) => (said === basic(right) ? 200 : 401))
    const file = path.join(folder, 'password')
    writeFileSync(file, PASSWORD)
    const env = { SCHEMA_REGISTRY_USERNAME: 'calstream', SCHEMA_REGISTRY_PASSWORD_FILE: file }
    const config = registryConfigOf(readEnv(schema, { SCHEMA_REGISTRY_URL: url, ...env }))
    expect((await verifySchemas(config, signal())).problems).toEqual([])
    right = 'the-next-password'
    await expect(verifySchemas(config, signal())).rejects.toMatchObject({ code: 'registry/login-refused' })
    writeFileSync(file, right)
    expect((await verifySchemas(config, signal())).problems).toEqual([])
  })

  test('that may not do it is told from one that is refused, and from a registry that is away', async () => {
    expect(await saidOf({ SCHEMA_REGISTRY_URL: await registry(() => 403) })).toEqual(
      twice('registry/right-missing'),
    )
    expect(await saidOf({ SCHEMA_REGISTRY_URL: 'http://127.0.0.1:1' })).toEqual(twice('registry/unavailable'))
  })
})

test('an authority of our own is believed by both ways, and without it none is', async () => {
  const url = await registry(() => 200, 'https')
  const right = { SCHEMA_REGISTRY_URL: url, SCHEMA_REGISTRY_SSL_CA: authority.ca }
  expect(await saidOf(right)).toEqual(['well', 'well'])
  expect(await saidOf({ SCHEMA_REGISTRY_URL: url })).toEqual(twice('registry/certificate-refused'))
  const { ca } = await newAuthority('another')
  expect(await saidOf({ ...right, SCHEMA_REGISTRY_SSL_CA: ca })).toEqual(
    twice('registry/certificate-refused'),
  )
})

test.each<[string, Record<string, string>, RegExp]>([
  ['a user without a password', { SCHEMA_REGISTRY_USERNAME: 'x' }, /^SCHEMA_REGISTRY_PASSWORD is not set/],
  [
    'a password without a user',
    { SCHEMA_REGISTRY_PASSWORD: PASSWORD },
    /^SCHEMA_REGISTRY_USERNAME is not set/,
  ],
  [
    'two logins',
    { SCHEMA_REGISTRY_USERNAME: 'x', SCHEMA_REGISTRY_PASSWORD: PASSWORD, SCHEMA_REGISTRY_BEARER_TOKEN: 'y' },
    /^SCHEMA_REGISTRY_BEARER_TOKEN and SCHEMA_REGISTRY_USERNAME are both set/,
  ],
  [
    'an authority that is none',
    { SCHEMA_REGISTRY_SSL_CA: PASSWORD },
    /^SCHEMA_REGISTRY_SSL_CA cannot be used/,
  ],
])('the settings refuse %s', (_what, changes, words) => {
  const read = () => readEnv(schema, { SCHEMA_REGISTRY_URL: 'https://registry.example.com', ...changes })
  expect(read).toThrow(ConfigError)
  expect(() => readEnv(schema, { SCHEMA_REGISTRY_URL: 'https://registry.example.com' })).not.toThrow()
  try {
    read()
  } catch (error) {
    const { problems } = error as ConfigError
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(words)
    expect(problems[0]).not.toContain('hunter2')
  }
})

const twice = (code: string) => [code, code]
