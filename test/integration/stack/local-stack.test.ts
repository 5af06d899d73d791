// The infrastructure that everything else stands on, as real processes: what it keeps over a
// kill, and what a restart must not undo. Each claim about surviving has its control: the kill
// really took the process away.
import { readFileSync } from 'node:fs'
import { Kafka as KafkaClient, type KafkaConfig, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { isDefaultLoginOpen, signIn } from '#shared/gates/unleash-console.ts'
import { migrate } from '#shared/store/migrate.ts'
import { setAllowlist, setToggle, seedToggles } from '#shared/gates/seed-toggles.ts'
import type { Kafka } from '../../../infra/stack/kafka.ts'
import { giveDatabase, runStatement } from '../../../infra/stack/postgres.ts'
import { consolePassword } from '../../../services/cli/doctor.ts'
import type { OwnKafka, OwnUnleash } from '../../support/component-types.ts'
import {
  startLocalUnleash,
  startOwnKafka,
  startOwnPostgres,
  startOwnRegistry,
  startOwnUnleash,
} from '../../support/own-components.ts'

const signal = (): AbortSignal => AbortSignal.timeout(100_000)

describe('Kafka', () => {
  let kafka: OwnKafka
  beforeAll(async () => {
    kafka = await startOwnKafka()
  })
  afterAll(() => kafka?.[Symbol.asyncDispose]())

  test('does not answer while frozen and does again after', async () => {
    await kafka.pause()
    await expect(withClient(kafka, listTopics, IMPATIENT)).rejects.toThrow()
    await kafka.resume()
    expect(await withClient(kafka, listTopics)).toEqual([])
  })

  test.runIf(process.platform === 'linux' && inject('stack').infra === 'local')(
    'starts with the classes that an earlier broker recorded',
    async () => {
      const maps = readFileSync(`/proc/${(kafka as Kafka).pid}/maps`, 'utf8')
      expect(maps).toMatch(/kafka-[0-9a-f]{16}\.jsa$/m)
    },
  )

  test('keeps records and topics over a SIGKILL and serves them on the same port', async () => {
    await withClient(kafka, async (client) => {
      const admin = client.admin()
      await admin.connect()
      await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 2 }] })
      await admin.disconnect()
      const producer = client.producer({ allowAutoTopicCreation: false })
      await producer.connect()
      await producer.send({ topic: 'kept', acks: -1, messages: [{ key: 'k', value: 'before the kill' }] })
      await producer.disconnect()
    })

    await kafka.kill()
    await expect(withClient(kafka, listTopics, IMPATIENT)).rejects.toThrow()
    await kafka.restart(signal())

    expect(await withClient(kafka, listTopics)).toContain('kept')
    expect(await withClient(kafka, readAll)).toEqual(['before the kill'])
  })
})

describe('Postgres', () => {
  test('keeps committed rows over a SIGKILL of the server with sessions open', async () => {
    await using postgres = await startOwnPostgres(['kept'])
    const url = postgres.url('kept')
    await runStatement(url, 'CREATE TABLE kept (value text)')
    await runStatement(url, `INSERT INTO kept VALUES ('before the kill')`)
    const open = runStatement(url, 'SELECT pg_sleep(60)').catch((error: unknown) => error)

    await postgres.kill()
    expect(await open).toBeInstanceOf(Error)
    await expect(runStatement(url, 'SELECT 1')).rejects.toThrow()
    await postgres.restart(signal())

    expect(await runStatement(url, 'SELECT value FROM kept')).toEqual([{ value: 'before the kill' }])
  })
})

describe('the schema registry', () => {
  test('gives a schema the same id before and after a SIGKILL, and a new schema a new one', async () => {
    await using registry = await startOwnRegistry()
    const first = await register(registry.url, 'a-value', 'A')
    const second = await register(registry.url, 'b-value', 'B')
    expect(second).not.toBe(first)

    await registry.kill()
    await registry.restart(signal())

    expect(await register(registry.url, 'b-value', 'B')).toBe(second)
    expect(await register(registry.url, 'a-value', 'A')).toBe(first)
    const third = await register(registry.url, 'c-value', 'C')
    expect([first, second]).not.toContain(third)
    const stored = (await (await fetch(`${registry.url}/schemas/ids/${first}`)).json()) as { schema: string }
    expect(JSON.parse(stored.schema)).toMatchObject({ name: 'A' })
  })
})

describe('the toggles', () => {
  const seed = { switchesOn: true, providerIds: ['p1'], connectionIds: [] }
  let unleash: OwnUnleash
  beforeAll(async () => {
    unleash = await startOwnUnleash(seed)
  })
  afterAll(() => unleash?.[Symbol.asyncDispose]())

  test('are made on, with one constraint on each list that has ids', async () => {
    const toggles = await clientView(unleash)
    expect(toggles['CALENDAR_SYNC_ENABLED']).toEqual({ enabled: true, constraints: [[]] })
    expect(toggles['CALENDAR_ALLOWLIST_PROVIDER_IDS']).toEqual({
      enabled: true,
      constraints: [[{ contextName: 'providerId', operator: 'IN', values: ['p1'] }]],
    })
    expect(toggles['CALENDAR_ALLOWLIST_CONNECTION_IDS']).toMatchObject({ enabled: false })
    expect(Object.keys(toggles)).toHaveLength(6)
  })

  test('get one constraint again when an operator gave an allowlist a second strategy', async () => {
    await admin(unleash, 'POST', strategiesPath('CALENDAR_ALLOWLIST_PROVIDER_IDS'), { name: 'default' })
    await shows(unleash, { CALENDAR_ALLOWLIST_PROVIDER_IDS: { constraints: [[{ values: ['p1'] }], []] } })
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', ['p2'], signal())
    const only = { contextName: 'providerId', operator: 'IN', values: ['p2'] }
    await shows(unleash, { CALENDAR_ALLOWLIST_PROVIDER_IDS: { enabled: true, constraints: [[only]] } })
  })

  test('keep what an operator did when the server and the seed run again, while missing ones are made', async () => {
    await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', false, signal())
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [], signal())
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', ['c1', 'c2'], signal())
    await removeToggle(unleash, 'CALENDAR_JOBS_ENABLED')

    await unleash.restart(signal())
    const made = await seedToggles(unleash, { ...seed, connectionIds: ['other'] }, signal())

    expect(made).toEqual(['CALENDAR_JOBS_ENABLED'])
    await shows(unleash, {
      CALENDAR_SYNC_ENABLED: { enabled: false },
      CALENDAR_ALLOWLIST_PROVIDER_IDS: { enabled: false },
      CALENDAR_ALLOWLIST_CONNECTION_IDS: { enabled: true, constraints: [[{ values: ['c1', 'c2'] }]] },
      CALENDAR_JOBS_ENABLED: { enabled: true },
      CALENDAR_WEBHOOK_ENABLED: { enabled: true },
    })
  })
})

describe('the console of the flag server', () => {
  /** `unleash4all`, as the server stores a password. */
  const KNOWN_TO_EVERYBODY = '$2b$04$mQIrkQEOCPs33ejnZ5NUJeWiFJXnLUm19.CT4OS9/A0xd8QPslmmi'

  test('opens with the password of its settings and refuses the one that everybody knows', async () => {
    const { consoleUrl, tokens, url } = inject('stack').unleash
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(false)
    const cookie = await signIn(consoleUrl, tokens.adminPassword, signal())
    expect(await mayReadTokens(consoleUrl, cookie)).toBe(true)
    expect(await mayReadTokens(consoleUrl, null)).toBe(false)
    expect(await consolePassword({ UNLEASH_URL: url })).toBe('the default password is refused')
  })

  test('of an older installation is red in doctor and gets a password of its own at the next start', async () => {
    await using unleash = await startLocalUnleash(inject('stack').postgresUrl)
    const { consoleUrl, databaseUrl, tokens } = unleash
    await runStatement(databaseUrl, `update users set password_hash = '${KNOWN_TO_EVERYBODY}'`)
    // The server takes no password twice, and there it never had ours.
    await runStatement(databaseUrl, 'delete from used_passwords')
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(true)
    await expect(consolePassword({ UNLEASH_URL: unleash.url })).rejects.toThrow(
      /that every Unleash begins with/,
    )
    await unleash.restart(signal())
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(false)
    const cookie = await signIn(consoleUrl, tokens.adminPassword, signal())
    expect(await mayReadTokens(consoleUrl, cookie)).toBe(true)
  })
})

describe('the login of a part that is not ours', () => {
  const WHO = 'select current_user as who'

  test('opens its own database and no other one, and ours open ours alone', async () => {
    await using postgres = await startOwnPostgres(['part', 'calstream'])
    const rolePasswords = { calstream_ingress: 'ours' }
    await migrate({ url: new Secret(postgres.url('calstream')), rolePasswords })
    const part = { name: 'part', password: `it's "odd" \\ and long` }
    await giveDatabase(postgres, part)
    const as = (database: string) => runStatement(postgres.url(database, part), WHO)
    expect(await as('part')).toEqual([{ who: 'part' }])
    for (const database of ['calstream', 'postgres', 'template1'])
      await expect(as(database), database).rejects.toThrow('permission denied for database')
    const ours = { name: 'calstream_ingress', password: 'ours' }
    expect(await runStatement(postgres.url('calstream', ours), WHO)).toEqual([{ who: ours.name }])
    for (const database of ['part', 'postgres', 'template1'])
      await expect(runStatement(postgres.url(database, ours), WHO), database).rejects.toThrow(
        'permission denied for database',
      )
    const own = postgres.url('part', part)
    await runStatement(own, 'create table mine (a int)')
    for (const forbidden of ['create role more', 'create database more', 'set role postgres'])
      await expect(runStatement(own, forbidden), forbidden).rejects.toThrow('permission denied')
  })

  test('takes over what an older version made as the superuser, and gets a new password', async () => {
    await using postgres = await startOwnPostgres(['part'])
    for (const made of [
      'create table old (id serial primary key, at timestamptz)',
      'create view shown as select id from old',
      'create sequence counted',
      `create type kind as enum ('a')`,
      'create function one() returns int language sql return 1',
      'create schema more create table inner_one (a kind)',
    ])
      await runStatement(postgres.url('part'), made)
    await giveDatabase(postgres, { name: 'part', password: 'first' })
    await giveDatabase(postgres, { name: 'part', password: 'second' })
    const own = postgres.url('part', { name: 'part', password: 'second' })
    for (const change of [
      'alter table old add column b int',
      'insert into old default values',
      'drop view shown',
      'drop sequence counted',
      `alter type kind add value 'b'`,
      'drop function one()',
      'drop schema more cascade',
    ])
      await expect(runStatement(own, change), change).resolves.toBeDefined()
    const former = postgres.url('part', { name: 'part', password: 'first' })
    await expect(runStatement(former, WHO)).rejects.toThrow('password authentication failed')
  })
})

test('the shared stack answers at the addresses that tests are given', async () => {
  const stack = inject('stack')
  expect(await runStatement(stack.postgresUrl, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  expect((await fetch(`${stack.registryUrl}/subjects`)).status).toBe(200)
  expect(await withClient(stack, listTopics)).toBeInstanceOf(Array)
  expect((await clientView(stack.unleash))['CALENDAR_WEBHOOK_ENABLED']).toMatchObject({ enabled: true })
})

/** What who signs in to the console may do: read the tokens of the admin API. */
async function mayReadTokens(consoleUrl: string, cookie: string | null): Promise<boolean> {
  const answer = await fetch(`${consoleUrl}/api/admin/api-tokens`, { headers: { cookie: cookie ?? '' } })
  return answer.ok
}

/** Patient with a slow machine where an answer is expected, quick to give up where none is. */
const PATIENT = { requestTimeout: 20_000, retry: { retries: 20, initialRetryTime: 100, maxRetryTime: 2_000 } }
const IMPATIENT = { requestTimeout: 2_000, retry: { retries: 1, initialRetryTime: 50 } }

async function withClient<T>(
  { brokers }: Pick<OwnKafka, 'brokers'>,
  work: (client: KafkaClient) => Promise<T>,
  patience: Pick<KafkaConfig, 'requestTimeout' | 'retry'> = PATIENT,
): Promise<T> {
  const client = { brokers: brokers.split(','), logLevel: logLevel.NOTHING, connectionTimeout: 2_000 }
  return work(new KafkaClient({ ...client, ...patience }))
}

async function listTopics(client: KafkaClient): Promise<readonly string[]> {
  const admin = client.admin()
  try {
    await admin.connect()
    return await admin.listTopics()
  } finally {
    await admin.disconnect()
  }
}

async function readAll(client: KafkaClient): Promise<readonly string[]> {
  const consumer = client.consumer({ groupId: 'reader' })
  const values: string[] = []
  await consumer.connect()
  await consumer.subscribe({ topic: 'kept', fromBeginning: true })
  const { promise, resolve } = Promise.withResolvers<void>()
  await consumer.run({
    eachMessage: async ({ message }) => {
      values.push(message.value?.toString() ?? '')
      resolve()
    },
  })
  await promise
  await consumer.disconnect()
  return values
}

async function register(url: string, subject: string, name: string): Promise<number> {
  const response = await fetch(`${url}/subjects/${subject}/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema: JSON.stringify({ type: 'record', name, fields: [] }) }),
  })
  return ((await response.json()) as { id: number }).id
}

type Unleash = Parameters<typeof seedToggles>[0] & {
  readonly url: string
  readonly tokens: { readonly backend: string }
}

interface ClientFeature {
  readonly name: string
  readonly enabled: boolean
  readonly strategies: readonly { readonly constraints?: readonly unknown[] }[]
}

/** Waits for the server to show a state to clients: it looks for changes once a second. */
async function shows(unleash: Unleash, expected: Record<string, unknown>): Promise<void> {
  await expect.poll(() => clientView(unleash), { timeout: 10_000 }).toMatchObject(expected)
}

/** What our services' client gets. */
async function clientView({
  url,
  tokens,
}: Unleash): Promise<Record<string, { enabled: boolean; constraints: unknown[] }>> {
  const response = await fetch(`${url}/client/features`, { headers: { authorization: tokens.backend } })
  const { features } = (await response.json()) as { features: readonly ClientFeature[] }
  return Object.fromEntries(
    features.map(({ name, enabled, strategies }) => [
      name,
      { enabled, constraints: strategies.map(({ constraints }) => constraints ?? []) },
    ]),
  )
}

async function removeToggle(unleash: Unleash, name: string): Promise<void> {
  await admin(unleash, 'DELETE', `/api/admin/projects/default/features/${name}`)
  await admin(unleash, 'DELETE', `/api/admin/archive/${name}`)
}

function strategiesPath(name: string): string {
  return `/api/admin/projects/default/features/${name}/environments/development/strategies`
}

async function admin(
  { consoleUrl, tokens }: Unleash,
  method: string,
  path: string,
  body?: unknown,
): Promise<void> {
  const response = await fetch(`${consoleUrl}${path}`, {
    method,
    headers: { authorization: tokens.admin, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  expect(response.status, `${method} ${path}`).toBeLessThan(300)
}
