// `calstream doctor`: one line for each dependency, and what to do when it is red. Ends with 1 if anything is.
import { z } from 'zod'
import {
  kafkaEnv,
  postgresEnv,
  readEnv,
  registryEnv,
  unleashEnv,
  vendorsEnv,
  ConfigError,
} from '#shared/platform/env.ts'
import { kafkaRoundTrip } from '#shared/platform/kafkajs.ts'
import { createLogger } from '#shared/platform/log.ts'
import { verifySchemas } from '#shared/platform/schemas.ts'
import { verifyTopics } from '#shared/platform/topics.ts'
import { pendingMigrations } from '#shared/store/migrate.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { GATES } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { urlOf } from './config.ts'
import { CONSOLE_REMEDY, consolePassword } from './console-password.ts'
import type { Output } from './output.ts'

interface Check {
  readonly name: string
  /** Returns what is well; throws what is not. */
  readonly look: () => Promise<string>
  readonly remedy: string
}

const LIMIT_MS = 10_000

/** Runs all checks side by side, each for at most 10 s. Sets the exit code. */
export async function runDoctor(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const lines = await Promise.all(checksOf(env).map(examine))
  output.rows(lines, '')
  if (lines.some((line) => line.state !== '✓')) process.exitCode = 1
}

async function examine(check: Check): Promise<{ state: string; what: string; found: string; do: string }> {
  try {
    return { state: '✓', what: check.name, found: await within(check.look()), do: '' }
  } catch (error) {
    // A configuration error names its variables line by line; the remedy for it is the message itself.
    const remedy = error instanceof ConfigError ? 'set the variables named (see .env.example)' : check.remedy
    const found = error instanceof Error ? error.message : String(error)
    return { state: '✗', what: check.name, found: found.replaceAll('\n', '; ').slice(0, 200), do: remedy }
  }
}

async function within<T>(work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no answer within ${LIMIT_MS / 1000} s`)), LIMIT_MS)
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}

function checksOf(env: NodeJS.ProcessEnv): readonly Check[] {
  const kafka = () => {
    const config = readEnv(z.object(kafkaEnv), env)
    return { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX, clientId: 'calstream-doctor' }
  }
  const logger = createLogger({ service: 'doctor', level: 'silent' })
  return [
    { name: 'node', look: () => nodeVersion(), remedy: 'install Node 24.12 or newer' },
    {
      name: 'kafka',
      look: async () => complain(await kafkaRoundTrip(kafka()), 'answers'),
      remedy: 'start the broker or correct KAFKA_BROKERS',
    },
    {
      name: 'topics',
      look: async () => {
        const report = await verifyTopics(kafka(), logger)
        return complain(report.problems[0] ?? null, `${report.topics.length} as they must be`)
      },
      remedy: 'calstream topics apply; a changed partition count needs a new topic version',
    },
    {
      name: 'schemas',
      look: async () => {
        const config = readEnv(z.object(registryEnv), env)
        const registry = { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: kafka().prefix }
        const report = await verifySchemas(registry, AbortSignal.timeout(LIMIT_MS))
        return complain(report.problems[0] ?? null, `${report.subjects.length} registered`)
      },
      remedy: 'start the registry or correct SCHEMA_REGISTRY_URL, then calstream schemas apply',
    },
    {
      name: 'postgres',
      look: () => tables(env),
      remedy: 'start Postgres or correct POSTGRES_URL, then calstream migrate',
    },
    {
      name: 'flags',
      look: () => toggles(env),
      remedy: 'start Unleash, check UNLEASH_TOKEN, then calstream toggles apply',
    },
    {
      name: 'console',
      look: () => consolePassword(env, AbortSignal.timeout(LIMIT_MS)),
      remedy: CONSOLE_REMEDY,
    },
    {
      name: 'google',
      look: () => vendor(env, 'google'),
      remedy: 'check the network path to GOOGLE_API_URL',
    },
    {
      name: 'microsoft',
      look: () => vendor(env, 'microsoft'),
      remedy: 'check the network path to MICROSOFT_API_URL',
    },
  ]
}

async function nodeVersion(): Promise<string> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 24 || (major === 24 && minor < 12)) throw new Error(`this is Node ${process.versions.node}`)
  return process.versions.node
}

function complain(problem: string | null, fine: string): string {
  if (problem !== null) throw new Error(problem)
  return fine
}

async function tables(env: NodeJS.ProcessEnv): Promise<string> {
  const config = readEnv(z.object(postgresEnv), urlOf('migrate', env))
  const pending = await pendingMigrations(config.POSTGRES_URL)
  return complain(
    pending.length > 0 ? `missing migrations: ${pending.join(', ')}` : null,
    'tables are up to date',
  )
}

async function toggles(env: NodeJS.ProcessEnv): Promise<string> {
  const config = readEnv(z.object(unleashEnv), env)
  const answer = await fetch(`${config.UNLEASH_URL.replace(/\/$/, '')}/client/features`, {
    headers: { authorization: config.UNLEASH_TOKEN.reveal() },
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  if (!answer.ok) throw new Error(`the flag server answered ${answer.status}`)
  const { features } = (await answer.json()) as { features: readonly { name: string; enabled: boolean }[] }
  const missing = GATES.filter((gate) => !features.some((feature) => feature.name === gate))
  const closed = GATES.filter((gate) => features.some((feature) => feature.name === gate && !feature.enabled))
  return complain(
    missing.length > 0 ? `missing toggles, read as off: ${missing.join(', ')}` : null,
    closed.length === 0 ? 'all gates on' : `off: ${closed.join(', ')}`,
  )
}

async function vendor(env: NodeJS.ProcessEnv, name: VendorName): Promise<string> {
  const config = readEnv(z.object(vendorsEnv), env)
  if (!createVendors(config).has(name)) return 'not configured, so not used'
  const url =
    name === 'google'
      ? new URL('/calendar/v3/users/me/calendarList', config.GOOGLE_API_URL)
      : new URL(`${config.MICROSOFT_API_URL}/v1.0/me/calendars`)
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(LIMIT_MS) })
  // Without a token the right answer is 401: it shows that the API is there.
  if (answer.status !== 401) throw new Error(`expected 401 without a token, got ${answer.status}`)
  return 'answers'
}
