// Settings from the environment. Invariant: all problems of a process's settings are named at once,
// each by its variable, and no value is ever printed, since a secret pasted into the wrong
// variable is still a secret.
import { z } from 'zod'
import { addressProblem, ALLOW_HTTP_TO, readHosts, withoutEndSlashes } from './address.ts'
import { FileSecret, valueIn } from './file-secret.ts'
import { keyringProblem } from './keyring.ts'
import { useProxy } from './proxy.ts'
import { forgetSecret, registerSecret } from './redact.ts'
import { Secret } from './secret.ts'
import { UserError } from './user-error.ts'
import { unknownSettings } from './unknown-settings.ts'

/** Settings that cannot be used. The message is for a person: one line per variable. */
export class ConfigError extends UserError {
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
 * http address is taken when it leads to this machine or to a host that ALLOW_HTTP_TO names. Pieces
 * that only make sense together are looked at together (see `together`). Throws ConfigError with
 * every problem.
 */
export function readEnv<S extends z.ZodObject>(schema: S, env: NodeJS.ProcessEnv): z.output<S> {
  const problems: string[] = []
  const input: Record<string, string | undefined> = {}
  const rotating: Record<string, Secret> = {}
  for (const [name, piece] of Object.entries(schema.shape) as [string, z.ZodType][]) {
    const value = valueOf(name, env, problems)
    input[name] = value === '' && piece.meta()?.['emptyCounts'] !== true ? undefined : value
    const file = env[`${name}_FILE`] ?? ''
    if (piece.meta()?.['rotates'] === true && input[name] !== undefined)
      rotating[name] = rotatingOf(input[name], file)
  }
  const hosts = readHosts(valueOf(ALLOW_HTTP_TO, env, problems) ?? '')
  const parsed = schema.safeParse({ ...input, ...rotating })
  const unsafe = unsafeAddresses(input, hosts)
  for (const piece of Object.values(schema.shape) as z.ZodType[])
    problems.push(...(togetherOf(piece)?.(input) ?? []))
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

/** Sends what goes out through the proxy that the environment names; see proxy.ts. */
export function takeProxy(env: NodeJS.ProcessEnv = process.env): void {
  useProxy(env)
}

/**
 * What CALSTREAM_CRASH_AT asks for (see step.ts); null when it is not set. Throws
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

/** What this process's environment names that looks like a setting of ours and is none. */
export function strangeNames(env: NodeJS.ProcessEnv = process.env): readonly string[] {
  return unknownSettings(env)
}

function valueOf(name: string, env: NodeJS.ProcessEnv, problems: string[]): string | undefined {
  const file = env[`${name}_FILE`]
  if (file === undefined || file === '') return env[name]
  if (env[name] !== undefined && env[name] !== '') {
    problems.push(`${name}_FILE and ${name} are both set; keep one.`)
    return undefined
  }
  try {
    return valueIn(file)
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

// The pieces: a service's schema is made of those that it needs. What a person asks about a setting
// stands in its `meta`, and docs/configuration.md is made of it: `description`; `secret` where the
// value opens something; `rotates` where its file is read again when it changes.

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
    .meta({ description: expected, secret: true })
}

/**
 * A secret that may be replaced while the process runs: given by NAME_FILE, each `reveal()` reads
 * the file again.
 */
export function rotatingSecret(expected: string) {
  return z
    .instanceof(Secret, { error: 'it is not text' })
    .optional()
    .meta({ description: expected, secret: true, rotates: true })
}

function rotatingOf(value: string, file: string): Secret {
  registerSecret(value)
  if (file === '') return new Secret(value)
  return new FileSecret(file, value, (now, forgotten) => {
    if (forgotten !== null) forgetSecret(forgotten)
    registerSecret(now)
  })
}

/** Values by name, as they stand in the environment or the file. */
export type Input = Readonly<Record<string, string | undefined>>

/** What is wrong with several settings together: sentences that name them and hold no value. */
export type Together = (input: Input) => readonly string[]

/** A piece whose schema also looks at its fellows: `readEnv` asks it once, with all of them. */
export function together<P extends z.ZodType>(piece: P, check: Together): P {
  return piece.meta({ ...piece.meta(), together: check })
}

function togetherOf(piece: z.ZodType): Together | undefined {
  return piece.meta()?.['together'] as Together | undefined
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
    .meta({ description: expected, secret: true })
}

/** A secret that is hidden in logs from now on, each of its parts too. */
export function secret(value: string, parts: readonly string[] = []): Secret {
  for (const part of [value, ...parts]) registerSecret(part)
  return new Secret(value)
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
