// The retry service: how exactly it rings when 50 000 records of mixed delays are held at once,
// most of them not due for minutes.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { peakMemory } from '../../infra/demo/report.ts'
import { percentile } from '../../infra/oracle/verify.ts'
import { openReader } from '../support/outbox.ts'
import type { TestStack } from '../support/test-stack.ts'
import { cpuBetween, cpuSeconds, recordedPids } from './cpu.ts'
import { milliseconds, quantiles, runnable, type BenchResult } from './report.ts'
import { openBenchSystem, type BenchSystem } from './stack.ts'

const HELD = 50_000
/** Delays begin to run when everything is held, so that nothing is due before. */
const DELAY_MIN_MS = 1_000
const DELAY_MAX_MS = 600_000
/** What is due within this time is the sample; the rest stays held for all of it. */
const MEASURED_MS = 75_000
const FILL_LIMIT_MS = 60_000
const BATCH = 1_000
/** For the last rings to arrive. */
const AFTER_LIMIT_MS = 60_000
const AIM_MS = 250

interface Measured {
  /** From the due time to the ring's timestamp in Kafka, ms. */
  readonly rungMs: readonly number[]
  /** From the due time until a second client has read the ring, ms. */
  readonly readMs: readonly number[]
  /** Held when the last of the sample was due. */
  readonly heldAfter: number
  readonly cpu: string
  readonly memory: string
}

/**
 * Runs for about two and a half minutes.
 * Throws when a record is not held, or what is due is not rung.
 */
export async function benchRetry(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'retry', signal)
  await system.start('retry')
  const kafka = { brokers: stack.brokers, prefix: system.env['KAFKA_PREFIX'] ?? '' }
  await using bell = await openReader(kafka, [REQUESTED_TOPIC.google])
  // Whole milliseconds are cut off, so up to one is added: an error is never shown too small.
  const clockMinusMonotonic = Date.now() + 1 - performance.now()
  const beginsAt = Date.now() + FILL_LIMIT_MS
  const due = await fill(system, beginsAt, signal)
  await untilHeld(system, beginsAt, signal)
  const endsAt = beginsAt + MEASURED_MS
  const sample = new Map([...due].filter(([, at]) => at < endsAt))
  say(`${HELD} records are held, ${sample.size} of them due in the measured ${MEASURED_MS / 1000} s`)
  await delay(Math.max(0, beginsAt - Date.now()), undefined, { signal })
  const pids = { ...recordedPids(stack.folder), ...system.pids() }
  const before = cpuSeconds(pids)
  await delay(Math.max(0, endsAt - Date.now()), undefined, { signal })
  const cpu = cpuBetween(before, cpuSeconds(pids))
  const heldAfter = await held(system)
  const rings = () => bell.records.filter(({ key }) => sample.has(key?.toString() ?? ''))
  const deadline = Date.now() + AFTER_LIMIT_MS
  while (new Set(rings().map(({ key }) => key?.toString())).size < sample.size) {
    if (Date.now() > deadline) throw new Error(`of ${sample.size} rings only ${rings().length} came`)
    await delay(500, undefined, { signal })
  }
  const lateness = (at: (ring: ReturnType<typeof rings>[number]) => number) =>
    rings().map((ring) => at(ring) - (sample.get(ring.key?.toString() ?? '') ?? Number.NaN))
  const bytes = peakMemory(system.pids())['retry'] ?? 0
  return resultOf({
    rungMs: lateness(({ timestampMs }) => timestampMs),
    readMs: lateness(({ receivedAt }) => receivedAt + clockMinusMonotonic),
    heldAfter,
    cpu,
    memory: `${Math.round(bytes / 2 ** 20)} MB`,
  })
}

/** Puts the records. @returns when each connection is due, in ms since 1970. */
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
  while (due.size < HELD) {
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
        calendarId: null,
        requestedAt: at,
      })
      const headers = eventHeaders({ type: 'bench.v1', source: '/bench', key: connectionId, at })
      return { topic, key: connectionId, value, headers }
    })
    await producer.send(records)
  }
  return due
}

async function untilHeld(system: BenchSystem, deadline: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const count = await held(system)
    if (count === HELD) return
    if (Date.now() > deadline) throw new Error(`the retry service holds ${count} of ${HELD} records`)
    await delay(500, undefined, { signal })
  }
}

/** What the service itself says that it holds. */
async function held(system: BenchSystem): Promise<number> {
  const response = await fetch(`${system.adminUrl('retry')}/metrics`, { signal: AbortSignal.timeout(5_000) })
  return Number(/^calendar_sync_retry_held(?:\{[^}]*\})? (\d+)/m.exec(await response.text())?.[1] ?? 0)
}

function resultOf({ rungMs, readMs, heldAfter, cpu, memory }: Measured): BenchResult {
  const p99 = percentile(readMs, 0.99) ?? Number.NaN
  const rowOf = (name: string, errors: readonly number[]) => [
    name,
    String(errors.length),
    ...quantiles(errors),
    milliseconds(errors.reduce((most, error) => Math.max(most, error), 0)),
    String(errors.filter((error) => error < 0).length),
  ]
  return {
    name: 'retry',
    title: 'The retry service',
    what:
      `${HELD.toLocaleString('en')} records with delays spread evenly from 1 s to 10 min, put in random order into two bands and held at once; those due in the first ${MEASURED_MS / 1000} s are measured while the others stay held. ` +
      'A second Kafka client reads the rings; early are those that came before their time.',
    columns: ['error against the due time', 'rings', 'p50', 'p95', 'p99', 'most', 'early'],
    rows: [rowOf('ring stamped', rungMs), rowOf('ring read by the second client', readMs)],
    verdicts: [
      `p99 until read is **${milliseconds(p99)}** (aim ≤ ${AIM_MS} ms: ${p99 <= AIM_MS ? 'met' : 'missed'}); ${heldAfter.toLocaleString('en')} records were still held at the end. Processes that wanted a core then: ${runnable()}.`,
      `Processor time in these ${MEASURED_MS / 1000} s: ${cpu}. Peak memory of the service ${memory}.`,
    ],
  }
}
