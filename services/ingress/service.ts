// The ingress's wiring. Stopping runs upwards: not ready, no new sockets, requests under way are
// answered, the queues are emptied, then Kafka, Postgres and the gates are let go. An answer of 2xx
// is durable before it is sent, so stopping has nothing to lose.
import type { AddressInfo } from 'node:net'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import { openService, type Overrides } from '#shared/boot/open-service.ts'
import { systemClock } from '#shared/process/clock.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { createBearerCheck } from '#shared/process/bearer.ts'
import { registerApi } from './api/routes.ts'
import { createChannelNotices } from './webhooks/channel-notices.ts'
import type { IngressConfig } from './config.ts'
import { registerMicrosoftWebhook } from './webhooks/microsoft.ts'
import { oauthParts } from './oauth/parts.ts'
import { registerOAuth } from './oauth/routes.ts'
import { createPublisher } from './publisher.ts'
import { createRefusals } from './refusals.ts'
import { closeServer, createServer, listen } from './server.ts'
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

/** Starts the ingress; returns when it takes requests. Throws UserError or Failure. */
export async function startIngress(
  config: IngressConfig,
  signal: AbortSignal,
  overrides: Pick<Overrides, 'gates'> = {},
): Promise<Ingress> {
  await using service = openService('ingress', config, signal)
  const { logger } = service
  let stopping = false

  const gates = await service.gates(overrides.gates)
  const refusalsDb = await service.database(REFUSALS_POOL_MAX)
  const db = await service.database(API_POOL_MAX)
  const codec = await service.codec([
    ...Object.values(REQUESTED_TOPIC),
    TOPICS.connectionChanged,
    TOPICS.eventChanged,
    TOPICS.eventState,
  ])
  const producer = await service.producer()
  const publisher = service.use(createPublisher({ producer, codec, clock: systemClock, logger }))
  const refusals = service.use(createRefusals({ db: refusalsDb, logger }))
  const notices = service.use(createChannelNotices({ db: refusalsDb, clock: systemClock, logger }))

  const entrance = {
    connectionsMax: config.INGRESS_CONNECTIONS_MAX,
    connectionsPerAddressMax: config.INGRESS_CONNECTIONS_PER_ADDRESS_MAX,
    trustedProxies: config.INGRESS_TRUSTED_PROXIES,
  }
  const app = createServer(entrance, logger)
  const keys = parseKeyring(config.CHANNEL_TOKEN_KEYS)
  const webhooks = { gates, keys, clock: systemClock, refusals, publisher, notices }
  registerStartPage(app)
  registerGoogleWebhook(app, webhooks)
  registerMicrosoftWebhook(app, webhooks)
  const shared = { gates, db, codec, logger, bearer: createBearerCheck(config) }
  registerApi(app, { ...shared, refusals, publisher, publicUrl: config.PUBLIC_URL })
  await registerOAuth(app, { ...shared, ...oauthParts(config, shared) })

  // Not Postgres: notifications do without it while their gates are open, and taking every instance
  // out of the balancer for a database outage would refuse them.
  const checks = {
    running: async () => (stopping || signal.aborted ? 'the ingress is stopping' : null),
    tables: service.checks.tables,
    gates: service.checks.gates,
    kafka: service.checks.kafka,
    registry: service.checks.registry,
  }
  const adminPort = await service.admin(checks, () => ({ lastProgressAt: publisher.lastDurableAt() }))
  service.defer(() => closeServer(app, FINISH_MAX_MS))
  await listen(app, { host: config.INGRESS_HOST, port: config.INGRESS_PORT })
  service.defer(() => {
    stopping = true
  })
  const { port } = app.server.address() as AddressInfo
  logger.info({ port, adminPort }, 'the ingress takes requests')
  return service.running({ port, adminPort })
}
