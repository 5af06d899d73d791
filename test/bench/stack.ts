// The system of one benchmark: the real services as processes on the local stack, with a
// database, a topic prefix and play vendors of its own, the topics as wide as in production.
// Nothing stands between the parts.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { migrate } from '#shared/store/migrate.ts'
import type { Component } from '../../infra/stack/component.ts'
import type { StackPlace } from '../../infra/stack/infrastructure.ts'
import { cacheFolder } from '../../infra/stack/java-parts.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { runStatement } from '../../infra/stack/postgres.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { type DatabaseRole, newSecrets } from '../../infra/stack/secrets.ts'
import { setAllowlist } from '#shared/gates/seed-toggles.ts'
import {
  startService,
  startSimulator,
  vendorUrls,
  type ServiceName,
  type StackEnv,
} from '../../infra/stack/services.ts'
import { simulatorAdmin, type SimulatorAdmin } from '../../infra/oracle/simulator-admin.ts'
import { roleName, testRoles, type TestStack } from '../support/test-stack.ts'

const START_MS = 240_000

export interface BenchSystem extends AsyncDisposable {
  readonly env: StackEnv
  readonly stack: TestStack
  /** Superuser's. */
  readonly databaseUrl: string
  readonly simulator: SimulatorAdmin
  readonly simulatorAdminUrl: string
  /** Processes by name, as they are now. */
  pids(): Readonly<Record<string, number>>
  start(name: ServiceName): Promise<Component>
  /** Where a started service answers /metrics and /readyz. */
  adminUrl(name: ServiceName): string
  /** Exactly these are let in. */
  allow(providerIds: readonly string[], connectionIds: readonly string[]): Promise<void>
  /** Rows of a question asked as superuser. */
  ask<R extends object>(sql: string): Promise<R[]>
}

/** Opens a system; the services are started by the caller. */
export async function openBenchSystem(
  stack: TestStack,
  name: string,
  signal: AbortSignal,
): Promise<BenchSystem> {
  await using owned = new AsyncDisposableStack()
  const mark = randomBytes(3).toString('hex')
  const prefix = `b${mark}-`
  const folder = path.join(stack.folder, `own-${name}-${mark}`)
  mkdirSync(folder, { recursive: true })
  const cache = cacheFolder(process.env, homedir())
  const place: StackPlace = { folder, cache, env: process.env, ledger: new ProcessLedger(folder) }
  const database = await openDatabaseOf(stack, `bench_${mark}`, owned)
  await prepareTopics(stack, prefix, signal)
  const ports = {
    ...(await freePorts([
      'ingress',
      'console',
      'simulatorGoogle',
      'simulatorMicrosoft',
      'simulatorAdmin',
    ] as const)),
    adminIngress: 0,
    adminSync: 0,
    adminRetry: 0,
    adminRelay: 0,
    adminScheduler: 0,
    adminConsole: 0,
  }
  const secrets = newSecrets()
  const simulator = owned.use(await startSimulator({ ports, secrets }, place, AbortSignal.timeout(START_MS)))
  const env = environmentOf(stack, { prefix, ports, secrets, database })
  const simulatorAdminUrl = `http://127.0.0.1:${ports.simulatorAdmin}`
  const processes = new Map<string, Component>([['simulator', simulator]])
  const adminUrls = new Map<ServiceName, string>()
  const all = owned.move()
  const databaseUrl = urlOf(stack, database)
  return {
    env,
    stack,
    databaseUrl,
    simulatorAdminUrl,
    simulator: simulatorAdmin(simulatorAdminUrl, signal),
    pids: () => Object.fromEntries([...processes].map(([of, { pid }]) => [of, pid])),
    async start(service) {
      const { admin } = await freePorts(['admin'])
      const own = { ...env, [`ADMIN_PORT_${service.toUpperCase()}`]: String(admin) }
      const started = all.use(await startService(service, own, place, AbortSignal.timeout(START_MS)))
      processes.set(service, started)
      adminUrls.set(service, `http://127.0.0.1:${admin}`)
      return started
    },
    adminUrl: (service) => adminUrls.get(service) ?? '',
    async allow(providerIds, connectionIds) {
      const limit = AbortSignal.timeout(START_MS)
      await setAllowlist(stack.unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', providerIds, limit)
      await setAllowlist(stack.unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', connectionIds, limit)
    },
    ask: (sql) => ask(databaseUrl, sql),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

async function openDatabaseOf(stack: TestStack, name: string, owned: AsyncDisposableStack): Promise<string> {
  await runStatement(stack.postgresUrl, `CREATE DATABASE ${name}`)
  owned.defer(async () => {
    await runStatement(stack.postgresUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  })
  await migrate({ url: new Secret(urlOf(stack, name)), ...testRoles(stack) })
  return name
}

async function prepareTopics(stack: TestStack, prefix: string, signal: AbortSignal): Promise<void> {
  const kafka = { brokers: stack.brokers.split(','), prefix, clientId: 'calstream-bench' }
  const [topics, schemas] = await Promise.all([
    topicsApplied(kafka, signal),
    applySchemas({ registryUrl: stack.registryUrl, prefix }, signal),
  ])
  const problems = [...topics.problems, ...schemas.problems]
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

/**
 * On a loaded machine a broker may answer for a while that it does not lead
 * what it has just created.
 */
async function topicsApplied(kafka: Parameters<typeof applyTopics>[0], signal: AbortSignal) {
  const deadline = Date.now() + START_MS
  for (;;) {
    try {
      return await applyTopics(kafka, pino({ level: 'silent' }))
    } catch (error) {
      const isSoon = error instanceof Failure && error.code === 'kafka/unavailable' && Date.now() < deadline
      if (!isSoon) throw error
      await delay(500, undefined, { signal })
    }
  }
}

function environmentOf(
  stack: TestStack,
  own: {
    readonly prefix: string
    readonly ports: Record<
      'ingress' | 'console' | 'simulatorGoogle' | 'simulatorMicrosoft' | 'simulatorAdmin',
      number
    >
    readonly secrets: ReturnType<typeof newSecrets>
    readonly database: string
  },
): StackEnv {
  const { ports, secrets, database } = own
  const role = (name: 'ingress' | 'sync' | 'retry' | 'relay' | 'scheduler' | 'console') =>
    urlOf(stack, database, `calstream_${name}`)
  return {
    KAFKA_BROKERS: stack.brokers,
    KAFKA_PREFIX: own.prefix,
    SCHEMA_REGISTRY_URL: stack.registryUrl,
    POSTGRES_URL_INGRESS: role('ingress'),
    POSTGRES_URL_SYNC: role('sync'),
    POSTGRES_URL_RETRY: role('retry'),
    POSTGRES_URL_RELAY: role('relay'),
    POSTGRES_URL_SCHEDULER: role('scheduler'),
    POSTGRES_URL_CONSOLE: role('console'),
    UNLEASH_URL: stack.unleash.url,
    UNLEASH_TOKEN: stack.unleash.tokens.backend,
    CREDENTIALS_KEYS: secrets.credentialsKeys,
    CHANNEL_TOKEN_KEYS: secrets.channelTokenKeys,
    API_JWT_SECRET: secrets.jwtSecret,
    INGRESS_PORT: String(ports.ingress),
    CONSOLE_PORT: String(ports.console),
    CONSOLE_UNLEASH_TOKEN: stack.unleash.tokens.admin,
    PUBLIC_URL: `http://127.0.0.1:${ports.ingress}`,
    ...vendorUrls(
      `http://127.0.0.1:${ports.simulatorGoogle}`,
      `http://127.0.0.1:${ports.simulatorMicrosoft}`,
    ),
    GOOGLE_CLIENT_ID: 'calstream-local',
    GOOGLE_CLIENT_SECRET: secrets.googleClientSecret,
    MICROSOFT_CLIENT_ID: 'calstream-local',
    MICROSOFT_CLIENT_SECRET: secrets.microsoftClientSecret,
  }
}

function urlOf(stack: TestStack, database: string, role?: DatabaseRole): string {
  const url = new URL(stack.postgresUrl)
  url.pathname = `/${database}`
  if (role === undefined) return url.href
  url.username = roleName(role)
  url.password = stack.rolePasswords[role] ?? ''
  return url.href
}

async function ask<R extends object>(databaseUrl: string, sql: string): Promise<R[]> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 5_000,
    query_timeout: 30_000,
  })
  await client.connect()
  try {
    return (await client.query<R & pg.QueryResultRow>(sql)).rows
  } finally {
    await client.end()
  }
}
