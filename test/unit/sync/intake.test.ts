// From a Kafka that the test plays into lanes that it plays: which lane, what no lane may see.
// What every intake promises is in shared/kafka/intake.test.ts.
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { openSyncRequests, type QueuedRequest } from '../../../services/sync/intake.ts'
import { eventually } from '../../support/eventually.ts'
import { HandMadeKafka, readJson } from '../../support/hand-made-kafka.ts'

const TOPIC = REQUESTED_TOPIC.google

const MESSAGE: SyncRequested = {
  connectionId: '0197A000-0000-7000-8000-00000000000c',
  providerId: '0197a000-0000-7000-8000-00000000000d',
  vendor: 'google',
  reason: 'webhook',
  calendarId: null,
  deliveryKey: 'k',
  asOf: null,
  requestedAt: 1,
}

const codec = {
  async decode(_topic: unknown, value: Buffer | null) {
    const reading = await readJson(value)
    return reading.kind === 'message'
      ? { kind: 'message', message: { ...MESSAGE, ...reading.message } }
      : reading
  },
} as Codec

function world(partitions = 1) {
  const kafka = new HandMadeKafka(TOPIC, partitions)
  const lane: QueuedRequest[] = []
  const withdrawn: string[] = []
  const intake = openSyncRequests(kafka.open, {
    codec,
    producer: kafka.producer,
    clock: { now: () => 1 },
    logger: pino({ level: 'silent' }),
    lanes: {
      add: (doorbell) => void lane.push(doorbell),
      withdraw: (source) => void withdrawn.push(source),
      counts: () => ({ ready: lane.length, running: 0, resting: 0 }),
      waits: () => ({ live: 0, asked: 0, backfill: 0 }),
    },
  })
  return { kafka, lane, withdrawn, intake }
}

describe('the intake of doorbells', () => {
  test('puts a doorbell into the lane of its connection, ids in lower case', async () => {
    const { kafka, lane, intake } = world()
    await using _intake = intake
    kafka.deliver(kafka.record(3), kafka.record(4, '{"reason":"reconcile"}'))
    await eventually('both in their lane', () => lane[1])
    expect(lane).toMatchObject([
      {
        key: MESSAGE.connectionId.toLowerCase(),
        bulkhead: 'google',
        source: `${TOPIC}/0`,
        urgency: 'live',
        message: { connectionId: MESSAGE.connectionId.toLowerCase(), calendarId: null },
      },
      { urgency: 'asked' },
    ])
  })

  test.each([
    ['bytes that cannot be read', 'poison'],
    ['a connection that is no uuid', '{"connectionId":"x"}'],
    ['a calendar that is no uuid', '{"calendarId":"x"}'],
    ['a vendor that belongs on another topic', '{"vendor":"microsoft"}'],
    ['a vendor of a later version', '{"vendor":"unknown"}'],
    ['a delivery key that Postgres cannot hold', '{"deliveryKey":"a\\u0000b"}'],
  ])('buries %s with its bytes, and its neighbours go on', async (_name, bytes) => {
    const { kafka, lane, intake } = world()
    kafka.deliver(kafka.record(1), kafka.record(2, bytes), kafka.record(3))
    await eventually('its neighbours', () => lane[1])
    expect(lane.map((doorbell) => doorbell.record.offset)).toEqual([1n, 3n])
    expect(kafka.sent.map((letter) => letter.value?.toString())).toEqual([bytes])
    for (const { receipt } of lane) receipt.done()
    await intake[Symbol.asyncDispose]()
    expect(kafka.committed.get(0)).toBe(4n)
  })

  test('commits nothing of a lane that is not done, also when it stops', async () => {
    const { kafka, lane, intake } = world()
    kafka.deliver(kafka.record(1), kafka.record(2))
    await eventually('both in their lane', () => lane[1])
    lane[1]!.receipt.done()
    await intake[Symbol.asyncDispose]()
    expect(kafka.committed.get(0)).toBe(1n)
  })

  test('withdraws from the lanes what came from a lost partition', async () => {
    const { kafka, withdrawn, intake } = world(2)
    await using _intake = intake
    kafka.join({ lost: [kafka.owned[0]!], owned: [kafka.owned[1]!] })
    expect(withdrawn).toEqual([`${TOPIC}/0`])
  })
})
