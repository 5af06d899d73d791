// The secured parts of the local stack as real processes: who is let in, and who is not. Each
// refusal has its control beside it: the same act with the right thing succeeds.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { PeerCertificate } from 'node:tls'
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  Kafka,
  logLevel,
  ResourcePatternTypes,
} from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Authority, keptAuthority } from '../../../infra/stack/authority.ts'
import { type KafkaCluster, NODE_IDS } from '../../../infra/stack/kafka-cluster.ts'
import { grant, type KafkaLogin, servingBrokers, setPassword } from '../../../infra/stack/kafka-operator.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { loginHeaders, NO_REGISTRY_LOGIN } from '#shared/kafka/registry.ts'
import { registryRoundTrip } from '../../../infra/stack/registry.ts'
import { doorAccess } from '../../../infra/stack/registry-door.ts'
import { eventually } from '../../support/eventually.ts'
import {
  type OwnPlace,
  ownPlace,
  startOwnCluster,
  startOwnDoor,
  startTlsPostgres,
} from '../../support/own-secured.ts'
import { serialShownBy } from '../../support/shown-certificate.ts'
import { POSTGRES_OPENING, startTcpProxy } from '../../support/tcp-proxy.ts'

const SOMEONE: KafkaLogin = { name: 'someone', password: 'the first password' }
const TOPIC = 'secured-test'

let place: OwnPlace
let stranger: Authority
beforeAll(async () => {
  place = await ownPlace()
  stranger = await keptAuthority(path.join(place.folder, 'stranger'))
})

describe('three brokers', () => {
  let cluster: KafkaCluster
  beforeAll(async () => {
    cluster = await startOwnCluster(place, [SOMEONE])
  }, 240_000)
  afterAll(() => cluster?.[Symbol.asyncDispose]())

  test('serve together, and let in who has the password and knows their authority', async () => {
    expect(await serving()).toEqual(new Set(NODE_IDS))
    await expect(topicsSeenBy(SOMEONE)).resolves.toEqual([])
    await expect(topicsSeenBy({ ...SOMEONE, password: 'another' })).rejects.toThrow(/SASL|Authentication/)
    await expect(topicsSeenBy({ ...SOMEONE, name: 'nobody' })).rejects.toThrow(/SASL|Authentication/)
    await expect(topicsSeenBy(SOMEONE, stranger.caFile)).rejects.toThrow(/certificate/)
  })

  test('do not speak to who comes in clear', async () => {
    const clear = new Kafka({ brokers: cluster.brokers.split(','), ...QUICK, requestTimeout: 2_000 }).admin()
    await expect(clear.connect()).rejects.toThrow()
    await clear.disconnect()
  })

  test('deny what no rule allows, and keep a record on two of them', async () => {
    await as(cluster.operator.login, async (kafka) => {
      const admin = kafka.admin()
      await admin.connect()
      await admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: 3 }] })
      const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
      for (const { replicas } of topics[0]?.partitions ?? []) expect(replicas).toHaveLength(3)
      await admin.disconnect()
    })
    await expect(publish(SOMEONE)).rejects.toThrow()
    expect(await topicsSeenBy(SOMEONE)).toEqual([])
    const rule = {
      principal: `User:${SOMEONE.name}`,
      host: '*',
      permissionType: AclPermissionTypes.ALLOW,
      resourceType: AclResourceTypes.TOPIC,
      resourceName: TOPIC,
      resourcePatternType: ResourcePatternTypes.LITERAL,
    }
    await grant(cluster.operator, [{ ...rule, operation: AclOperationTypes.WRITE }])
    await eventually('the rule is known everywhere', () => publish(SOMEONE).then(() => true))
    expect(await topicsSeenBy(SOMEONE)).toEqual([TOPIC])
  })

  test('take a new password and forget the old one', async () => {
    const changed = { ...SOMEONE, password: 'the second password' }
    await setPassword(cluster.operator, changed)
    await eventually('the new password counts', () => topicsSeenBy(changed))
    await eventually('the old one does not', () =>
      topicsSeenBy(SOMEONE).then(
        () => false,
        (error: Error) => /SASL|Authentication/.test(error.message),
      ),
    )
  })

  test('show new certificates of the same authority while they run', async () => {
    const before = await Promise.all(
      cluster.brokers.split(',').map((one) => serialShownBy(one, cluster.caFile)),
    )
    const pids = cluster.nodes.map(({ pid }) => pid)
    await cluster.renewCertificates()
    for (const [index, address] of cluster.brokers.split(',').entries())
      await eventually(
        `${address} shows another`,
        async () => (await serialShownBy(address, cluster.caFile)) !== before[index],
      )
    expect(cluster.nodes.map(({ pid }) => pid)).toEqual(pids)
    expect(await serving()).toEqual(new Set(NODE_IDS))
  })

  test('serve on when one of them is killed, and have it back afterwards', async () => {
    await cluster.nodes[0]?.kill()
    const others = { ...cluster.operator, brokers: cluster.brokers.split(',').slice(1).join(',') }
    await eventually('the two others lead', () =>
      as(cluster.operator.login, (kafka) => publishWith(kafka, 'while one is away')).then(() => true),
    )
    await eventually('the killed one is known to be away', async () =>
      (await servingBrokers(others)).every((id) => id !== 1),
    )
    await cluster.nodes[0]?.restart(AbortSignal.timeout(120_000))
    expect(await serving()).toEqual(new Set(NODE_IDS))
  }, 240_000)

  async function serving(): Promise<ReadonlySet<number>> {
    return new Set(await servingBrokers(cluster.operator))
  }

  async function topicsSeenBy(login: KafkaLogin, caFile = cluster.caFile): Promise<readonly string[]> {
    return as(
      login,
      async (kafka) => {
        const admin = kafka.admin()
        try {
          await admin.connect()
          return await admin.listTopics()
        } finally {
          await admin.disconnect()
        }
      },
      caFile,
    )
  }

  function publish(login: KafkaLogin): Promise<void> {
    return as(login, (kafka) => publishWith(kafka, 'a value'))
  }

  function as<T>(
    { name, password }: KafkaLogin,
    work: (kafka: Kafka) => Promise<T>,
    caFile = cluster.caFile,
  ): Promise<T> {
    const sasl = { mechanism: 'scram-sha-512', username: name, password } as const
    const ssl = { ca: [readFileSync(caFile, 'utf8')] }
    return work(new Kafka({ brokers: cluster.brokers.split(','), ...QUICK, sasl, ssl }))
  }
})

test('the database takes TLS and nothing else, and shows a new certificate without a restart', async () => {
  await using postgres = await startTlsPostgres(place)
  const url = postgres.url('calstream')
  expect(await runStatement(url, 'select ssl from pg_stat_ssl where pid = pg_backend_pid()')).toEqual([
    { ssl: true },
  ])
  const clear = Object.assign(new URL(url), { search: '' }).href
  await expect(runStatement(clear, 'select 1')).rejects.toThrow(/no encryption/)
  const wrong = new URL(url)
  wrong.searchParams.set('sslrootcert', stranger.caFile)
  await expect(runStatement(wrong.href, 'select 1')).rejects.toThrow(/certificate/)
  const before = await serialOfPostgres(url)
  await postgres.renewCertificate()
  await eventually('the new certificate is shown', async () => (await serialOfPostgres(url)) !== before)
  await expect(runStatement(wrong.href, 'select 1')).rejects.toThrow(/certificate/)
  await postgres.renewCertificate(stranger)
  await eventually('that of another authority is shown', () => runStatement(wrong.href, 'select 1'))
}, 120_000)

test('a line of the drills sees a COMMIT inside TLS, or leaves TLS to the server', async () => {
  await using postgres = await startTlsPostgres(place)
  const identity = await place.authority.issue('postgres')
  const ca = readFileSync(place.authority.caFile, 'utf8')
  await using line = await startTcpProxy(postgres.port, Math.random, {
    ...identity,
    ca,
    opening: POSTGRES_OPENING,
  })
  const url = Object.assign(new URL(postgres.url('calstream')), { port: String(line.port) }).href
  await runStatement(url, 'create table lines (n int)')
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  await client.query('begin')
  await client.query('insert into lines values (1)')
  line.cutAfter(Buffer.from('COMMIT'))
  await expect(client.query('COMMIT')).rejects.toThrow(/terminated|ended/)
  expect(line.cuts()).toBe(1)
  expect(await runStatement(postgres.url('calstream'), 'select n from lines')).toEqual([{ n: 1 }])
  const own = await serialOfPostgres(postgres.url('calstream'))
  expect(await serialOfPostgres(url)).not.toBe(own)
  line.leaveTls(true)
  expect(await serialOfPostgres(url)).toBe(own)
  line.leaveTls(false)
  expect(await serialOfPostgres(url)).not.toBe(own)
}, 120_000)

test('the registry lets in who knows the password, which may change', async () => {
  const { registryUrl } = inject('stack')
  await using door = await startOwnDoor(place, registryUrl, 'the first')
  const right = doorAccess('the first')
  const signal = () => AbortSignal.timeout(10_000)
  await registryRoundTrip(door.url, signal(), right)
  const wrong = [NO_REGISTRY_LOGIN, doorAccess('another'), doorAccess('the first', 'other')]
  for (const one of wrong) await expect(registryRoundTrip(door.url, signal(), one)).rejects.toThrow('401')
  // What comes through is what the registry says, and a body goes the other way.
  const headers = { ...loginHeaders(right), 'content-type': 'application/vnd.schemaregistry.v1+json' }
  const schema = JSON.stringify({ type: 'record', name: 'ThroughTheDoor', fields: [] })
  const subject = `${door.url}/subjects/through-the-door-value`
  const body = JSON.stringify({ schema })
  const made = await fetch(`${subject}/versions`, { method: 'POST', headers, body, signal: signal() })
  expect(made.status).toBe(200)
  const unknown = await fetch(`${door.url}/schemas/ids/987654`, { headers, signal: signal() })
  expect(unknown.status).toBe(404)
  writeFileSync(door.passwordFile, 'the second\n')
  await registryRoundTrip(door.url, signal(), doorAccess('the second'))
  await expect(registryRoundTrip(door.url, signal(), right)).rejects.toThrow('401')
  const { host } = new URL(door.url)
  await expect(serialShownBy(host, stranger.caFile)).rejects.toThrow(/certificate/)
  await door.renewCertificate(stranger)
  await eventually('the door shows that of another authority', () => serialShownBy(host, stranger.caFile))
}, 120_000)

const QUICK = {
  clientId: 'test',
  logLevel: logLevel.NOTHING,
  connectionTimeout: 10_000,
  requestTimeout: 20_000,
  retry: { retries: 2 },
}

async function publishWith(kafka: Kafka, value: string): Promise<void> {
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  try {
    await producer.connect()
    await producer.send({ topic: TOPIC, acks: -1, messages: [{ key: 'k', value }] })
  } finally {
    await producer.disconnect()
  }
}

async function serialOfPostgres(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url })
  try {
    await client.connect()
    const { stream } = (
      client as unknown as { connection: { stream: { getPeerCertificate(): PeerCertificate } } }
    ).connection
    return stream.getPeerCertificate().serialNumber
  } finally {
    await client.end()
  }
}
