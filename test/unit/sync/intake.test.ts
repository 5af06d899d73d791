// The intake between a consumer and lanes that the test plays: what is committed, buried, paused.
import fc from 'fast-check'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { InboundRecord, OutboundRecord, TopicPartition } from '#shared/kafka/broker.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'
import { createIntake, type Doorbell } from '../../../services/sync/intake.ts'

const TOPIC = REQUESTED_TOPIC.google
/** A turn that works on what is there and waits for nothing. */
const AT_ONCE = AbortSignal.abort()

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

/** A codec whose bytes are JSON, or the word `poison`, or the word `away`. */
const codec = {
  decode: async (_topic: unknown, value: Buffer | null) => {
    const text = value?.toString() ?? 'poison'
    if (text === 'away') throw new Failure('registry/unavailable')
    return text === 'poison'
      ? { kind: 'unreadable', problem: 'it is poison' }
      : { kind: 'message', message: { ...MESSAGE, ...JSON.parse(text) } }
  },
} as Codec

function record(offset: number, value = '{}', partition = 0): InboundRecord {
  return {
    topic: TOPIC,
    partition,
    offset: BigInt(offset),
    timestampMs: 0,
    key: Buffer.from(MESSAGE.connectionId),
    value: Buffer.from(value),
    headers: new Map(),
  }
}

function world() {
  const lane: Doorbell[] = []
  const buried: OutboundRecord[] = []
  const committed = new Map<number, bigint>()
  const paused = new Set<number>()
  const withdrawn: string[] = []
  const kafka = { isAway: false, held: [{ topic: TOPIC, partition: 0 }] as TopicPartition[] }
  const partitions = (of: readonly TopicPartition[]) => of.map(({ partition }) => partition)
  const intake = createIntake({
    codec,
    ledger: createOffsetLedger(),
    clock: { now: () => 1 },
    logger: pino({ level: 'silent' }),
    lanes: { add: (doorbell) => lane.push(doorbell), withdraw: (source) => withdrawn.push(source) },
    producer: {
      async send(records) {
        if (kafka.isAway) throw new Failure('kafka/unavailable')
        buried.push(...records)
      },
      [Symbol.asyncDispose]: async () => {},
    },
    consumer: () => ({
      held: () => kafka.held,
      commit: async (offsets) => {
        for (const { partition, next } of offsets) committed.set(partition, next)
      },
      pause: (of) => partitions(of).forEach((partition) => paused.add(partition)),
      resume: (of) => partitions(of).forEach((partition) => paused.delete(partition)),
    }),
  })
  const deliver = (...records: readonly InboundRecord[]) =>
    intake.received({ topic: TOPIC, partition: records[0]?.partition ?? 0, assignment: 1, records })
  return { intake, lane, buried, committed, paused, withdrawn, kafka, deliver }
}

describe('the intake', () => {
  test('puts a doorbell into the lane of its connection, ids in lower case', async () => {
    const { intake, lane, deliver } = world()
    deliver(record(3))
    await intake.turn(AT_ONCE)
    expect(lane).toMatchObject([
      { key: MESSAGE.connectionId.toLowerCase(), bulkhead: 'google', source: `${TOPIC}/0` },
    ])
  })

  test('commits nothing before it is completed, and jumps over gaps in the offsets after', async () => {
    const { intake, lane, committed, deliver } = world()
    deliver(record(3), record(5))
    await intake.turn(AT_ONCE)
    await intake.commit()
    expect(committed.get(0)).toBe(3n)
    intake.completed([lane[1]!])
    await intake.commit()
    expect(committed.get(0)).toBe(3n)
    intake.completed([lane[0]!])
    await intake.commit()
    expect(committed.get(0)).toBe(6n)
  })

  test.each([
    ['bytes that cannot be read', 'poison'],
    ['a connection that is no uuid', '{"connectionId":"x"}'],
    ['a calendar that is no uuid', '{"calendarId":"x"}'],
    ['a vendor that belongs on another topic', '{"vendor":"microsoft"}'],
    ['a vendor of a later version', '{"vendor":"unknown"}'],
    ['a delivery key that Postgres cannot hold', '{"deliveryKey":"a\\u0000b"}'],
  ])('buries %s with its bytes, and its neighbours go on', async (_name, bytes) => {
    const { intake, lane, buried, committed, deliver } = world()
    deliver(record(1), record(2, bytes), record(3))
    await intake.turn(AT_ONCE)
    expect(lane.map((doorbell) => doorbell.record.offset)).toEqual([1n, 3n])
    expect(buried.map((letter) => letter.value?.toString())).toEqual([bytes])
    expect(buried[0]?.headers).toMatchObject({
      'dead-letter-code': 'message/unreadable',
      'dead-letter-offset': '2',
    })
    intake.completed(lane)
    await intake.commit()
    expect(committed.get(0)).toBe(4n)
  })

  test('does not let a poison record go before its copy is durable', async () => {
    const { intake, buried, committed, paused, kafka, deliver } = world()
    kafka.isAway = true
    deliver(record(1, 'poison'))
    await expect(intake.turn(AT_ONCE)).rejects.toThrow(/Kafka/)
    await intake.commit()
    expect(committed.get(0)).toBe(1n)
    expect([...paused]).toEqual([0])
    kafka.isAway = false
    await intake.turn(AT_ONCE)
    await intake.commit()
    expect([buried.length, committed.get(0), paused.size]).toEqual([1, 2n, 0])
  })

  test('takes trouble with the registry for no fault of the record: it pauses and waits', async () => {
    const { intake, lane, buried, paused, deliver } = world()
    deliver(record(1, 'away'))
    await expect(intake.turn(AT_ONCE)).rejects.toThrow(/registry/)
    expect([[...paused], buried.length, lane.length]).toEqual([[0], 0, 0])
  })

  test('pauses a partition that holds too much unfinished work, and goes on at half of it', async () => {
    const { intake, lane, paused, kafka, deliver } = world()
    kafka.held = [0, 1].map((partition) => ({ topic: TOPIC, partition }))
    deliver(...Array.from({ length: 2000 }, (_, i) => record(i)))
    deliver(record(0, '{}', 1))
    expect([...paused]).toEqual([0])
    while (lane.length < 2001) await intake.turn(AT_ONCE)
    intake.completed(lane.slice(0, 999))
    expect([...paused]).toEqual([0])
    intake.completed(lane.slice(999, 1001))
    expect([...paused]).toEqual([])
  })

  test('reads nothing while the database is away', () => {
    const { intake, paused } = world()
    intake.suspend(true)
    expect([...paused]).toEqual([0])
    intake.suspend(false)
    expect([...paused]).toEqual([])
  })

  test('withdraws from the lanes what came from a lost partition, also what is not decoded yet', async () => {
    const { intake, lane, withdrawn, kafka, deliver } = world()
    kafka.held = [0, 1].map((partition) => ({ topic: TOPIC, partition }))
    deliver(record(7))
    deliver(record(8, '{}', 1))
    intake.assigned({ assignment: 2, held: [kafka.held[1]!], lost: [kafka.held[0]!], kept: [kafka.held[1]!] })
    await intake.turn(AT_ONCE)
    expect(withdrawn).toEqual([`${TOPIC}/0`])
    expect(lane.map((doorbell) => doorbell.record.partition)).toEqual([1])
  })

  test('drops what is delivered again while it is held, and takes it anew after it was lost', async () => {
    const { intake, lane, kafka, deliver } = world()
    deliver(record(1), record(2))
    await intake.turn(AT_ONCE)
    intake.assigned({ assignment: 2, held: kafka.held, lost: [], kept: kafka.held })
    deliver(record(1), record(2), record(3))
    await intake.turn(AT_ONCE)
    expect(lane.map((doorbell) => doorbell.record.offset)).toEqual([1n, 2n, 3n])
    intake.assigned({ assignment: 3, held: [], lost: kafka.held, kept: [] })
    deliver(record(1))
    await intake.turn(AT_ONCE)
    expect(lane.map((doorbell) => doorbell.record.offset)).toEqual([1n, 2n, 3n, 1n])
  })

  test('never commits past a record that is not done, whatever the order of completions, joins and losses', async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('deliver' as const), gap: fc.integer({ min: 1, max: 3 }) }),
      },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('complete' as const), at: fc.nat(50) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('keep' as const, 'lose' as const) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { intake, lane, committed, kafka, deliver } = world()
        const log: InboundRecord[] = []
        const done = new Set<bigint>()
        let end = 0
        const next = () => Number(committed.get(0) ?? 0n)
        const readAgain = async () => {
          const again = log.filter(({ offset }) => offset >= next())
          if (again.length === 0) return
          deliver(...again)
          await intake.turn(AT_ONCE)
        }
        for (const one of steps) {
          if (one.do === 'deliver') {
            end += one.gap
            log.push(record(end))
            deliver(log.at(-1)!)
            await intake.turn(AT_ONCE)
          } else if (one.do === 'complete') {
            const doorbell = lane[one.at % Math.max(1, lane.length)]
            if (doorbell) {
              done.add(doorbell.record.offset)
              intake.completed([doorbell])
            }
          } else {
            const lost = one.do === 'lose' ? kafka.held : []
            intake.assigned({
              assignment: 2,
              held: kafka.held,
              lost,
              kept: one.do === 'keep' ? kafka.held : [],
            })
            await readAgain()
          }
          await intake.commit()
          const passed = log.filter(({ offset }) => offset < next() && !done.has(offset))
          expect(passed).toEqual([])
        }
      }),
      { numRuns: 200 },
    )
  })
})
