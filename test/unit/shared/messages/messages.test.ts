// What each builder puts on the wire: topic, key, shard, headers and value, by who sends it. The
// literals are written out here, because readers outside rely on them.
import avro from 'avsc'
import { describe, expect, test } from 'vitest'
import type { SchemaTopic } from '#schemas/topics.ts'
import { calendarId, connectionId, eventIdOf, providerId } from '#shared/domain/ids.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { eventsChanged, type RowChange } from '#shared/messages/event-changed.ts'
import { sentBy, type Origin, type OutboxMessage, type Sender } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { bandOf, syncRetryScheduled } from '#shared/messages/sync-retry-scheduled.ts'
import { schemaOf, type Codec } from '#shared/kafka/codec.ts'
import { inSpan, startTelemetry } from '#shared/process/telemetry.ts'

const ID = '0199d0a0-0000-7000-8000-0000000000fe'
const CONNECTION = {
  connectionId: connectionId(ID),
  providerId: providerId('0199d0a0-0000-7000-8000-000000000002'),
  vendor: 'google',
} as const
const CALENDAR = calendarId('0199d0a0-0000-7000-8000-000000000003')
const AT = 1_790_000_000_123_456
const TIME = '2026-09-21T14:13:20.123456Z'
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

/** Our schemas without the registry: what does not fit its schema throws. */
const typeOf = (topic: SchemaTopic) => avro.Type.forSchema(schemaOf(topic))
const codec: Pick<Codec, 'encode'> = { encode: (topic, message) => typeOf(topic).toBuffer(message) }
const from = (sender: Sender, traceparent?: string): Origin => ({ codec, sender, traceparent })

/** A record as a reader sees it. */
function read({ value, headers, ...record }: OutboxMessage) {
  const { ce_id: id, ...rest } = headers
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/)
  const message = value === null ? null : { ...typeOf(record.topic as SchemaTopic).fromBuffer(value) }
  return { ...record, headers: rest, message }
}

function headers(type: string, source: string, more: Readonly<Record<string, string>> = {}) {
  return {
    ce_specversion: '1.0',
    ce_type: type,
    ce_source: source,
    ce_time: TIME,
    ce_partitionkey: ID,
    'content-type': 'application/vnd.confluent.avro',
    ...more,
  }
}

describe('a sync request', () => {
  const message = {
    ...CONNECTION,
    reason: 'connected',
    calendarId: null,
    deliveryKey: null,
    asOf: null,
    requestedAt: AT,
  }

  test.each([
    ['api', '/calstream/api'],
    ['cli', '/calstream/cli'],
    ['connect', '/calstream/connect'],
    ['retry', '/calstream/retry'],
    ['scheduler', '/calstream/scheduler'],
    ['sync', '/calstream/sync'],
  ] as const)('of %s says so, and asks for the whole connection unless told otherwise', (sender, source) => {
    const request = { reason: 'connected', at: AT } as const
    expect(read(syncRequested(CONNECTION, request, from(sender)))).toEqual({
      shard: 14,
      topic: 'calendar.sync.requested.google.v1',
      key: ID,
      headers: headers('calendar.sync.requested.v1', source),
      message,
    })
  })

  test('of the ingress names its subject too', () => {
    const facts = { reason: 'webhook', calendarId: CALENDAR, deliveryKey: 'g:a:1', asOf: AT - 1 } as const
    const record = syncRequested(
      { ...CONNECTION, vendor: 'microsoft' },
      { ...facts, at: AT },
      from('ingress', TRACEPARENT),
    )
    expect(read(record)).toEqual({
      shard: 14,
      topic: 'calendar.sync.requested.microsoft.v1',
      key: ID,
      headers: headers('calendar.sync.requested.v1', '/calstream/ingress', {
        ce_subject: ID,
        traceparent: TRACEPARENT,
      }),
      message: { ...message, vendor: 'microsoft', ...facts },
    })
  })
})

describe('a scheduled retry', () => {
  test('lies in the band it is given, under its connection', () => {
    const facts = { attempt: 3, dueAt: AT + 5, reason: 'retry', code: 'vendor/timeout' } as const
    const record = syncRetryScheduled(
      { ...CONNECTION, epoch: 7 },
      { topic: bandOf(600_000), ...facts, calendarId: CALENDAR, at: AT },
      from('sync'),
    )
    expect(read(record)).toEqual({
      shard: 14,
      topic: 'calendar.sync.retry.10m.v1',
      key: ID,
      headers: headers('calendar.sync.retry-scheduled.v1', '/calstream/sync'),
      message: { ...CONNECTION, epoch: 7, ...facts, calendarId: CALENDAR, requestedAt: AT },
    })
  })

  test('has no failure behind it unless one is named', () => {
    const due = { topic: bandOf(1), dueAt: AT, reason: 'continue', at: AT } as const
    const { message } = read(syncRetryScheduled({ ...CONNECTION, epoch: 7 }, due, from('sync')))
    expect(message).toMatchObject({ attempt: 0, code: null, calendarId: null })
  })

  test.each([
    [0, 'calendar.sync.retry.30s.v1'],
    [30_000, 'calendar.sync.retry.30s.v1'],
    [30_000.1, 'calendar.sync.retry.10m.v1'],
    [600_000, 'calendar.sync.retry.10m.v1'],
    [600_000.1, 'calendar.sync.retry.6h.v1'],
  ])('that waits %d ms lies in %s', (waitMs, topic) => {
    expect(bandOf(waitMs)).toBe(topic)
  })
})

test('a change of status tells both, and why', () => {
  const facts = {
    status: 'needs_reauth',
    previousStatus: 'active',
    code: 'vendor/grant-revoked',
    at: AT,
  } as const
  expect(read(connectionChanged(CONNECTION, facts, from('sync', TRACEPARENT)))).toEqual({
    shard: 14,
    topic: 'calendar.connection.changed.v1',
    key: ID,
    headers: headers('calendar.connection.changed.v1', '/calstream/sync', { traceparent: TRACEPARENT }),
    message: { ...CONNECTION, ...facts },
  })
  const first = { status: 'active', previousStatus: null, at: AT } as const
  expect(read(connectionChanged(CONNECTION, first, from('connect'))).message).toMatchObject({ code: null })
})

describe('a changed event row', () => {
  const eventId = eventIdOf(CALENDAR, 'e-1')
  const UPDATED = AT - 1_000_000
  const EVENT: NonNullable<RowChange['event']> = {
    vendorEventId: 'e-1',
    title: 'Lunch',
    status: 'confirmed',
    busy: true,
    allDay: false,
    start: { at: AT, date: null },
    end: { at: AT + 1, date: null },
    timeZone: null,
    seriesId: null,
    originalStart: null,
    location: null,
    organizer: null,
    updatedAt: UPDATED,
    etag: null,
    response: 'none',
    kind: 'default',
    showAs: 'busy',
    visibility: 'default',
  }
  const told = (change: Pick<RowChange, 'event' | 'reason'>, isIncremental: boolean) =>
    eventsChanged(
      CONNECTION,
      {
        calendarId: CALENDAR,
        observedAt: AT,
        isIncremental,
        changes: [{ eventId, vendorEventId: 'e-1', sequence: 42, ...change }],
      },
      from('sync'),
    ).map(read)
  const about = { ce_subject: eventId, ce_sequence: '42' }
  const stateKey = `${ID}/${CALENDAR}/${eventId}`
  const TYPE = 'calendar.event.changed.v1'

  test('is told twice with the same sequence: in the order of its connection, and as the state', () => {
    const { vendorEventId: _, ...event } = EVENT
    const message = {
      eventId,
      ...CONNECTION,
      calendarId: CALENDAR,
      vendorEventId: 'e-1',
      change: 'upserted',
      removalReason: null,
      sequence: 42,
      observedAt: AT,
      vendorUpdatedAt: UPDATED,
      event,
    }
    expect(JSON.parse(JSON.stringify(told({ event: EVENT, reason: null }, true)))).toEqual([
      {
        shard: 14,
        topic: 'calendar.event.changed.v1',
        key: ID,
        headers: headers(TYPE, '/calstream/sync', { ...about, ce_changedat: String(UPDATED) }),
        message,
      },
      {
        shard: 14,
        topic: 'calendar.event.state.v1',
        key: stateKey,
        headers: headers(TYPE, '/calstream/sync', { ...about, ce_partitionkey: stateKey }),
        message,
      },
    ])
  })

  test('that was listed says nothing about when it changed', () => {
    const [change] = told({ event: EVENT, reason: null }, false)
    expect(change?.headers).toEqual(headers(TYPE, '/calstream/sync', about))
  })

  test('that went is a tombstone of the state', () => {
    const [change, state] = told({ event: null, reason: 'cancelled' }, true)
    expect(change?.headers).toEqual(headers(TYPE, '/calstream/sync', about))
    expect(change?.message).toMatchObject({ change: 'removed', removalReason: 'cancelled', event: null })
    expect(state).toMatchObject({ key: stateKey, message: null })
  })
})

test('the trace of a message is that of the active span', async () => {
  await using _telemetry = startTelemetry({ service: 'test' })
  expect(sentBy('sync', codec).traceparent).toBeUndefined()
  const origin = await inSpan('work', {}, async () => sentBy('sync', codec))
  expect(origin.traceparent).toMatch(/^00-/)
  expect(read(syncRequested(CONNECTION, { reason: 'api', at: AT }, origin)).headers).toMatchObject({
    traceparent: origin.traceparent,
  })
})
