// The retry service: how exactly it rings when 50 000 records of mixed delays are held, most of them not due for minutes.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import { openCodec } from '#shared/platform/codec.ts'
import { eventHeaders } from '#shared/platform/envelope.ts'
import { openProducer } from '#shared/platform/kafkajs.ts'
import { percentile } from '../../infra/local/verify.ts'
import { openReader } from '../support/outbox.ts'
import type { TestStack } from '../support/shared-stack.ts'
import { milliseconds, quantiles, runnable, type BenchResult } from './report.ts'
import { openBenchSystem, type BenchSystem } from './stack.ts'

const HELD = 50_000
/** Between 1 s and 10 min after the last was put; those due within the measured time are the sample. */
const DELAY_MIN_MS = 1_000
const DELAY_MAX_MS = 600_000
const MEASURED_MS = 60_000
/** From the first record to the last one read; the measured time begins then. */
const FILL_MS = 60_000
const BATCH = 1_000
const LIMIT_MS = 60_000
const AIM_MS = 250

/** Runs for about two and a half minutes. Throws when what is due is not rung. */
export async function benchRetry(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'retry', signal)
  await system.allow([randomUUID()], [randomUUID()])
  await system.start('retry')
  const kafka = { brokers: stack.brokers.split(','), prefix: system.env['KAFKA_PREFIX'] ?? '' }
  await using bell = await openReader(kafka, [REQUESTED_TOPIC.google])
  const beginsAt = Date.now() + FILL_MS
  const due = await fill(system, beginsAt, signal)
  const endsAt = beginsAt + MEASURED_MS
  const sample = new Map([...due].filter(([, at]) => at >= beginsAt && at < endsAt))
  say(`${HELD} records held, ${sample.size} of them due in the measured minute`)
  const errors = () =>
    bell.records.flatMap((record) => {
      const at = sample.get(record.key?.toString() ?? '')
      return at === undefined ? [] : [record.timestampMs - at]
    })
  const deadline = endsAt + LIMIT_MS
  while (errors().length < sample.size) {
    if (Date.now() > deadline)
      throw new Error(`${sample.size - errors().length} of ${sample.size} rings did not come`)
    await delay(500, undefined, { signal })
  }
  return resultOf(errors())
}

/** Puts the records; returns when each connection is due, in ms since 1970. */
async function fill(
  system: BenchSystem,
  beginsAt: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const { KAFKA_BROKERS = '', KAFKA_PREFIX = '', SCHEMA_REGISTRY_URL = '' } = system.env
  const topics = [TOPICS.retry30s, TOPICS.retry10m] as const
  const codec = await openCodec(
    { registryUrl: SCHEMA_REGISTRY_URL, prefix: KAFKA_PREFIX, topics: [...topics] },
    signal,
  )
  await using producer = await openProducer(
    { brokers: KAFKA_BROKERS.split(','), prefix: KAFKA_PREFIX, clientId: 'bench' },
    pino({ level: 'silent' }),
  )
  const due = new Map<string, number>()
  for (let n = 0; n < HELD; n += BATCH) {
    const records = Array.from({ length: BATCH }, () => {
      const connectionId = randomUUID()
      const waitMs = DELAY_MIN_MS + Math.random() * (DELAY_MAX_MS - DELAY_MIN_MS)
      const dueAt = Math.round(beginsAt + waitMs)
      due.set(connectionId, dueAt)
      const topic = waitMs <= 30_000 ? TOPICS.retry30s : TOPICS.retry10m
      const at = Date.now() * 1000
      const value = codec.encode(topic, {
        connectionId,
        providerId: randomUUID(),
        vendor: 'google',
        epoch: 1,
        attempt: 1,
        dueAt: dueAt * 1000,
        reason: 'retry',
        code: 'vendor/unavailable',
        requestedAt: at,
      })
      const headers = eventHeaders({ type: 'bench.v1', source: '/bench', key: connectionId, at })
      return { topic, key: connectionId, value, headers }
    })
    await producer.send(records)
  }
  return due
}

function resultOf(errorsMs: readonly number[]): BenchResult {
  const p99 = percentile(errorsMs, 0.99) ?? Number.NaN
  const early = errorsMs.filter((error) => error < 0).length
  return {
    name: 'retry',
    title: 'The retry service',
    what: `${HELD.toLocaleString('en')} records with delays between 1 s and 10 min, put in random order into two bands and held at once; those due within one minute are measured, from the due time to the ring's timestamp in Kafka.`,
    columns: ['', 'rings', 'p50', 'p95', 'p99', 'most', 'early', 'wanting a core'],
    rows: [
      [
        'error of the due time',
        String(errorsMs.length),
        ...quantiles(errorsMs),
        milliseconds(errorsMs.reduce((most, error) => Math.max(most, error), 0)),
        String(early),
        String(runnable()),
      ],
    ],
    verdicts: [
      `p99 ${milliseconds(p99)}: ${p99 <= AIM_MS ? `within the aim of ${AIM_MS} ms` : `**above the aim of ${AIM_MS} ms**`}.`,
    ],
  }
}
