// The publisher between many callers and one producer:
// few sends, each bounded, every ring in exactly one of them.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import { createLogger } from '#shared/process/log.ts'
import { createPublisher, type SyncRequest } from '../../../services/ingress/publisher.ts'

function aRing(): SyncRequest {
  return {
    connectionId: connectionId(randomUUID()),
    providerId: providerId(randomUUID()),
    vendor: 'google',
    reason: 'webhook',
    calendarId: null,
    deliveryKey: 'g:a:1',
    asOf: null,
  }
}

function aPublisher(send: (records: readonly OutboundRecord[]) => Promise<void>) {
  return createPublisher({
    producer: { send },
    codec: { encode: (_topic, message) => Buffer.from(JSON.stringify(message)) },
    clock: { now: () => 1_700_000_000_000_000 },
    logger: createLogger({ service: 'ingress', level: 'silent' }),
  })
}

test('a storm of 3 000 rings becomes a few sends of at most 500, one at a time, each ring in exactly one', async () => {
  const sends: (readonly OutboundRecord[])[] = []
  let outstanding = 0
  await using publisher = aPublisher(async (records) => {
    outstanding += 1
    expect(outstanding).toBe(1)
    sends.push(records)
    await new Promise(setImmediate)
    outstanding -= 1
  })
  const rings = Array.from({ length: 3000 }, aRing)
  const answers = await Promise.all(rings.map((ring) => publisher.ring(ring)))
  expect(new Set(answers)).toEqual(new Set(['durable']))
  expect(sends.map((records) => records.length)).toEqual([1, 500, 500, 500, 500, 500, 499])
  expect(sends.flat().map(({ key }) => key)).toEqual(rings.map(({ connectionId: id }) => id))
})

test('rings beyond the queue are refused at once while Kafka hangs, and those within it are durable afterwards', async () => {
  const kafka = Promise.withResolvers<void>()
  await using publisher = aPublisher(() => kafka.promise)
  const rings = Array.from({ length: 10_050 }, aRing)
  const answers = rings.map((ring) => publisher.ring(ring))
  // One is on its way and 10 000 wait.
  expect(await Promise.all(answers.slice(10_001))).toEqual(Array.from({ length: 49 }, () => 'overloaded'))
  kafka.resolve()
  expect(new Set(await Promise.all(answers.slice(0, 10_001)))).toEqual(new Set(['durable']))
})

test('without the ids of the schemas a request is refused and nothing is sent; with them it is durable', async () => {
  const sends: (readonly OutboundRecord[])[] = []
  let hasIds = false
  await using publisher = createPublisher({
    producer: { send: async (records) => void sends.push(records) },
    codec: {
      encode: (_topic, message) => {
        if (!hasIds) throw new Failure('registry/unavailable')
        return Buffer.from(JSON.stringify(message))
      },
    },
    clock: { now: () => 1_700_000_000_000_000 },
    logger: createLogger({ service: 'ingress', level: 'silent' }),
  })
  expect(await publisher.ring(aRing())).toBe('failed')
  expect(sends).toEqual([])
  hasIds = true
  expect(await publisher.ring(aRing())).toBe('durable')
  expect(sends).toHaveLength(1)
})

test('a failed send fails its own rings only', async () => {
  let sends = 0
  await using publisher = aPublisher(async () => {
    sends += 1
    if (sends === 2) throw new Failure('kafka/unavailable')
  })
  const first = publisher.ring(aRing())
  const second = [publisher.ring(aRing()), publisher.ring(aRing())]
  expect(await first).toBe('durable')
  expect(await Promise.all(second)).toEqual(['failed', 'failed'])
  expect(await publisher.ring(aRing())).toBe('durable')
})
