// Where the database is, and the keys of what is sealed in it.
import { z } from 'zod'
import { keyringText, secret } from '#shared/process/settings.ts'

export const postgresEnv = {
  POSTGRES_URL: postgresUrl("postgres://role:password@host:port/database, with this service's own role"),
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
