// An ingress whose ports (Kafka, Postgres, gates) are literals, for tests about HTTP: the server,
// its routes and both queues are the real ones.
import { randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import avro from 'avsc'
import type { FastifyInstance } from 'fastify'
import { SignJWT, type JWTPayload } from 'jose'
import { afterEach } from 'vitest'
import { TOPIC_SCHEMAS, type SchemaTopic } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import { createBearerCheck } from '#shared/process/bearer.ts'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import { systemClock } from '#shared/process/clock.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import type { Queryable } from '#shared/store/database.ts'
import { createChannelNotices } from '../../services/ingress/webhooks/channel-notices.ts'
import { registerMicrosoftWebhook } from '../../services/ingress/webhooks/microsoft.ts'
import { createPublisher } from '../../services/ingress/publisher.ts'
import { createRefusals } from '../../services/ingress/refusals.ts'
import { closeServer, createServer } from '../../services/ingress/server.ts'
import type { EntranceOptions } from '../../services/ingress/sockets/entrance.ts'
import { registerSyncApi, SYNC_API } from '../../services/ingress/api/sync.ts'
import { GOOGLE_WEBHOOK, registerGoogleWebhook } from '../../services/ingress/webhooks/google.ts'
import { freshToken } from './channel-token.ts'
import { rawExchange, rawRequest, type RawAnswer } from './raw-http.ts'

export interface LiteralIngress extends AsyncDisposable {
  readonly port: number
  readonly app: FastifyInstance
  /** What Kafka took, in order. */
  readonly sent: OutboundRecord[]
  /** The ids and gates of each statement that wrote held_requests. */
  readonly held: (readonly [readonly string[], readonly string[]])[]
  /** `<kind> <channel id>` of each notice that was stored. */
  readonly noticed: string[]
  readonly logged: string[]
  /** A token for Microsoft's channel of the same connection. */
  readonly clientState: string
  readonly channel: ReturnType<typeof aChannel>
  /** The headers of a good notification. */
  notification(changes?: Readonly<Record<string, string>>): Record<string, string>
  bearer(claims: JWTPayload): Promise<string>
}

export interface LiteralPorts {
  readonly webhook?: GateDecision
  readonly sync?: GateDecision
  readonly send?: (records: readonly OutboundRecord[]) => Promise<void>
  readonly sockets?: Partial<EntranceOptions>
  /**
   * Rows of external_calendar_connections of the one provider; 'down' for a database that is away.
   */
  readonly database?: 'down' | readonly { id: string; vendor: string; status: string }[]
}

const ON: GateDecision = { state: 'on' }
const JWT_SECRET = randomBytes(32).toString('base64url')

/** Starts ingresses for the tests of a file, and stops each after its test. */
export function literalIngressPerTest(): (ports?: LiteralPorts) => Promise<LiteralIngress> {
  const open: LiteralIngress[] = []
  afterEach(async () => {
    for (const ingress of open.splice(0)) await ingress[Symbol.asyncDispose]()
  })
  return async (ports) => {
    const ingress = await startLiteralIngress(ports)
    open.push(ingress)
    return ingress
  }
}

/** Starts one on a free port. */
export async function startLiteralIngress(ports: LiteralPorts = {}): Promise<LiteralIngress> {
  const sent: OutboundRecord[] = []
  const held: LiteralIngress['held'] = []
  const noticed: string[] = []
  const logged: string[] = []
  const channel = aChannel()
  const key = randomBytes(32)
  const keys = { current: 'k1', key: (kid: string) => (kid === 'k1' ? key : undefined) }
  const logger = createLogger({
    service: 'ingress',
    level: 'info',
    destination: { write: (line) => void logged.push(line) },
  })
  const gates: Gates = {
    webhook: () => ports.webhook ?? ON,
    sync: () => ports.sync ?? ON,
    jobs: () => ON,
    oauth: () => ON,
  }
  const db = literalDatabase(ports.database ?? [], { held, noticed })
  const send = async (records: readonly OutboundRecord[]): Promise<void> => {
    await ports.send?.(records)
    sent.push(...records)
  }
  const publisher = createPublisher({ producer: { send }, codec: { encode }, clock: systemClock, logger })
  const refusals = createRefusals({ db, logger })
  const { connectionsMax = 100 } = ports.sockets ?? {}
  const entrance = { connectionsPerAddressMax: connectionsMax, trustedProxies: [], ...ports.sockets }
  const app = createServer({ ...entrance, connectionsMax }, logger)
  const notices = createChannelNotices({ db, clock: systemClock, logger })
  const deps = { gates, keys, clock: systemClock, refusals, publisher, notices }
  registerGoogleWebhook(app, deps)
  registerMicrosoftWebhook(app, deps)
  const bearer = createBearerCheck({ API_JWT_SECRET: new Secret(JWT_SECRET) })
  registerSyncApi(app, { gates, bearer, db, refusals, publisher })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    port: (app.server.address() as AddressInfo).port,
    app,
    sent,
    held,
    noticed,
    logged,
    channel,
    clientState: freshToken(keys, { ...channel, vendor: 'microsoft' }),
    notification: (changes = {}) => ({
      'X-Goog-Channel-ID': 'a0b1c2d3',
      'X-Goog-Message-Number': '10',
      'X-Goog-Resource-ID': 'ret08u3rv24htgh289g',
      'X-Goog-Resource-State': 'exists',
      'X-Goog-Channel-Token': freshToken(keys, channel),
      ...changes,
    }),
    bearer: (claims) => signedBearer(claims, JWT_SECRET),
    [Symbol.asyncDispose]: async () => {
      await closeServer(app, 1000)
      await notices[Symbol.asyncDispose]()
      await publisher[Symbol.asyncDispose]()
      await refusals[Symbol.asyncDispose]()
    },
  }
}

/** POSTs to a route and closes. */
export function post(
  ingress: LiteralIngress,
  path: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): Promise<RawAnswer> {
  return rawExchange(ingress.port, rawRequest('POST', path, headers, body))
}

/** A good notification, with changes to its headers. */
export function notify(
  ingress: LiteralIngress,
  changes: Readonly<Record<string, string>> = {},
  body = '',
): Promise<RawAnswer> {
  return post(ingress, GOOGLE_WEBHOOK, ingress.notification(changes), body)
}

/** The provider that asks for a sync unless a test names other claims. */
export const A_PROVIDER = randomUUID()
export const A_CONNECTION = { id: randomUUID(), vendor: 'google', status: 'active' }

/** A request for a sync with a good token. */
export async function askForSync(
  ingress: LiteralIngress,
  body = '',
  claims: JWTPayload = { provider_id: A_PROVIDER },
): Promise<RawAnswer> {
  return post(ingress, SYNC_API, { Authorization: await ingress.bearer(claims) }, body)
}

export function problemOf(answer: RawAnswer): Record<string, unknown> {
  return JSON.parse(answer.body) as Record<string, unknown>
}

export const OFF_WEBHOOK = {
  state: 'off',
  gate: 'CALENDAR_WEBHOOK_ENABLED',
  text: 'Calendar webhooks not enabled',
} as const
export const OFF_SYNC = {
  state: 'off',
  gate: 'CALENDAR_SYNC_ENABLED',
  text: 'Calendar sync not enabled',
} as const
export const NOT_ALLOWED = {
  state: 'off',
  gate: 'CALENDAR_ALLOWLIST_CONNECTION_IDS',
  text: 'Connection not allowed',
} as const
export const UNKNOWN = { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' } as const

/** `Bearer …` for these claims, good for a minute unless they name another expiry. */
export async function signedBearer(claims: JWTPayload, secret: string): Promise<string> {
  const token = await new SignJWT({ exp: Math.floor(Date.now() / 1000) + 60, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret))
  return `Bearer ${token}`
}

function aChannel() {
  return {
    vendor: 'google',
    connectionId: connectionId(randomUUID()),
    providerId: providerId(randomUUID()),
    calendarId: calendarId(randomUUID()),
  } as const
}

const types = new Map<SchemaTopic, avro.Type>()

/** Our schema's bytes without the registry's framing. */
function encode(topic: SchemaTopic, message: unknown): Buffer {
  const type = types.get(topic) ?? typeOf(topic)
  types.set(topic, type)
  return type.toBuffer(message)
}

/** The value of a record, as the message that it carries. */
export function decoded(record: OutboundRecord): unknown {
  return typeOf(record.topic as SchemaTopic).fromBuffer(record.value ?? Buffer.alloc(0))
}

function typeOf(topic: SchemaTopic): avro.Type {
  const file = new URL(`../../schemas/messages/${TOPIC_SCHEMAS[topic]}.avsc`, import.meta.url)
  return avro.Type.forSchema(JSON.parse(readFileSync(file, 'utf8')) as avro.Schema)
}

function literalDatabase(
  rows: 'down' | readonly { id: string; vendor: string; status: string }[],
  { held, noticed }: Pick<LiteralIngress, 'held' | 'noticed'>,
): Queryable {
  return {
    query: async <R extends object>(text: string, values: readonly unknown[] = []) => {
      if (rows === 'down') throw new Failure('store/unavailable')
      if (text.includes('channel_notices')) {
        noticed.push(
          ...(values[1] as string[]).map(
            (id, i) => `${(values[2] as string[] | undefined)?.[i] ?? 'refused'} ${id}`,
          ),
        )
        return { rows: [], rowCount: 0 }
      }
      if (!text.includes('held_requests')) {
        const found = rows.map((row) => ({
          ...row,
          providerId: A_PROVIDER,
          asOf: 1_700_000_000_000_000,
        })) as unknown as R[]
        return { rows: found, rowCount: found.length }
      }
      held.push([values[0] as string[], values[1] as string[]])
      return { rows: [], rowCount: 0 }
    },
  }
}
