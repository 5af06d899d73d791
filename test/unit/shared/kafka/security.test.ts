// Who we are to Kafka: which settings go together, where a login may go in clear, what is wrong
// with a certificate, and that a file which changes is read again.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createPlainServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { openTokenSource } from '#shared/kafka/oauth-token.ts'
import { kafkaRoundTrip } from '#shared/kafka/open.ts'
import { ClientTls } from '#shared/kafka/security.ts'
import { kafkaConfigOf, kafkaEnv } from '#shared/kafka/settings.ts'
import { socketFactoryOf } from '#shared/kafka/socket.ts'
import { redact } from '#shared/process/redact.ts'
import { Secret } from '#shared/process/secret.ts'
import { ConfigError, readEnv } from '#shared/process/settings.ts'
import { type Identity, newAuthority } from '../../../../infra/stack/certificates.ts'

const schema = z.object(kafkaEnv)
const LOGIN = {
  KAFKA_BROKERS: 'kafka.example.com:9093',
  KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
  KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
  KAFKA_SASL_USERNAME: 'calstream-sync',
  KAFKA_SASL_PASSWORD: 'hunter2-hunter2',
}
const TOKEN = {
  KAFKA_SASL_MECHANISM: 'OAUTHBEARER',
  KAFKA_SASL_USERNAME: undefined,
  KAFKA_SASL_PASSWORD: undefined,
  KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: 'https://id.example.com/token',
  KAFKA_SASL_OAUTHBEARER_CLIENT_ID: 'calstream',
  KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: 'hunter2-hunter2',
}

type Env = Record<string, string | undefined>
let authority: Awaited<ReturnType<typeof newAuthority>>
let client: Identity
let folder: string

beforeAll(async () => {
  authority = await newAuthority()
  client = await authority.issue({ commonName: 'sync' })
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-security-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function problemsOf(changes: Env): readonly string[] {
  try {
    readEnv(schema, { ...LOGIN, ...changes })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

describe('settings that go together', () => {
  test.each<[string, () => Env]>([
    ['a user with its password', () => ({})],
    ['in clear, without a login', () => ({ ...blank(LOGIN), KAFKA_BROKERS: 'kafka:9092' })],
    ['an authority', () => ({ KAFKA_SSL_CA: authority.ca })],
    [
      'a client certificate alone',
      () => ({ ...blank(LOGIN), ...mutual(), KAFKA_BROKERS: 'kafka:9093', KAFKA_SECURITY_PROTOCOL: 'SSL' }),
    ],
    ['a token', () => TOKEN],
    [
      'in clear to this machine',
      () => ({ KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT', KAFKA_BROKERS: 'localhost:1,127.0.0.1:2' }),
    ],
    [
      'in clear to a host that is named',
      () => ({
        KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
        KAFKA_BROKERS: 'kafka-1:9092,kafka-2:9092',
        ALLOW_SASL_PLAINTEXT_TO: 'kafka-1, kafka-2',
      }),
    ],
  ])('%s', (_what, changes) => {
    expect(problemsOf(changes())).toEqual([])
  })

  test.each<[string, () => Env, RegExp]>([
    ['no mechanism', () => ({ KAFKA_SASL_MECHANISM: undefined }), /^KAFKA_SASL_MECHANISM is not set/],
    [
      'no password',
      () => ({ KAFKA_SASL_PASSWORD: undefined }),
      /^KAFKA_SASL_PASSWORD is not set.*SCRAM-SHA-512 needs it/,
    ],
    [
      'a made-up mechanism',
      () => ({ KAFKA_SASL_MECHANISM: 'GSSAPI' }),
      /^KAFKA_SASL_MECHANISM cannot be used/,
    ],
    [
      'a made-up protocol',
      () => ({ KAFKA_SECURITY_PROTOCOL: 'TLS' }),
      /^KAFKA_SECURITY_PROTOCOL cannot be used/,
    ],
    [
      'a login without a protocol',
      () => ({ KAFKA_SECURITY_PROTOCOL: undefined }),
      /^KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD have no effect while KAFKA_SECURITY_PROTOCOL is PLAINTEXT/,
    ],
    [
      'an authority in clear',
      () => ({ ...blank(LOGIN), KAFKA_BROKERS: 'kafka:9092', KAFKA_SSL_CA: authority.ca }),
      /^KAFKA_SSL_CA has no effect while KAFKA_SECURITY_PROTOCOL is PLAINTEXT: set it to SSL/,
    ],
    [
      'a token and a user',
      () => ({ ...TOKEN, KAFKA_SASL_USERNAME: 'x' }),
      /^KAFKA_SASL_USERNAME has no effect/,
    ],
    [
      'a token without its endpoint',
      () => ({ ...TOKEN, KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: undefined }),
      /^KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is not set/,
    ],
    [
      'a token endpoint in clear on another machine',
      () => ({ ...TOKEN, KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: 'http://id.example.com/token' }),
      /^KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL cannot be used: it begins with http/,
    ],
    [
      'an authority that is none',
      () => ({ KAFKA_SSL_CA: '/etc/ca.pem' }),
      /^KAFKA_SSL_CA cannot be used: it holds no certificate/,
    ],
    [
      'a certificate without a key',
      () => ({ KAFKA_SSL_CERT: client.certificate }),
      /^KAFKA_SSL_KEY is not set/,
    ],
    ['a key without a certificate', () => ({ KAFKA_SSL_KEY: client.key }), /^KAFKA_SSL_CERT is not set/],
    [
      'a key that is none',
      () => ({ ...mutual(), KAFKA_SSL_KEY: 'hunter2-hunter2' }),
      /^KAFKA_SSL_KEY cannot be used/,
    ],
    [
      'a password without a key',
      () => ({ KAFKA_SSL_KEY_PASSWORD: 'hunter2-hunter2' }),
      /^KAFKA_SSL_KEY_PASSWORD is set/,
    ],
    [
      'in clear to another machine',
      () => ({ KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT' }),
      /^KAFKA_SECURITY_PROTOCOL cannot be SASL_PLAINTEXT: .*ALLOW_SASL_PLAINTEXT_TO/,
    ],
    [
      'in clear to one host that is named and one that is not',
      () => ({
        KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
        KAFKA_BROKERS: 'kafka-1:9092,kafka-2:9092',
        ALLOW_SASL_PLAINTEXT_TO: 'kafka-1',
      }),
      /^KAFKA_SECURITY_PROTOCOL cannot be SASL_PLAINTEXT/,
    ],
  ])('refuses %s, by name and without a value', (_what, changes, words) => {
    const problems = problemsOf(changes())
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(words)
    expect(problems[0]).not.toContain('hunter2')
  })

  test('refuses a key of another certificate', async () => {
    const other = await authority.issue({ commonName: 'another' })
    expect(problemsOf({ ...mutual(), KAFKA_SSL_KEY: other.key })).toEqual([
      'KAFKA_SSL_KEY and KAFKA_SSL_CERT do not belong together: the key is of another certificate.',
    ])
  })
})

function mutual(): Env {
  return { KAFKA_SSL_CERT: client.certificate, KAFKA_SSL_KEY: client.key }
}

function blank(env: Env): Env {
  return Object.fromEntries(Object.keys(env).map((name) => [name, undefined]))
}

/** What a round trip says of a server of this kind, which need not be a broker. */
async function saidOf(server: Server, env: Env): Promise<string | null> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  try {
    return await kafkaRoundTrip(configOf({ KAFKA_BROKERS: `127.0.0.1:${port}`, ...env }))
  } finally {
    server.close()
  }
}

function configOf(env: Env): KafkaConfig {
  return kafkaConfigOf(readEnv(schema, env), 'test')
}

function tlsServer(options: TlsOptions): Server {
  const server = createTlsServer(options, (socket) => void socket.on('error', () => {}).end())
  return server.on('tlsClientError', () => {})
}

describe('what is wrong with a certificate', () => {
  const encrypted = () => ({ KAFKA_SECURITY_PROTOCOL: 'SSL', KAFKA_SSL_CA: authority.ca })

  test.each<[string, { readonly names: readonly string[]; readonly validMs?: number }, RegExp]>([
    ['another name', { names: ['kafka.example.com'] }, /for another name.*KAFKA_BROKERS/],
    ['another address', { names: ['127.0.0.2'] }, /for another name/],
    ['an end that is past', { names: ['127.0.0.1'], validMs: -1_000 }, /not valid now/],
  ])('%s', async (_what, options, words) => {
    const { certificate, key } = await authority.issue({ commonName: 'broker', ...options })
    expect(await saidOf(tlsServer({ cert: certificate, key }), encrypted())).toMatch(words)
  })

  test('another authority; and one that is right is told from all of these', async () => {
    const other = await newAuthority('another')
    const wanted = { commonName: 'broker', names: ['127.0.0.1'] }
    const [foreign, own] = [await other.issue(wanted), await authority.issue(wanted)]
    const said = (identity: Identity) =>
      saidOf(tlsServer({ cert: identity.certificate, key: identity.key }), encrypted())
    expect(await said(foreign)).toMatch(/authority that is not known here.*KAFKA_SSL_CA/)
    expect(await said(own)).toMatch(/^Kafka cannot be reached/)
  })

  test('a broker that does not speak TLS, and one that does', async () => {
    const plain = createPlainServer((socket) => void socket.on('error', () => {}).end('HTTP/1.1 400\r\n'))
    expect(await saidOf(plain, encrypted())).toMatch(/does not speak TLS.*KAFKA_SECURITY_PROTOCOL/)
    // A fatal alert of TLS 1.2: internal error (RFC 8446 §6).
    const alert = Buffer.from('15030300020250', 'hex')
    const secured = createPlainServer((socket) => void socket.on('error', () => {}).end(alert))
    expect(await saidOf(secured, {})).toMatch(/speaks TLS.*KAFKA_SECURITY_PROTOCOL/)
    const silent = createPlainServer((socket) => void socket.on('error', () => {}).end())
    expect(await saidOf(silent, {})).toMatch(/wants TLS or a login: see KAFKA_SECURITY_PROTOCOL/)
  })
})

describe('a broker that refuses', () => {
  test('a certificate that is not known is looked at once a second at most, and another authority at once', async () => {
    const identity = await authority.issue({ commonName: 'broker', names: ['localhost', '127.0.0.1'] })
    const { ca } = await newAuthority('another')
    let connections = 0
    const server = createTlsServer({ cert: identity.certificate, key: identity.key }, (socket) =>
      socket.on('error', () => {}).end(),
    )
    server.on('connection', () => (connections += 1))
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const file = path.join(folder, 'ca.pem')
    writeFileSync(file, ca)
    const open = () =>
      configOf({
        KAFKA_SECURITY_PROTOCOL: 'SSL',
        KAFKA_BROKERS: `127.0.0.1:${port}`,
        KAFKA_SSL_CA_FILE: file,
      })
    const askOften = async (config: () => KafkaConfig) => {
      connections = 0
      const begun = performance.now()
      for (let i = 0; i < 20; i += 1)
        expect(await kafkaRoundTrip(config())).toMatch(/authority that is not known here.*KAFKA_SSL_CA/)
      return { connections, seconds: (performance.now() - begun) / 1000 }
    }
    try {
      const config = open()
      const asked = await askOften(() => config)
      expect(asked.connections).toBeLessThanOrEqual(1 + asked.seconds)
      // Settings of their own know nothing of it: so many would it be.
      expect((await askOften(open)).connections).toBeGreaterThanOrEqual(20)
      connections = 0
      writeFileSync(file, authority.ca)
      expect(await kafkaRoundTrip(config)).toMatch(/cannot be reached/)
      expect(connections).toBeGreaterThanOrEqual(1)
    } finally {
      server.close()
    }
  })
})

test('a login in clear goes to no host that is not named, whatever a broker advertises', () => {
  const { security } = configOf({
    ...LOGIN,
    KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
    KAFKA_BROKERS: '127.0.0.1:9092',
  })
  const connect = socketFactoryOf(security ?? expect.fail())
  const place = { port: 1, onConnect: () => {}, ssl: {} }
  expect(() => connect({ ...place, host: 'kafka.example.com' })).toThrow(/ALLOW_SASL_PLAINTEXT_TO/)
  connect({ ...place, host: '127.0.0.1' })
    .on('error', () => {})
    .destroy()
})

describe('a file that changes', () => {
  test('is read again at each use; while it is missing, its last value stays', () => {
    const file = path.join(folder, 'password')
    writeFileSync(file, 'the-first-password\n')
    const { KAFKA_SASL_PASSWORD: password } = readEnv(schema, {
      ...LOGIN,
      KAFKA_SASL_PASSWORD: undefined,
      KAFKA_SASL_PASSWORD_FILE: file,
    })
    expect(password?.reveal()).toBe('the-first-password')
    writeFileSync(file, 'the-second-password\n')
    expect(password?.reveal()).toBe('the-second-password')
    expect(redact('the-first-password the-second-password')).toBe('[secret] [secret]')
    rmSync(file)
    expect(password?.reveal()).toBe('the-second-password')
    writeFileSync(file, '')
    expect(password?.reveal()).toBe('the-second-password')
    expect(String(password)).toBe('[secret]')
  })

  test('a certificate whose key is not there yet leaves the last pair in use', async () => {
    const [certFile, keyFile] = [path.join(folder, 'cert'), path.join(folder, 'key')]
    const next = await authority.issue({ commonName: 'next' })
    writeFileSync(certFile, client.certificate)
    writeFileSync(keyFile, client.key)
    const config = readEnv(schema, {
      ...LOGIN,
      KAFKA_SSL_CERT_FILE: certFile,
      KAFKA_SSL_KEY_FILE: keyFile,
    })
    const { KAFKA_SSL_CERT: cert = null, KAFKA_SSL_KEY: key = null } = config
    const tls = new ClientTls({ ca: null, cert, key, keyPassword: null })
    const first = tls.context()
    expect(tls.context()).toBe(first)
    writeFileSync(certFile, next.certificate)
    expect(tls.context()).toBe(first)
    writeFileSync(keyFile, next.key)
    expect(tls.context()).not.toBe(first)
  })
})

test('a token serves all who ask until four fifths of its life are over', async () => {
  let now = 0
  let asked = 0
  const settings = {
    endpoint: 'https://id.example.com/token',
    clientId: 'calstream',
    clientSecret: new Secret('hunter2-hunter2'),
    scope: null,
  }
  const ask = async () => ({ value: `token ${++asked}`, lifeSeconds: 100 })
  const token = openTokenSource(settings, { ask, now: () => now })
  expect(await Promise.all([token(), token()])).toEqual(['token 1', 'token 1'])
  now = 79_999
  expect(await token()).toBe('token 1')
  now = 80_000
  expect(await Promise.all([token(), token()])).toEqual(['token 2', 'token 2'])
})

test('an endpoint that refused us is asked again after a second, or at once with another secret', async () => {
  let now = 0
  let asked = 0
  let isRefused = true
  let secret = 'hunter2-hunter2'
  const clientSecret = Object.assign(new Secret(secret), { reveal: () => secret })
  const settings = { endpoint: 'https://id.example.com/token', clientId: 'calstream', scope: null }
  const ask = async () => {
    asked += 1
    if (isRefused) throw new Failure('kafka/login-refused', `refusal ${asked}`)
    return { value: `token ${asked}`, lifeSeconds: 100 }
  }
  const token = openTokenSource({ ...settings, clientSecret }, { ask, now: () => now })
  expect(token.refusal()).toBeNull()
  for (let i = 0; i < 3; i += 1) await expect(token()).rejects.toThrow('refusal 1')
  expect(token.refusal()?.message).toBe('refusal 1')
  now = 1_250
  expect(token.refusal()).toBeNull()
  for (let i = 0; i < 3; i += 1) await expect(token()).rejects.toThrow('refusal 2')
  isRefused = false
  secret = 'hunter3-hunter3'
  expect(token.refusal()).toBeNull()
  expect(await token()).toBe('token 3')
  token.forget()
  expect(await token()).toBe('token 4')
})

test('a token that lives for seconds is renewed while a session begun with it is worth having', async () => {
  let now = 0
  let asked = 0
  const settings = { endpoint: 'https://id.example.com/token', clientId: 'calstream', scope: null }
  const token = openTokenSource(
    { ...settings, clientSecret: new Secret('hunter2-hunter2') },
    { ask: async () => ({ value: `token ${++asked}`, lifeSeconds: 12 }), now: () => now },
  )
  expect(await token()).toBe('token 1')
  now = 1_999
  expect(await token()).toBe('token 1')
  now = 2_000
  expect(await token()).toBe('token 2')
})
