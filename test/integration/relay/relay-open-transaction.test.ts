// Doorbells behind the open transaction of a killed relay. Our own consumers read the doorbell
// topics uncommitted, so a live ring is handled while the dead one's transaction is still open; a
// read_committed reader has to wait until it times out.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { openReader, quiet } from '../../support/outbox.ts'
import { openRelayWorld } from '../../support/relay-world.ts'

const TIMEOUT_MS = 15_000
const { resolve } = createRequire(import.meta.url)

/** What a relay's producer does, as a process that is killed with its transaction open. */
const KILLED_RELAY = `
const { Kafka, logLevel } = require(process.env.KAFKAJS)
const { BROKERS, ID, TOPIC, KEY } = process.env
const producer = new Kafka({ brokers: BROKERS.split(','), logLevel: logLevel.NOTHING }).producer({
  transactionalId: ID, transactionTimeout: ${TIMEOUT_MS}, idempotent: true, maxInFlightRequests: 1,
})
producer.connect().then(() => producer.transaction())
  .then((transaction) => transaction.send({ topic: TOPIC, acks: -1, messages: [{ key: KEY, value: 'of the killed relay' }] }))
  .then(() => process.kill(process.pid, 'SIGKILL'))
`

test('are handled before it times out (control: a read_committed reader stalls)', async () => {
  await using world = await openRelayWorld('relay open transaction')
  const topic = TOPICS.requestedGoogle
  await using uncommitted = await openReader(world.kafka, [topic], 'read-uncommitted')
  await using committed = await openReader(world.kafka, [topic], 'read-committed')
  const key = randomUUID()
  const killed = spawn(process.execPath, ['-e', KILLED_RELAY], {
    env: {
      PATH: process.env['PATH'],
      KAFKAJS: resolve('kafkajs'),
      BROKERS: world.kafka.brokers,
      ID: `${world.kafka.prefix}relay-0`,
      TOPIC: `${world.kafka.prefix}${topic}`,
      KEY: key,
    },
    stdio: 'ignore',
  })
  const [signal] = await new Promise<[NodeJS.Signals | null]>((ended) =>
    killed.once('exit', (_code, by) => ended([by])),
  )
  expect(signal).toBe('SIGKILL')
  const opened = performance.now()
  const seconds = () => ((performance.now() - opened) / 1000).toFixed(2)

  const kafka = { brokers: world.kafka.brokers.split(','), prefix: world.kafka.prefix, clientId: 'test' }
  await using producer = await openProducer(kafka, quiet)
  // The same key is the same partition: behind the open transaction.
  await producer.send([{ topic, key, value: Buffer.from('live'), headers: {} }])
  const texts = (reader: typeof committed) => reader.records.map((record) => record.value?.toString())
  await eventually('the live ring is handled', () => texts(uncommitted).includes('live'))
  measured(`a live ring was handled ${seconds()} s after the kill`)
  // Other partitions go on for both readers, so the committed one has had its chance.
  const others = Array.from({ length: 20 }, () => ({
    topic,
    key: randomUUID(),
    value: Buffer.from('other'),
    headers: {},
  }))
  await producer.send(others)
  await eventually('it reads other partitions', () => texts(committed).includes('other'))
  expect(texts(committed)).not.toContain('live')

  await eventually('the broker has aborted the transaction', () => texts(committed).includes('live'), 60_000)
  measured(`a read_committed reader got it ${seconds()} s after the kill`)
  // What the killed relay had not committed stays invisible to those who read committed.
  expect(texts(committed)).not.toContain('of the killed relay')
})
