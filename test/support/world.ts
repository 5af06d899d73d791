// A whole small world for one test file: the services as real processes on a database, a topic
// prefix and a play vendor of their own. What a test kills, freezes or starts twice is a handle
// here; everything ends with the file.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { pino } from 'pino'
import { expect } from 'vitest'
import { z } from 'zod'
import { connectionId, providerId, type ConnectionId, type VendorName } from '#shared/domain/ids.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { readEnv } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Component } from '../../infra/stack/component.ts'
import { childEnv } from '../../infra/stack/infrastructure.ts'
import { cacheFolder } from '../../infra/stack/java-parts.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { startService, vendorUrls, type ServiceName } from '../../infra/stack/services.ts'
import { connectAccount } from '../../services/ingress/connect-account.ts'
import { admit } from './admit.ts'
import { startTestSimulator, type TestSimulator } from './simulator.ts'
import { freshDatabase, freshPrefix, testStack, type TestDatabase } from './stack.ts'

const START_MS = 60_000
const PARTITIONS = 4
const CLIENT = { id: 'calstream-test', secret: 'calstream-test-secret' }

export interface WorldOptions {
  readonly label: string
  /** Instead of the shared ones, for files that stop them. */
  readonly brokers?: string
  readonly databaseUrl?: (
    role?: `calstream_${'ingress' | 'sync' | 'retry' | 'relay' | 'scheduler' | 'console'}`,
  ) => string
  readonly simulator?: { readonly latencyMs?: number; readonly seed?: string }
  /** More settings for every service. */
  readonly env?: Readonly<Record<string, string>>
  /** Nobody asks the shared lists here: no account is put on them, which takes up to a second. */
  readonly hasOwnGates?: boolean
}

export interface Account {
  readonly accountId: string
  readonly vendor: VendorName
  readonly email: string
  readonly connectionId: ConnectionId
  readonly providerId: string
  readonly calendars: readonly { readonly id: string }[]
}

/** See openWorld. */
export class World implements AsyncDisposable {
  readonly prefix = freshPrefix()
  readonly simulator: TestSimulator
  readonly env: Readonly<Record<string, string>>
  readonly database: Database
  readonly #owned: AsyncDisposableStack
  readonly #place
  readonly #hasOwnGates: boolean
  readonly #adminPorts = new WeakMap<Component, number>()

  constructor(parts: {
    simulator: TestSimulator
    env: Record<string, string>
    database: Database
    owned: AsyncDisposableStack
    prefix: string
    hasOwnGates: boolean
  }) {
    this.prefix = parts.prefix
    this.#hasOwnGates = parts.hasOwnGates
    this.simulator = parts.simulator
    this.env = parts.env
    this.database = parts.database
    this.#owned = parts.owned
    const folder = path.join(testStack().folder, `world-${randomBytes(4).toString('hex')}`)
    mkdirSync(folder, { recursive: true })
    const cache = cacheFolder(process.env, homedir())
    const passed = Object.entries(parts.env).filter(([name]) => /^(?:OTEL_.*|LOG_LEVEL)$/.test(name))
    const own = { ...childEnv(process.env), ...Object.fromEntries(passed) }
    this.#place = { folder, cache, env: own, ledger: new ProcessLedger(folder) }
  }

  /** Where the logs of the services are: `<folder>/logs/<service>.log`. */
  get folder(): string {
    return this.#place.folder
  }

  /**
   * Starts a service as a process; a second one of the same kind is another
   * process of the same group.
   */
  async start(name: ServiceName, env: Readonly<Record<string, string>> = {}): Promise<Component> {
    const { admin } = await freePorts(['admin'])
    const settings = { ...this.env, ...env, [`ADMIN_PORT_${name.toUpperCase()}`]: String(admin) }
    const service = this.#owned.use(
      await startService(name, settings, this.#place, AbortSignal.timeout(START_MS)),
    )
    this.#adminPorts.set(service, admin)
    return service
  }

  /** Where a service answers /metrics, /readyz and /livez. */
  adminUrl(service: Component): string {
    return `http://127.0.0.1:${this.#adminPorts.get(service)}`
  }

  /**
   * One of our metrics of a service, summed over its labels;
   * `label` picks those that have it, like `outcome="failed"`.
   */
  async metric(service: Component, name: string, label = ''): Promise<number> {
    const text = await (await fetch(`${this.adminUrl(service)}/metrics`)).text()
    const samples = [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)`, 'gm'))]
    return samples
      .filter((sample) => sample[0].includes(label))
      .reduce((sum, sample) => sum + Number(sample[1]), 0)
  }

  /**
   * Makes an account at the vendor and connects it, allowed by both lists if they are asked.
   * Nothing is synced until services run.
   */
  async connect(
    account: {
      vendor?: VendorName
      calendars?: number | readonly { readonly accessRole?: string; readonly timeZone?: string }[]
      eventsPerCalendar?: number
      claims?: boolean
    } = {},
  ): Promise<Account> {
    const made = await this.admin<{
      accountId: string
      email: string
      refreshToken: string
      calendars: { id: string }[]
    }>('POST', '/admin/accounts', account)
    const provider = randomUUID()
    const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft, TOPICS.connectionChanged] as const
    const codec = await openCodec(
      { registryUrl: testStack().registryUrl, prefix: this.prefix, topics },
      AbortSignal.timeout(START_MS),
    )
    const vendors = createVendors(readEnv(z.object(vendorsEnv), { ...this.env }))
    const deps = {
      database: this.database,
      codec,
      keyring: parseKeyring(new Secret(this.env['CREDENTIALS_KEYS'] ?? '')),
      vendor: vendors.get(account.vendor ?? 'google') ?? expect.unreachable('the vendor is configured'),
    }
    const connected = await connectAccount(
      deps,
      { providerId: providerId(provider), refreshToken: made.refreshToken },
      AbortSignal.timeout(START_MS),
    )
    const ids = { providerIds: [provider], connectionIds: [connected.connectionId] }
    if (!this.#hasOwnGates) await admit(ids)
    return {
      accountId: made.accountId,
      vendor: account.vendor ?? 'google',
      email: made.email,
      connectionId: connectionId(connected.connectionId),
      providerId: provider,
      calendars: made.calendars,
    }
  }

  /** One call of the play vendor's admin API. */
  admin<T>(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', route: string, body?: unknown): Promise<T> {
    return this.simulator.admin<T>(method, route, body)
  }

  /** Moves the play vendor's clock on. */
  async moveVendors(ms: number): Promise<void> {
    await this.admin('POST', '/admin/clock', { advanceMs: ms })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }
}

/** Opens a world: database, topics, schemas and vendor are there, no service runs yet. */
export async function openWorld(options: WorldOptions): Promise<World> {
  const owned = new AsyncDisposableStack()
  const simulator = owned.use(
    await startTestSimulator({
      seed: options.simulator?.seed ?? options.label,
      latencyMs: options.simulator?.latencyMs ?? 0,
      clientId: CLIENT.id,
      clientSecret: CLIENT.secret,
    }),
  )
  const vendors = { google: simulator.googleUrl, microsoft: simulator.microsoftUrl }
  const { prefix, env, database } = await openPlace(options, vendors, owned)
  const { hasOwnGates = false } = options
  return new World({ simulator, env, database, owned, prefix, hasOwnGates })
}

/**
 * What services need beside vendors: a database, topics and schemas of their own, and the
 * settings of all five. `vendors` has the addresses of the play vendors. Everything
 * opened ends with `owned`.
 */
export async function openPlace(
  options: Omit<WorldOptions, 'simulator'>,
  vendors: { readonly google: string; readonly microsoft: string },
  owned: AsyncDisposableStack,
): Promise<{ readonly prefix: string; readonly env: Record<string, string>; readonly database: Database }> {
  const stack = testStack()
  const prefix = freshPrefix()
  const own: TestDatabase | undefined = options.databaseUrl
    ? undefined
    : owned.use(await freshDatabase(options.label))
  const url = options.databaseUrl ?? ((role) => own?.url(role) ?? '')
  const brokers = options.brokers ?? stack.brokers
  const silent = pino({ level: 'silent' })
  const kafka = { brokers: brokers.split(','), prefix, clientId: 'calstream-test', partitions: PARTITIONS }
  const [topics, schemas] = await Promise.all([
    applyTopics(kafka, silent),
    applySchemas({ registryUrl: stack.registryUrl, prefix }, AbortSignal.timeout(START_MS)),
  ])
  const problems = [...topics.problems, ...schemas.problems]
  if (problems.length > 0) throw new Error(problems.join('\n'))
  const database = owned.use(
    openDatabase(
      { url: new Secret(url('calstream_ingress')), applicationName: 'calstream-test', poolMax: 2 },
      silent,
    ),
  )
  const { ingress } = await freePorts(['ingress'])
  const key = () => `k1:${randomBytes(32).toString('base64')}`
  const env: Record<string, string> = {
    KAFKA_BROKERS: brokers,
    KAFKA_PREFIX: prefix,
    SCHEMA_REGISTRY_URL: stack.registryUrl,
    POSTGRES_URL: url(),
    POSTGRES_URL_INGRESS: url('calstream_ingress'),
    POSTGRES_URL_SYNC: url('calstream_sync'),
    POSTGRES_URL_RETRY: url('calstream_retry'),
    POSTGRES_URL_RELAY: url('calstream_relay'),
    POSTGRES_URL_SCHEDULER: url('calstream_scheduler'),
    POSTGRES_URL_CONSOLE: url('calstream_console'),
    CONSOLE_PORT: '0',
    CONSOLE_UNLEASH_TOKEN: stack.unleash.tokens.admin,
    UNLEASH_URL: stack.unleash.url,
    UNLEASH_TOKEN: stack.unleash.tokens.backend,
    CREDENTIALS_KEYS: key(),
    CHANNEL_TOKEN_KEYS: key(),
    API_JWT_SECRET: randomBytes(32).toString('hex'),
    INGRESS_PORT: String(ingress),
    PUBLIC_URL: `http://127.0.0.1:${ingress}`,
    ...vendorUrls(vendors.google, vendors.microsoft),
    GOOGLE_CLIENT_ID: CLIENT.id,
    GOOGLE_CLIENT_SECRET: CLIENT.secret,
    MICROSOFT_CLIENT_ID: CLIENT.id,
    MICROSOFT_CLIENT_SECRET: CLIENT.secret,
    ...options.env,
  }
  return { prefix, env, database }
}

/** One row per query, for a test's own look at the tables as superuser. */
export async function look<R extends object>(
  databaseUrl: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<R[]> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5_000 })
  await client.connect()
  try {
    return (await client.query<R & pg.QueryResultRow>(sql, [...values])).rows
  } finally {
    await client.end()
  }
}
