// `calstream dead-letters`: a record that was given up is found, shown as it is,
// and put back with its own bytes, once.
import { randomBytes, randomUUID } from 'node:crypto'
import { homedir } from 'node:os'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { readRecords } from '#shared/kafka/read-records.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { TOPICS } from '#schemas/topics.ts'
import { cacheFolder } from '../../../infra/stack/java-parts.ts'
import { calstream } from '../../../infra/stack/prepare.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type World } from '../../support/world.ts'

interface Letter {
  readonly id: string
  readonly code: string
  readonly originTopic: string
  readonly connectionId: string | null
  readonly replayedAt: string | null
}

const connection = randomUUID()
const bytes = randomBytes(40)
let world: World

beforeAll(async () => {
  world = await openWorld({ label: 'dead_letters' })
  await world.start('scheduler')
  await give(
    letter({ topic: TOPICS.requestedGoogle, value: bytes }, 'message/unreadable'),
    letter({ topic: TOPICS.eventChanged, value: Buffer.from('a change') }, 'kafka/rejected'),
  )
  await eventually('both letters to be indexed', async () => (await rows()).length === 2)
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})

function letter(record: Pick<InboundRecord, 'topic' | 'value'>, code: string) {
  const inbound = {
    ...record,
    partition: 1,
    offset: 7n,
    timestampMs: Date.now(),
    key: Buffer.from(connection),
    headers: new Map([['ce_id', 'the-first-id']]),
  }
  return deadLetterRecord(inbound, { code, lastFailedAt: Date.now() * 1000 })
}

async function give(...records: ReturnType<typeof letter>[]): Promise<void> {
  await using producer = await openProducer(kafka(), pino({ level: 'silent' }))
  await producer.send(records)
}

function kafka() {
  const brokers = (world.env['KAFKA_BROKERS'] ?? '').split(',')
  return { brokers, prefix: world.prefix, clientId: 'calstream-test' }
}

const rows = () => look(world.env['POSTGRES_URL'] ?? '', 'select 1 from dead_letters')

async function run(...args: string[]): Promise<string> {
  const place = { env: process.env, cache: cacheFolder(process.env, homedir()) }
  return calstream(
    { args: ['--json', 'dead-letters', ...args] },
    world.env,
    place,
    AbortSignal.timeout(60_000),
  )
}

async function list(...args: string[]): Promise<readonly Letter[]> {
  return JSON.parse(await run('list', ...args)) as Letter[]
}

/** What lies in the doorbell topic now. */
async function doorbells(): Promise<readonly InboundRecord[]> {
  const places = [0, 1, 2, 3].map((partition) => ({ topic: TOPICS.requestedGoogle, partition, offset: 0n }))
  return readRecords(kafka(), places)
}

test('a dead letter is listed by its filters, shown with its bytes, and comes back once, as it was', async () => {
  const [first, ...others] = await list('--filter', 'code=message/unreadable')
  expect(others).toEqual([])
  expect(first).toMatchObject({
    originTopic: TOPICS.requestedGoogle,
    connectionId: connection,
    replayedAt: null,
  })
  expect(await list('--filter', `connection=${randomUUID()}`)).toEqual([])
  const id = first?.id ?? ''

  expect(JSON.parse(await run('show', id))).toMatchObject({
    key: connection,
    value_base64: bytes.toString('base64'),
    headers: { ce_id: 'the-first-id', 'dead-letter-code': 'message/unreadable' },
  })

  // Nobody could read it, so putting it back would only make another dead letter.
  await expect(run('replay', id)).rejects.toThrow(/cannot be replayed/)
  await expect(run('replay', id, '7/999999')).rejects.toThrow(/There is no dead letter 7\/999999/)
  const dry = await run('replay', id, '--anyway', '--dry-run')
  expect(dry).toContain('would be replayed')
  expect(await doorbells()).toEqual([])

  expect(await run('replay', id, '--anyway')).toContain('"replayed"')
  const [back, ...more] = await eventually('the record to come back', async () => {
    const found = await doorbells()
    return found.length > 0 && found
  })
  expect(more).toEqual([])
  expect(back?.value).toEqual(bytes)
  expect(back?.key?.toString()).toBe(connection)
  expect(Object.fromEntries(back?.headers ?? [])).toEqual({
    ce_id: 'the-first-id',
    'replayed-dead-letter': id,
  })

  expect(await run('replay', id, '--anyway')).toContain('came back already')
  expect(await doorbells()).toHaveLength(1)
  expect((await list('--all')).find((one) => one.id === id)?.replayedAt).not.toBeNull()
  expect((await list()).map(({ code }) => code)).toEqual(['kafka/rejected'])
})

test('a record of an ordered stream is not put back, and wrong questions are told what is right', async () => {
  await expect(run('replay', '--filter', 'code=kafka/rejected')).rejects.toThrow(/cannot be replayed/)
  expect((await list('--filter', 'code=kafka/rejected'))[0]?.replayedAt).toBeNull()
  await expect(run('replay')).rejects.toThrow(/--filter code=/)
  await expect(run('dismiss', '0/999999')).rejects.toThrow(/There is no dead letter/)
  await expect(run('show', 'seven')).rejects.toThrow(/partition\/offset/)
  await expect(run('show', '0/999999')).rejects.toThrow(/There is no dead letter/)
  await expect(run('list', '--filter', 'colour=red')).rejects.toThrow(/code, vendor, topic, connection/)
})

test('a dead letter that is dismissed is not listed any more, and the others are', async () => {
  const [rejected] = await list('--filter', 'code=kafka/rejected')
  expect(await run('dismiss', rejected?.id ?? '')).toContain('"dismissed"')
  expect((await list('--all')).map(({ code }) => code)).toEqual(['message/unreadable'])
})
