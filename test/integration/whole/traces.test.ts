// From a notification to the record that it led to, as a collector sees it: spans of three
// processes, joined by links. Names are those of the semantic conventions.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { calendarId, providerId } from '#shared/domain/ids.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import * as semantic from '#shared/process/semantic-names.ts'
import { freshToken } from '../../support/channel-token.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { KIND, startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from '../../support/otlp-receiver.ts'
import { openReader, type Reader } from '../../support/outbox.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const WEBHOOK = '/api/webhooks/calendar/google'
/** More than a calendar may ring at once: some are joined. */
const BURST = 40

let receiver: OtlpReceiver
let world: World
let account: Account
let reader: Reader
let token: string

beforeAll(async () => {
  receiver = await startOtlpReceiver()
  world = await openWorld({
    label: 'traces',
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_BSP_SCHEDULE_DELAY: '200',
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
    },
  })
  // Before they start, so that no unit is held: the scheduler, which would ring it, is not there.
  account = await world.connect({ calendars: 1, eventsPerCalendar: 3 })
  await Promise.all((['relay', 'sync', 'ingress'] as const).map((name) => world.start(name)))
  await expectConverged(world, [account])
  reader = await openReader({ brokers: world.env['KAFKA_BROKERS'] ?? '', prefix: world.prefix }, [
    TOPICS.eventChanged,
  ])
  const [row] = await look<{ id: string }>(
    world.env['POSTGRES_URL'] ?? '',
    'select id from external_calendars',
  )
  token = freshToken(parseKeyring(new Secret(world.env['CHANNEL_TOKEN_KEYS'] ?? '')), {
    vendor: 'google',
    connectionId: account.connectionId,
    providerId: providerId(account.providerId),
    calendarId: calendarId(row?.id ?? ''),
  })
})
afterAll(async () => {
  await reader?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
  await receiver?.[Symbol.asyncDispose]()
})

/** A change at the vendor that rings nobody: the scheduler is not there, so no channel is open. */
async function change(): Promise<void> {
  const calendar = encodeURIComponent(account.calendars[0]!.id)
  await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {})
}

async function notify(number: number): Promise<number> {
  const response = await fetch(`${world.env['PUBLIC_URL']}${WEBHOOK}`, {
    method: 'POST',
    headers: {
      'x-goog-resource-state': 'exists',
      'x-goog-channel-id': 'traced',
      'x-goog-message-number': String(number),
      'x-goog-resource-id': 'resource',
      'x-goog-channel-token': token,
    },
    signal: AbortSignal.timeout(20_000),
  })
  await response.arrayBuffer()
  return response.status
}

const called = (name: string) => receiver.spans.filter((span) => span.name === name)

/** The span that a traceparent names, once it has arrived. */
async function spanOf(traceparent: string): Promise<ReceivedSpan> {
  const [, traceId, spanId] = traceparent.split('-')
  const find = () => receiver.spans.find((span) => span.traceId === traceId && span.spanId === spanId)
  await eventually(`the span ${spanId} to arrive`, () => find() !== undefined)
  return find() ?? expect.unreachable()
}

const linkedTo = (span: ReceivedSpan, other: ReceivedSpan) =>
  span.links.find(({ traceId, spanId }) => traceId === other.traceId && spanId === other.spanId)

/** The traceparent of a record that is published after `before`. */
async function nextPublished(before: number): Promise<string> {
  await eventually('a change to be published', () => reader.records.length > before)
  return reader.records.at(-1)?.headers.get('traceparent') ?? expect.unreachable()
}

describe('a notification', () => {
  test('is found again from the record that it led to, link by link', async () => {
    const before = reader.records.length
    await change()
    expect(await notify(1)).toBe(202)
    const unit = await spanOf(await nextPublished(before))
    expect(unit).toMatchObject({
      service: 'calstream-sync',
      kind: KIND.consumer,
      name: `process ${TOPICS.requestedGoogle}`,
      attributes: {
        'messaging.system.name': 'kafka',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.name': TOPICS.requestedGoogle,
        'messaging.consumer.group.name': GROUPS.sync,
        'kafka.message.key': account.connectionId,
        [semantic.VENDOR]: 'google',
      },
    })
    expect(unit.events.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['sync.claimed', 'sync.page-committed']),
    )
    expect(unit.attributes).toHaveProperty(['kafka.offset'])
    expect(unit.attributes).toHaveProperty(['messaging.destination.partition.id'])

    await eventually('the request to arrive', () => called(`POST ${WEBHOOK}`).length > 0)
    const request = called(`POST ${WEBHOOK}`)[0]!
    expect(request).toMatchObject({
      service: 'calstream-ingress',
      kind: KIND.server,
      attributes: { 'http.request.method': 'POST', 'http.route': WEBHOOK, 'http.response.status_code': 202 },
    })
    expect(linkedTo(unit, request)?.attributes).toHaveProperty(['kafka.offset'])

    const publications = () =>
      receiver.spans.filter((span) => span.service === 'calstream-relay' && linkedTo(span, unit))
    await eventually('the publication to arrive', () => publications().length > 0)
    expect(publications()[0]).toMatchObject({
      kind: KIND.producer,
      attributes: { 'messaging.operation.type': 'send', 'messaging.system.name': 'kafka' },
    })
    // Links, not parents: three traces, since one unit answers many and one publication many units.
    const traces = [request, unit, publications()[0]!].map(({ traceId }) => traceId)
    expect(new Set(traces).size).toBe(3)
  })

  test('that was joined with others is found too, by way of the request that stands for all', async () => {
    const before = called(`POST ${WEBHOOK}`).length
    await change()
    const answers = await Promise.all(Array.from({ length: BURST }, (_, i) => notify(100 + i)))
    expect(answers).toEqual(Array.from({ length: BURST }, () => 202))
    const requests = () => called(`POST ${WEBHOOK}`).slice(before)
    const made = () => called(`create ${TOPICS.requestedGoogle}`)
    await eventually('all requests to arrive', () => requests().length === BURST)
    await eventually('a joined one to arrive', () => made().length > 0)
    const units = () => called(`process ${TOPICS.requestedGoogle}`)
    const isAnswered = (request: ReceivedSpan) =>
      units().some(
        (unit) =>
          linkedTo(unit, request) ?? made().some((one) => linkedTo(one, request) && linkedTo(unit, one)),
      )
    await eventually('a unit to answer each of them', () => requests().every(isAnswered))
    // The control: the joined ones are not linked to a unit themselves.
    expect(requests().some((request) => !units().some((unit) => linkedTo(unit, request)))).toBe(true)
    expect(new Set(made().flatMap(({ links }) => links.map(({ spanId }) => spanId))).size).toBeGreaterThan(1)
  })

  test('leaves spans of the calls to the vendor, without the paths that name people', async () => {
    const calls = () => receiver.spans.filter(({ kind }) => kind === KIND.client)
    await eventually('a call to arrive', () => calls().length > 0)
    expect(calls()[0]?.attributes).toMatchObject({
      'http.request.method': expect.stringMatching(/GET|POST/),
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      [semantic.VENDOR]: 'google',
    })
    const texts = receiver.spans.map((span) => JSON.stringify(span))
    expect(texts.some((text) => text.includes(account.connectionId))).toBe(true)
    const names = [account.email, encodeURIComponent(account.email), account.calendars[0]!.id, token]
    expect(names.filter((name) => texts.some((text) => text.includes(name)))).toEqual([])
    expect(receiver.broken).toEqual([])
  })
})
