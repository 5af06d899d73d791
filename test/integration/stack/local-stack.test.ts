// The infrastructure that everything else stands on, as real processes: what it keeps over a
// kill. The flag server: flag-server.test.ts. Each claim about surviving has its control: the kill
// really took the process away.
import { readFileSync } from 'node:fs'
import { Kafka as KafkaClient, type KafkaConfig, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { migrate } from '#shared/store/migrate.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { giveDatabase, runStatement } from '../../../infra/stack/postgres.ts'
import type { OwnKafka, OwnRegistry } from '../../support/component-types.ts'
import { startOwnKafka, startOwnPostgres, startOwnRegistry } from '../../support/own-components.ts'

const signal = (): AbortSignal => AbortSignal.timeout(100_000)

const isLocalOnLinux = process.platform === 'linux' && inject('stack').infra === 'local'
/** The files that the process of a local part has mapped. */
const classesOf = (part: OwnKafka | OwnRegistry): string =>
  readFileSync(`/proc/${(part as OwnKafka & Component).pid}/maps`, 'utf8')

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

  test.runIf(isLocalOnLinux)('starts with the classes that an earlier broker recorded', () => {
    expect(classesOf(kafka)).toMatch(/kafka-[0-9a-f]{16}\.jsa$/m)
  })

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
  let registry: OwnRegistry
  beforeAll(async () => {
    registry = await startOwnRegistry()
  })
  afterAll(() => registry?.[Symbol.asyncDispose]())

  test.runIf(isLocalOnLinux)('starts with the classes that an earlier registry recorded', () => {
    expect(classesOf(registry)).toMatch(/registry-[0-9a-f]{16}\.jsa$/m)
  })

  test('gives a schema the same id before and after a SIGKILL, and a new schema a new one', async () => {
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
  const { url, tokens } = stack.unleash
  const features = await fetch(`${url}/client/features`, { headers: { authorization: tokens.backend } })
  expect(await features.json()).toMatchObject({
    features: expect.arrayContaining([
      expect.objectContaining({ name: 'CALENDAR_WEBHOOK_ENABLED', enabled: true }),
    ]),
  })
})

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
