// The ingress's wiring. Stopping runs upwards: not ready, no new sockets, requests under way are
// answered, the queues are emptied, then Kafka, Postgres and the gates are let go. An answer of 2xx
// is durable before it is sent, so stopping has nothing to lose.
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import type { Gates } from '#shared/domain/gates.ts'
import { startAdmin } from '#shared/process/admin.ts'
import { systemClock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { kafkaRoundTrip, openProducer } from '#shared/kafka/open.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { openGates, type GatesConfig } from '#shared/gates/unleash.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { openConsents } from '#shared/vendors/mailbox.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { createBearerCheck, type BearerConfig } from './api/bearer.ts'
import { registerApi } from './api/routes.ts'
import { createChannelNotices } from './webhooks/channel-notices.ts'
import { ANY_CLAIM, type IngressConfig } from './config.ts'
import { registerMicrosoftWebhook } from './webhooks/microsoft.ts'
import { createBrowserCookie } from './oauth/browser-cookie.ts'
import { CHAIN_LIFE_MS } from './oauth/flow.ts'
import { createFlowTokens } from './oauth/flow-tokens.ts'
import { registerOAuth } from './oauth/routes.ts'
import { createPublisher } from './publisher.ts'
import { createRefusals } from './refusals.ts'
import { closeServer, createServer, LISTEN_BACKLOG, type ServerConfig } from './server.ts'
import { registerStartPage } from './start-page.ts'
import { registerGoogleWebhook } from './webhooks/google.ts'

// The way in for `calstream connections add`.
export { connectAccount } from './connect-account.ts'

/** Refusals use one connection at a time; notifications none. */
const REFUSALS_POOL_MAX = 2
/**
 * Of its own, so that an app that disconnects many accounts at once never keeps a refusal waiting.
 */
const API_POOL_MAX = 6
/** Longer than the longest answer (2.5 s); with the queues' second the stop stays within five. */
const FINISH_MAX_MS = 4000

export interface Ingress extends AsyncDisposable {
  readonly port: number
  readonly adminPort: number
}

export interface IngressOverrides {
  /** Instead of Unleash's. */
  readonly gates?: Gates
}

/** Starts the ingress; returns when it takes requests. Throws ConfigError or Failure. */
export async function startIngress(
  config: IngressConfig,
  signal: AbortSignal,
  overrides: IngressOverrides = {},
): Promise<Ingress> {
  await using started = new AsyncDisposableStack()
  const logger = createLogger({ service: 'ingress', level: config.LOG_LEVEL })
  const telemetry = started.use(startTelemetry({ service: 'ingress', logger }))
  const kafka = { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-ingress' }
  let stopping = false

  const live = overrides.gates ? null : started.use(await openGates(gatesOf(config), logger, signal))
  const gates = overrides.gates ?? live!
  const pool = (poolMax: number) =>
    openDatabase({ url: config.POSTGRES_URL, applicationName: 'calstream-ingress', poolMax }, logger)
  const refusalsDb = started.use(pool(REFUSALS_POOL_MAX))
  const db = started.use(pool(API_POOL_MAX))
  const codec = await openCodec(
    {
      registryUrl: config.SCHEMA_REGISTRY_URL,
      prefix: config.KAFKA_PREFIX,
      topics: [
        ...Object.values(REQUESTED_TOPIC),
        TOPICS.connectionChanged,
        TOPICS.eventChanged,
        TOPICS.eventState,
      ],
    },
    signal,
  )
  const producer = started.use(await openProducer(kafka, logger))
  const publisher = started.use(createPublisher({ producer, codec, clock: systemClock, logger }))
  const refusals = started.use(createRefusals({ db: refusalsDb, logger }))
  const notices = started.use(createChannelNotices({ db: refusalsDb, clock: systemClock, logger }))

  const app = createServer(socketsOf(config), logger)
  const keys = parseKeyring(config.CHANNEL_TOKEN_KEYS)
  const webhooks = { gates, keys, clock: systemClock, refusals, publisher, notices }
  registerStartPage(app)
  registerGoogleWebhook(app, webhooks)
  registerMicrosoftWebhook(app, webhooks)
  const shared = { gates, db, codec, logger, bearer: createBearerCheck(bearerConfig(config)) }
  registerApi(app, { ...shared, refusals, publisher, publicUrl: config.PUBLIC_URL })
  await registerOAuth(app, { ...shared, ...oauthPorts(config), vendors: consents(config, shared) })

  // Not Postgres: notifications do without it while their gates are open, and taking every instance
  // out of the balancer for a database outage would refuse them.
  const checks = {
    stopping: async () => (stopping || signal.aborted ? 'the ingress is stopping' : null),
    gates: async () => live?.problem() ?? null,
    kafka: () => kafkaRoundTrip(kafka),
  }
  const admin = started.use(
    await startAdmin({ port: config.ADMIN_PORT, host: config.ADMIN_HOST, checks, telemetry, logger }),
  )
  started.defer(() => closeServer(app, FINISH_MAX_MS))
  await listen(app, config)
  started.defer(() => {
    stopping = true
  })
  const running = started.move()
  const { port } = app.server.address() as AddressInfo
  logger.info({ port, adminPort: admin.port }, 'the ingress takes requests')
  return { port, adminPort: admin.port, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

/** What a person's consent costs at a vendor is taken from the same quota as everything else. */
function consents(config: IngressConfig, { db, logger }: { db: Database; logger: Logger }) {
  const deps = { store: budgetStore(db), clock: systemClock, logger, quotas: config }
  return openConsents(createVendors(config), deps)
}

function oauthPorts(config: IngressConfig) {
  const keyring = parseKeyring(config.CREDENTIALS_KEYS)
  const isSecure = config.PUBLIC_URL.startsWith('https:')
  return {
    keyring,
    tokens: createFlowTokens(keyring),
    cookie: createBrowserCookie({ isSecure, lifeMs: CHAIN_LIFE_MS }),
    publicUrl: config.PUBLIC_URL,
    returnOrigins: config.OAUTH_RETURN_ORIGINS,
  }
}

function socketsOf(config: IngressConfig): ServerConfig {
  return {
    connectionsMax: config.INGRESS_CONNECTIONS_MAX,
    connectionsPerAddressMax: config.INGRESS_CONNECTIONS_PER_ADDRESS_MAX,
    trustedProxies: config.INGRESS_TRUSTED_PROXIES,
  }
}

async function listen(app: FastifyInstance, config: IngressConfig): Promise<void> {
  const { INGRESS_HOST: host, INGRESS_PORT: port } = config
  try {
    await app.listen({ port, host, backlog: LISTEN_BACKLOG })
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    const text = `The port ${host}:${port} cannot be opened (${reason}). Set INGRESS_PORT and INGRESS_HOST.`
    throw Object.assign(new Error(text, { cause: error }), { name: 'Problem' })
  }
}

function gatesOf(config: IngressConfig): GatesConfig {
  return { url: config.UNLEASH_URL, token: config.UNLEASH_TOKEN, caps: config, appName: 'calstream-ingress' }
}

function bearerConfig(config: IngressConfig): BearerConfig {
  const named = (claim: string | undefined) => (claim === ANY_CLAIM ? undefined : claim)
  return {
    secret: config.API_JWT_SECRET,
    jwksUrl: config.API_JWKS_URL,
    issuer: named(config.API_JWT_ISSUER),
    audience: named(config.API_JWT_AUDIENCE),
  }
}
