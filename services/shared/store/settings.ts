// Where the database is, and the keys of what is sealed in it.
import { z } from 'zod'
import { keyringText, secret } from '#shared/process/settings.ts'

export const postgresEnv = {
  POSTGRES_URL: postgresUrl("postgres://role:password@host:port/database, with this service's own role"),
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
