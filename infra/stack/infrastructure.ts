// The parts that are not ours, started side by side: Postgres (then Unleash on it), and Kafka and
// the registry once their jars are there. Either all of them run, or none.
import path from 'node:path'
import type { Component } from './component.ts'
import { fetchJavaParts, type JavaParts } from './java-parts.ts'
import { type Kafka, startKafka } from './kafka.ts'
import { giveDatabase, type Postgres, startPostgres } from './postgres.ts'
import type { ProcessLedger } from './processes.ts'
import { type Registry, startRegistry } from './registry.ts'
import { startUnleash, type Unleash, type UnleashTokens } from './unleash.ts'

export const INFRASTRUCTURE_PORTS = ['postgres', 'kafka', 'kafkaController', 'registry', 'unleash'] as const
export type InfrastructurePort = (typeof INFRASTRUCTURE_PORTS)[number]

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
  /** Lines for a person while something is downloaded. */
  readonly progress: (line: string) => void
  /** Called as each component gets ready, with the time from its start to its first round trip. */
  readonly ready: (name: string, milliseconds: number) => void
}

export interface Infrastructure extends AsyncDisposable {
  readonly postgres: Postgres
  readonly kafka: Kafka
  readonly registry: Registry
  readonly unleash: Unleash
  readonly components: readonly Component[]
}

/**
 * Starts all four; resolves when all are ready.
 * When one fails, the others are stopped and its error is thrown.
 */
export async function startInfrastructure(
  options: InfrastructureOptions,
  signal: AbortSignal,
): Promise<Infrastructure> {
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const started: Component[] = []
  const timed = async <C extends Component>(start: () => Promise<C>): Promise<C> => {
    const began = performance.now()
    const component = await start()
    started.push(component)
    options.ready(component.name, performance.now() - began)
    return component
  }
  const parts = fetchJavaParts(options, either)
  const postgres = timed(() => startPostgres(postgresOptions(options), either))
  const all = [
    postgres,
    parts.then((found) => timed(() => startKafka(kafkaOptions(options, found), either))),
    parts.then((found) => timed(() => startRegistry(registryOptions(options, found), either))),
    postgres.then((database) => timed(() => startOnOwnDatabase(options, database, either))),
  ] as const
  try {
    const [database, kafka, registry, unleash] = await Promise.all(all)
    return {
      postgres: database,
      kafka,
      registry,
      unleash,
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
  return { ...common(options, 'postgres'), databases: ['calstream', 'unleash'], fsync: options.fsync }
}

function kafkaOptions(options: InfrastructureOptions, parts: JavaParts) {
  const { ports, fsync } = options
  return { ...common(options, 'kafka'), parts, controllerPort: ports.kafkaController, brief: !fsync }
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
    compileCache: path.join(options.cache, 'compiled'),
  }
}
