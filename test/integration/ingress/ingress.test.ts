// The ingress on real Kafka, registry and Postgres, as its role: what an answer leaves behind.
// Gates are literals where a test turns them; Unleash's absence and caps are tried with real ones.
import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import { connectionId, providerId, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { loadConfig } from '../../../services/ingress/config.ts'
import { startIngress, type Ingress } from '../../../services/ingress/service.ts'
import { freshToken } from '../../support/channel-token.ts'
import { nameless } from '../../support/nameless.ts'
import { eventually } from '../../support/eventually.ts'
import { NOT_ALLOWED, OFF_SYNC, OFF_WEBHOOK, signedBearer } from '../../support/literal-ingress.ts'
import { openReader, type Reader } from '../../support/outbox.ts'
import { silent } from '../../support/recording-consumer.ts'
import { freshDatabase, freshPrefix, testStack, type TestDatabase } from '../../support/stack.ts'
import { startTcpProxy } from '../../support/tcp-proxy.ts'
import { look } from '../../support/world.ts'

const ON: GateDecision = { state: 'on' }
const REQUESTED = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] as const
const signal = () => AbortSignal.timeout(60_000)
const jwtSecret = randomBytes(32).toString('base64url')
const channelKeys = `k1:${randomBytes(32).toString('base64')}`

/** What the gates of the ingress of this file say; on unless a test turns one. */
type Said = { webhook: GateDecision; provider: GateDecision; connection: (id: ConnectionId) => GateDecision }
const said: Said = { webhook: ON, provider: ON, connection: () => ON }
const gates: Gates = {
  webhook: () => said.webhook,
  sync: (_provider, connection) => {
    if (said.provider.state !== 'on' || connection === undefined) return said.provider
    return said.connection(connection)
  },
  jobs: () => ON,
  oauth: () => ON,
}

let database: TestDatabase
let codec: Codec
let reader: Reader
let env: Record<string, string>
let ingress: Ingress

beforeAll(async () => {
  const stack = testStack()
  const prefix = freshPrefix()
  database = await freshDatabase('ingress')
  const kafka = { brokers: stack.brokers.split(','), prefix, clientId: 'test' }
  await applyTopics({ ...kafka, partitions: 4 }, silent())
  await applySchemas({ registryUrl: stack.registryUrl, prefix }, signal())
  codec = await openCodec({ registryUrl: stack.registryUrl, prefix, topics: REQUESTED }, signal())
  reader = await openReader({ brokers: stack.brokers, prefix }, REQUESTED)
  env = {
    KAFKA_BROKERS: stack.brokers,
    KAFKA_PREFIX: prefix,
    SCHEMA_REGISTRY_URL: stack.registryUrl,
    POSTGRES_URL: database.url('calstream_ingress'),
    UNLEASH_URL: stack.unleash.url,
    UNLEASH_TOKEN: stack.unleash.tokens.backend,
    ADMIN_PORT: '0',
    INGRESS_PORT: '0',
    LOG_LEVEL: 'silent',
    CHANNEL_TOKEN_KEYS: channelKeys,
    API_JWT_SECRET: jwtSecret,
    CREDENTIALS_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    PUBLIC_URL: 'https://calendars.example.com',
    GOOGLE_CLIENT_ID: 'not-asked',
    GOOGLE_CLIENT_SECRET: 'not-asked',
  }
  ingress = await startIngress(loadConfig(env), signal(), { gates })
})
afterAll(async () => {
  await ingress[Symbol.asyncDispose]()
  await reader[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})
beforeEach(() => {
  Object.assign(said, { webhook: ON, provider: ON, connection: () => ON })
})

interface Row {
  readonly id: ConnectionId
  readonly provider: ProviderId
}

async function aConnection(
  row: { provider?: ProviderId; vendor?: string; status?: string } = {},
): Promise<Row> {
  const provider = row.provider ?? providerId(randomUUID())
  const [inserted] = await look<{ id: string }>(
    database.url(),
    `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, status)
     values ($1, $2, $3, $4) returning id`,
    [provider, row.vendor ?? 'google', randomUUID(), row.status ?? 'active'],
  )
  return { id: connectionId(inserted?.id ?? ''), provider }
}

let deliveries = 0

function notify({ id, provider }: Row, port = ingress.port): Promise<Response> {
  const ring = parseKeyring(new Secret(channelKeys))
  deliveries += 1
  return fetch(`http://127.0.0.1:${port}/api/webhooks/calendar/google`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json; utf-8',
      'x-goog-channel-id': 'channel-1',
      'x-goog-message-number': String(deliveries),
      'x-goog-resource-state': 'exists',
      'x-goog-channel-token': freshToken(ring, {
        vendor: 'google',
        connectionId: id,
        providerId: provider,
        calendarId: null,
      }),
    },
  })
}

async function askForSync(claims: object, body?: object, port = ingress.port): Promise<Response> {
  const authorization = await signedBearer({ ...claims }, jwtSecret)
  return fetch(`http://127.0.0.1:${port}/api/calendar/sync`, {
    method: 'POST',
    headers: { authorization },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
}

/** The requests that reached Kafka for a connection; waits for `count` of them. */
async function requestsOf({ id }: Row, count: number): Promise<readonly SyncRequested[]> {
  const mine = () => reader.records.filter(({ key }) => key?.toString() === id)
  await eventually(`${count} requests for ${id}`, () => mine().length >= count)
  const decoded = await Promise.all(mine().map(({ value }) => codec.decode(TOPICS.requestedGoogle, value)))
  return decoded.map((one) => {
    if (one.kind === 'unreadable') throw new Error(one.problem)
    return one.message
  })
}

interface Held {
  readonly gate: string
  readonly seq: number
  readonly since: Date
}

async function heldOf({ id }: Row): Promise<Held | undefined> {
  const rows = await look<Held>(
    database.url(),
    'select gate, seq::int as seq, since from held_requests where connection_id = $1',
    [id],
  )
  return rows[0]
}

describe('a notification', () => {
  test('answered 202 is in Kafka, readable through the registry, with its trace', async () => {
    const connection = await aConnection()
    expect((await notify(connection)).status).toBe(202)
    const [request] = await requestsOf(connection, 1)
    expect(request).toMatchObject({
      connectionId: connection.id,
      providerId: connection.provider,
      vendor: 'google',
      reason: 'webhook',
      calendarId: null,
      deliveryKey: `g:channel-1:${deliveries}`,
      asOf: null,
    })
    const record = reader.records.find(({ key }) => key?.toString() === connection.id)
    expect(record?.headers.get('ce_type')).toMatch(/^calendar\.sync\.requested/)
    expect(record?.headers.get('traceparent')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/)
  })

  test('does without Postgres while the gates are open, and is never refused for its absence as if it were kept', async () => {
    const nowhere = { ...env, POSTGRES_URL: 'postgres://calstream_ingress:x@127.0.0.1:1/none' }
    await using alone = await startIngress(loadConfig(nowhere), signal(), { gates })
    const connection = await aConnection()
    expect((await notify(connection, alone.port)).status).toBe(202)
    said.webhook = OFF_WEBHOOK
    const refused = await notify(connection, alone.port)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await heldOf(connection)).toBeUndefined()
    // The control: with Postgres the same refusal is kept.
    expect((await notify(connection)).status).toBe(403)
    expect(await heldOf(connection)).toBeDefined()
  })

  test('refused by a closed gate leaves a row whose seq grows with every refusal, while since stays', async () => {
    const connection = await aConnection()
    said.webhook = OFF_WEBHOOK
    const seen: Held[] = []
    for (let refusal = 0; refusal < 3; refusal += 1) {
      const answer = await notify(connection)
      expect(answer.status).toBe(403)
      expect(await answer.json()).toMatchObject({ status: 403, error: 'Calendar webhooks not enabled' })
      const held = await heldOf(connection)
      if (held) seen.push(held)
    }
    expect(seen.map(({ gate }) => gate)).toEqual(Array.from({ length: 3 }, () => 'CALENDAR_WEBHOOK_ENABLED'))
    expect(seen[1]?.seq).toBeGreaterThan(seen[0]?.seq ?? 0)
    expect(seen[2]?.seq).toBeGreaterThan(seen[1]?.seq ?? 0)
    expect(new Set(seen.map(({ since }) => since.getTime())).size).toBe(1)
    said.webhook = ON
    expect((await notify(connection)).status).toBe(202)
    // Only the last one rang; the row stays for the scheduler, which deletes it after its own ring.
    expect(await requestsOf(connection, 1)).toHaveLength(1)
    expect(await heldOf(connection)).toEqual(seen[2])
  })

  test('of a connection that is gone gets its 403 without a row and does not spoil the group of its neighbours', async () => {
    const neighbours = await Promise.all(Array.from({ length: 20 }, () => aConnection()))
    const gone: Row = { id: connectionId(randomUUID()), provider: providerId(randomUUID()) }
    said.webhook = OFF_WEBHOOK
    const answers = await Promise.all([...neighbours, gone, ...neighbours].map((row) => notify(row)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([403]))
    const held = await Promise.all(neighbours.map(heldOf))
    expect(new Set(held.map((row) => row?.seq)).size).toBe(20)
    expect(await heldOf(gone)).toBeUndefined()
  })

  test('gets 503 when Postgres breaks before the row is written, and 403 on the repeat', async () => {
    const url = new URL(env['POSTGRES_URL'] ?? '')
    await using proxy = await startTcpProxy(Number(url.port))
    url.host = `127.0.0.1:${proxy.port}`
    await using behind = await startIngress(loadConfig({ ...env, POSTGRES_URL: url.href }), signal(), {
      gates,
    })
    const connection = await aConnection()
    said.webhook = OFF_WEBHOOK
    proxy.cutBefore(Buffer.from('held_requests'))
    expect((await notify(connection, behind.port)).status).toBe(503)
    expect(proxy.cuts()).toBe(1)
    expect(await heldOf(connection)).toBeUndefined()
    expect((await notify(connection, behind.port)).status).toBe(403)
    expect(await heldOf(connection)).toBeDefined()
  })
})

describe('a request for a sync', () => {
  test("rings the provider's active connections by the database clock and leaves the others alone", async () => {
    const mine = await aConnection()
    const { provider } = mine
    const graph = await aConnection({ provider, vendor: 'microsoft' })
    const parked = await aConnection({ provider, status: 'needs_reauth' })
    const disabled = await aConnection({ provider, status: 'disabled' })
    const disconnected = await aConnection({ provider, status: 'disconnected' })
    const other = await aConnection()
    const clock = 'select to_micros(calstream_now())::text as now'
    const [before] = await look<{ now: string }>(database.url(), clock)
    const answer = await askForSync({ provider_id: provider }, { provider_id: provider })
    const [after] = await look<{ now: string }>(database.url(), clock)
    expect(answer.status).toBe(202)
    const body = (await answer.json()) as {
      connections: { id: string }[]
      not_asked: { id: string; status: string }[]
    }
    expect(body.connections.map(({ id }) => id).toSorted()).toEqual([mine.id, graph.id].toSorted())
    expect(new Map(body.not_asked.map(({ id, status }) => [id, status]))).toEqual(
      new Map([
        [parked.id, 'needs_reauth'],
        [disabled.id, 'disabled'],
        [disconnected.id, 'disconnected'],
      ]),
    )
    const [request] = await requestsOf(mine, 1)
    expect(request).toMatchObject({ reason: 'api', vendor: 'google', deliveryKey: null, calendarId: null })
    expect(request?.asOf).toBeGreaterThanOrEqual(Number(before?.now))
    expect(request?.asOf).toBeLessThanOrEqual(Number(after?.now))
    const [ofGraph] = await requestsOf(graph, 1)
    expect(ofGraph?.vendor).toBe('microsoft')
    expect(reader.of(TOPICS.requestedMicrosoft).map(({ key }) => key?.toString())).toContain(graph.id)
    // The control for "left alone": a later ring of another connection arrives, theirs do not.
    await askForSync({ provider_id: other.provider })
    await requestsOf(other, 1)
    const rung = reader.records.map(({ key }) => key?.toString())
    for (const { id } of [parked, disabled, disconnected]) expect(rung).not.toContain(id)
  })

  test("answers another provider's id and an unknown one with the same 404", async () => {
    const [mine, other] = [await aConnection(), await aConnection()]
    const answers = [
      await askForSync({ provider_id: mine.provider }, { provider_id: other.provider }),
      await askForSync({ provider_id: mine.provider }, { provider_id: randomUUID() }),
      await askForSync({ provider_id: randomUUID() }),
      await askForSync({ scope: 'operator' }, { provider_id: randomUUID() }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404])
    const bodies = await Promise.all(answers.map((answer) => answer.text()))
    expect(new Set(bodies.map(nameless)).size).toBe(1)
    expect((await askForSync({ scope: 'operator' }, { provider_id: other.provider })).status).toBe(202)
  })

  test('refused by a closed gate holds the active connections of the provider, and of nobody else', async () => {
    const mine = await aConnection()
    const disconnected = await aConnection({ provider: mine.provider, status: 'disconnected' })
    const other = await aConnection()
    said.provider = OFF_SYNC
    for (const claims of [{ provider_id: mine.provider }, { scope: 'operator' }]) {
      const before = (await heldOf(mine))?.seq ?? 0
      const answer = await askForSync(claims, { provider_id: mine.provider })
      expect(answer.status).toBe(403)
      expect(await answer.json()).toMatchObject({ error: 'Calendar sync not enabled' })
      expect((await heldOf(mine))?.seq).toBeGreaterThan(before)
    }
    expect([await heldOf(disconnected), await heldOf(other)]).toEqual([undefined, undefined])
  })

  test('rings the connections that are allowed and holds those that are not', async () => {
    const allowed = await aConnection()
    const kept = await aConnection({ provider: allowed.provider })
    said.connection = (id) => (id === kept.id ? NOT_ALLOWED : ON)
    const answer = await askForSync({ provider_id: allowed.provider })
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({
      connections: [{ id: allowed.id }],
      not_asked: [{ id: kept.id }],
    })
    expect((await heldOf(kept))?.gate).toBe('CALENDAR_ALLOWLIST_CONNECTION_IDS')
    expect(await heldOf(allowed)).toBeUndefined()
    // All of them refused is a refusal.
    said.connection = () => NOT_ALLOWED
    const refused = await askForSync({ provider_id: allowed.provider })
    expect([refused.status, await refused.json()]).toMatchObject([403, { error: 'Connection not allowed' }])
  })

  test('of a provider with 1 200 connections rings each of them', async () => {
    const provider = providerId(randomUUID())
    await look(
      database.url(),
      `insert into external_calendar_connections (provider_id, vendor, vendor_account_id)
       select $1, 'google', 'account-' || n from generate_series(1, 1200) n`,
      [provider],
    )
    // On a busy machine Kafka may take longer than a caller waits; whoever is told 503 asks again.
    const accepted = async (answer: Response) => answer.status === 202 && answer.json()
    const ask = async () => accepted(await askForSync({ provider_id: provider }))
    const { connections } = (await eventually('it is accepted', ask)) as { connections: { id: string }[] }
    expect(new Set(connections.map(({ id }) => id)).size).toBe(1200)
    await eventually('a ring for each', () => {
      const rung = new Set(reader.records.map(({ key }) => key?.toString()))
      return connections.every(({ id }) => rung.has(id))
    })
  })
})

describe('with real gates', () => {
  test('that were never read, it answers 503 and is not ready; a cap still says no', async () => {
    const away = { ...env, UNLEASH_URL: 'http://127.0.0.1:1/api' }
    const connection = await aConnection()
    await using unknown = await startIngress(loadConfig(away), signal())
    const answer = await notify(connection, unknown.port)
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
    const ready = await fetch(`http://127.0.0.1:${unknown.adminPort}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.text()).toMatch(/gates/)
    expect(await heldOf(connection)).toBeUndefined()

    await using capped = await startIngress(
      loadConfig({ ...away, CALENDAR_WEBHOOK_ENABLED: 'false' }),
      signal(),
    )
    expect((await notify(connection, capped.port)).status).toBe(403)
    expect((await heldOf(connection))?.gate).toBe('CALENDAR_WEBHOOK_ENABLED')
  })

  test('that do not list the provider, it refuses in the words of the allowlist and keeps the row', async () => {
    const stranger = await aConnection()
    await using real = await startIngress(loadConfig(env), signal())
    const answer = await notify(stranger, real.port)
    expect([answer.status, await answer.json()]).toMatchObject([403, { error: 'Provider not allowed' }])
    expect((await heldOf(stranger))?.gate).toBe('CALENDAR_ALLOWLIST_PROVIDER_IDS')
    expect((await fetch(`http://127.0.0.1:${real.adminPort}/readyz`)).status).toBe(200)
  })
})

describe('the ports', () => {
  test('of operators are not those of the world', async () => {
    for (const path of ['/livez', '/readyz', '/metrics']) {
      expect((await fetch(`http://127.0.0.1:${ingress.port}${path}`)).status, path).toBe(404)
      expect((await fetch(`http://127.0.0.1:${ingress.adminPort}${path}`)).status, path).toBe(200)
    }
    const metrics = await (await fetch(`http://127.0.0.1:${ingress.adminPort}/metrics`)).text()
    expect(metrics).toMatch(/calendar_sync_webhooks_total\{[^}]*outcome="202"[^}]*\} [1-9]/)
    expect(metrics).toMatch(/calendar_sync_held_total\{[^}]*gate="CALENDAR_WEBHOOK_ENABLED"[^}]*\} [1-9]/)
    expect(metrics).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/)
  })

  test('that are taken end the start with one sentence that names the setting', async () => {
    const taken = { ...env, INGRESS_PORT: String(ingress.port) }
    await expect(startIngress(loadConfig(taken), signal(), { gates })).rejects.toThrow(/INGRESS_PORT/)
  })
})
