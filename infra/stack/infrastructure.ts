// The parts that are not ours, started side by side: Postgres (then Unleash on it), and Kafka and
// the registry once their jars are there. Either all of them run, or none. A secured stack has
// other brokers and a door before the registry; the rest is the same.
import path from 'node:path'
import { compiledFolder } from './compiled.ts'
import { Component } from './component.ts'
import { fetchJavaParts, type JavaParts } from './java-parts.ts'
import { startKafka } from './kafka.ts'
import { startKafkaCluster } from './kafka-cluster.ts'
import { grantRights } from './kafka-operator.ts'
import { giveDatabase, type Postgres, startPostgres } from './postgres.ts'
import type { ProcessLedger } from './processes.ts'
import { startRegistry } from './registry.ts'
import { startRegistryDoor } from './registry-door.ts'
import { accessSettings, clusterPorts, kafkaLogins, type Securing } from './secured.ts'
import { startUnleash, type Unleash, type UnleashTokens } from './unleash.ts'

export const INFRASTRUCTURE_PORTS = ['postgres', 'kafka', 'kafkaController', 'registry', 'unleash'] as const
export type InfrastructurePort = (typeof INFRASTRUCTURE_PORTS)[number]

/** Of a secured Kafka. Chosen: minutes after a password was changed the old one is of no use. */
const AUTHENTICATE_AGAIN_MS = 300_000

/** Where one stack lives and what its children get. */
export interface StackPlace {
  /** Data, logs and records of the stack; exists. */
  readonly folder: string
  /** Caches shared by all stacks, see cacheFolder. */
  readonly cache: string
  /** The environment we were started with; children get only the part in childEnv. */
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export interface InfrastructureOptions extends StackPlace {
  readonly ports: Readonly<Record<InfrastructurePort, number>>
  readonly tokens: UnleashTokens
  /** See PostgresOptions. What is thrown away has a brief broker, too. */
  readonly fsync: boolean
  /** Makes it a secured stack. */
  readonly securing?: Securing
  /** Lines for a person while something is downloaded. */
  readonly progress: (line: string) => void
  /** Called as each component gets ready, with the time from its start to its first round trip. */
  readonly ready: (name: string, milliseconds: number) => void
}

export interface Infrastructure extends AsyncDisposable {
  readonly postgres: Postgres
  readonly kafka: { readonly brokers: string }
  readonly registry: { readonly url: string }
  readonly unleash: Unleash
  /** What a client needs besides addresses; nothing in an open stack. See accessSettings. */
  readonly access: Readonly<Record<string, string>>
  readonly components: readonly Component[]
}

/**
 * Starts all; resolves when all are ready.
 * When one fails, the others are stopped and its error is thrown.
 */
export async function startInfrastructure(
  options: InfrastructureOptions,
  signal: AbortSignal,
): Promise<Infrastructure> {
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const started: Component[] = []
  const timed: Timed = async (start) => {
    const began = performance.now()
    const part = await start().catch((error: unknown) => {
      // What still starts is not waited for to its end.
      failed.abort(error)
      throw error
    })
    const components = part instanceof Component ? [part] : part.components
    started.push(...components)
    for (const { name } of components) options.ready(name, performance.now() - began)
    return part
  }
  const parts = fetchJavaParts(options, either)
  const postgres = timed(() => startPostgres(postgresOptions(options), either))
  const streams = parts.then((found) => startStreams(options, found, timed, either))
  const unleash = postgres.then((database) => timed(() => startOnOwnDatabase(options, database, either)))
  const all = [postgres, streams, unleash] as const
  try {
    const [database, { kafka, registry, access }, flags] = await Promise.all(all)
    return {
      postgres: database,
      kafka,
      registry,
      unleash: flags,
      access,
      components: started,
      [Symbol.asyncDispose]: () => stopAll(started),
    }
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(all)
    await stopAll(started)
    throw error
  }
}

/** Starts a part and notes its components, with the time that it took. */
type Timed = <P extends Component | { readonly components: readonly Component[] }>(
  start: () => Promise<P>,
) => Promise<P>

/** Kafka and the registry side by side, then what stands before the registry. */
async function startStreams(
  options: InfrastructureOptions,
  parts: JavaParts,
  timed: Timed,
  signal: AbortSignal,
): Promise<Pick<Infrastructure, 'kafka' | 'registry' | 'access'>> {
  const registry = timed(() => startRegistry(registryOptions(options, parts), signal))
  const { securing } = options
  if (securing === undefined) {
    const both = [timed(() => startKafka(kafkaOptions(options, parts), signal)), registry] as const
    return settled(both).then(([kafka, schemas]) => ({ kafka, registry: schemas, access: {} }))
  }
  const cluster = timed(async () => {
    const kafka = await startKafkaCluster(clusterOptions(options, securing, parts), signal)
    return { ...kafka, components: kafka.nodes }
  }).then(async (kafka) => {
    await grantRights(kafka.operator, signal)
    return kafka
  })
  const door = registry.then(({ url }) =>
    timed(() => startRegistryDoor(doorOptions(options, securing, url), signal)),
  )
  const [kafka, schemas] = await settled([cluster, door] as const)
  const access = accessSettings(options.folder, securing, { kafka, door: schemas })
  return { kafka, registry: schemas, access }
}

/** Promise.all that ends when the last has: what is still starting has to be stopped too. */
async function settled<T extends readonly Promise<unknown>[]>(
  all: T,
): Promise<{ -readonly [P in keyof T]: Awaited<T[P]> }> {
  await Promise.allSettled(all)
  return Promise.all(all)
}

/**
 * What a child inherits: where programs, homes, temporary files and proxies are. Nothing else,
 * so that a variable meant for another program (DATABASE_URL, KAFKA_BROKERS, NODE_OPTIONS …)
 * never reaches one of ours.
 */
export function childEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept =
    /^(?:PATH|HOME|USER|LANG|LC_ALL|TMPDIR|TEMP|TMP|JAVA_HOME|SSL_CERT_FILE|NODE_EXTRA_CA_CERTS|(?:HTTPS?|NO|ALL)_PROXY)$/i
  return Object.fromEntries(Object.entries(env).filter(([name]) => kept.test(name)))
}

/** The log of one process of the stack. */
export function logFileOf({ folder }: Pick<StackPlace, 'folder'>, name: string): string {
  return path.join(folder, 'logs', `${name}.log`)
}

/** One after the other would take the sum of their times; none needs another to end. */
async function stopAll(components: readonly Component[]): Promise<void> {
  await Promise.all(components.map((component) => component.stop()))
}

type Common = Pick<StackPlace, 'env' | 'ledger'> & { folder: string; logFile: string; port: number }

function common(options: InfrastructureOptions, name: 'postgres' | 'kafka' | 'registry' | 'unleash'): Common {
  return {
    folder: path.join(options.folder, name),
    logFile: logFileOf(options, name),
    port: options.ports[name],
    env: childEnv(options.env),
    ledger: options.ledger,
  }
}

function postgresOptions(options: InfrastructureOptions) {
  const { fsync, securing } = options
  const authority = securing === undefined ? {} : { authority: securing.authority }
  return { ...common(options, 'postgres'), databases: ['calstream', 'unleash'], fsync, ...authority }
}

function kafkaOptions(options: InfrastructureOptions, parts: JavaParts) {
  const { ports, fsync } = options
  return { ...common(options, 'kafka'), parts, controllerPort: ports.kafkaController, brief: !fsync }
}

function clusterOptions(options: InfrastructureOptions, securing: Securing, parts: JavaParts) {
  return {
    env: childEnv(options.env),
    ledger: options.ledger,
    parts,
    folder: options.folder,
    logFile: (name: string) => logFileOf(options, name),
    ports: clusterPorts(securing.ports),
    authority: securing.authority,
    logins: kafkaLogins(securing),
    authenticateAgainMs: AUTHENTICATE_AGAIN_MS,
  }
}

function doorOptions(options: InfrastructureOptions, securing: Securing, registryUrl: string) {
  return {
    env: childEnv(options.env),
    ledger: options.ledger,
    folder: path.join(options.folder, 'registry-door'),
    logFile: logFileOf(options, 'registry-door'),
    port: securing.ports.registryDoor,
    authority: securing.authority,
    password: securing.registryPassword,
    registryUrl,
  }
}

function registryOptions(options: InfrastructureOptions, parts: JavaParts) {
  return { ...common(options, 'registry'), parts }
}

async function startOnOwnDatabase(
  options: InfrastructureOptions,
  database: Postgres,
  signal: AbortSignal,
): Promise<Unleash> {
  await giveDatabase(database, { name: 'unleash', password: options.tokens.databasePassword })
  return startUnleash(unleashOptions(options, database), signal)
}

function unleashOptions(options: InfrastructureOptions, database: Postgres) {
  const user = { name: 'unleash', password: options.tokens.databasePassword }
  return {
    ...common(options, 'unleash'),
    databaseUrl: database.url('unleash', user),
    tokens: options.tokens,
    compileCache: compiledFolder(options.cache),
  }
}
