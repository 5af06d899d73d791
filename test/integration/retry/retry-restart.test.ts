// The retry service killed while it holds hundreds, with the sync service behind it: what was due
// comes after the restart, and what is rung twice changes nothing. Connections here have no
// calendars, so a unit that runs is seen by its epoch alone.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { GROUPS, REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { admit } from '../../support/admit.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { committedOf, endOf } from '../../support/offsets.ts'
import { openReader, quiet } from '../../support/outbox.ts'
import { look, openWorld, type World } from '../../support/world.ts'

const SECOND = 1_000_000
/** Due while the first process lives, and due only after it was killed. */
const EARLY = 150
const LATE = 250
const LATE_AFTER = 25 * SECOND
const REASONS = ['retry', 'continue', 'recheck'] as const
const RETRY_TOPICS = [TOPICS.retry30s, TOPICS.retry10m] as const

interface Waiting {
  readonly connectionId: string
  readonly reason: (typeof REASONS)[number]
  readonly dueAt: number
}

let world: World
let codec: Codec
const provider = randomUUID()

beforeAll(async () => {
  world = await openWorld({ label: 'retry-restart' })
  codec = await openCodec(
    {
      registryUrl: world.env['SCHEMA_REGISTRY_URL'] ?? '',
      prefix: world.prefix,
      topics: [...RETRY_TOPICS, TOPICS.requestedGoogle],
    },
    AbortSignal.timeout(60_000),
  )
}, 120_000)
afterAll(() => world?.[Symbol.asyncDispose]())

const ask = <R extends object>(sql: string, values: readonly unknown[] = []) =>
  look<R>(world.env['POSTGRES_URL'] ?? '', sql, values)

/**
 * Connections as their last units left them:
 * owing a sync, or rechecked for a notification that found nothing.
 */
async function addConnections(waiting: readonly Waiting[]): Promise<void> {
  await ask(
    `insert into external_calendar_connections (id, provider_id, vendor, vendor_account_id, sync_needed, rung_at)
     select id, $1, 'google', id, reason <> 'recheck', calstream_now()
       from unnest($2::uuid[], $3::text[]) as one (id, reason)`,
    [provider, waiting.map(({ connectionId }) => connectionId), waiting.map(({ reason }) => reason)],
  )
  await admit({ providerIds: [provider], connectionIds: waiting.map(({ connectionId }) => connectionId) })
}

async function schedule(waiting: readonly Waiting[]): Promise<void> {
  await using producer = await openProducer(
    { brokers: (world.env['KAFKA_BROKERS'] ?? '').split(','), prefix: world.prefix, clientId: 'test' },
    quiet,
  )
  await producer.send(
    waiting.map(({ connectionId, reason, dueAt }, index) => {
      const topic = RETRY_TOPICS[index % RETRY_TOPICS.length] ?? TOPICS.retry30s
      const at = Date.now() * 1000
      const value = codec.encode(topic, {
        connectionId,
        providerId: provider,
        vendor: 'google',
        epoch: 0,
        attempt: 1,
        dueAt,
        reason,
        code: null,
        calendarId: null,
        requestedAt: at,
      })
      const headers = eventHeaders({ type: 'test.v1', source: '/test', key: connectionId, at })
      return { topic, key: connectionId, value, headers }
    }),
  )
}

/** What a ring asks for: all of it but the time at which it was rung. */
async function asked(value: Buffer | null): Promise<string> {
  const decoded = await codec.decode(TOPICS.requestedGoogle, value)
  if (decoded.kind !== 'message') throw new Error(decoded.problem)
  const { requestedAt: _rungAt, ...rest } = decoded.message
  return JSON.stringify(rest)
}

test('killed while it holds hundreds, it rings each of them after its restart, and sync drops what is rung twice', async () => {
  const kafka = { brokers: world.env['KAFKA_BROKERS'] ?? '', prefix: world.prefix }
  await using bell = await openReader(kafka, [REQUESTED_TOPIC.google])
  const retry = await world.start('retry')
  await world.start('sync')
  const begun = Date.now() * 1000
  const waiting = Array.from({ length: EARLY + LATE }, (_, index): Waiting => {
    const dueAt =
      index < EARLY ? begun + 6 * SECOND + index * 20_000 : begun + LATE_AFTER + (index - EARLY) * 10_000
    return { connectionId: randomUUID(), reason: REASONS[index % 3] ?? 'retry', dueAt }
  })
  await addConnections(waiting)
  // The last due stands first in each partition:
  // its offset keeps all that is rung behind it from being committed.
  await schedule(waiting.toReversed())
  const rungOnce = () => new Set(bell.records.map(({ key }) => key?.toString()))
  const held = () => world.metric(retry, 'calendar_sync_retry_held')
  await eventually('many to be held and some rung', async () => rungOnce().size > 60 && (await held()) > 100)
  const heldAtKill = await held()
  await retry.kill()
  const rungAtKill = rungOnce().size
  expect(rungAtKill).toBeLessThan(waiting.length)

  await retry.restart(AbortSignal.timeout(60_000))
  await eventually('every connection to be rung', () => rungOnce().size === waiting.length, 90_000)
  await eventually(
    'what was rung before the kill to be rung again',
    () => bell.records.length >= waiting.length + rungAtKill,
  )
  expect(rungOnce()).toEqual(new Set(waiting.map(({ connectionId }) => connectionId)))
  const contents = new Map<string, Set<string>>()
  for (const { key, value } of bell.records) {
    const id = key?.toString() ?? ''
    contents.set(id, (contents.get(id) ?? new Set()).add(await asked(value)))
  }
  expect([...contents.values()].filter(({ size }) => size !== 1)).toEqual([])

  await eventually(
    'sync to have answered all rings',
    async () =>
      (await committedOf(kafka, GROUPS.sync, TOPICS.requestedGoogle)) ===
      (await endOf(kafka, TOPICS.requestedGoogle)),
    60_000,
  )
  const states = await ask<{ epoch: string; owing: boolean; n: number }>(
    `select sync_epoch::text as epoch, sync_needed as owing, count(*)::int as n from external_calendar_connections
      where provider_id = $1 group by 1, 2`,
    [provider],
  )
  expect(states).toEqual([{ epoch: '1', owing: false, n: waiting.length }])
  measured(`held ${heldAtKill}, rung ${rungAtKill} at the kill; ${bell.records.length} rings in all`)
}, 240_000)
