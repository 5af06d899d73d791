// Graph's notifications against the real ingress, Kafka and Postgres, as the ingress's own role:
// what an answer leaves behind.
import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { createChannelNotices } from '../../../services/ingress/webhooks/channel-notices.ts'
import { UNKNOWN_MAX } from '#shared/store/channel-notices.ts'
import { systemClock } from '#shared/process/clock.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { MICROSOFT_WEBHOOK, registerMicrosoftWebhook } from '../../../services/ingress/webhooks/microsoft.ts'
import { createPublisher } from '../../../services/ingress/publisher.ts'
import { createRefusals } from '../../../services/ingress/refusals.ts'
import { closeServer, createServer } from '../../../services/ingress/server.ts'
import { registerGoogleWebhook } from '../../../services/ingress/webhooks/google.ts'
import { freshToken } from '../../support/channel-token.ts'
import { eventually } from '../../support/eventually.ts'
import { openReader, quiet, type Reader } from '../../support/outbox.ts'
import { freshDatabase, freshPrefix, testStack, type TestDatabase } from '../../support/stack.ts'
import { look } from '../../support/world.ts'

const SUBSCRIPTION = '7f105c7d-2dc5-4530-97cd-4e7ae6534c07'
const keys = parseKeyring(new Secret(`k1:${randomBytes(32).toString('base64')}`))
const REQUESTED = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] as const
const owned = new AsyncDisposableStack()

let webhook: GateDecision
let database: TestDatabase
let db: Database
let codec: Codec
let reader: Reader
let url: string
const gates: Pick<Gates, 'webhook' | 'sync'> = { webhook: () => webhook, sync: () => ({ state: 'on' }) }

beforeAll(async () => {
  const stack = testStack()
  const prefix = freshPrefix()
  const signal = AbortSignal.timeout(60_000)
  database = owned.use(await freshDatabase('ingress_microsoft'))
  const kafka = { brokers: stack.brokers.split(','), prefix, clientId: 'test' }
  await applyTopics({ ...kafka, partitions: 4 }, quiet)
  await applySchemas({ registryUrl: stack.registryUrl, prefix }, signal)
  codec = await openCodec({ registryUrl: stack.registryUrl, prefix, topics: REQUESTED }, signal)
  reader = owned.use(await openReader({ brokers: stack.brokers, prefix }, REQUESTED))
  const role = new Secret(database.url('calstream_ingress'))
  db = owned.use(openDatabase({ url: role, applicationName: 'test', poolMax: 2 }, quiet))
  const producer = owned.use(await openProducer(kafka, quiet))
  const publisher = owned.use(createPublisher({ producer, codec, clock: systemClock, logger: quiet }))
  const refusals = owned.use(createRefusals({ db, logger: quiet }))
  const notices = owned.use(createChannelNotices({ db, clock: systemClock, logger: quiet }))
  const app = createServer({ connectionsMax: 100, connectionsPerAddressMax: 100, trustedProxies: [] }, quiet)
  const deps = { gates, keys, clock: systemClock, refusals, publisher, notices }
  registerGoogleWebhook(app, deps)
  registerMicrosoftWebhook(app, deps)
  url = await app.listen({ port: 0, host: '127.0.0.1' })
  owned.defer(() => closeServer(app, 1000))
})
afterAll(() => owned.disposeAsync())
beforeEach(() => {
  webhook = { state: 'on' }
})

async function aConnection(vendor: 'google' | 'microsoft' = 'microsoft') {
  const provider = providerId(randomUUID())
  const [row] = await look<{ id: string }>(
    database.url(),
    `insert into external_calendar_connections (provider_id, vendor, vendor_account_id) values ($1, $2, $3) returning id`,
    [provider, vendor, randomUUID()],
  )
  const id = connectionId(row!.id)
  const token = freshToken(keys, { vendor, connectionId: id, providerId: provider, calendarId: null })
  return { id, token }
}

function send(...items: readonly object[]): Promise<Response> {
  return fetch(`${url}${MICROSOFT_WEBHOOK}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value: items }),
  })
}

const change = (token: string, etag: string) => ({
  subscriptionId: SUBSCRIPTION,
  clientState: token,
  changeType: 'updated',
  resource: 'Users/a/Events/b',
  resourceData: { '@odata.etag': etag },
})

async function ringsOf(id: string, count: number) {
  const own = () => reader.records.filter((record) => record.key?.toString() === id)
  await eventually(`${count} rings`, async () => own().length >= count)
  return Promise.all(
    own().map(async (record) => {
      const decodedRecord = await codec.decode(TOPICS.requestedMicrosoft, record.value)
      if (decodedRecord.kind !== 'message') throw new Error(decodedRecord.problem)
      return decodedRecord.message
    }),
  )
}

const noticesOf = (id: string) =>
  look<{ kind: string; channel: string; resource: string | null }>(
    database.url(),
    `select kind, channel_id as channel, resource_id as resource from channel_notices where connection_id = $1 order by kind`,
    [id],
  )

test('a batch of several connections reaches Kafka whole, and a repeated one carries the same keys', async () => {
  const [first, second] = [await aConnection(), await aConnection()]
  const items = [change(first.token, 'W/"1"'), change(second.token, 'W/"1"'), change('forged', 'W/"1"')]
  expect((await send(...items)).status).toBe(202)
  expect((await send(...items)).status).toBe(202)
  for (const { id } of [first, second]) {
    const rings = await ringsOf(id, 2)
    expect(rings).toHaveLength(2)
    expect(rings[0]).toMatchObject({ vendor: 'microsoft', reason: 'webhook', connectionId: id })
    expect(rings[0]!.deliveryKey).toBe(rings[1]!.deliveryKey)
  }
})

test('lifecycle items ring and are rows when their 202 is sent; the latest counts', async () => {
  const { id, token } = await aConnection()
  const lifecycle = (lifecycleEvent: string) => ({
    subscriptionId: SUBSCRIPTION.toUpperCase(),
    clientState: token,
    lifecycleEvent,
  })
  expect((await send(lifecycle('reauthorizationRequired'), lifecycle('subscriptionRemoved'))).status).toBe(
    202,
  )
  expect((await noticesOf(id)).map(({ kind, channel }) => `${kind} ${channel}`)).toEqual([
    `reauthorize ${SUBSCRIPTION}`,
    `removed ${SUBSCRIPTION}`,
  ])
  const at = () =>
    look<{ at: Date }>(
      database.url(),
      `select max(noticed_at) as at from channel_notices where connection_id = $1`,
      [id],
    )
  const [before] = await at()
  expect((await send(lifecycle('subscriptionRemoved'))).status).toBe(202)
  expect((await at())[0]!.at.getTime()).toBeGreaterThan(before!.at.getTime())
  expect((await ringsOf(id, 2)).map((ring) => ring.deliveryKey)).toEqual([null, null])
})

test('channels that ring are noted on the side, of both vendors, once', async () => {
  const [microsoft, google] = [await aConnection(), await aConnection('google')]
  const channel = randomUUID()
  for (const number of ['1', '2']) {
    const answer = await fetch(`${url}/api/webhooks/calendar/google`, {
      method: 'POST',
      headers: {
        'x-goog-channel-id': channel,
        'x-goog-message-number': number,
        'x-goog-resource-state': number === '1' ? 'sync' : 'exists',
        'x-goog-resource-id': 'ret08u3rv24htgh289g',
        'x-goog-channel-token': google.token,
      },
    })
    expect(answer.status).toBe(number === '1' ? 200 : 202)
  }
  const subscription = randomUUID()
  await send({ ...change(microsoft.token, 'W/"1"'), subscriptionId: subscription })
  await eventually('both are noted', async () => (await noticesOf(microsoft.id)).length === 1)
  expect(await noticesOf(microsoft.id)).toEqual([{ kind: 'seen', channel: subscription, resource: null }])
  expect(await noticesOf(google.id)).toEqual([{ kind: 'seen', channel, resource: 'ret08u3rv24htgh289g' }])
})

test('a closed gate leaves a held row and the lifecycle notice, and rings nobody', async () => {
  const { id, token } = await aConnection()
  webhook = { state: 'off', gate: 'CALENDAR_WEBHOOK_ENABLED', text: 'Calendar webhooks not enabled' }
  const removed = { subscriptionId: randomUUID(), clientState: token, lifecycleEvent: 'subscriptionRemoved' }
  const answer = await send(change(token, 'W/"2"'), removed)
  expect([answer.status, ((await answer.json()) as { error: string }).error]).toEqual([
    403,
    'Calendar webhooks not enabled',
  ])
  expect(await look(database.url(), 'select gate from held_requests where connection_id = $1', [id])).toEqual(
    [{ gate: 'CALENDAR_WEBHOOK_ENABLED' }],
  )
  expect((await noticesOf(id)).map(({ kind }) => kind)).toEqual(['removed'])
  webhook = { state: 'on' }
  expect((await send(change(token, 'W/"3"'))).status).toBe(202)
  expect(await ringsOf(id, 1)).toHaveLength(1)
})

test('a notice and a refusal that Postgres refuses are put aside, and their neighbours are rows', async () => {
  const neighbours = await Promise.all(Array.from({ length: 20 }, () => aConnection()))
  await using notices = createChannelNotices({ db, clock: systemClock, logger: quiet })
  const told = (id: string, channelId: string) =>
    ({
      vendor: 'microsoft',
      channelId,
      kind: 'removed',
      connectionId: connectionId(id),
      resourceId: null,
    }) as const
  // The first is a group of its own; these wait for it and are one.
  const answers = await Promise.all([
    notices.tell([told(neighbours[0]!.id, randomUUID())]),
    ...neighbours.map(({ id }) => notices.tell([told(id, randomUUID())])),
    notices.tell([told(neighbours[3]!.id, 'a\0b')]),
    // No index row holds it: 9 000 characters that do not compress.
    notices.tell([told(neighbours[4]!.id, randomBytes(4_500).toString('hex'))]),
  ])
  expect(answers).toEqual(answers.map(() => true))
  for (const { id } of neighbours.slice(1)) expect(await noticesOf(id)).toHaveLength(1)

  await using refusals = createRefusals({ db, logger: quiet })
  const ids = neighbours.map(({ id }) => connectionId(id))
  const kept = await Promise.all(
    [ids[0]!, ...ids, connectionId('no uuid')].map((id) => refusals.hold([id], 'CALENDAR_SYNC_ENABLED')),
  )
  // It cannot be kept, so nobody may say 403 for it.
  expect(kept).toEqual([...kept.slice(0, -1).map(() => true), false])
  for (const id of ids)
    expect(
      await look(database.url(), 'select gate from held_requests where connection_id = $1', [id]),
    ).toHaveLength(1)
})

test('5 000 rings with one token are some records with few keys, and 16 notices of unknown channels', async () => {
  const { id, token } = await aConnection()
  const batches = Array.from({ length: 5 }, (_, batch) =>
    send(
      ...Array.from({ length: 1000 }, (_item, n) => ({
        ...change(token, `W/"${batch} ${n}"`),
        subscriptionId: randomUUID(),
      })),
    ),
  )
  for (const answer of await Promise.all(batches)) expect(answer.status).toBe(202)
  await eventually('those that are noted', async () => (await noticesOf(id)).length > 0)
  expect(await noticesOf(id)).toHaveLength(UNKNOWN_MAX)
  const rings = await ringsOf(id, 21)
  expect(rings.length).toBeLessThan(500)
  expect(rings.at(-1)?.deliveryKey).toBeNull()
})
