// The infrastructure as containers, for machines with a container engine: the same images as
// docker-compose.yml (read from there, so that they cannot differ). Host ports are fixed, so that a
// part keeps its address over a restart.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import {
  type ContainerRuntimeClient,
  GenericContainer,
  getContainerRuntimeClient,
  Network,
  type StartedTestContainer,
} from 'testcontainers'
import { parse } from 'yaml'
import { type Probe, untilAnswers } from '../../infra/stack/child.ts'
import { kafkaRoundTrip } from '../../infra/stack/kafka.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { createDatabases, postgresRoundTrip } from '../../infra/stack/postgres.ts'
import { UserError } from '#shared/process/user-error.ts'
import { registryRoundTrip } from '../../infra/stack/registry.ts'
import { newSecrets, newUnleashTokens } from '../../infra/stack/secrets.ts'
import { unleashRoundTrip } from '../../infra/stack/unleash.ts'
import type { OwnKafka, OwnPostgres, OwnRegistry, OwnUnleash, Stoppable } from './component-types.ts'
import { newRunId, type StartedStack } from './test-stack.ts'

type Part = 'postgres' | 'kafka' | 'registry' | 'unleash'

/** Without the pull, which testcontainers bounds itself. */
const READY_TIMEOUT_MS = 120_000
const STOP_SECONDS = 5
const PASSWORD = newUnleashTokens().adminPassword

/** Whether a container engine can be reached. */
export async function dockerAnswers(): Promise<boolean> {
  try {
    await getContainerRuntimeClient()
    return true
  } catch {
    return false
  }
}

/** All four on one network. */
export async function startContainers(folder: string, signal: AbortSignal): Promise<StartedStack> {
  await using parts = new AsyncDisposableStack()
  const network = parts.use(await new Network().start())
  const postgres = parts.use(await startPostgresContainer(signal, network.getName()))
  await createDatabases(postgres, ['unleash', 'registry'])
  const [kafka, registry, unleash] = await Promise.all([
    startKafkaContainer(signal).then((part) => parts.use(part)),
    registryOn(network.getName(), signal).then((part) => parts.use(part)),
    unleashOn(network.getName(), signal).then((part) => parts.use(part)),
  ])
  const owned = parts.move()
  return {
    stack: {
      infra: 'docker',
      runId: newRunId(),
      folder,
      brokers: kafka.brokers,
      registryUrl: registry.url,
      postgresUrl: postgres.url('postgres'),
      rolePasswords: newSecrets().rolePasswords,
      unleash: { url: unleash.url, consoleUrl: unleash.consoleUrl, tokens: unleash.tokens },
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

export async function startPostgresContainer(signal: AbortSignal, network?: string): Promise<OwnPostgres> {
  const client = await getContainerRuntimeClient()
  const { port } = await freePorts(['port'])
  const container = image('postgres')
    .withEnvironment({ POSTGRES_PASSWORD: PASSWORD })
    .withCommand(['postgres', '-c', 'max_connections=200', '-c', 'fsync=off'])
    .withExposedPorts({ container: 5432, host: port })
  if (network !== undefined) container.withNetworkMode(network).withNetworkAliases('postgres')
  const url = (database: string, user = { name: 'postgres', password: PASSWORD }): string =>
    `postgres://${user.name}:${encodeURIComponent(user.password)}@${hostOf(client)}:${port}/${database}`
  const part = await start(client, container, () => postgresRoundTrip(url('postgres')), signal)
  return Object.assign(part, { url })
}

/**
 * The broker listens inside on the port that the host forwards, because it has to advertise an
 * address that holds outside.
 */
export async function startKafkaContainer(signal: AbortSignal): Promise<OwnKafka> {
  const client = await getContainerRuntimeClient()
  const { port } = await freePorts(['port'])
  const brokers = `${hostOf(client)}:${port}`
  const container = image('kafka')
    .withEnvironment({
      ...kafkaSettings(),
      KAFKA_LISTENERS: `PLAINTEXT://:${port},CONTROLLER://:9093`,
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://${brokers}`,
    })
    .withExposedPorts({ container: port, host: port })
  const part = await start(client, container, () => kafkaRoundTrip(brokers), signal)
  return Object.assign(part, { brokers })
}

export function startRegistryContainer(signal: AbortSignal): Promise<OwnRegistry> {
  return withDatabase('registry', registryOn, signal)
}

export function startUnleashContainer(signal: AbortSignal): Promise<OwnUnleash> {
  return withDatabase('unleash', unleashOn, signal)
}

async function registryOn(network: string, signal: AbortSignal): Promise<OwnRegistry> {
  const client = await getContainerRuntimeClient()
  const { port } = await freePorts(['port'])
  const url = `http://${hostOf(client)}:${port}/apis/ccompat/v7`
  const container = image('registry')
    .withNetworkMode(network)
    .withEnvironment({
      REGISTRY_DATASOURCE_URL: 'jdbc:postgresql://postgres/registry',
      REGISTRY_DATASOURCE_USERNAME: 'postgres',
      REGISTRY_DATASOURCE_PASSWORD: PASSWORD,
    })
    .withExposedPorts({ container: 8080, host: port })
  const part = await start(client, container, (stop) => registryRoundTrip(url, stop), signal)
  return Object.assign(part, { url })
}

async function unleashOn(network: string, signal: AbortSignal): Promise<OwnUnleash> {
  const client = await getContainerRuntimeClient()
  const { port } = await freePorts(['port'])
  const consoleUrl = `http://${hostOf(client)}:${port}`
  const tokens = newUnleashTokens()
  const address = { consoleUrl, url: `${consoleUrl}/api`, tokens }
  const container = image('unleash')
    .withNetworkMode(network)
    .withEnvironment({
      DATABASE_URL: `postgres://postgres:${PASSWORD}@postgres/unleash`,
      DATABASE_SSL: 'false',
      INIT_ADMIN_API_TOKENS: tokens.admin,
      INIT_BACKEND_API_TOKENS: tokens.backend,
      UNLEASH_DEFAULT_ADMIN_USERNAME: 'admin',
      UNLEASH_DEFAULT_ADMIN_PASSWORD: tokens.adminPassword,
      UNLEASH_SECRET: tokens.sessionSecret,
    })
    .withExposedPorts({ container: 4242, host: port })
  const part = await start(client, container, (stop) => unleashRoundTrip(address, stop), signal)
  return Object.assign(part, address)
}

/** A part that needs Postgres, with one of its own; both end together. */
async function withDatabase<P extends Stoppable>(
  database: string,
  startOn: (network: string, signal: AbortSignal) => Promise<P>,
  signal: AbortSignal,
): Promise<P> {
  await using parts = new AsyncDisposableStack()
  const network = parts.use(await new Network().start())
  await createDatabases(parts.use(await startPostgresContainer(signal, network.getName())), [database])
  const part = parts.use(await startOn(network.getName(), signal))
  const owned = parts.move()
  return Object.assign(part, { [Symbol.asyncDispose]: () => owned.disposeAsync() })
}

async function start(
  client: ContainerRuntimeClient,
  container: GenericContainer,
  probe: Probe,
  signal: AbortSignal,
): Promise<Stoppable> {
  const started = await container.start()
  try {
    await untilReady(probe, signal)
  } catch (error) {
    await started.stop({ timeout: 0 })
    throw error
  }
  return stoppable(client, started, probe)
}

function stoppable(client: ContainerRuntimeClient, started: StartedTestContainer, probe: Probe): Stoppable {
  const container = client.container.getById(started.getId())
  const stop = () => unlessAlready(container.stop({ t: STOP_SECONDS }))
  return {
    stop,
    kill: () => unlessAlready(container.kill()),
    pause: () => unlessAlready(container.pause()),
    resume: () => unlessAlready(container.unpause()),
    restart: async (signal) => {
      await stop()
      await unlessAlready(container.start())
      await untilReady(probe, signal)
    },
    [Symbol.asyncDispose]: async () => {
      await started.stop({ timeout: 0 })
    },
  }
}

async function untilReady(probe: Probe, signal: AbortSignal): Promise<void> {
  const outcome = await untilAnswers(probe, () => true, READY_TIMEOUT_MS, signal)
  if (outcome !== 'answered')
    throw new UserError(`A container was not ready after ${READY_TIMEOUT_MS / 1000} s (${outcome.reason}).`)
}

/** The engine answers 304 or 409 when a container is in the wanted state already. */
async function unlessAlready(change: Promise<unknown>): Promise<void> {
  try {
    await change
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode
    if (status !== 304 && status !== 409) throw error
  }
}

function hostOf(client: ContainerRuntimeClient): string {
  const { host } = client.info.containerRuntime
  return host === 'localhost' ? '127.0.0.1' : host
}

/** The broker's settings of docker-compose.yml; listeners are replaced. */
function kafkaSettings(): Record<string, string> {
  return {
    ...compose().services.kafka.environment,
    KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
    // As in infra/stack/kafka.ts: after a kill the only broker is back within seconds.
    KAFKA_BROKER_SESSION_TIMEOUT_MS: '3000',
    KAFKA_BROKER_HEARTBEAT_INTERVAL_MS: '500',
  }
}

function image(part: Part): GenericContainer {
  return new GenericContainer(compose().services[part].image)
}

interface Compose {
  readonly services: Readonly<
    Record<Part, { readonly image: string; readonly environment: Record<string, string> }>
  >
}

function compose(): Compose {
  const file = path.resolve(import.meta.dirname, '../../docker-compose.yml')
  return parse(readFileSync(file, 'utf8'), { merge: true }) as Compose
}
