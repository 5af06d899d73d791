import { createServer } from 'node:net'
import { once } from 'node:events'
import {
  KafkaJSConnectionError,
  KafkaJSNonRetriableError,
  KafkaJSNumberOfRetriesExceeded,
  KafkaJSProtocolError,
} from 'kafkajs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import { settledWithin } from '#shared/kafka/client.ts'
import { isBrokerTrouble, kafkaFailure } from '#shared/kafka/trouble.ts'
import { assignmentChange, Patience } from '#shared/kafka/consumer.ts'
import { chunksOf, recordBytes, unacknowledged } from '#shared/kafka/producer.ts'
import { kafkaRoundTrip, openProducer, openTransactionalProducer } from '#shared/kafka/open.ts'
import { createLogger } from '#shared/process/log.ts'

function protocolError(type: string, retriable = false): Error {
  return new KafkaJSProtocolError(Object.assign(new Error(type), { type, code: 1, retriable }))
}

function record(bytes: number, key = 'k'): OutboundRecord {
  return { topic: 'calendar.event.changed.v1', key, value: Buffer.alloc(bytes), headers: {} }
}

describe('kafkaFailure', () => {
  test.each([
    ['INVALID_PRODUCER_EPOCH', 'kafka/fenced'],
    ['MESSAGE_TOO_LARGE', 'kafka/rejected'],
    ['NOT_ENOUGH_REPLICAS', 'kafka/unavailable'],
    ['UNKNOWN_TOPIC_OR_PARTITION', 'kafka/unavailable'],
  ])('calls %s %s, also as the cause of another error', (type, code) => {
    expect(kafkaFailure(protocolError(type)).code).toBe(code)
    const wrapped = new KafkaJSNumberOfRetriesExceeded(protocolError(type), { retryCount: 5, retryTime: 1 })
    expect(kafkaFailure(wrapped).code).toBe(code)
    expect(
      kafkaFailure(Object.assign(new KafkaJSNonRetriableError('failed'), { cause: protocolError(type) }))
        .code,
    ).toBe(code)
  })

  test('says what to do when a topic is missing', () => {
    expect(kafkaFailure(protocolError('UNKNOWN_TOPIC_OR_PARTITION')).message).toContain(
      'calstream topics apply',
    )
  })

  test('knows the newer code for a fenced producer, of which KafkaJS only says that it is unknown', () => {
    const error = new Error('Unknown error code 90')
    expect(kafkaFailure(error).code).toBe('kafka/fenced')
    expect(kafkaFailure(new Error('Unknown error code 91')).code).toBe('kafka/unavailable')
  })

  test('leaves a Failure as it is', () => {
    const failure = new Failure('kafka/rejected')
    expect(kafkaFailure(failure)).toBe(failure)
  })
})

describe('isBrokerTrouble', () => {
  const gone = new KafkaJSConnectionError('connect ECONNREFUSED')
  test.each<[string, unknown]>([
    ['a refused connection', gone],
    ['retries that ran out on it', new KafkaJSNumberOfRetriesExceeded(gone, { retryCount: 3, retryTime: 1 })],
    ['a moving leader', protocolError('NOT_LEADER_FOR_PARTITION', true)],
    ['a broker that was just given up', new KafkaJSNonRetriableError(new Error('Broker not connected'))],
    ['a missing topic', protocolError('UNKNOWN_TOPIC_OR_PARTITION')],
    ['our own timeout', new Failure('kafka/unavailable')],
  ])('is %s', (_what, error) => {
    expect(isBrokerTrouble(error)).toBe(true)
  })

  test.each<[string, unknown]>([
    ['a TypeError', new TypeError('x of undefined')],
    ['a TypeError inside an error of the library', new KafkaJSNonRetriableError(new TypeError('x'))],
    ['a group that refuses us', protocolError('GROUP_AUTHORIZATION_FAILED')],
    ['another failure of ours', new Failure('internal/defect')],
    ['no error at all', undefined],
  ])('is not %s', (_what, error) => {
    expect(isBrokerTrouble(error)).toBe(false)
  })
})

describe('Patience', () => {
  const trouble = { trouble: true, livedMs: 0 }
  const defect = { trouble: false, livedMs: 0 }

  test('never gives up on a broker that is away, and never waits longer than 5 s', () => {
    const patience = new Patience()
    const delays = Array.from({ length: 200 }, (_, index) =>
      patience.judge({ ...trouble, now: index * 5_000 }),
    )
    expect(delays.slice(0, 7)).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000])
    expect(delays).not.toContain('give-up')
  })

  test('gives up after a minute of defects', () => {
    const patience = new Patience()
    const verdicts = Array.from({ length: 70 }, (_, second) =>
      patience.judge({ ...defect, now: second * 1_000 }),
    )
    expect(verdicts.slice(0, 61)).not.toContain('give-up')
    expect(verdicts[61]).toBe('give-up')
  })

  test('counts anew after a good life or an outage', () => {
    const patience = new Patience()
    patience.judge({ ...defect, now: 0 })
    expect(patience.judge({ ...defect, livedMs: 100_000, now: 200_000 })).toBe(250)
    patience.judge({ ...trouble, now: 230_000 })
    expect(patience.judge({ ...defect, now: 400_000 })).not.toBe('give-up')
    expect(patience.judge({ ...defect, now: 470_000 })).toBe('give-up')
  })
})

describe('assignmentChange', () => {
  const at = (partition: number, topic = 'a') => ({ topic, partition })
  const named = (...partitions: ReturnType<typeof at>[]) =>
    new Map(partitions.map((partition) => [`${partition.topic}/${partition.partition}`, partition]))

  test('tells lost from kept, by topic and partition', () => {
    expect(assignmentChange(named(at(0), at(1), at(1, 'b')), [at(1), at(2)])).toEqual({
      lost: [at(0), at(1, 'b')],
      kept: [at(1)],
    })
    expect(assignmentChange(named(), [at(1)])).toEqual({ lost: [], kept: [] })
    expect(assignmentChange(named(at(1)), [])).toEqual({ lost: [at(1)], kept: [] })
  })
})

describe('chunksOf', () => {
  test('keeps every record once and in order, and no chunk above the limit holds more than one', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 900_000 }), { maxLength: 30 })
    fc.assert(
      fc.property(sizes, (lengths) => {
        const records = lengths.map((length, index) => record(length, String(index)))
        const chunks = chunksOf(records)
        expect(chunks.flat()).toEqual(records)
        for (const chunk of chunks) {
          expect(chunk.length).toBeGreaterThan(0)
          const bytes = chunk.reduce((sum, item) => sum + recordBytes(item), 0)
          if (chunk.length > 1) expect(bytes).toBeLessThanOrEqual(512 * 1024)
        }
      }),
      { numRuns: 50 },
    )
  })
})

describe('unacknowledged', () => {
  const answer = (partition: number) => ({ topicName: 't', partition, errorCode: 0 })
  test('names the partitions that were sent to and not answered for', () => {
    expect(unacknowledged(new Set(['t/0', 't/1', 'u/0']), [answer(0)])).toEqual(['t/1', 'u/0'])
    expect(unacknowledged(new Set(['t/0', 't/1']), [answer(1), answer(0)])).toEqual([])
  })
})

describe('settledWithin', () => {
  test('gives the value, the error, or a failure after the time', async () => {
    await expect(settledWithin(Promise.resolve(1), 1_000, 'x')).resolves.toBe(1)
    await expect(settledWithin(Promise.reject(new Error('no')), 1_000, 'x')).rejects.toThrow('no')
    await expect(settledWithin(new Promise(() => {}), 5, 'answer')).rejects.toMatchObject({
      code: 'kafka/unavailable',
      message: 'Kafka did not answer within 5 ms.',
    })
  })
})

describe('without a broker', () => {
  const lines: { level: string; msg: string }[] = []
  const logger = createLogger({
    service: 'test',
    level: 'debug',
    destination: { write: (line) => void lines.push(JSON.parse(line)) },
  })

  /** A port on which nobody listens. */
  async function closedPort(): Promise<string> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    await new Promise((resolve) => server.close(resolve))
    if (typeof address !== 'object' || address === null) throw new Error('no port')
    return `127.0.0.1:${address.port}`
  }

  test('a producer opens, fails its sends in bounded time, and logs no ERROR', async () => {
    const config = { brokers: [await closedPort()], prefix: '', clientId: 'test' }
    await using producer = await openProducer(config, logger)
    await expect(producer.send([record(1)])).rejects.toMatchObject({ code: 'kafka/unavailable' })
    expect(lines.map(({ level }) => level)).toContain('warn')
    expect(lines.map(({ level }) => level)).not.toContain('error')
  })

  test('a record above the limit of its topic is rejected before anything is sent', async () => {
    const config = { brokers: [await closedPort()], prefix: '', clientId: 'test' }
    await using producer = await openProducer(config, logger)
    await expect(producer.send([record(1), record(1_100_000)])).rejects.toMatchObject({
      code: 'kafka/rejected',
    })
  })

  test('a transactional producer does not open', async () => {
    const config = {
      brokers: [await closedPort()],
      prefix: '',
      clientId: 'test',
      transactionalId: 't',
      timeoutMs: 1_000,
    }
    await expect(openTransactionalProducer(config, logger)).rejects.toMatchObject({
      code: 'kafka/unavailable',
    })
  })

  test('the round trip says what is wrong', async () => {
    const config = { brokers: [await closedPort()], prefix: '', clientId: 'test' }
    expect(await kafkaRoundTrip(config)).toContain('Kafka cannot be reached')
  })
})
