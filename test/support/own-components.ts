// Components that belong to one test file, for tests that stop, kill or freeze them or that flip
// toggles. They have the same handles and ports over all restarts, and end with the file
// (`await using`) or at the latest with the run.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { inject } from 'vitest'
import { compiledFolder } from '../../infra/stack/compiled.ts'
import { childEnv, logFileOf } from '../../infra/stack/infrastructure.ts'
import { cacheFolder, fetchJavaParts } from '../../infra/stack/java-parts.ts'
import { startKafka } from '../../infra/stack/kafka.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import {
  createDatabases,
  giveDatabase,
  type Postgres,
  runStatement,
  startPostgres,
} from '../../infra/stack/postgres.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { startRegistry } from '../../infra/stack/registry.ts'
import { newUnleashTokens } from '../../infra/stack/secrets.ts'
import { seedToggles, type ToggleSeed } from '#shared/gates/seed-toggles.ts'
import { startUnleash, type Unleash, unleashFolder } from '../../infra/stack/unleash.ts'
import type { OwnKafka, OwnPostgres, OwnRegistry, OwnUnleash } from './component-types.ts'
import { templateDatabase } from './template-database.ts'

const START_TIMEOUT_MS = 150_000
const ALL_ON: ToggleSeed = { switchesOn: true, providerIds: [], connectionIds: [] }

export async function startOwnKafka(): Promise<OwnKafka> {
  if (inject('stack').infra === 'docker')
    return (await import('./containers.ts')).startKafkaContainer(startSignal())
  const { port, controllerPort } = await freePorts(['port', 'controllerPort'])
  const place = { ...ownPlace('kafka'), parts: await javaParts(), port, controllerPort, brief: true }
  return startKafka(place, startSignal())
}

export async function startOwnRegistry(): Promise<OwnRegistry> {
  if (inject('stack').infra === 'docker')
    return (await import('./containers.ts')).startRegistryContainer(startSignal())
  const { port } = await freePorts(['port'])
  return startRegistry({ ...ownPlace('registry'), parts: await javaParts(), port }, startSignal())
}

/** An empty server with the databases asked for; migrate them yourself. */
export async function startOwnPostgres(databases: readonly string[] = ['calstream']): Promise<OwnPostgres> {
  if (inject('stack').infra === 'docker') {
    const container = await (await import('./containers.ts')).startPostgresContainer(startSignal())
    await createDatabases(container, databases)
    return container
  }
  return startLocalPostgres(databases)
}

/** A server with our toggles, on a database of its own on the shared Postgres. */
export async function startOwnUnleash(seed: ToggleSeed = ALL_ON): Promise<OwnUnleash> {
  const { infra, postgresUrl } = inject('stack')
  const unleash =
    infra === 'docker'
      ? await (await import('./containers.ts')).startUnleashContainer(startSignal())
      : await startLocalUnleash(postgresUrl)
  await seedToggles(unleash, seed, startSignal())
  return unleash
}

export async function startLocalPostgres(databases: readonly string[]): Promise<Postgres> {
  const { port } = await freePorts(['port'])
  return startPostgres({ ...ownPlace('postgres'), port, databases, fsync: false }, startSignal())
}

/**
 * As a process of this machine, also where the rest of the infrastructure runs in containers.
 * `databaseUrl` is the superuser's.
 */
export async function startLocalUnleash(postgresUrl: string): Promise<Unleash & { databaseUrl: string }> {
  const name = `unleash_${randomBytes(4).toString('hex')}`
  const url = (database: string, login: { username?: string; password?: string } = {}): string =>
    Object.assign(new URL(postgresUrl), { ...login, pathname: `/${database}` }).href
  const template = `unleash_template_${inject('stack').runId}`
  await templateDatabase(postgresUrl, template, migrateUnleash)
  await runStatement(postgresUrl, `CREATE DATABASE ${name} TEMPLATE ${template}`)
  const tokens = newUnleashTokens()
  const password = tokens.databasePassword
  await giveDatabase({ url }, { name, password })
  const { port } = await freePorts(['port'])
  const compileCache = compiledFolder(cacheFolder(process.env, homedir()))
  const { env, ledger, logFile } = ownPlace('unleash')
  const databaseUrl = url(name, { username: name, password })
  const unleash = await startUnleash(
    { env, ledger, logFile, databaseUrl, port, tokens, compileCache },
    startSignal(),
  )
  return Object.assign(unleash, { databaseUrl: url(name) })
}

/** The server's own migrations, which its first start would run. In a process: they change ours. */
async function migrateUnleash(databaseUrl: string): Promise<void> {
  const { hostname: host, port, username: user, password, pathname } = new URL(databaseUrl)
  const db = {
    host,
    port: Number(port),
    user,
    password,
    database: pathname.slice(1),
    ssl: false,
    driver: 'postgres',
    schema: 'public',
  }
  const script = `
    const { migrateDb } = await import(${JSON.stringify(`${unleashFolder()}/dist/migrator.js`)})
    await migrateDb({ db: JSON.parse(process.env.DB) })
    process.exit()`
  await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    env: { ...childEnv(process.env), DB: JSON.stringify(db) },
    timeout: START_TIMEOUT_MS,
  })
}

/**
 * A folder inside the run's, so that the run's end (or the next run) finds
 * what a crashed file left.
 */
export function ownPlace(name: string): {
  folder: string
  logFile: string
  env: NodeJS.ProcessEnv
  ledger: ProcessLedger
} {
  const stack = path.join(inject('stack').folder, `own-${randomBytes(4).toString('hex')}`)
  mkdirSync(stack, { recursive: true })
  return {
    folder: path.join(stack, name),
    logFile: logFileOf({ folder: stack }, name),
    env: childEnv(process.env),
    ledger: new ProcessLedger(stack),
  }
}

function javaParts() {
  const cache = cacheFolder(process.env, homedir())
  return fetchJavaParts({ cache, env: process.env, progress: () => {} }, startSignal())
}

function startSignal(): AbortSignal {
  return AbortSignal.timeout(START_TIMEOUT_MS)
}
