// Retry on a real broker: when it rings, what it rings, and what a restart,
// a closed gate and a broken record do to it.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { SyncRetryScheduled } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { RETRY_TOPICS, type RetryTopic } from '#shared/messages/sync-retry-scheduled.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { loadConfig } from '../../../services/retry/config.ts'
import { startRetry } from '../../../services/retry/service.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { openReader, quiet, startServiceProcess } from '../../support/outbox.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const NEVER = new AbortController().signal
const SECOND = 1_000_000
const now = (): number => Date.now() * 1000

const OPEN: GateDecision = { state: 'on' }
const CLOSED: GateDecision = {
  state: 'off',
  gate: 'CALENDAR_JOBS_ENABLED',
  text: 'Calendar jobs not enabled',
}
const gatesWith = (jobs: () => GateDecision): Gates => ({
  sync: () => OPEN,
  webhook: () => OPEN,
  oauth: () => OPEN,
  jobs,
})

interface World extends AsyncDisposable {
  readonly kafka: { readonly brokers: string; readonly prefix: string }
  readonly env: Record<string, string>
  readonly codec: Codec
  /** Puts records into the retry topics, in order. */
  put(...records: readonly (readonly [RetryTopic, SyncRetryScheduled | Buffer])[]): Promise<void>
}

async function openWorld(): Promise<World> {
  const { brokers, registryUrl, unleash } = testStack()
  const prefix = freshPrefix()
  const kafka = { brokers: brokers.split(','), prefix, clientId: 'test' }
  await applyTopics({ ...kafka, partitions: 4 }, quiet)
  await applySchemas({ registryUrl, prefix }, NEVER)
  const codec = await openCodec(
    { registryUrl, prefix, topics: [...RETRY_TOPICS, TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] },
    NEVER,
  )
  const producer = await openProducer(kafka, quiet)
  return {
    kafka: { brokers, prefix },
    codec,
    env: {
      KAFKA_BROKERS: brokers,
      KAFKA_PREFIX: prefix,
      SCHEMA_REGISTRY_URL: registryUrl,
      // Nobody is there: retry needs Postgres to say that it lives, and for none of its work.
      POSTGRES_URL: 'postgres://calstream_retry:x@127.0.0.1:1/none',
      UNLEASH_URL: unleash.url,
      UNLEASH_TOKEN: unleash.tokens.backend,
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
    },
    put: (...records) =>
      producer.send(
        records.map(([topic, message]) => {
          const key = Buffer.isBuffer(message) ? randomUUID() : message.connectionId
          const value = Buffer.isBuffer(message) ? message : codec.encode(topic, message)
          return {
            topic,
            key,
            value,
            headers: eventHeaders({ type: 'test.v1', source: '/test', key, at: now() }),
          }
        }),
      ),
    [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
  }
}

function scheduled(changes: Partial<SyncRetryScheduled> = {}): SyncRetryScheduled {
  return {
    connectionId: randomUUID(),
    providerId: randomUUID(),
    vendor: 'google',
    epoch: 1,
    attempt: 1,
    dueAt: now() + SECOND,
    reason: 'retry',
    code: 'vendor/unavailable',
    calendarId: null,
    requestedAt: now(),
    ...changes,
  }
}

/** A reader of rung doorbells that decodes them. */
async function openBell(world: World) {
  const reader = await openReader(world.kafka, [REQUESTED_TOPIC.google, REQUESTED_TOPIC.microsoft])
  return {
    async rung() {
      return Promise.all(
        reader.records.map(async (record) => {
          const decoded = await world.codec.decode(
            record.topic as typeof TOPICS.requestedGoogle,
            record.value,
          )
          if (decoded.kind !== 'message') throw new Error(decoded.problem)
          return { ...decoded.message, topic: record.topic, key: record.key?.toString() }
        }),
      )
    },
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  }
}

const start = (world: World, jobs: () => GateDecision = () => OPEN) =>
  startRetry(loadConfig(world.env), NEVER, { gates: gatesWith(jobs) })

describe('retry', () => {
  test('rings each connection when it is due, across bands, whatever stands before it in its topic', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    await using _retry = await start(world)
    const late = scheduled({ dueAt: now() + 3600 * SECOND })
    const due = Array.from({ length: 60 }, (_, index) =>
      scheduled({ dueAt: now() + 1.5 * SECOND + index * 50_000 }),
    )
    await world.put(
      [TOPICS.retry6h, late],
      ...due.map((message, index) => [RETRY_TOPICS[index % 3]!, message] as const).toReversed(),
    )
    await eventually('all that are due are rung', async () => (await bell.rung()).length === due.length)
    const rung = await bell.rung()
    expect(new Set(rung.map((ring) => ring.connectionId))).toEqual(
      new Set(due.map((message) => message.connectionId)),
    )
    const lateMs = rung
      .map(
        (ring) =>
          (ring.requestedAt - due.find((message) => message.connectionId === ring.connectionId)!.dueAt) /
          1000,
      )
      .sort((a, b) => a - b)
    expect(lateMs[0]).toBeGreaterThanOrEqual(0)
    measured(
      `retry rang p50 ${lateMs[30]!.toFixed(0)} ms, max ${lateMs.at(-1)!.toFixed(0)} ms after the due time`,
    )
  })

  test('rings the doorbell of the vendor with reason, provider and, for a recheck, its due time as asOf', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    await using _retry = await start(world)
    const google = scheduled({ reason: 'recheck', dueAt: now() })
    const microsoft = scheduled({ vendor: 'microsoft', reason: 'continue', dueAt: now() })
    await world.put([TOPICS.retry30s, google], [TOPICS.retry10m, microsoft])
    await eventually('both are rung', async () => (await bell.rung()).length === 2)
    const rung = new Map((await bell.rung()).map((ring) => [ring.connectionId, ring]))
    expect(rung.get(google.connectionId)).toMatchObject({
      topic: TOPICS.requestedGoogle,
      key: google.connectionId,
      providerId: google.providerId,
      vendor: 'google',
      reason: 'recheck',
      asOf: google.dueAt,
      calendarId: null,
      deliveryKey: null,
    })
    expect(rung.get(microsoft.connectionId)).toMatchObject({
      topic: TOPICS.requestedMicrosoft,
      vendor: 'microsoft',
      reason: 'continue',
      asOf: null,
    })
  })

  test('keeps of what rings for the same only the record of the highest epoch', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    const connectionId = randomUUID()
    const calendarId = randomUUID()
    const stale = scheduled({ connectionId, epoch: 3, dueAt: now() + SECOND })
    const newest = scheduled({ connectionId, epoch: 5, dueAt: now() + 2 * SECOND })
    const older = scheduled({ connectionId, epoch: 4, dueAt: now() + SECOND })
    const ofCalendar = scheduled({ connectionId, epoch: 2, dueAt: now() + 2 * SECOND, calendarId })
    const recheck = scheduled({ connectionId, epoch: 2, dueAt: now() + 2 * SECOND, reason: 'recheck' })
    const control = scheduled({ dueAt: now() + 3 * SECOND })
    await world.put(
      [TOPICS.retry30s, stale],
      [TOPICS.retry30s, newest],
      [TOPICS.retry30s, older],
      [TOPICS.retry30s, ofCalendar],
      [TOPICS.retry30s, recheck],
      [TOPICS.retry30s, control],
    )
    await using _retry = await start(world)
    await eventually('the last one is rung', async () =>
      (await bell.rung()).some((ring) => ring.connectionId === control.connectionId),
    )
    const rung = (await bell.rung()).filter((ring) => ring.connectionId === connectionId)
    expect(rung.map((ring) => `${ring.reason} ${ring.calendarId ?? 'all'}`).toSorted()).toEqual(
      ['recheck all', 'retry all', `retry ${calendarId}`].toSorted(),
    )
  })

  test('rings nothing while the jobs gate is closed, and everything that became due meanwhile once it opens', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    let gate: GateDecision = CLOSED
    let asked = 0
    await using _retry = await start(world, () => {
      asked += 1
      return gate
    })
    const messages = Array.from({ length: 10 }, () => scheduled({ dueAt: now() }))
    await world.put(...messages.map((message) => [TOPICS.retry30s, message] as const))
    const before = asked
    await eventually('it has looked at the gate many times', () => asked > before + 20)
    expect(await bell.rung()).toEqual([])
    gate = OPEN
    await eventually('all are rung', async () => (await bell.rung()).length === messages.length)
  })

  test('a broken record goes to the dead-letter topic with its bytes, and its neighbours are rung', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    await using letters = await openReader(world.kafka, [TOPICS.deadLetter])
    await using _retry = await start(world)
    const broken = Buffer.from('not avro at all')
    const neighbours = Array.from({ length: 8 }, () => scheduled({ dueAt: now() }))
    await world.put(
      [TOPICS.retry30s, broken],
      ...neighbours.map((message) => [TOPICS.retry30s, message] as const),
      [TOPICS.retry30s, scheduled({ vendor: 'unknown', dueAt: now() })],
    )
    await eventually('the neighbours are rung', async () => (await bell.rung()).length === neighbours.length)
    await eventually('both letters are there', () => letters.records.length === 2)
    const [letter] = letters.records.filter((record) => record.value?.equals(broken))
    expect(letter!.headers.get('dead-letter-topic')).toBe(TOPICS.retry30s)
    expect(letter!.headers.get('dead-letter-code')).toBe('message/unreadable')
  })

  test('killed in the middle it loses nothing: what was not rung is read and rung again', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    await using first = await startServiceProcess('retry', `retry-kill-${world.kafka.prefix}`, world.env)
    const put = (messages: readonly SyncRetryScheduled[]) =>
      world.put(...messages.map((message, index) => [RETRY_TOPICS[index % 3]!, message] as const))
    const early = Array.from({ length: 100 }, () => scheduled({ dueAt: now() }))
    await put(early)
    await eventually('it is in the middle', async () => (await bell.rung()).length > 50)
    // Far enough ahead that a busy machine kills before they are due.
    const late = Array.from({ length: 200 }, (_, index) =>
      scheduled({ dueAt: now() + 10 * SECOND + index * 10_000 }),
    )
    await put(late)
    const messages = [...early, ...late]
    await first.kill()
    const rungBefore = new Set((await bell.rung()).map((ring) => ring.connectionId)).size
    expect(rungBefore).toBeLessThan(messages.length)
    await using _second = await startServiceProcess('retry', `retry-again-${world.kafka.prefix}`, world.env)
    await eventually('every connection was rung', async () => {
      return new Set((await bell.rung()).map((ring) => ring.connectionId)).size === messages.length
    })
    measured(
      `${rungBefore} of ${messages.length} rung before the kill, ${(await bell.rung()).length} rings in all`,
    )
  })

  test('two processes share the partitions, and when one is killed the other rings for both', async () => {
    await using world = await openWorld()
    await using bell = await openBell(world)
    await using one = await startServiceProcess('retry', `retry-one-${world.kafka.prefix}`, world.env)
    await using _two = await startServiceProcess('retry', `retry-two-${world.kafka.prefix}`, world.env)
    const messages = Array.from({ length: 200 }, (_, index) =>
      scheduled({ dueAt: now() + 3 * SECOND + index * 20_000 }),
    )
    await world.put(...messages.map((message, index) => [RETRY_TOPICS[index % 3]!, message] as const))
    await eventually('some are rung', async () => (await bell.rung()).length > 20)
    await one.kill()
    await eventually('every connection was rung', async () => {
      return new Set((await bell.rung()).map((ring) => ring.connectionId)).size === messages.length
    })
  })
})
