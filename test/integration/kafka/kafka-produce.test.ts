// Producers of the port on the real broker: what is stored, what is refused, who is fenced; and
// that another client implementation, with its own Avro decoding, reads what we publish.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { Consumer as OtherConsumer } from '@platformatic/kafka'
import avro from 'avsc'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EventChanged } from '#schemas/messages.gen.ts'
import type { OutboundRecord, TransactionalProducer } from '#shared/kafka/broker.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaRoundTrip, openProducer, openTransactionalProducer } from '#shared/kafka/open.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { eventually } from '../../support/eventually.ts'
import { record, silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const EVENTS = 'calendar.event.changed.v1'
const STATE = 'calendar.event.state.v1'
const RETRY = 'calendar.sync.retry.30s.v1'
const RING = 'calendar.sync.requested.google.v1'
const DEAD = 'calendar.sync.dead-letter.v1'

const warnings: string[] = []
const onWarning = (warning: Error): void => void warnings.push(warning.message)
let config: KafkaConfig

beforeAll(async () => {
  process.on('warning', onWarning)
  config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test' }
  await applyTopics({ ...config, partitions: 4 }, silent())
  await applySchemas(
    { registryUrl: testStack().registryUrl, prefix: config.prefix },
    AbortSignal.timeout(60_000),
  )
})
afterAll(() => {
  process.off('warning', onWarning)
})

function out(topic: string, key: string, value: string | Buffer | null, headers = {}): OutboundRecord {
  return { topic, key, value: typeof value === 'string' ? Buffer.from(value) : value, headers }
}

const transactional = (transactionalId: string): Promise<TransactionalProducer> =>
  openTransactionalProducer({ ...config, transactionalId, timeoutMs: 15_000 }, silent())

/** Everything on a topic up to now, as a reader sees it that has never been there. */
async function readAll(topic: string, isolation: 'read-committed' | 'read-uncommitted', count: number) {
  await using reader = await record(config, {
    groupId: `r-${crypto.randomUUID()}`,
    topics: [topic],
    isolation,
  })
  await reader.until(() => reader.records().length >= count)
  return [...reader.records()]
}

describe('the plain producer', () => {
  test('keeps bytes, key, headers and the order of a key, over chunks that one request could not hold', async () => {
    await using producer = await openProducer(config, silent())
    const large = Buffer.alloc(300_000, 'x')
    const records = Array.from({ length: 12 }, (_, index) =>
      out(RING, 'one-key', Buffer.concat([Buffer.from([index]), large]), { n: String(index), ü: 'ü' }),
    )
    // 3.6 MB for one partition, where Kafka takes 1 MB at once.
    await producer.send([...records, out(RING, 'tombstone', null)])
    const read = await readAll(RING, 'read-committed', 13)
    const ours = read.filter(({ key }) => key?.toString() === 'one-key')
    expect(ours.map(({ value }) => value?.[0])).toEqual(records.map((_, index) => index))
    expect(ours.map(({ headers }) => [headers.get('n'), headers.get('ü')])).toEqual(
      records.map((_, index) => [String(index), 'ü']),
    )
    expect(ours.every(({ value }) => value?.length === 300_001)).toBe(true)
    expect(read.find(({ key }) => key?.toString() === 'tombstone')?.value).toBeNull()
  })

  test('chooses partitions as the Java client does', async () => {
    await using producer = await openProducer(config, silent())
    // Of org.apache.kafka.common.utils.Utils.murmur2, its own test vectors: 21, foobar,
    // a-little-bit-long-string.
    const vectors = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
    ] as const
    await producer.send(vectors.map(([key]) => out(DEAD, key, key)))
    const read = await readAll(DEAD, 'read-committed', vectors.length)
    for (const [key, hash] of vectors)
      expect(read.find((item) => item.key?.toString() === key)?.partition, key).toBe((hash & 0x7fffffff) % 4)
  })

  test('sends concurrent calls one after the other, in the order of the calls', async () => {
    await using producer = await openProducer(config, silent())
    const numbers = Array.from({ length: 100 }, (_, index) => String(index))
    await Promise.all(
      numbers.map((number) => producer.send([out('calendar.connection.changed.v1', 'k', number)])),
    )
    const read = await readAll('calendar.connection.changed.v1', 'read-committed', 100)
    expect(read.map(({ value }) => value?.toString())).toEqual(numbers)
  })

  test('refuses a record above the limit of its topic and takes the next one', async () => {
    await using producer = await openProducer(config, silent())
    const topic = 'calendar.sync.requested.microsoft.v1'
    await expect(producer.send([out(topic, 'k', Buffer.alloc(1_048_577))])).rejects.toMatchObject({
      code: 'kafka/rejected',
    })
    // As large as it may be: the broker agrees with our count.
    await producer.send([out(topic, 'k', Buffer.alloc(1_048_588 - 61 - 41))])
    await producer.send([out(DEAD, 'large', Buffer.alloc(1_100_000))])
    const read = await readAll(topic, 'read-committed', 1)
    expect(read[0]?.value?.length).toBe(1_048_588 - 61 - 41)
  })

  test('calls a refusal of the broker itself a refusal', async () => {
    const admin = new Kafka({ brokers: [...config.brokers], logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    const configEntries = [{ name: 'max.message.bytes', value: '1000' }]
    await admin.createTopics({
      topics: [{ topic: `${config.prefix}small`, numPartitions: 1, configEntries }],
      waitForLeaders: false,
    })
    // A loaded broker refuses a new topic's records until it knows that it leads it.
    await eventually('the topic to be served', () => admin.fetchTopicOffsets(`${config.prefix}small`))
    await admin.disconnect()
    await using producer = await openProducer(config, silent())
    await expect(producer.send([out('small', 'k', Buffer.alloc(5_000))])).rejects.toMatchObject({
      code: 'kafka/rejected',
    })
    await producer.send([out('small', 'k', 'fits')])
  })

  test('says that a topic is missing, and does not create it', async () => {
    await using producer = await openProducer(config, silent())
    await expect(producer.send([out('nowhere', 'k', 'v')])).rejects.toMatchObject({
      code: 'kafka/unavailable',
      message: expect.stringContaining('calstream topics apply'),
    })
    const admin = new Kafka({ brokers: [...config.brokers], logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    expect(await admin.listTopics()).not.toContain(`${config.prefix}nowhere`)
    await admin.disconnect()
  })

  test('stamps LogAppendTime topics by the broker', async () => {
    await using producer = await openProducer(config, silent())
    const before = Date.now()
    await producer.send([out(RETRY, 'k', 'v')])
    const [read] = await readAll(RETRY, 'read-committed', 1)
    expect(read?.timestampMs).toBeGreaterThanOrEqual(before - 1_000)
    expect(read?.timestampMs).toBeLessThanOrEqual(Date.now() + 1_000)
  })

  test('is closed after its disposal', async () => {
    const producer = await openProducer(config, silent())
    await producer[Symbol.asyncDispose]()
    await expect(producer.send([out(RING, 'k', 'v')])).rejects.toMatchObject({ code: 'kafka/unavailable' })
  })
})

describe('the transactional producer', () => {
  test('shows a transaction of two topics whole to read_committed readers', async () => {
    await using producer = await transactional('whole')
    for (let round = 0; round < 20; round += 1)
      await producer.publish([out(EVENTS, 'c', `change ${round}`), out(STATE, 'c/k/e', `state ${round}`)])
    const changes = await readAll(EVENTS, 'read-committed', 20)
    expect(changes.map(({ value }) => value?.toString())).toEqual(
      Array.from({ length: 20 }, (_, n) => `change ${n}`),
    )
  })

  test('fences its predecessor at once, which publishes nothing any more', async () => {
    await using first = await transactional('fence')
    await first.publish([out('calendar.event.changed.v1', 'fence', 'first')])
    await using second = await transactional('fence')
    await expect(first.publish([out('calendar.event.changed.v1', 'fence', 'stale')])).rejects.toMatchObject({
      code: 'kafka/fenced',
    })
    await second.publish([out('calendar.event.changed.v1', 'fence', 'second')])
    // Fenced once is fenced for good, and says so.
    await expect(first.publish([out('calendar.event.changed.v1', 'fence', 'again')])).rejects.toMatchObject({
      code: 'kafka/unavailable',
      message: expect.stringContaining('opened again'),
    })
    await second.publish([out('calendar.event.changed.v1', 'fence', 'third')])
    const read = await readAll(EVENTS, 'read-committed', 23)
    const ours = read.filter(({ key }) => key?.toString() === 'fence').map(({ value }) => value?.toString())
    expect(ours).toEqual(['first', 'second', 'third'])
  })

  test('refuses a frozen predecessor that wakes', async () => {
    const child = spawn(
      process.execPath,
      [
        path.resolve(import.meta.dirname, '../../support/transactional-child.ts'),
        testStack().brokers,
        config.prefix,
        'frozen',
        EVENTS,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    try {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      const next = async (): Promise<string> => String((await lines.next()).value)
      expect(await next()).toBe('open')
      child.stdin.write('before\n')
      expect(await next()).toBe('published')

      child.kill('SIGSTOP')
      child.stdin.write('asleep\n')
      await using successor = await transactional('frozen')
      await successor.publish([out(EVENTS, 'k', 'successor')])
      child.kill('SIGCONT')
      expect(await next()).toBe('kafka/fenced')

      const all = await readAll(EVENTS, 'read-uncommitted', 25)
      const ours = all.filter(({ key }) => key?.toString() === 'k').map(({ value }) => value?.toString())
      expect(ours).toEqual(['before', 'successor'])
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  test('stays usable after a record that is too large, of which nothing was sent', async () => {
    await using producer = await transactional('large')
    const large = out(EVENTS, 'large', Buffer.alloc(1_048_577))
    await expect(producer.publish([out(EVENTS, 'large', 'with it'), large])).rejects.toMatchObject({
      code: 'kafka/rejected',
    })
    await producer.publish([out(EVENTS, 'large', 'after it')])
    const read = await readAll(EVENTS, 'read-uncommitted', 26)
    expect(
      read.filter(({ key }) => key?.toString() === 'large').map(({ value }) => value?.toString()),
    ).toEqual(['after it'])
  })

  test('must be opened again after the broker refused it; the transaction is gone', async () => {
    await using producer = await transactional('refused')
    const publish = producer.publish([
      out(EVENTS, 'refused', 'with it'),
      out('small', 'k', Buffer.alloc(5_000)),
    ])
    await expect(publish).rejects.toMatchObject({ code: 'kafka/rejected' })
    await expect(producer.publish([out(EVENTS, 'refused', 'too soon')])).rejects.toThrow('opened again')
    await using next = await transactional('refused')
    await next.publish([out(EVENTS, 'refused', 'after it')])
    const read = await readAll(EVENTS, 'read-committed', 27)
    expect(
      read.filter(({ key }) => key?.toString() === 'refused').map(({ value }) => value?.toString()),
    ).toEqual(['after it'])
  })
})

describe('a second client implementation', () => {
  test('reads what we publish, decoding through the registry by itself', async () => {
    const { registryUrl } = testStack()
    const topic = 'calendar.event.state.v1'
    const codec = await openCodec(
      { registryUrl, prefix: config.prefix, topics: [topic] },
      AbortSignal.timeout(30_000),
    )
    const message: EventChanged = {
      eventId: 'e-1',
      connectionId: 'second-client',
      providerId: 'p-1',
      calendarId: 'k-1',
      vendor: 'google',
      vendorEventId: 'v-1',
      change: 'upserted',
      removalReason: null,
      sequence: 7,
      observedAt: 1_700_000_000_000_001,
      vendorUpdatedAt: null,
      event: {
        title: 'Haarschnitt – Jürgen 💈',
        status: 'confirmed',
        busy: true,
        response: 'accepted',
        kind: 'default',
        showAs: 'busy',
        visibility: 'default',
        allDay: false,
        start: { at: 1_700_000_000_000_000, date: null },
        end: { at: 1_700_000_003_600_000, date: null },
        timeZone: 'Europe/Berlin',
        seriesId: null,
        originalStart: null,
        location: null,
        organizer: 'a@example.org',
        updatedAt: null,
        etag: '"1"',
      },
    }
    const key = 'second-client/k-1/e-1'
    const headers = eventHeaders({ type: topic, source: '/test', key, sequence: 7, at: message.observedAt })
    // One that becomes visible, one that never does: an open transaction, aborted by its successor.
    await using producer = await transactional('second-client')
    await producer.publish([
      { topic, key, value: codec.encode(topic, message), headers },
      out(topic, `${key}x`, null),
    ])

    const read = await readWithOtherClient(`${config.prefix}${topic}`, key)
    expect(read.get(key)).toEqual({ message, headers })
    expect(read.get(`${key}x`)).toEqual({ message: null, headers: {} })
  })
})

interface Seen {
  readonly message: unknown
  readonly headers: Record<string, string>
}

/**
 * By the wire format and the registry's HTTP API alone; nothing of ours.
 * Ends when the key and its tombstone were seen.
 */
async function readWithOtherClient(topic: string, key: string): Promise<Map<string, Seen>> {
  const types = new Map<number, avro.Type>()
  const decode = async (value: Buffer): Promise<unknown> => {
    expect(value[0]).toBe(0)
    const id = value.readUInt32BE(1)
    let type = types.get(id)
    if (!type) {
      const answer = await fetch(`${testStack().registryUrl}/schemas/ids/${id}`)
      const { schema } = (await answer.json()) as { schema: string }
      type = avro.Type.forSchema(JSON.parse(schema))
      types.set(id, type)
    }
    return JSON.parse(JSON.stringify(type.fromBuffer(value.subarray(5))))
  }
  const consumer = new OtherConsumer({
    clientId: 'other',
    groupId: `other-${crypto.randomUUID()}`,
    bootstrapBrokers: [...config.brokers],
  })
  const seen = new Map<string, Seen>()
  try {
    const stream = await consumer.consume({
      topics: [topic],
      mode: 'earliest',
      isolationLevel: 1,
      maxWaitTime: 200,
    })
    for await (const message of stream) {
      const name = message.key.toString()
      if (name.startsWith('second-client')) {
        const headers = Object.fromEntries(
          [...message.headers].map(([header, value]) => [String(header), String(value)]),
        )
        const value = message.value as Buffer | null
        seen.set(name, { message: value && value.length > 0 ? await decode(value) : null, headers })
      }
      if (seen.has(key) && seen.has(`${key}x`)) break
    }
  } finally {
    await consumer.close(true)
  }
  return seen
}

test('the round trip of readiness answers null while the broker is there', async () => {
  expect(await kafkaRoundTrip(config)).toBeNull()
})

test('no client of this file made Node warn of negative timers; its own warnings come through', async () => {
  process.emitWarning('-7 is a negative number', 'TimeoutNegativeWarning')
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings.filter((text) => text.includes('negative'))).toEqual(['-7 is a negative number'])
})
