// The infrastructure of one run of drills: a database server, a broker, a registry and an Unleash,
// each behind a proxy. The services go through the proxies, the judge goes around them. So a fault
// on a line never blinds the ledgers.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { Secret } from '#shared/process/secret.ts'
import { migrate } from '#shared/store/migrate.ts'
import { childEnv, logFileOf, type StackPlace } from '../../../infra/stack/infrastructure.ts'
import { cacheFolder, fetchJavaParts } from '../../../infra/stack/java-parts.ts'
import { type Kafka, startKafka } from '../../../infra/stack/kafka.ts'
import { freePorts } from '../../../infra/stack/ports.ts'
import { type Postgres, runStatement, startPostgres } from '../../../infra/stack/postgres.ts'
import { ProcessLedger } from '../../../infra/stack/processes.ts'
import { type Registry, startRegistry } from '../../../infra/stack/registry.ts'
import { newSecrets, type StackSecrets } from '../../../infra/stack/secrets.ts'
import { seedToggles } from '#shared/gates/seed-toggles.ts'
import { startUnleash, type Unleash } from '../../../infra/stack/unleash.ts'
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'

export interface DrillStack extends AsyncDisposable {
  readonly place: StackPlace
  readonly secrets: StackSecrets
  readonly postgres: Postgres
  readonly kafka: Kafka
  readonly registry: Registry
  readonly unleash: Unleash
  readonly lines: Lines
  /** A migrated database that others are cloned from. */
  readonly template: string
}

/** The proxies that the services go through. */
export interface Lines {
  readonly postgres: TcpProxy
  readonly kafka: TcpProxy
  readonly unleash: TcpProxy
  readonly registry: TcpProxy
}

export interface StackOptions {
  /** Everything of the run lies in it; made when absent. */
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  readonly say: (line: string) => void
}

/**
 * A lone broker killed in the middle of its shutdown may come back with a transaction that never
 * ends for readers of committed records. On a machine under load an orderly shutdown took more than
 * the usual 3.5 s.
 */
const KAFKA_STOP_MS = 30_000

/** Starts everything; what was started is stopped again when a part fails. */
export async function startDrillStack(options: StackOptions, signal: AbortSignal): Promise<DrillStack> {
  await using owned = new AsyncDisposableStack()
  const place: StackPlace = {
    folder: options.folder,
    cache: cacheFolder(options.env, homedir()),
    env: options.env,
    ledger: new ProcessLedger(options.folder),
  }
  mkdirSync(options.folder, { recursive: true })
  const secrets = newSecrets()
  const began = performance.now()
  const ports = await freePorts(['postgres', 'kafka', 'proxied', 'controller', 'registry', 'unleash'])
  const kafkaLine = owned.use(await startTcpProxy(ports.proxied))
  const lines: Lines = {
    kafka: kafkaLine,
    postgres: owned.use(await startTcpProxy(ports.postgres)),
    unleash: owned.use(await startTcpProxy(ports.unleash)),
    registry: owned.use(await startTcpProxy(ports.registry)),
  }
  const parts = await fetchJavaParts({ cache: place.cache, env: options.env, progress: options.say }, signal)
  const kafkaPorts = {
    port: ports.kafka,
    controllerPort: ports.controller,
    proxied: { port: ports.proxied, advertisedPort: kafkaLine.port },
  }
  const [postgresAndUnleash, kafka, registry] = await Promise.allSettled([
    startPostgresAndUnleash(place, secrets, { ports, owned }, signal),
    startKafka({ ...common(place, 'kafka'), parts, ...kafkaPorts, stopWithinMs: KAFKA_STOP_MS }, signal).then(
      (started) => owned.use(started),
    ),
    startRegistry({ ...common(place, 'registry'), parts, port: ports.registry }, signal).then((started) =>
      owned.use(started),
    ),
  ])
  const { postgres, unleash, template } = valueOf(postgresAndUnleash)
  const stack = {
    place,
    secrets,
    postgres,
    unleash,
    template,
    lines,
    kafka: valueOf(kafka),
    registry: valueOf(registry),
  }
  options.say(`infrastructure of the drills is ready after ${Math.round(performance.now() - began)} ms`)
  const all = owned.move()
  return { ...stack, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

interface Shared {
  readonly ports: { readonly postgres: number; readonly unleash: number }
  readonly owned: AsyncDisposableStack
}

async function startPostgresAndUnleash(
  place: StackPlace,
  secrets: StackSecrets,
  { ports, owned }: Shared,
  signal: AbortSignal,
) {
  const postgres = owned.use(
    await startPostgres(
      { ...common(place, 'postgres'), port: ports.postgres, databases: ['unleash'], fsync: false },
      signal,
    ),
  )
  const { env, ledger, logFile } = common(place, 'unleash')
  const [unleash, template] = await Promise.all([
    startUnleash(
      {
        env,
        ledger,
        logFile,
        databaseUrl: postgres.url('unleash'),
        port: ports.unleash,
        tokens: secrets.unleash,
        compileCache: path.join(place.cache, 'compiled'),
      },
      signal,
    ),
    makeTemplate(postgres, secrets),
  ])
  owned.use(unleash)
  await seedToggles(unleash, { switchesOn: true, providerIds: [], connectionIds: [] }, signal)
  return { postgres, unleash, template }
}

async function makeTemplate(postgres: Postgres, secrets: StackSecrets): Promise<string> {
  const name = `template_${randomBytes(4).toString('hex')}`
  await runStatement(postgres.url('postgres'), `CREATE DATABASE ${name}`)
  await migrate({ url: new Secret(postgres.url(name)), rolePasswords: { ...secrets.rolePasswords } })
  return name
}

function common(place: StackPlace, name: string) {
  const folder = path.join(place.folder, name)
  return { folder, logFile: logFileOf(place, name), env: childEnv(place.env), ledger: place.ledger }
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason
  return settled.value
}
