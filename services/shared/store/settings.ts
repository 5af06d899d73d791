// Where the database is, and the keys of what is sealed in it.
import { accessSync, constants } from 'node:fs'
import { z } from 'zod'
import { Secret } from '#shared/process/secret.ts'
import { type Input, keyringText, rotatingSecret, secret, together } from '#shared/process/settings.ts'

export const postgresEnv = {
  POSTGRES_URL: together(
    postgresUrl("postgres://role:password@host:port/database, with this service's own role"),
    addressProblems,
  ),
  POSTGRES_PASSWORD: rotatingSecret("the role's password, in place of the one in POSTGRES_URL"),
}

type PostgresSettings = z.output<z.ZodObject<typeof postgresEnv>>

/** The address with the password as it is now. */
export function databaseUrlOf({ POSTGRES_URL: url, POSTGRES_PASSWORD: password }: PostgresSettings): Secret {
  return password === undefined ? url : new AddressWithPassword(url, password)
}

class AddressWithPassword extends Secret {
  readonly #url: Secret
  readonly #password: Secret

  constructor(url: Secret, password: Secret) {
    super('')
    this.#url = url
    this.#password = password
  }

  override reveal(): string {
    const url = new URL(this.#url.reveal())
    url.password = encodeURIComponent(this.#password.reveal())
    return url.href
  }
}

/** The names that libpq has for files of certificates, which the driver reads. */
const FILES = ['sslrootcert', 'sslcert', 'sslkey'] as const
/** Of libpq, and `no-verify` of the driver. */
const MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']

function addressProblems(input: Input): readonly string[] {
  const url = URL.parse(input['POSTGRES_URL'] ?? '')
  if (url === null) return []
  const problems: string[] = []
  if (url.password !== '' && input['POSTGRES_PASSWORD'] !== undefined)
    problems.push('POSTGRES_PASSWORD is set, and POSTGRES_URL holds a password too; keep one.')
  const mode = url.searchParams.get('sslmode')
  if (mode !== null && !MODES.includes(mode))
    problems.push('POSTGRES_URL cannot be used: its sslmode is no known word; verify-full checks all.')
  const named = FILES.filter((name) => url.searchParams.has(name))
  for (const name of named)
    if (!isReadable(url.searchParams.get(name) ?? ''))
      problems.push(`POSTGRES_URL cannot be used: the file that it names as ${name} cannot be read.`)
  if (named.includes('sslcert') !== named.includes('sslkey'))
    problems.push('POSTGRES_URL cannot be used: sslcert and sslkey belong together, and it names one.')
  return problems
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return true
  } catch {
    return false
  }
}

/** The roles as schemas/sql names them. */
export const DEFAULT_ROLE_PREFIX = 'calstream_'

/** Of `calstream migrate`. A longer prefix would not fit into a name of Postgres, 63 bytes. */
export const rolePrefixEnv = {
  POSTGRES_ROLE_PREFIX: z
    .string()
    .regex(/^[a-z][a-z0-9_]{0,39}$/, {
      error: 'it is not a lower-case letter, then letters, digits and underscores, at most 40',
    })
    .default(DEFAULT_ROLE_PREFIX)
    .describe(
      'what the names of the database roles begin with; roles belong to the whole server, so each install on it has its own prefix',
    ),
}

export const credentialsEnv = {
  CREDENTIALS_KEYS: keyringText(
    'kid:key pairs, separated by commas, each key 32 random bytes as base64; the first one seals',
  ),
}

function postgresUrl(expected: string) {
  return z
    .string({ error: 'it is not an address' })
    .refine((value) => isPostgresUrl(value), { error: 'it is no postgres:// address' })
    .transform((value) => {
      const { password } = new URL(value)
      return secret(value, [password, decodeURIComponent(password)])
    })
    .meta({ description: expected, secret: true })
}

function isPostgresUrl(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && url.hostname !== '' && /^postgres(?:ql)?:$/.test(url.protocol)
}
