// From a Kafka that the test plays into the heap, and what is rung of it. What every intake
// promises is in shared/kafka/intake.test.ts.
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { SyncRetryScheduled } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { DueHeap } from '../../../services/retry/due-heap.ts'
import { openSchedulings, type RetryDeps, type Scheduling } from '../../../services/retry/intake.ts'
import { ringDue } from '../../../services/retry/ring.ts'
import { eventually } from '../../support/eventually.ts'
import { HandMadeKafka, readJson } from '../../support/hand-made-kafka.ts'

const MESSAGE: SyncRetryScheduled = {
  connectionId: '0197a000-0000-7000-8000-00000000000c',
  providerId: '0197a000-0000-7000-8000-00000000000d',
  vendor: 'google',
  epoch: 1,
  calendarId: null,
  attempt: 1,
  dueAt: 10,
  reason: 'retry',
  code: null,
  requestedAt: 1,
}

const codec = {
  async decode(_topic: unknown, value: Buffer | null) {
    const reading = await readJson(value)
    return reading.kind === 'message'
      ? { kind: 'message', message: { ...MESSAGE, ...reading.message } }
      : reading
  },
  encode: (_topic: unknown, message: object) => Buffer.from(JSON.stringify(message)),
} as Codec

/** The heap is looked into and rung at the 20th microsecond. */
function world(partitions = 1) {
  const kafka = new HandMadeKafka(TOPICS.retry30s, partitions)
  const heap = new DueHeap<Scheduling>()
  const { producer } = kafka
  const clock = { now: () => 20 }
  const gates = { jobs: () => ({ state: 'on' }) } as RetryDeps['gates']
  const deps: RetryDeps = { codec, heap, producer, gates, clock, logger: pino({ level: 'silent' }) }
  const intake = openSchedulings(kafka.open, deps)
  const ring = () => ringDue(deps)
  const stop = async () => {
    await intake[Symbol.asyncDispose]()
    return kafka.committed.get(0)
  }
  return { kafka, heap, intake, ring, stop }
}

const other = (connection: number) => `{"connectionId":"0197a000-0000-7000-8000-00000000000${connection}"}`

describe('the intake of retries', () => {
  test('holds the offset of what waits, and lets it go once it was rung', async () => {
    const waiting = world()
    waiting.kafka.deliver(waiting.kafka.record(1))
    await eventually('it in the heap', () => waiting.heap.size === 1)
    expect(await waiting.stop()).toBe(1n)

    const rung = world()
    rung.kafka.deliver(rung.kafka.record(1))
    await eventually('it in the heap', () => rung.heap.size === 1)
    await rung.ring()
    expect(rung.kafka.sent.map(({ topic }) => topic)).toEqual([TOPICS.requestedGoogle])
    expect(await rung.stop()).toBe(2n)
  })

  test('lets go what a later unit speaks for', async () => {
    const { kafka, heap, stop } = world()
    kafka.deliver(kafka.record(1), kafka.record(2, '{"epoch":2}'), kafka.record(3, other(7)))
    await eventually('all of it in the heap', () => heap.size === 2)
    expect(await stop()).toBe(2n)
  })

  test.each([
    ['bytes that cannot be read', 'poison'],
    ['a vendor of a later version', '{"vendor":"unknown"}'],
  ])('buries %s, and its neighbours go on', async (_name, bytes) => {
    const { kafka, heap, ring, stop } = world()
    kafka.deliver(kafka.record(1, other(1)), kafka.record(2, bytes), kafka.record(3, other(3)))
    await eventually('its neighbours in the heap', () => heap.size === 2)
    expect(kafka.sent.map(({ topic, value }) => [topic, value?.toString()])).toEqual([
      [TOPICS.deadLetter, bytes],
    ])
    await ring()
    expect(await stop()).toBe(4n)
  })

  test('puts back what could not be rung', async () => {
    const { kafka, heap, intake, ring } = world()
    await using _intake = intake
    kafka.deliver(kafka.record(1))
    await eventually('it in the heap', () => heap.size === 1)
    kafka.trouble = 'kafka/unavailable'
    await expect(ring()).rejects.toThrow(/Kafka/)
    expect(heap.size).toBe(1)
  })

  test.each(['waits', 'is being rung'])(
    'takes out of the heap what came from a partition that is lost while it %s',
    async (when) => {
      const { kafka, heap, intake, ring } = world(2)
      await using _intake = intake
      kafka.deliver(kafka.record(1, other(1)))
      kafka.deliver(kafka.record(1, other(2), 1))
      await eventually('both in the heap', () => heap.size === 2)
      const [lost, kept] = kafka.owned
      kafka.trouble = 'kafka/unavailable'
      const ringing = when === 'waits' ? null : ring()
      kafka.join({ lost: [lost!], owned: [kept!] })
      await ringing?.catch(() => null)
      expect(heap.takeDue(20, 9).map(({ receipt }) => receipt.source)).toEqual([`${TOPICS.retry30s}/1`])
    },
  )
})
