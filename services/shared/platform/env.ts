// Settings from the environment. Invariant: all problems of a process's settings are told at once,
// each by its variable, and no value is ever printed, since a secret pasted into the wrong
// variable is still a secret.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { isUuid } from '#shared/domain/ids.ts'
import { addressProblem, ALLOW_HTTP_TO, readHosts, withoutEndSlashes } from './address.ts'
import { keyringProblem } from './crypto.ts'
import { registerSecret } from './redact.ts'
import { Secret } from './secret.ts'

/** Settings that cannot be used. The message is for a person: one line per variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(['The settings cannot be used:', ...problems.map((problem) => `  ${problem}`)].join('\n'))
    this.problems = problems
  }
}

/**
 * Reads the variables that a schema names. NAME_FILE names a file that holds NAME's value (for
 * secrets that are mounted); an empty variable counts as not set, except for the caps of gates. An
 * http address is taken when it leads to this machine or to a host that ALLOW_HTTP_TO names. Throws
 * ConfigError with every problem.
 */
export function readEnv<S extends z.ZodObject>(schema: S, env: NodeJS.ProcessEnv): z.output<S> {
  const problems: string[] = []
  const input: Record<string, string | undefined> = {}
  for (const [name, piece] of Object.entries(schema.shape) as [string, z.ZodType][]) {
    const value = valueOf(name, env, problems)
    input[name] = value === '' && piece.meta()?.['emptyCounts'] !== true ? undefined : value
  }
  const hosts = readHosts(valueOf(ALLOW_HTTP_TO, env, problems) ?? '')
  const parsed = schema.safeParse(input)
  const unsafe = unsafeAddresses(input, hosts)
  if (parsed.success && problems.length === 0 && unsafe.size === 0) return parsed.data
  const unreadable = new Set([...problems.map((problem) => problem.split(/_FILE\b/)[0]), ...unsafe.keys()])
  for (const [name, problem] of unsafe) problems.push(explain(name, false, problem, schema))
  for (const issue of parsed.error?.issues ?? []) {
    const name = String(issue.path[0])
    if (!unreadable.has(name)) problems.push(explain(name, input[name] === undefined, issue.message, schema))
  }
  throw new ConfigError([...new Set(problems)])
}

/**
 * Whether OpenTelemetry was asked for: any of its standard variables is set.
 * opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
 */
export function telemetryWanted(env: NodeJS.ProcessEnv = process.env): boolean {
  return Object.entries(env).some(
    ([name, value]) => name.startsWith('OTEL_') && value !== undefined && value !== '',
  )
}

/**
 * What CALSTREAM_CRASH_AT asks for (see crash-point.ts); null when it is not set. Throws
 * ConfigError when it cannot be read.
 */
export function crashAtSetting(
  env: NodeJS.ProcessEnv = process.env,
): { readonly point: string; readonly nth: number; readonly action: 'kill' | 'block' } | null {
  const text = env['CALSTREAM_CRASH_AT']
  if (text === undefined || text === '') return null
  const [, point, nth = '1', action = 'kill'] =
    /^([a-z-]+\.[a-z-]+)(?::(\d{1,9}))?(?::(kill|block))?$/.exec(text) ?? []
  if (point === undefined)
    throw new ConfigError([
      'CALSTREAM_CRASH_AT cannot be used: it is not <service>.<point>[:n][:kill|block].',
    ])
  return { point, nth: Number(nth), action: action === 'block' ? 'block' : 'kill' }
}

function valueOf(name: string, env: NodeJS.ProcessEnv, problems: string[]): string | undefined {
  const file = env[`${name}_FILE`]
  if (file === undefined || file === '') return env[name]
  if (env[name] !== undefined && env[name] !== '') {
    problems.push(`${name}_FILE and ${name} are both set; keep one.`)
    return undefined
  }
  try {
    // Editors and `echo` end a file with a newline that is not part of the value.
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    problems.push(`${name}_FILE names a file that cannot be read (${reason}).`)
    return undefined
  }
}

/**
 * Every address that may not be used, by its variable, with the reason;
 * and ALLOW_HTTP_TO itself when it cannot be read.
 */
function unsafeAddresses(
  input: Readonly<Record<string, string | undefined>>,
  hosts: ReadonlySet<string> | null,
): ReadonlyMap<string, string> {
  const unsafe = new Map<string, string>()
  if (hosts === null) unsafe.set(ALLOW_HTTP_TO, 'it is not a list of host names, separated by commas')
  for (const [name, value] of Object.entries(input)) {
    // Of the addresses only Postgres' has another scheme, and a reader of its own.
    if (!name.endsWith('_URL') || name === 'POSTGRES_URL' || value === undefined) continue
    const problem = addressProblem(value, hosts ?? new Set())
    if (problem !== null) unsafe.set(name, problem)
  }
  return unsafe
}

function explain(name: string, missing: boolean, message: string, schema: z.ZodObject): string {
  const expected = (schema.shape[name] as z.ZodType | undefined)?.description
  const wanted = expected === undefined ? '' : ` Expected: ${expected}.`
  return missing ? `${name} is not set.${wanted}` : `${name} cannot be used: ${message}.${wanted}`
}

// The pieces: a service's schema is made of those that it needs.

/** Text of at least one character. */
export function text(expected: string) {
  return z.string({ error: 'it is not text' }).min(1, { error: 'it is empty' }).describe(expected)
}

/** A whole number with bounds; name the unit in `expected`. */
export function wholeNumber(expected: string, bounds: { readonly min: number; readonly max: number }) {
  const error = `it is not a whole number from ${bounds.min} to ${bounds.max}`
  return z
    .string({ error })
    .regex(/^-?\d{1,15}$/, { error })
    .transform(Number)
    .refine((value) => value >= bounds.min && value <= bounds.max, { error })
    .describe(expected)
}

/**
 * A http or https address without a trailing slash. Its variable's name ends in _URL: by that
 * `readEnv` knows what to check.
 */
export function httpUrl(expected: string) {
  return z.string({ error: 'it is not an address' }).transform(withoutEndSlashes).describe(expected)
}

/** A secret of any form; hidden in logs from the moment it is read. */
export function secretText(expected = 'a secret') {
  return z
    .string({ error: 'it is not text' })
    .min(1, { error: 'it is empty' })
    .transform((value) => secret(value))
    .describe(expected)
}

/** Keys as kid:base64,kid:base64; the first one is used for new work, all of them are accepted. */
export function keyringText(expected: string) {
  return z
    .string({ error: 'it is not text' })
    .check(({ value, issues }) => {
      const problem = keyringProblem(value)
      if (problem !== null) issues.push({ code: 'custom', message: problem, input: '' })
    })
    .transform((value) =>
      secret(
        value,
        value.split(',').map((part) => part.slice(part.indexOf(':') + 1).trim()),
      ),
    )
    .describe(expected)
}

function postgresUrl(expected: string) {
  return z
    .string({ error: 'it is not an address' })
    .refine((value) => isPostgresUrl(value), { error: 'it is no postgres:// address' })
    .transform((value) => {
      const { password } = new URL(value)
      return secret(value, [password, decodeURIComponent(password)])
    })
    .describe(expected)
}

function secret(value: string, parts: readonly string[] = []): Secret {
  for (const part of [value, ...parts]) registerSecret(part)
  return new Secret(value)
}

function isPostgresUrl(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && url.hostname !== '' && /^postgres(?:ql)?:$/.test(url.protocol)
}

/** A hard cap that no toggle can override: unset is no cap, empty closes the gate. */
function switchCap(what: string) {
  return z
    .enum(['true', 'false', ''], { error: 'it is neither true nor false' })
    .transform((value) => value === 'true')
    .optional()
    .meta({
      description: `false to keep ${what} off whatever Unleash says; leave it unset for no cap`,
      emptyCounts: true,
    })
}

function listCap(what: string) {
  return z
    .string()
    .transform((value) =>
      value
        .split(',')
        .map((id) => id.trim().toLowerCase())
        .filter((id) => id !== ''),
    )
    .refine((ids) => ids.every(isUuid), { error: 'it is not a list of uuids' })
    .optional()
    .meta({
      description: `${what} ids, separated by commas, that Unleash may let in; leave it unset for no cap`,
      emptyCounts: true,
    })
}

export const kafkaEnv = {
  KAFKA_BROKERS: text('host:port of the brokers, separated by commas')
    .transform((value) => value.split(',').map((broker) => broker.trim()))
    .refine(
      (brokers) =>
        brokers.every(
          (broker) => /^[^\s:]+:\d{1,5}$/.test(broker) || /^\[[\da-f:]+\]:\d{1,5}$/i.test(broker),
        ),
      {
        error: 'it is not a list of host:port',
      },
    )
    .describe('host:port of the brokers, separated by commas'),
  KAFKA_PREFIX: z
    .string()
    .regex(/^[\w.-]{0,64}$/, { error: 'it may hold letters, digits, dot, dash and underscore, at most 64' })
    .default('')
    .describe(
      'text before every topic, subject, group and transactional id, so that several installs can share a broker',
    ),
}

export const registryEnv = { SCHEMA_REGISTRY_URL: httpUrl('address of the schema registry') }

export const postgresEnv = {
  POSTGRES_URL: postgresUrl("postgres://role:password@host:port/database, with this service's own role"),
}

/** UNLEASH_URL and UNLEASH_TOKEN, and the caps under the names of the gates. */
export const unleashEnv = {
  UNLEASH_URL: httpUrl('address of the Unleash API, ending in /api'),
  UNLEASH_TOKEN: secretText('a backend token of Unleash'),
  CALENDAR_SYNC_ENABLED: switchCap('sync'),
  CALENDAR_JOBS_ENABLED: switchCap('jobs'),
  CALENDAR_WEBHOOK_ENABLED: switchCap('webhooks'),
  CALENDAR_OAUTH_ENABLED: switchCap('connecting accounts'),
  CALENDAR_ALLOWLIST_PROVIDER_IDS: listCap('provider'),
  CALENDAR_ALLOWLIST_CONNECTION_IDS: listCap('connection'),
}

export const adminEnv = {
  ADMIN_PORT: wholeNumber('port of /livez, /readyz and /metrics; 0 takes a free one', {
    min: 0,
    max: 65_535,
  }),
  ADMIN_HOST: text('interface of that port')
    .default('127.0.0.1')
    .describe('interface of that port; 0.0.0.0 inside a container'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], { error: 'it is no log level' })
    .default('info')
    .describe('trace, debug, info, warn, error, fatal or silent'),
}

export const credentialsEnv = {
  CREDENTIALS_KEYS: keyringText(
    'kid:key pairs, separated by commas, each key 32 random bytes as base64; the first one seals',
  ),
}

export const channelEnv = {
  CHANNEL_TOKEN_KEYS: keyringText(
    'kid:key pairs, separated by commas, each key 32 random bytes as base64; the first one signs',
  ),
  PUBLIC_URL: httpUrl('address under which vendors reach the ingress'),
}

export const googleEnv = {
  GOOGLE_API_URL: addressWithDefault('address of the Google APIs', 'https://www.googleapis.com'),
  GOOGLE_AUTH_URL: addressWithDefault(
    "address of Google's consent page",
    'https://accounts.google.com/o/oauth2/v2/auth',
  ),
  GOOGLE_TOKEN_URL: addressWithDefault(
    "address of Google's token endpoint",
    'https://oauth2.googleapis.com/token',
  ),
  GOOGLE_REVOKE_URL: addressWithDefault(
    "address of Google's revocation endpoint",
    'https://oauth2.googleapis.com/revoke',
  ),
  GOOGLE_CLIENT_ID: text('OAuth client id of the app at Google').optional(),
  GOOGLE_CLIENT_SECRET: secretText('OAuth client secret of the app at Google').optional(),
}

export const microsoftEnv = {
  MICROSOFT_API_URL: addressWithDefault('address of Microsoft Graph', 'https://graph.microsoft.com'),
  MICROSOFT_LOGIN_URL: addressWithDefault(
    "address of Microsoft's sign-in server, without the tenant",
    'https://login.microsoftonline.com',
  ),
  MICROSOFT_TENANT: text('tenant whose accounts may connect; common takes all')
    .default('common')
    .describe('tenant whose accounts may connect; common takes all'),
  MICROSOFT_MAILBOX_ZONE: z
    .enum(['asked', 'not_asked'])
    .default('asked')
    .describe('whether people are asked for the zone of their mailbox (MailboxSettings.Read)'),
  MICROSOFT_CLIENT_ID: text('OAuth client id of the app at Microsoft').optional(),
  MICROSOFT_CLIENT_SECRET: secretText('OAuth client secret of the app at Microsoft').optional(),
}

/**
 * The quotas of the app, shared by all processes. Standards: Google's since 2026-05 (older projects
 * have their own), Graph's throttling limits.
 */
export const quotaEnv = {
  GOOGLE_CALLS_PER_MINUTE: callsPerMinute('calls that Google allows the project in a minute', '10000'),
  GOOGLE_MAILBOX_CALLS_PER_MINUTE: callsPerMinute('calls that Google allows for one user in a minute', '600'),
  MICROSOFT_CALLS_PER_MINUTE: callsPerMinute('calls that Microsoft allows the app in a minute', '100000'),
  MICROSOFT_MAILBOX_CALLS_PER_MINUTE: callsPerMinute(
    'calls that Microsoft allows for one mailbox in a minute',
    '1000',
  ),
}

/** Every vendor's settings; which vendors there are, `createVendors` decides. */
export const vendorsEnv = { ...googleEnv, ...microsoftEnv, ...quotaEnv }

function callsPerMinute(expected: string, standard: string) {
  return wholeNumber(expected, { min: 10, max: 10_000_000 }).prefault(standard).describe(expected)
}

function addressWithDefault(what: string, url: string) {
  return httpUrl(what).default(url).describe(what)
}
