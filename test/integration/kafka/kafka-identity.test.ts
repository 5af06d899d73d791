// Who we are to Kafka, on a real broker that wants to know: each kind of login, sessions that end,
// passwords that rotate under load, and what is said when one is refused.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import { createClient, type KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaRoundTrip, openProducer, openTransactionalProducer } from '#shared/kafka/open.ts'
import { kafkaConfigOf, kafkaEnv } from '#shared/kafka/settings.ts'
import { applyTopics, verifyTopics } from '#shared/kafka/topics.ts'
import { readEnv } from '#shared/process/settings.ts'
import kafkajs from 'kafkajs'
import { newAuthority } from '../../../infra/stack/certificates.ts'
import { eventually } from '../../support/eventually.ts'
import { type IdentityBroker, startIdentityBroker } from '../../support/identity-broker.ts'
import { loggerTo, type LogLine, record, silent } from '../../support/recording-consumer.ts'
import { startTokenServer, type TokenServer } from '../../support/token-server.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
/** Sessions end after so long; no connection of a test that lives longer may notice. */
const SESSION_MS = 8_000
const PASSWORD = 'the-password-of-a-user'
const PREFIX = 'id-'
const START_MS = 240_000

let tokens: TokenServer
let broker: IdentityBroker
let files: string
/** Settings by kind of login, each with all rights. */
let good: Record<'scram256' | 'scram512' | 'plain' | 'clear' | 'mutual' | 'token', Record<string, string>>

beforeAll(async () => {
  files = mkdtempSync(path.join(tmpdir(), 'calstream-identity-'))
  tokens = await startTokenServer({ lifeSeconds: 3600, audience: 'kafka', subject: 'admin' })
  const users = { admin: PASSWORD, stranger: PASSWORD, rotating: PASSWORD }
  broker = await startIdentityBroker({ sessionMs: SESSION_MS, jwksUrl: tokens.jwksUrl, users })
  good = await settingsOf(broker, tokens)
  await applyTopics({ ...configOf({ KAFKA_BROKERS: broker.doors.open }), partitions: 2 }, silent())
  await giveAll('User:rotating', 'User:CN=sync')
}, START_MS)

afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await tokens[Symbol.asyncDispose]()
  rmSync(files, { recursive: true })
})

async function settingsOf({ doors, authority }: IdentityBroker, idp: TokenServer): Promise<typeof good> {
  const client = await authority.issue({ commonName: 'sync' })
  const encrypted = { KAFKA_SECURITY_PROTOCOL: 'SASL_SSL', KAFKA_SSL_CA: authority.ca }
  const admin = { KAFKA_SASL_USERNAME: 'admin', KAFKA_SASL_PASSWORD: PASSWORD }
  const scram = { ...encrypted, ...admin, KAFKA_BROKERS: doors.scram }
  return {
    scram256: { ...scram, KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256' },
    scram512: { ...scram, KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512' },
    plain: { ...encrypted, ...admin, KAFKA_BROKERS: doors.plain, KAFKA_SASL_MECHANISM: 'PLAIN' },
    clear: {
      ...admin,
      KAFKA_BROKERS: doors.clear,
      KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
      KAFKA_SASL_MECHANISM: 'PLAIN',
    },
    mutual: {
      KAFKA_BROKERS: doors.mutual,
      KAFKA_SECURITY_PROTOCOL: 'SSL',
      KAFKA_SSL_CA: authority.ca,
      KAFKA_SSL_CERT: client.certificate,
      KAFKA_SSL_KEY: client.key,
    },
    token: {
      ...encrypted,
      KAFKA_BROKERS: doors.token,
      KAFKA_SASL_MECHANISM: 'OAUTHBEARER',
      KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: idp.endpoint,
      KAFKA_SASL_OAUTHBEARER_CLIENT_ID: idp.clientId,
      KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: idp.clientSecret,
    },
  }
}

function configOf(env: Record<string, string | undefined>): KafkaConfig {
  return kafkaConfigOf(readEnv(z.object(kafkaEnv), { KAFKA_PREFIX: PREFIX, ...env }), 'test')
}

async function giveAll(...principals: readonly string[]): Promise<void> {
  const { AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = kafkajs
  const { TOPIC: topic, GROUP: group, TRANSACTIONAL_ID: transaction } = AclResourceTypes
  const admin = createClient(configOf({ KAFKA_BROKERS: broker.doors.open }), { retries: 5 }, null).admin()
  await admin.connect()
  await admin.createAcls({
    acl: principals.flatMap((principal) =>
      [topic, group, transaction].map((resourceType) => ({
        resourceType,
        resourceName: '*',
        resourcePatternType: ResourcePatternTypes.LITERAL,
        principal,
        host: '*',
        operation: AclOperationTypes.ALL,
        permissionType: AclPermissionTypes.ALLOW,
      })),
    ),
  })
  await admin.disconnect()
}

const ring = (text: string): OutboundRecord => ({
  topic: TOPIC,
  key: text,
  value: Buffer.from(text),
  headers: {},
})

describe('a login that is right', () => {
  test.each(['scram256', 'scram512', 'plain', 'clear', 'mutual', 'token'] as const)(
    'by %s publishes, alone and in a transaction, and reads both',
    async (kind) => {
      const config = configOf(good[kind])
      await using reading = await record(config, { groupId: `of-${kind}`, topics: [TOPIC] })
      await using producer = await openProducer(config, silent())
      await using transactional = await openTransactionalProducer(
        { ...config, transactionalId: `of-${kind}`, timeoutMs: 10_000 },
        silent(),
      )
      await producer.send([ring(`${kind} alone`)])
      await transactional.publish([ring(`${kind} together`)])
      await reading.until(() =>
        [`${kind} alone`, `${kind} together`].every((text) => reading.values().includes(text)),
      )
      expect(reading.crashes).toEqual([])
    },
  )
})

describe('a refusal says which it was', () => {
  test.each<[string, keyof typeof good, Record<string, string>, RegExp]>([
    [
      'a wrong password (SCRAM)',
      'scram512',
      { KAFKA_SASL_PASSWORD: 'wrong-wrong' },
      /refused the login.*KAFKA_SASL_MECHANISM/,
    ],
    ['a wrong password (PLAIN)', 'plain', { KAFKA_SASL_PASSWORD: 'wrong-wrong' }, /refused the login/],
    ['an unknown user', 'scram256', { KAFKA_SASL_USERNAME: 'noone' }, /refused the login/],
    [
      'a mechanism that is not there',
      'plain',
      { KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512' },
      /refused the login/,
    ],
    [
      'a client that the token endpoint refuses',
      'token',
      { KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: 'wrong-wrong' },
      /token endpoint .* refused the client .*invalid_client/,
    ],
    [
      'a token endpoint that is away',
      'token',
      { KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: 'http://127.0.0.1:1/token' },
      /token endpoint .* does not give a token.*continues automatically/,
    ],
  ])('%s', async (_what, kind, changes, words) => {
    const config = configOf({ ...good[kind], ...changes })
    const problem = await kafkaRoundTrip(config)
    expect(problem).toMatch(words)
    // Now held, and in the same words.
    expect(await kafkaRoundTrip(config)).toBe(problem)
    expect(problem).not.toContain('wrong-wrong')
    expect(await kafkaRoundTrip(configOf(good[kind]))).toBeNull()
  })

  test('a token for another audience', async () => {
    const config = configOf(good.token)
    tokens.change({ audience: 'another' })
    try {
      expect(await kafkaRoundTrip(config)).toMatch(/refused the token of the login/)
    } finally {
      tokens.change({ audience: 'kafka' })
    }
    // Its life is an hour: only another one is taken.
    await eventually('another token is taken', async () => (await kafkaRoundTrip(config)) === null)
  })

  test('an authority that is not ours, and a client certificate that is missing', async () => {
    const { ca } = await newAuthority('another')
    expect(await kafkaRoundTrip(configOf({ ...good.scram512, KAFKA_SSL_CA: ca }))).toMatch(
      /authority that is not known here.*KAFKA_SSL_CA/,
    )
    const { KAFKA_SSL_CERT: _cert, KAFKA_SSL_KEY: _key, ...nameless } = good.mutual
    expect(await kafkaRoundTrip(configOf(nameless))).toMatch(/client certificate.*KAFKA_SSL_CERT/)
  })

  test('a refused login is tried again once a second at most, whatever retries, and a right one at once', async () => {
    let connections = 0
    const port = Number(broker.doors.scram.split(':')[1])
    const door = createServer((socket) => {
      connections += 1
      const inner = connect(port, '127.0.0.1')
      socket.on('error', () => inner.destroy()).pipe(inner)
      inner.on('error', () => socket.destroy()).pipe(socket)
    })
    door.listen(0, '127.0.0.1')
    await once(door, 'listening')
    const file = path.join(files, 'password-of-admin')
    writeFileSync(file, 'wrong-wrong')
    const { KAFKA_SASL_PASSWORD: _right, ...nameless } = good.scram512
    const brokers = `127.0.0.1:${(door.address() as AddressInfo).port}`
    const config = configOf({ ...nameless, KAFKA_BROKERS: brokers, KAFKA_SASL_PASSWORD_FILE: file })
    try {
      expect(await kafkaRoundTrip(config)).toMatch(/refused the login/)
      connections = 0
      const begun = performance.now()
      await using producer = await openProducer(config, silent())
      for (let shard = 0; shard < 4; shard += 1) {
        const opening = { ...config, transactionalId: `refused-${shard}`, timeoutMs: 10_000 }
        await expect(openTransactionalProducer(opening, silent())).rejects.toMatchObject({
          code: 'kafka/login-refused',
        })
        await expect(producer.send([ring('no')])).rejects.toMatchObject({ code: 'kafka/login-refused' })
      }
      expect(connections).toBeLessThanOrEqual(1 + (performance.now() - begun) / 1000)
      connections = 0
      writeFileSync(file, PASSWORD)
      expect(await kafkaRoundTrip(config)).toBeNull()
      expect(connections).toBeGreaterThanOrEqual(1)
    } finally {
      door.close()
    }
  })

  test('a right that is missing, and a topic that is only hidden', async () => {
    const config = configOf({ ...good.scram512, KAFKA_SASL_USERNAME: 'stranger' })
    expect(await kafkaRoundTrip(config)).toBeNull()
    await expect(
      openTransactionalProducer({ ...config, transactionalId: 'of-a-stranger', timeoutMs: 10_000 }, silent()),
    ).rejects.toMatchObject({ code: 'kafka/right-missing' })
    const { problems } = await verifyTopics({ ...config, partitions: 2 }, silent())
    expect(problems[0]).toMatch(/is missing, or its user may not see it/)
  })
})

describe('what lives long', () => {
  test('a session is renewed before its end: no login is refused, and no connection is closed', async () => {
    const lines: LogLine[] = []
    tokens.change({ lifeSeconds: 12 })
    const live = async (kind: 'scram512' | 'token') => {
      const config = configOf(good[kind])
      const before = tokens.given()
      const topics = [TOPIC]
      await using reading = await record(config, { groupId: `long-${kind}`, topics, logger: loggerTo(lines) })
      await using producer = await openProducer(config, loggerTo(lines))
      await using transactional = await openTransactionalProducer(
        { ...config, transactionalId: `long-${kind}`, timeoutMs: 10_000 },
        loggerTo(lines),
      )
      const until = performance.now() + 3 * SESSION_MS
      let sent = 0
      while (performance.now() < until) {
        await producer.send([ring(`${kind} ${sent}`)])
        await transactional.publish([ring(`${kind} together ${sent}`)])
        sent += 1
        await delay(200)
      }
      await reading.until(() => reading.values().includes(`${kind} together ${sent - 1}`))
      if (kind === 'token') expect(tokens.given()).toBeGreaterThan(before + 1)
    }
    await Promise.all([live('scram512'), live('token')])
    tokens.change({ lifeSeconds: 3600 })
    // What a broker does to a session whose end has come.
    expect(
      lines.filter((line) => /SASL|login|closed connection|not connected/i.test(JSON.stringify(line))),
    ).toEqual([])
  })

  test('a password rotates under load: no record is lost, and no consumer gives up', async () => {
    const file = path.join(files, 'password')
    writeFileSync(file, PASSWORD)
    const { KAFKA_SASL_PASSWORD: _password, ...rest } = good.scram512
    const config = configOf({ ...rest, KAFKA_SASL_USERNAME: 'rotating', KAFKA_SASL_PASSWORD_FILE: file })
    await using reading = await record(config, { groupId: 'rotation', topics: [TOPIC] })
    await using producer = await openProducer(config, silent())
    let stop = false
    let refusals = 0
    const sent: string[] = []
    const load = (async () => {
      while (!stop) {
        const text = `rotation ${sent.length}`
        await eventually(text, () =>
          producer.send([ring(text)]).then(
            () => true,
            (error: unknown) => {
              refusals += 1
              throw error
            },
          ),
        )
        sent.push(text)
        await delay(50)
      }
    })()
    for (const next of ['the-second-password', 'the-third-password']) {
      await broker.setPassword('rotating', next)
      // Every session ends with the old password refused before the file has the new one.
      await eventually('the old password is refused', () => refusals > 0)
      writeFileSync(file, next)
      refusals = 0
      const reached = sent.length + 20
      await eventually('the load goes on', () => sent.length >= reached)
    }
    stop = true
    await load
    await reading.until(() => new Set(reading.values()).isSupersetOf(new Set(sent)))
    expect(reading.crashes).toEqual([])
  })
})
