// Our own processes on the local stack: what each service gets from the environment, how it
// is started and when it is ready. A service gets the addresses, keys and database role that
// it needs, and no others.
import path from 'node:path'
import { Child, untilReady } from './child.ts'
import { compiledFolder } from './compiled.ts'
import { Component } from './component.ts'
import { childEnv, type Infrastructure, logFileOf, type StackPlace } from './infrastructure.ts'
import type { StackSecrets } from './secrets.ts'

export const SERVICES = ['relay', 'retry', 'sync', 'scheduler', 'ingress', 'console'] as const
export type ServiceName = (typeof SERVICES)[number]

export const SERVICE_PORTS = [
  'ingress',
  'console',
  'adminIngress',
  'adminSync',
  'adminRetry',
  'adminRelay',
  'adminScheduler',
  'adminConsole',
  'simulatorGoogle',
  'simulatorMicrosoft',
  'simulatorAdmin',
] as const
export type ServicePorts = Readonly<Record<(typeof SERVICE_PORTS)[number], number>>

/**
 * Everything that a tool on this machine needs to talk to the stack; also written to stack.json.
 */
export type StackEnv = Readonly<Record<string, string>>

/** Idle it is 4 s; beside busy loops on every core it was 50 s. */
const READY_TIMEOUT_MS = 180_000
/** Services drain; with the rest of the stack after them a whole stop stays within 10 s. */
const SERVICE_STOP_WITHIN_MS = 5_500
const SIMULATOR_STOP_WITHIN_MS = 3_000
/** What a vendor's API takes to answer, for figures that mean something. */
const SIMULATOR_LATENCY_MS = '200'

const CLIENT_ID = 'calstream-local'
/** An app that is built on this machine may listen anywhere on it. */
const RETURN_ORIGINS = 'http://127.0.0.1:*,http://localhost:*'

const KAFKA = ['KAFKA_BROKERS', 'KAFKA_PREFIX', 'SCHEMA_REGISTRY_URL'] as const
/** Of a database role whose password rotates. */
const ROLE_PASSWORD = 'POSTGRES_PASSWORD_FILE'
/** Of a secured stack, where a service needs Kafka. */
const ACCESS = [
  'KAFKA_SECURITY_PROTOCOL',
  'KAFKA_SASL_MECHANISM',
  'KAFKA_SASL_USERNAME',
  'KAFKA_SASL_PASSWORD_FILE',
  'KAFKA_SSL_CA_FILE',
  'SCHEMA_REGISTRY_USERNAME',
  'SCHEMA_REGISTRY_PASSWORD_FILE',
  'SCHEMA_REGISTRY_SSL_CA_FILE',
] as const
const GATES = ['UNLEASH_URL', 'UNLEASH_TOKEN'] as const
const VENDOR = [
  'CREDENTIALS_KEYS',
  'GOOGLE_API_URL',
  'GOOGLE_AUTH_URL',
  'GOOGLE_TOKEN_URL',
  'GOOGLE_REVOKE_URL',
  'GOOGLE_CLIENT_ID',
  'GOOGLE_CLIENT_SECRET',
  'MICROSOFT_API_URL',
  'MICROSOFT_LOGIN_URL',
  'MICROSOFT_CLIENT_ID',
  'MICROSOFT_CLIENT_SECRET',
] as const
const CHANNELS = ['CHANNEL_TOKEN_KEYS', 'PUBLIC_URL'] as const

const NEEDS: Readonly<Record<ServiceName, readonly string[]>> = {
  ingress: [...KAFKA, ...GATES, ...VENDOR, ...CHANNELS, 'POSTGRES_URL', 'API_JWT_SECRET', 'INGRESS_PORT'],
  sync: [...KAFKA, ...GATES, ...VENDOR, 'POSTGRES_URL'],
  retry: [...KAFKA, ...GATES, 'POSTGRES_URL'],
  relay: [...KAFKA, 'POSTGRES_URL'],
  scheduler: [...KAFKA, ...GATES, ...VENDOR, ...CHANNELS, 'POSTGRES_URL'],
  console: [...GATES, 'POSTGRES_URL', 'API_JWT_SECRET', 'CONSOLE_PORT', 'CONSOLE_UNLEASH_TOKEN'],
}

export interface StackEnvOptions {
  readonly infrastructure: Infrastructure
  readonly ports: ServicePorts
  readonly secrets: StackSecrets
  readonly rolePasswordsFile: string
}

/**
 * NAME_<SERVICE> is one service's own value of NAME. POSTGRES_URL without a suffix is the owner of
 * the tables, whom only `calstream migrate` and a person use.
 */
export function stackEnv({ infrastructure, ports, secrets, rolePasswordsFile }: StackEnvOptions): StackEnv {
  const { postgres, kafka, registry, unleash, access } = infrastructure
  const roleUrl = (role: ServiceName): string =>
    postgres.url('calstream', {
      name: `calstream_${role}`,
      password: secrets.rolePasswords[`calstream_${role}`],
    })
  return {
    KAFKA_BROKERS: kafka.brokers,
    KAFKA_PREFIX: '',
    SCHEMA_REGISTRY_URL: registry.url,
    ...access,
    POSTGRES_URL: postgres.url('calstream'),
    POSTGRES_URL_INGRESS: roleUrl('ingress'),
    POSTGRES_URL_SYNC: roleUrl('sync'),
    POSTGRES_URL_RETRY: roleUrl('retry'),
    POSTGRES_URL_RELAY: roleUrl('relay'),
    POSTGRES_URL_SCHEDULER: roleUrl('scheduler'),
    POSTGRES_URL_CONSOLE: roleUrl('console'),
    CALSTREAM_ROLE_PASSWORDS_FILE: rolePasswordsFile,
    UNLEASH_URL: unleash.url,
    UNLEASH_TOKEN: unleash.tokens.backend,
    UNLEASH_ADMIN_TOKEN: unleash.tokens.admin,
    CREDENTIALS_KEYS: secrets.credentialsKeys,
    CHANNEL_TOKEN_KEYS: secrets.channelTokenKeys,
    API_JWT_SECRET: secrets.jwtSecret,
    INGRESS_PORT: String(ports.ingress),
    CONSOLE_PORT: String(ports.console),
    CONSOLE_UNLEASH_TOKEN: unleash.tokens.admin,
    PUBLIC_URL: `http://127.0.0.1:${ports.ingress}`,
    ADMIN_PORT_INGRESS: String(ports.adminIngress),
    ADMIN_PORT_SYNC: String(ports.adminSync),
    ADMIN_PORT_RETRY: String(ports.adminRetry),
    ADMIN_PORT_RELAY: String(ports.adminRelay),
    ADMIN_PORT_SCHEDULER: String(ports.adminScheduler),
    ADMIN_PORT_CONSOLE: String(ports.adminConsole),
    ...vendorUrls(
      `http://127.0.0.1:${ports.simulatorGoogle}`,
      `http://127.0.0.1:${ports.simulatorMicrosoft}`,
    ),
    GOOGLE_CLIENT_ID: CLIENT_ID,
    GOOGLE_CLIENT_SECRET: secrets.googleClientSecret,
    MICROSOFT_CLIENT_ID: CLIENT_ID,
    MICROSOFT_CLIENT_SECRET: secrets.microsoftClientSecret,
    SIMULATOR_ADMIN_URL: `http://127.0.0.1:${ports.simulatorAdmin}`,
  }
}

/** Where the play vendors stand in for the real ones: every address that a service asks for. */
export function vendorUrls(google: string, microsoft: string): StackEnv {
  return {
    GOOGLE_API_URL: google,
    GOOGLE_AUTH_URL: `${google}/o/oauth2/v2/auth`,
    GOOGLE_TOKEN_URL: `${google}/token`,
    GOOGLE_REVOKE_URL: `${google}/revoke`,
    MICROSOFT_API_URL: microsoft,
    MICROSOFT_LOGIN_URL: microsoft,
  }
}

/**
 * The part of the environment that one service gets; throws when the stack lacks one of its needs.
 */
export function serviceEnv(name: ServiceName, stack: StackEnv): Record<string, string> {
  const suffix = name.toUpperCase()
  const own: Record<string, string> = {}
  const valueOf = (variable: string) => stack[`${variable}_${suffix}`] ?? stack[variable]
  for (const variable of [...NEEDS[name], 'ADMIN_PORT']) {
    const value = valueOf(variable)
    if (value === undefined) throw new Error(`the stack has no ${variable} for ${name}`)
    own[variable] = value
  }
  for (const variable of [...(name === 'console' ? [] : ACCESS), ROLE_PASSWORD]) {
    const value = valueOf(variable)
    if (value !== undefined) own[variable] = value
  }
  return own
}

/** Starts one service as a process of its own; resolves when its /readyz says yes. */
export function startService(
  name: ServiceName,
  stack: StackEnv,
  place: StackPlace,
  signal: AbortSignal,
): Promise<Component> {
  const env = serviceEnv(name, stack)
  const origins = place.env['OAUTH_RETURN_ORIGINS'] ?? ''
  if (name === 'ingress')
    env['OAUTH_RETURN_ORIGINS'] = origins === '' ? RETURN_ORIGINS : `${RETURN_ORIGINS},${origins}`
  return startNode(
    {
      name,
      script: path.join('services', name, 'main.ts'),
      env,
      stopWithinMs: SERVICE_STOP_WITHIN_MS,
      readyUrl: `http://127.0.0.1:${env['ADMIN_PORT']}/readyz`,
    },
    place,
    signal,
  )
}

/** Starts the play vendor; its world is journaled in the stack's folder and replayed. */
export function startSimulator(
  { ports, secrets }: Pick<StackEnvOptions, 'ports' | 'secrets'>,
  place: StackPlace,
  signal: AbortSignal,
): Promise<Component> {
  return startNode(
    {
      name: 'simulator',
      script: path.join('infra', 'simulator', 'main.ts'),
      env: {
        SIMULATOR_GOOGLE_PORT: String(ports.simulatorGoogle),
        SIMULATOR_MICROSOFT_PORT: String(ports.simulatorMicrosoft),
        SIMULATOR_ADMIN_PORT: String(ports.simulatorAdmin),
        SIMULATOR_DATA_DIR: path.join(place.folder, 'simulator'),
        SIMULATOR_ALLOW_HTTP_CALLBACKS: 'true',
        SIMULATOR_CLIENT_ID: CLIENT_ID,
        SIMULATOR_CLIENT_SECRET: secrets.googleClientSecret,
        SIMULATOR_MICROSOFT_CLIENT_ID: CLIENT_ID,
        SIMULATOR_MICROSOFT_CLIENT_SECRET: secrets.microsoftClientSecret,
        SIMULATOR_LATENCY_MS: place.env['SIMULATOR_LATENCY_MS'] ?? SIMULATOR_LATENCY_MS,
        ...(place.env['SIMULATOR_SEED'] === undefined ? {} : { SIMULATOR_SEED: place.env['SIMULATOR_SEED'] }),
      },
      stopWithinMs: SIMULATOR_STOP_WITHIN_MS,
      readyUrl: `http://127.0.0.1:${ports.simulatorAdmin}/admin/health`,
    },
    place,
    signal,
  )
}

/**
 * Node lets the young generation grow to 96 MB and keeps it. With 8 MB a half space sync peaked at
 * 289 MB instead of 399 in the demo of 60 s, as fast.
 */
const YOUNG_SPACE = '--max-semi-space-size=8'

interface NodeProcess {
  readonly name: string
  /** Relative to the repository. */
  readonly script: string
  readonly env: NodeJS.ProcessEnv
  readonly stopWithinMs: number
  readonly readyUrl: string
}

export const REPOSITORY = path.resolve(import.meta.dirname, '../..')

/**
 * Passed on to our own processes on top of childEnv:
 * telemetry, log level and the hard caps of the gates.
 */
const PASSED_ON = /^(?:OTEL_.*|LOG_LEVEL|CALENDAR_(?:SYNC|JOBS|WEBHOOK|OAUTH)_ENABLED|CALENDAR_ALLOWLIST_.*)$/

/**
 * The environment of a process of ours;
 * compiled code is cached, which saves about a third of a start.
 */
export function nodeEnv({ env, cache }: Pick<StackPlace, 'env' | 'cache'>): NodeJS.ProcessEnv {
  const passed = Object.entries(env).filter(([name]) => PASSED_ON.test(name))
  return {
    ...childEnv(env),
    ...Object.fromEntries(passed),
    NODE_ENV: 'production',
    NODE_COMPILE_CACHE: compiledFolder(cache),
  }
}

function startNode(what: NodeProcess, place: StackPlace, signal: AbortSignal): Promise<Component> {
  return Component.start(async (stop) => {
    const child = await Child.start(
      {
        name: what.name,
        command: process.execPath,
        args: [YOUNG_SPACE, path.join(REPOSITORY, what.script)],
        env: { ...nodeEnv(place), ...what.env },
        cwd: REPOSITORY,
        logFile: logFileOf(place, what.name),
        stopWithinMs: what.stopWithinMs,
      },
      place.ledger,
    )
    try {
      const { readyUrl } = what
      const ready = {
        probe: (probe: AbortSignal) => answersWell(readyUrl, probe),
        port: Number(new URL(readyUrl).port),
      }
      await untilReady(child, ready, READY_TIMEOUT_MS, stop)
    } catch (error) {
      await child.kill()
      throw error
    }
    return child
  }, signal)
}

async function answersWell(url: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(url, { signal })
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 200)}`)
}
