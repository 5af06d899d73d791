// Records that nobody can read, on every topic that we consume: each is copied to the dead-letter
// topic as it is, and its neighbours in the same partition go on.
import { randomBytes } from 'node:crypto'
import { CompressionTypes, Kafka, logLevel, Partitioners } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const CONSUMED = [
  TOPICS.requestedGoogle,
  TOPICS.requestedMicrosoft,
  TOPICS.retry30s,
  TOPICS.retry10m,
  TOPICS.retry6h,
] as const
const PARTITIONS = [0, 1, 2, 3]

const POISON: Record<string, Buffer | null> = {
  'no magic byte': Buffer.from('{"not":"avro"}'),
  'a schema id that the registry does not know': Buffer.concat([
    Buffer.from([0, 0x7f, 0xff, 0xff, 0xfe]),
    randomBytes(8),
  ]),
  'nothing at all': Buffer.alloc(0),
  'a tombstone': null,
}

let world: World
let account: Account

beforeAll(async () => {
  world = await openWorld({ label: 'poison' })
  await Promise.all(
    (['relay', 'retry', 'scheduler', 'ingress', 'sync'] as const).map((name) => world.start(name)),
  )
  account = await world.connect({ calendars: 1, eventsPerCalendar: 10 })
  await expectConverged(world, [account])
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

async function produce(
  topic: string,
  values: readonly (Buffer | null)[],
  compression = CompressionTypes.None,
): Promise<void> {
  const kafka = new Kafka({
    brokers: (world.env['KAFKA_BROKERS'] ?? '').split(','),
    logLevel: logLevel.NOTHING,
  })
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
  })
  await producer.connect()
  try {
    const messages = PARTITIONS.flatMap((partition) =>
      values.map((value) => ({ partition, key: 'poison', value })),
    )
    await producer.send({ topic: world.prefix + topic, messages, compression })
  } finally {
    await producer.disconnect()
  }
}

const deadLetters = (topic: string) =>
  look<{ code: string; partition: number }>(
    world.env['POSTGRES_URL'] ?? '',
    'select code, origin_partition as partition from dead_letters where origin_topic = $1 or origin_topic = $2',
    [topic, world.prefix + topic],
  )

describe.each(CONSUMED)('poison in every partition of %s', (topic) => {
  test('goes to the dead letters, and the neighbours behind it are handled', async () => {
    const values = Object.values(POISON)
    expect(await deadLetters(topic)).toEqual([])
    await produce(topic, values)
    const found = await eventually(
      'all of it among the dead letters',
      async () => {
        const rows = await deadLetters(topic)
        return rows.length === values.length * PARTITIONS.length ? rows : null
      },
      60_000,
    )
    expect(new Set(found.map((row) => row.code))).toEqual(new Set(['message/unreadable']))
    expect(new Set(found.map((row) => row.partition))).toEqual(new Set(PARTITIONS))
    // The neighbours: a change after it still arrives, through the same partitions.
    const calendar = encodeURIComponent(account.calendars[0]!.id)
    await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {})
    await expectConverged(world, [account])
  })
})

/** Packed it is small enough for any topic; copied as it is it is larger than a topic takes. */
const UNPACKS_TO_BYTES = 3 * 1024 * 1024

test.each(CONSUMED)(
  'poison on %s whose copy Kafka refuses keeps nothing behind it waiting',
  async (topic) => {
    const known = (await deadLetters(topic)).length
    await produce(topic, [Buffer.alloc(UNPACKS_TO_BYTES, 1)], CompressionTypes.GZIP)
    await produce(topic, [Buffer.from('after it')])
    await eventually(
      'what stands behind it among the dead letters',
      async () => (await deadLetters(topic)).length === known + PARTITIONS.length,
      60_000,
    )
  },
)

test('poison on the dead-letter topic itself stops nobody', async () => {
  await produce(TOPICS.deadLetter, [Buffer.from('strange'), null])
  await produce(TOPICS.requestedGoogle, [Buffer.from('after it')])
  await eventually(
    'the letter behind it to be indexed',
    async () =>
      (await deadLetters(TOPICS.requestedGoogle)).length ===
      (Object.keys(POISON).length + 2) * PARTITIONS.length,
    60_000,
  )
})
