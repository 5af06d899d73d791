// The one intake, between a Kafka and work that the test plays: what is committed, buried, paused.
import fc from 'fast-check'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import {
  createIntake,
  type Delivery,
  type Intake,
  type IntakeOptions,
  openIntake,
} from '#shared/kafka/intake.ts'
import { eventually } from '../../../support/eventually.ts'
import { HandMadeKafka, readJson } from '../../../support/hand-made-kafka.ts'
import { loggerTo, type LogLine } from '../../../support/recording-consumer.ts'

const TOPIC = TOPICS.requestedGoogle
/** A round that works on what is there and waits for nothing. */
const AT_ONCE = AbortSignal.abort()

type Message = Readonly<Record<string, unknown>>

function parts(kafka: HandMadeKafka, others: Partial<IntakeOptions<Message>> = {}) {
  const accepted: Delivery<Message>[] = []
  const lost: string[] = []
  const options: IntakeOptions<Message> = {
    owner: "the test's",
    groupId: 'group',
    topics: [TOPIC],
    isolation: 'read-uncommitted',
    read: ({ value }) => readJson(value),
    accept: (delivery) => accepted.push(delivery),
    lost: (sources) => lost.push(...sources),
    capacity: { per: 'partition', max: 2000, resumeBelow: 1000 },
    producer: kafka.producer,
    clock: { now: () => 1 },
    logger: pino({ level: 'silent' }),
    ...others,
  }
  const offsets = () => accepted.map(({ record }) => record.offset)
  return { accepted, lost, options, offsets }
}

function world({
  partitions = 1,
  ...others
}: { partitions?: number } & Partial<IntakeOptions<Message>> = {}) {
  const kafka = new HandMadeKafka(TOPIC, partitions)
  const { options, ...seen } = parts(kafka, others)
  return { kafka, ...seen, ...createIntake(kafka.open, options) }
}

describe('the intake', () => {
  test('commits nothing before it is done, and jumps over gaps in the offsets after', async () => {
    const { kafka, accepted, round, commit } = world()
    kafka.deliver(kafka.record(3), kafka.record(5))
    await round(AT_ONCE)
    await commit()
    expect(kafka.committed.get(0)).toBe(3n)
    accepted[1]!.receipt.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(3n)
    accepted[0]!.receipt.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(6n)
  })

  test('tries a commit again that Kafka did not take', async () => {
    const { kafka, accepted, round, commit } = world()
    kafka.deliver(kafka.record(3))
    await round(AT_ONCE)
    accepted[0]!.receipt.done()
    kafka.takesCommits = false
    await expect(commit()).rejects.toThrow(/Kafka/)
    kafka.takesCommits = true
    await commit()
    expect(kafka.committed.get(0)).toBe(4n)
  })

  test.each([
    ['bytes that cannot be read', 'poison'],
    ['a tombstone', null],
  ])('buries %s as they are, and its neighbours go on', async (_name, bytes) => {
    const { kafka, accepted, offsets, round, commit } = world()
    kafka.deliver(kafka.record(1), kafka.record(2, bytes), kafka.record(3))
    await round(AT_ONCE)
    expect(offsets()).toEqual([1n, 3n])
    expect(kafka.sent.map(({ value }) => value?.toString() ?? null)).toEqual([bytes])
    expect(kafka.sent[0]?.headers).toMatchObject({
      'dead-letter-code': 'message/unreadable',
      'dead-letter-problem': 'it is poison',
      'dead-letter-offset': '2',
    })
    for (const { receipt } of accepted) receipt.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(4n)
  })

  test('does not let a poison record go before its copy is durable', async () => {
    const { kafka, round, commit } = world()
    kafka.trouble = 'kafka/unavailable'
    kafka.deliver(kafka.record(1, 'poison'))
    await expect(round(AT_ONCE)).rejects.toThrow(/Kafka/)
    await commit()
    expect(kafka.committed.get(0)).toBe(1n)
    expect([...kafka.paused]).toEqual([`${TOPIC}/0`])
    kafka.trouble = null
    await round(AT_ONCE)
    await commit()
    expect([kafka.sent.length, kafka.committed.get(0), kafka.paused.size]).toEqual([1, 2n, 0])
  })

  test('lets no poison record whose copy Kafka refuses keep those behind it waiting', async () => {
    const { kafka, accepted, offsets, round, commit } = world()
    kafka.trouble = 'kafka/rejected'
    kafka.deliver(kafka.record(1, 'poison'), kafka.record(2))
    await round(AT_ONCE)
    expect([kafka.sent, offsets()]).toEqual([[], [2n]])
    accepted[0]!.receipt.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(3n)
  })

  test('takes trouble with the registry for no fault of the record: it pauses and waits', async () => {
    const { kafka, offsets, round } = world()
    kafka.deliver(kafka.record(1, 'away'))
    await expect(round(AT_ONCE)).rejects.toThrow(/registry/)
    expect([[...kafka.paused], kafka.sent, offsets()]).toEqual([[`${TOPIC}/0`], [], []])
  })

  test('tells which record all others stand behind and since when, until it is taken', async () => {
    let now = 100
    const { kafka, round, facts } = world({ clock: { now: () => now }, partitions: 2 })
    expect(facts()).toEqual({ partitions: kafka.owned, blocked: [] })
    kafka.trouble = 'kafka/unavailable'
    kafka.deliver(kafka.record(1, 'poison'), kafka.record(2))
    for (now of [100, 200]) await expect(round(AT_ONCE)).rejects.toThrow(/Kafka/)
    const problem = expect.stringMatching(/Kafka/) as string
    expect(facts().blocked).toEqual([{ topic: TOPIC, partition: 0, offset: '1', since: 100, problem }])
    kafka.trouble = null
    await round(AT_ONCE)
    expect(facts().blocked).toEqual([])
    // A partition that went to another process blocks nothing here.
    kafka.trouble = 'kafka/unavailable'
    kafka.deliver(kafka.record(3, 'poison'))
    await expect(round(AT_ONCE)).rejects.toThrow(/Kafka/)
    expect(facts().blocked).toHaveLength(1)
    const [first, second] = kafka.owned
    kafka.join({ lost: [first!], owned: [second!] })
    expect(facts()).toEqual({ partitions: [second], blocked: [] })
  })

  test('pauses a partition that holds too much unfinished work, and goes on below its bound', async () => {
    const { kafka, accepted, round } = world({ partitions: 2 })
    kafka.deliver(...Array.from({ length: 2000 }, (_, i) => kafka.record(i)))
    kafka.deliver(kafka.record(0, '{}', 1))
    expect([...kafka.paused]).toEqual([`${TOPIC}/0`])
    while (accepted.length < 2001) await round(AT_ONCE)
    for (const { receipt } of accepted.slice(0, 999)) receipt.done()
    expect([...kafka.paused]).toEqual([`${TOPIC}/0`])
    for (const { receipt } of accepted.slice(999, 1001)) receipt.done()
    expect([...kafka.paused]).toEqual([])
  })

  test('pauses all partitions of a topic that together hold too much, where the topic is what counts', async () => {
    const { kafka, accepted, round } = world({
      partitions: 2,
      capacity: { per: 'topic', max: 10, resumeBelow: 10 },
    })
    const other = { topic: TOPICS.requestedMicrosoft, partition: 0 }
    kafka.join({ owned: [...kafka.owned, other] })
    for (const partition of [0, 1])
      kafka.deliver(...Array.from({ length: 5 }, (_, i) => kafka.record(i, '{}', partition)))
    expect([...kafka.paused].toSorted()).toEqual([`${TOPIC}/0`, `${TOPIC}/1`])
    await round(AT_ONCE)
    accepted[0]!.receipt.done()
    expect([...kafka.paused]).toEqual([])
  })

  test('pauses everything while too much waits to be read, and goes on at half of it', async () => {
    const [stopAt, goesOn] = [1000, Promise.withResolvers<void>()]
    let reads = 0
    const { kafka, accepted, round, suspend } = world({
      partitions: 6,
      async read({ value }) {
        reads += 1
        if (reads === stopAt) await goesOn.promise
        return readJson(value)
      },
    })
    const paused = () => kafka.paused.size
    for (const partition of [0, 1, 2, 3, 4])
      kafka.deliver(...Array.from({ length: 1999 }, (_, i) => kafka.record(i, '{}', partition)))
    expect(paused()).toBe(0)
    kafka.deliver(...Array.from({ length: 6 }, (_, i) => kafka.record(i, '{}', 5)))
    expect(paused()).toBe(6)
    const reading = (async () => {
      while (accepted.length < 10_001) await round(AT_ONCE)
    })()
    await eventually('some to be read', () => reads === stopAt)
    suspend(false)
    expect(paused()).toBe(6)
    goesOn.resolve()
    await reading
    // What was read and is not done keeps the others paused by itself.
    expect(paused()).toBe(5)
    for (const { receipt } of accepted) receipt.done()
    expect(paused()).toBe(0)
  })

  test('reads nothing while it is suspended', () => {
    const { kafka, suspend } = world()
    suspend(true)
    expect([...kafka.paused]).toEqual([`${TOPIC}/0`])
    suspend(false)
    expect([...kafka.paused]).toEqual([])
  })

  test('tells what is lost, and hands nothing over that came from there and is not read yet', async () => {
    const { kafka, lost, accepted, round } = world({ partitions: 2 })
    kafka.deliver(kafka.record(7))
    kafka.deliver(kafka.record(8, '{}', 1))
    kafka.join({ lost: [kafka.owned[0]!], owned: [kafka.owned[1]!] })
    await round(AT_ONCE)
    expect(lost).toEqual([`${TOPIC}/0`])
    expect(accepted.map(({ record }) => record.partition)).toEqual([1])
  })

  test('hands nothing over whose partition is lost while it is being read', async () => {
    const reading = Promise.withResolvers<Buffer>()
    const { kafka, offsets, round, commit } = world({ read: async () => readJson(await reading.promise) })
    kafka.deliver(kafka.record(7))
    const running = round(AT_ONCE)
    kafka.join({ lost: kafka.owned, owned: kafka.owned })
    reading.resolve(Buffer.from('poison'))
    await running
    await commit()
    expect([offsets(), kafka.sent, kafka.committed.size]).toEqual([[], [], 0])
  })

  test('bears a rebalance while very many records wait', async () => {
    const { kafka, offsets, round } = world({ partitions: 2 })
    kafka.deliver(...Array.from({ length: 100 }, (_, i) => kafka.record(i)))
    const many = Array.from({ length: 2000 }, (_, i) => i)
    for (let batch = 0; batch < 100; batch += 1)
      kafka.deliver(...many.map((i) => kafka.record(batch * many.length + i, '{}', 1)))
    kafka.join({ lost: [kafka.owned[0]!], owned: [kafka.owned[1]!] })
    await round(AT_ONCE)
    expect(offsets()[0]).toBe(0n)
  })

  test('drops what is delivered again while it is owned, and takes it anew after it was lost', async () => {
    const { kafka, offsets, round } = world()
    kafka.deliver(kafka.record(1), kafka.record(2))
    await round(AT_ONCE)
    kafka.join({})
    kafka.deliver(kafka.record(1), kafka.record(2), kafka.record(3))
    await round(AT_ONCE)
    expect(offsets()).toEqual([1n, 2n, 3n])
    kafka.join({ lost: kafka.owned, owned: kafka.owned })
    kafka.deliver(kafka.record(1))
    await round(AT_ONCE)
    expect(offsets()).toEqual([1n, 2n, 3n, 1n])
  })

  test('takes no word of an earlier holding for one of a record that came anew', async () => {
    const { kafka, accepted, round, commit } = world()
    kafka.deliver(kafka.record(1))
    await round(AT_ONCE)
    kafka.join({ lost: kafka.owned, owned: kafka.owned })
    kafka.deliver(kafka.record(1))
    await round(AT_ONCE)
    const [before, now] = accepted.map(({ receipt }) => receipt)
    expect([before?.isOurs(), now?.isOurs()]).toEqual([false, true])
    before!.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(1n)
    now!.done()
    await commit()
    expect(kafka.committed.get(0)).toBe(2n)
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
        const { kafka, accepted, round, commit } = world()
        const log: InboundRecord[] = []
        const done = new Set<bigint>()
        let end = 0
        const next = () => Number(kafka.committed.get(0) ?? 0n)
        const readAgain = async () => {
          const again = log.filter(({ offset }) => offset >= next())
          if (again.length === 0) return
          kafka.deliver(...again)
          await round(AT_ONCE)
        }
        for (const one of steps) {
          if (one.do === 'deliver') {
            end += one.gap
            log.push(kafka.record(end))
            kafka.deliver(log.at(-1)!)
            await round(AT_ONCE)
          } else if (one.do === 'complete') {
            const delivery = accepted[one.at % Math.max(1, accepted.length)]
            if (delivery?.receipt.isOurs()) done.add(delivery.record.offset)
            delivery?.receipt.done()
          } else {
            kafka.join({ lost: one.do === 'lose' ? kafka.owned : [], owned: kafka.owned })
            await readAgain()
          }
          await commit()
          const passed = log.filter(({ offset }) => offset < next() && !done.has(offset))
          expect(passed).toEqual([])
        }
      }),
      { numRuns: 200 },
    )
  })
})

describe('an open intake', () => {
  function open(others: Partial<IntakeOptions<Message>> = {}) {
    const kafka = new HandMadeKafka(TOPIC)
    const { options, ...seen } = parts(kafka, others)
    const intake: Intake = openIntake(kafka.open, options)
    return { kafka, intake, ...seen }
  }

  test('hands over what comes and commits it by itself', async () => {
    let looks = 0
    const { kafka, intake, accepted } = open({ observe: () => (looks += 1) })
    await using _intake = intake
    kafka.deliver(kafka.record(1))
    await eventually('a delivery', () => accepted[0])
    accepted[0]!.receipt.done()
    await eventually('a commit', () => kafka.committed.get(0) === 2n)
    expect(looks).toBeGreaterThan(0)
    expect(intake.lastAcknowledgedAt()).toBe(7)
  })

  test('commits the last that was done before it leaves the group', async () => {
    const { kafka, intake, accepted } = open()
    kafka.deliver(kafka.record(1), kafka.record(2))
    await eventually('both deliveries', () => accepted[1])
    accepted[0]!.receipt.done()
    await intake[Symbol.asyncDispose]()
    expect(kafka.committed.get(0)).toBe(2n)
    expect(kafka.calls.slice(-2)).toEqual(['commit', 'leave'])
  })

  test('leaves the group also when its last commit is not taken, and says so', async () => {
    const lines: LogLine[] = []
    const { kafka, intake, accepted } = open({ logger: loggerTo(lines) })
    kafka.deliver(kafka.record(1))
    await eventually('a delivery', () => accepted[0])
    kafka.takesCommits = false
    accepted[0]!.receipt.done()
    await intake[Symbol.asyncDispose]()
    expect(kafka.committed.get(0)).not.toBe(2n)
    expect(kafka.calls.at(-1)).toBe('leave')
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'info', msg: 'the last offsets are read again later' }),
    )
  })

  test('says why it does not go on, and that its consumer died', async () => {
    const { kafka, intake } = open()
    await using _intake = intake
    expect(intake.problem()).toBeNull()
    kafka.deliver(kafka.record(1, 'away'))
    expect(await eventually('a problem', () => intake.problem())).toMatch(/registry/)
    const error = new Error('dead')
    kafka.options?.handlers.crashed(error)
    expect(await intake.crashed).toBe(error)
  })
})
