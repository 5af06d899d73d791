// The Unleash server as a child process on the stack's Postgres,
// with its tokens set at the first start.
import { createRequire } from 'node:module'
import path from 'node:path'
import { closeDefaultLogin, CONSOLE_USER } from '#shared/gates/unleash-console.ts'
import { Child, untilReady } from './child.ts'
import { Component } from './component.ts'
import type { ProcessLedger } from './processes.ts'

export interface UnleashOptions {
  /** A database of its own; the server migrates it. */
  readonly databaseUrl: string
  readonly logFile: string
  readonly port: number
  readonly tokens: UnleashTokens
  /** Folder for compiled code, shared by all runs: saves 0.6 s of a start. */
  readonly compileCache: string
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export interface UnleashTokens {
  /** `*:*.<secret>` */
  readonly admin: string
  /** `default:development.<secret>`, for UNLEASH_TOKEN. */
  readonly backend: string
  /** Of the user `admin` of the web console. */
  readonly adminPassword: string
  /** Signs the console's sessions. */
  readonly sessionSecret: string
  /** Of its login in Postgres. */
  readonly databasePassword: string
}

export interface UnleashAddress {
  /** Base of the client API, for UNLEASH_URL. */
  readonly url: string
  /** The web console and the admin API. */
  readonly consoleUrl: string
  readonly tokens: UnleashTokens
}

export type Unleash = Component & UnleashAddress

/** A first start runs all migrations: 5.7 s idle. */
const READY_TIMEOUT_MS = 240_000
const STOP_WITHIN_MS = 3_000

/**
 * Starts the server; resolves when the client API answers our token with a list of toggles. A
 * console that an older version left with the default password gets ours.
 */
export async function startUnleash(options: UnleashOptions, signal: AbortSignal): Promise<Unleash> {
  const consoleUrl = `http://127.0.0.1:${options.port}`
  const address: UnleashAddress = { consoleUrl, url: `${consoleUrl}/api`, tokens: options.tokens }
  const component = await Component.start((stop) => launch(options, address, stop), signal)
  return Object.assign(component, address)
}

async function launch(options: UnleashOptions, address: UnleashAddress, signal: AbortSignal): Promise<Child> {
  const server = unleashFolder()
  const child = await Child.start(
    {
      name: 'unleash',
      command: process.execPath,
      args: [path.join(server, 'dist', 'server.js')],
      env: { ...options.env, ...settings(options, address.consoleUrl) },
      cwd: server,
      logFile: options.logFile,
      stopWithinMs: STOP_WITHIN_MS,
    },
    options.ledger,
  )
  try {
    const ready = { probe: (stop: AbortSignal) => unleashRoundTrip(address, stop), port: options.port }
    await untilReady(child, ready, READY_TIMEOUT_MS, signal)
    await mendConsole(address, signal)
  } catch (error) {
    await child.kill()
    throw error
  }
  return child
}

/**
 * A stack starts without it, too: `calstream doctor` is red as long as the default password works.
 */
async function mendConsole({ consoleUrl, tokens }: UnleashAddress, signal: AbortSignal): Promise<void> {
  await closeDefaultLogin(consoleUrl, tokens.adminPassword, signal).catch(() => signal.throwIfAborted())
}

/** Its package's. Its package.json is not exported; its entry is dist/lib/server-impl.js. */
export function unleashFolder(): string {
  const entry = createRequire(import.meta.url).resolve('unleash-server')
  return entry.slice(0, entry.lastIndexOf(`${path.sep}dist${path.sep}`))
}

function settings(options: UnleashOptions, consoleUrl: string): NodeJS.ProcessEnv {
  return {
    DATABASE_URL: options.databaseUrl,
    DATABASE_SSL: 'false',
    HTTP_HOST: '127.0.0.1',
    HTTP_PORT: String(options.port),
    UNLEASH_URL: consoleUrl,
    // Applied only while no such token exists. Never IMPORT_FILE: it is applied again at every
    // start and would undo an operator's off.
    INIT_ADMIN_API_TOKENS: options.tokens.admin,
    INIT_BACKEND_API_TOKENS: options.tokens.backend,
    // Unleash heeds the password only together with the name, and both at its first start only.
    UNLEASH_DEFAULT_ADMIN_USERNAME: CONSOLE_USER,
    UNLEASH_DEFAULT_ADMIN_PASSWORD: options.tokens.adminPassword,
    UNLEASH_SECRET: options.tokens.sessionSecret,
    // Its standard is 250 ids in a list; the allowlists of a few hundred connections must fit.
    UNLEASH_CONSTRAINT_VALUES_LIMIT: '20000',
    CHECK_VERSION: 'false',
    SEND_TELEMETRY: 'false',
    LOG_LEVEL: 'warn',
    NODE_ENV: 'production',
    NODE_COMPILE_CACHE: options.compileCache,
  }
}

/** Asks for the toggles, as the services will. */
export async function unleashRoundTrip({ url, tokens }: UnleashAddress, signal: AbortSignal): Promise<void> {
  const response = await fetch(`${url}/client/features`, {
    headers: { authorization: tokens.backend },
    signal,
  })
  if (!response.ok) throw new Error(`unleash answered ${response.status}`)
  await response.json()
}
