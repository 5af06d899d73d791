// The system under drill: the real services as processes, on a database, a topic prefix and play
// vendors of this drill's own. A drill acts on it through this handle. What it leaves behind goes
// into the ledgers.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import type { Component } from '../../../infra/stack/component.ts'
import type { StackPlace } from '../../../infra/stack/infrastructure.ts'
import { grantRights } from '../../../infra/stack/kafka-operator.ts'
import { freePorts } from '../../../infra/stack/ports.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import {
  REPOSITORY,
  startSimulator,
  vendorUrls,
  type ServiceName,
  type StackEnv,
} from '../../../infra/stack/services.ts'
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { installAudit } from '../ledgers/audit.ts'
import { connectAccounts, type ConnectedAccount } from './accounts.ts'
import { openDrillClock, type DrillClock } from './clock.ts'
import { openGateHand, type GateHand } from './gates.ts'
import { ServiceProcess, type ProcessEvent } from './launch.ts'
import { openVendorHand, type VendorHand } from './vendor-hand.ts'
import { rolePasswordFiles } from './roles.ts'
import type { DrillStack } from './stack.ts'
import { kafkaOf, registryOf } from './streams.ts'

export interface SystemOptions {
  readonly label: string
  readonly seed: number
  /** Connections with their accounts; more can be made later. */
  readonly connections: number
  /** How many of them are accounts of Microsoft; none by default. */
  readonly microsoft?: number
  readonly calendars?: number
  readonly eventsPerCalendar?: number
  /** Of the play vendors, per call. */
  readonly latencyMs?: number
  /** How many processes of each service; one each by default, 0 leaves it out. */
  readonly processes?: Partial<Readonly<Record<ServiceName, number>>>
  /** Options of Node for the processes of a service. */
  readonly nodeOptions?: Partial<Readonly<Record<ServiceName, readonly string[]>>>
  /** Vendors, database and services have one clock that the drill moves on (`system.clock`). */
  readonly movesClock?: boolean
  /** More settings for every service. */
  readonly env?: Readonly<Record<string, string>>
  /** Root of the services' tree; the repository by default. */
  readonly tree?: string
}

const START_MS = 90_000
/** Of every topic. */
export const PARTITIONS = 4
const SERVICES: readonly ServiceName[] = ['relay', 'retry', 'sync', 'scheduler', 'ingress']

export interface SystemLines {
  /** Between the Google adapter and the play vendor. */
  readonly vendor: TcpProxy
  /** Between the vendors and the ingress. */
  readonly ingress: TcpProxy
}

/** See openSystem. */
export class System implements AsyncDisposable {
  readonly prefix: string
  readonly folder: string
  readonly env: StackEnv
  readonly stack: DrillStack
  readonly simulator: Component
  readonly vendor: VendorHand
  readonly gates: GateHand
  readonly lines: SystemLines
  /** The superuser's way around the proxy. */
  readonly databaseUrl: string
  readonly accounts: ConnectedAccount[] = []
  readonly processEvents: ProcessEvent[] = []
  readonly services: ServiceProcess[] = []
  readonly #place: StackPlace
  /** Root of the tree whose services run: the repository, or a copy with a seeded bug. */
  readonly tree: string
  readonly #nodeOptions: NonNullable<SystemOptions['nodeOptions']>
  readonly #clock: DrillClock | null
  readonly #owned: AsyncDisposableStack

  constructor(parts: {
    stack: DrillStack
    prefix: string
    place: StackPlace
    env: StackEnv
    simulator: Component
    vendor: VendorHand
    gates: GateHand
    lines: SystemLines
    databaseUrl: string
    tree: string
    nodeOptions: NonNullable<SystemOptions['nodeOptions']>
    clock: DrillClock | null
    owned: AsyncDisposableStack
  }) {
    this.stack = parts.stack
    this.prefix = parts.prefix
    this.folder = parts.place.folder
    this.env = parts.env
    this.simulator = parts.simulator
    this.vendor = parts.vendor
    this.gates = parts.gates
    this.lines = parts.lines
    this.databaseUrl = parts.databaseUrl
    this.#place = parts.place
    this.tree = parts.tree
    this.#nodeOptions = parts.nodeOptions
    this.#clock = parts.clock
    this.#owned = parts.owned
  }

  /** Of a system that was asked for with `movesClock`. */
  get clock(): DrillClock {
    if (this.#clock === null) throw new Error('the clock of this system does not move')
    return this.#clock
  }

  /** Where a vendor or a person reaches the ingress, past the drill's own line. */
  get ingressUrl(): string {
    return `http://127.0.0.1:${this.env['INGRESS_PORT']}`
  }

  /** All processes of one service. */
  of(service: ServiceName): readonly ServiceProcess[] {
    return this.services.filter((one) => one.service === service)
  }

  /** The first process of a service. */
  one(service: ServiceName): ServiceProcess {
    const [first] = this.of(service)
    if (!first) throw new Error(`no process of ${service} was started`)
    return first
  }

  /** Starts one more process of a service, of another tree if given; resolves when it is ready. */
  async start(service: ServiceName, crashAt?: string, tree = this.tree): Promise<ServiceProcess> {
    const { admin } = await freePorts(['admin'])
    const instance = `${service}-${this.of(service).length + 1}`
    const process = new ServiceProcess({
      service,
      instance,
      env: { ...this.env, [`ADMIN_PORT_${service.toUpperCase()}`]: String(admin) },
      tree,
      nodeOptions: [...(this.#clock?.nodeOptions ?? []), ...(this.#nodeOptions[service] ?? [])],
      place: this.#place,
      note: (event) => this.processEvents.push(event),
      ...(crashAt === undefined ? {} : { crashAt }),
    })
    this.services.push(process)
    await process.start(AbortSignal.timeout(START_MS))
    return process
  }

  /** Makes accounts at a play vendor, connects them and lets them in by both lists. */
  async connect(
    count: number,
    spec: { calendars?: number; eventsPerCalendar?: number; vendor?: 'google' | 'microsoft' } = {},
  ): Promise<readonly ConnectedAccount[]> {
    const made = await connectAccounts(this, count, spec)
    this.accounts.push(...made)
    const known = this.gates.listed()
    await this.gates.allow(
      [...new Set([...known.providerIds, ...made.map(({ providerId }) => providerId)])],
      [...known.connectionIds, ...made.map(({ connectionId }) => connectionId)],
    )
    return made
  }

  /** Rows of a question asked as superuser, around the proxy. */
  async ask<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
    const client = new pg.Client({
      connectionString: this.databaseUrl,
      connectionTimeoutMillis: 15_000,
      query_timeout: 60_000,
    })
    client.on('error', () => {})
    await client.connect()
    try {
      return (await client.query<R & pg.QueryResultRow>(sql, [...values])).rows
    } finally {
      await client.end()
    }
  }

  /** Stops the services; the play vendor and the database stay for the judge. */
  async stopServices(): Promise<void> {
    await Promise.all(this.services.map((service) => service[Symbol.asyncDispose]()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopServices()
    await this.#owned.disposeAsync()
  }
}

/** Opens a system: everything runs and every connection is made; the first sync is under way. */
export async function openSystem(stack: DrillStack, options: SystemOptions): Promise<System> {
  await using owned = new AsyncDisposableStack()
  const mark = randomBytes(3).toString('hex')
  const prefix = `d${mark}-`
  const folder = path.join(stack.place.folder, `own-${options.label}-${mark}`)
  mkdirSync(folder, { recursive: true })
  // Its processes are in the stack's ledger: the clean-up after a killed run finds them in one
  // place.
  const place: StackPlace = {
    ...stack.place,
    folder,
    env: {
      ...stack.place.env,
      SIMULATOR_LATENCY_MS: String(options.latencyMs ?? 20),
      SIMULATOR_SEED: `${options.label}/${options.seed}`,
    },
  }
  const gates = openGateHand(stack.unleash)
  if (stack.cluster !== null) await grantRights(stack.cluster.operator, AbortSignal.timeout(START_MS), prefix)
  const [database] = await Promise.all([
    ownDatabase(stack, `drill_${mark}`, owned),
    prepareTopics(stack, prefix),
    gates.reset(),
  ])
  const ports = await systemPorts()
  const simulator = owned.use(
    await startSimulator({ ports, secrets: stack.secrets }, place, AbortSignal.timeout(START_MS)),
  )
  const lines: SystemLines = {
    vendor: owned.use(await startTcpProxy(ports.simulatorGoogle)),
    ingress: owned.use(await startTcpProxy(ports.ingress)),
  }
  const env = environmentOf(stack, { prefix, ports, lines, database }, options.env ?? {})
  const vendor = openVendorHand(`http://127.0.0.1:${ports.simulatorAdmin}`)
  const system = new System({
    stack,
    prefix,
    place,
    env,
    simulator,
    vendor,
    gates,
    lines,
    databaseUrl: stack.postgres.url(database),
    tree: options.tree ?? REPOSITORY,
    nodeOptions: options.nodeOptions ?? {},
    clock: options.movesClock ? openDrillClock(stack.postgres.url(database), vendor) : null,
    owned: owned.move(),
  })
  try {
    await startAll(system, options)
    return system
  } catch (error) {
    await system[Symbol.asyncDispose]()
    throw error
  }
}

async function startAll(system: System, options: SystemOptions): Promise<void> {
  const wanted = SERVICES.flatMap((service) =>
    Array.from({ length: options.processes?.[service] ?? 1 }, () => service),
  )
  const { calendars = 1, eventsPerCalendar = 20, microsoft = 0 } = options
  const spec = { calendars, eventsPerCalendar }
  // One after the other their names would be as sure; side by side the start takes a third.
  await Promise.all([
    ...wanted.map((service) => system.start(service)),
    system
      .connect(options.connections - microsoft, spec)
      .then(() => (microsoft > 0 ? system.connect(microsoft, { ...spec, vendor: 'microsoft' }) : [])),
  ])
}

async function ownDatabase(stack: DrillStack, name: string, owned: AsyncDisposableStack): Promise<string> {
  const admin = stack.postgres.url('postgres')
  await patiently(async () => {
    await runStatement(admin, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await runStatement(admin, `CREATE DATABASE ${name} TEMPLATE ${stack.template}`)
  })
  await patiently(() => runStatement(admin, `REVOKE ALL ON DATABASE ${name} FROM PUBLIC`))
  await patiently(() =>
    runStatement(
      admin,
      `GRANT CONNECT ON DATABASE ${name} TO ${Object.keys(stack.secrets.rolePasswords).join(', ')}`,
    ),
  )
  owned.defer(async () => {
    await patiently(() => runStatement(admin, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
  })
  await patiently(() => installAudit(stack.postgres.url(name)))
  return name
}

/**
 * A busy broker serves a new topic only after a moment. Making topics and schemas again is
 * harmless.
 */
function prepareTopics(stack: DrillStack, prefix: string): Promise<void> {
  return patiently(() => makeTopics(stack, prefix))
}

/** Repeats what an overloaded machine did not manage; only for acts that may be repeated. */
async function patiently<T>(act: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + START_MS
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await delay(500)
    }
  }
}

async function makeTopics(stack: DrillStack, prefix: string): Promise<void> {
  const kafka = { ...kafkaOf(stack, prefix), partitions: PARTITIONS }
  const [topics, schemas] = await Promise.all([
    applyTopics(kafka, pino({ level: 'silent' })),
    applySchemas(registryOf(stack, prefix), AbortSignal.timeout(START_MS)),
  ])
  const problems = [...topics.problems, ...schemas.problems]
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

async function systemPorts() {
  const ports = await freePorts([
    'ingress',
    'console',
    'simulatorGoogle',
    'simulatorMicrosoft',
    'simulatorAdmin',
  ] as const)
  // Each process of a service gets an admin port when it is started.
  const admin = { adminIngress: 0, adminSync: 0, adminRetry: 0, adminRelay: 0, adminScheduler: 0 }
  return { ...ports, ...admin, adminConsole: 0 }
}

interface Places {
  readonly prefix: string
  readonly ports: Awaited<ReturnType<typeof systemPorts>>
  readonly lines: SystemLines
  readonly database: string
}

function environmentOf(
  { postgres, secrets, lines: shared, unleash, registry, kafka, access, authorities, place }: DrillStack,
  { prefix, ports, lines, database }: Places,
  more: Readonly<Record<string, string>>,
): StackEnv {
  const through = (url: string, port: number) => Object.assign(new URL(url), { port: String(port) }).href
  const role = (name: 'ingress' | 'sync' | 'retry' | 'relay' | 'scheduler' | 'console') => {
    const password = secrets.rolePasswords[`calstream_${name}`]
    const url = new URL(
      through(postgres.url(database, { name: `calstream_${name}`, password }), shared.postgres.port),
    )
    if (authorities === null) return url.href
    url.password = ''
    url.searchParams.set('sslrootcert', authorities.trustFile)
    return url.href
  }
  return {
    ...access,
    ...(authorities === null ? {} : rolePasswordFiles(place.folder, secrets)),
    KAFKA_BROKERS: kafka.through,
    KAFKA_PREFIX: prefix,
    SCHEMA_REGISTRY_URL: through(registry.url, shared.registry.port),
    POSTGRES_URL_INGRESS: role('ingress'),
    POSTGRES_URL_SYNC: role('sync'),
    POSTGRES_URL_RETRY: role('retry'),
    POSTGRES_URL_RELAY: role('relay'),
    POSTGRES_URL_SCHEDULER: role('scheduler'),
    POSTGRES_URL_CONSOLE: role('console'),
    UNLEASH_URL: through(unleash.url, shared.unleash.port),
    UNLEASH_TOKEN: unleash.tokens.backend,
    CREDENTIALS_KEYS: secrets.credentialsKeys,
    CHANNEL_TOKEN_KEYS: secrets.channelTokenKeys,
    API_JWT_SECRET: secrets.jwtSecret,
    INGRESS_PORT: String(ports.ingress),
    CONSOLE_PORT: String(ports.console),
    CONSOLE_UNLEASH_TOKEN: unleash.tokens.admin,
    PUBLIC_URL: `http://127.0.0.1:${lines.ingress.port}`,
    ...vendorUrls(`http://127.0.0.1:${lines.vendor.port}`, `http://127.0.0.1:${ports.simulatorMicrosoft}`),
    GOOGLE_CLIENT_ID: 'calstream-local',
    GOOGLE_CLIENT_SECRET: secrets.googleClientSecret,
    MICROSOFT_CLIENT_ID: 'calstream-local',
    MICROSOFT_CLIENT_SECRET: secrets.microsoftClientSecret,
    ...more,
  }
}
