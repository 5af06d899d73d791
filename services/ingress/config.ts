// What the ingress reads from its environment. Pure.
import { z } from 'zod'
import {
  adminEnv,
  channelEnv,
  credentialsEnv,
  httpUrl,
  kafkaEnv,
  postgresEnv,
  readEnv,
  registryEnv,
  secretText,
  text,
  unleashEnv,
  vendorsEnv,
  wholeNumber,
} from '#shared/platform/env.ts'

/** RFC 7518 §3.2: the key of HS256 has at least the size of its hash. */
const SECRET_BYTES_MIN = 32

const PORT = 'port of the webhooks and the API; 0 takes a free one'
const HOST = 'interface of that port; 0.0.0.0 inside a container'
const CONNECTIONS = 'sockets open at a time; one more is closed at once'
const SECRET =
  'the secret that signs bearer tokens, at least 32 bytes; leave it unset where API_JWKS_URL is set'

const RETURN_ORIGINS =
  'origins like https://app.example.com, separated by commas, where a browser may be sent after it connected an account'

/** Origins exactly as browsers write them: anything more would never match, or match too much. */
function originList(expected: string) {
  const error = 'it has an entry that is no http or https origin'
  return z
    .string({ error })
    .transform((value) => value.split(',').map((part) => part.trim().replace(/\/$/, '')))
    .refine((parts) => parts.every((part) => /^https?:/.test(part) && URL.parse(part)?.origin === part), {
      error,
    })
    .describe(expected)
}

const schema = z
  .object({
    ...kafkaEnv,
    ...registryEnv,
    ...postgresEnv,
    ...unleashEnv,
    ...adminEnv,
    ...channelEnv,
    ...credentialsEnv,
    ...vendorsEnv,
    OAUTH_RETURN_ORIGINS: originList(RETURN_ORIGINS).default([]).describe(RETURN_ORIGINS),
    INGRESS_PORT: wholeNumber(PORT, { min: 0, max: 65_535 }).default(8080).describe(PORT),
    // Loopback unless told otherwise: opening to the network is a decision.
    INGRESS_HOST: text(HOST).default('127.0.0.1').describe(HOST),
    INGRESS_CONNECTIONS_MAX: wholeNumber(CONNECTIONS, { min: 10, max: 100_000 })
      .default(2000)
      .describe(CONNECTIONS),
    API_JWT_SECRET: secretText()
      .refine((secret) => Buffer.byteLength(secret.reveal()) >= SECRET_BYTES_MIN, {
        error: 'it is too short',
      })
      .optional()
      .describe(SECRET),
    API_JWKS_URL: httpUrl('address of the keys that sign bearer tokens').optional(),
    API_JWT_ISSUER: text('the issuer that bearer tokens must name').optional(),
    API_JWT_AUDIENCE: text('the audience that bearer tokens must name').optional(),
  })
  .refine((env) => (env.API_JWT_SECRET === undefined) !== (env.API_JWKS_URL === undefined), {
    path: ['API_JWT_SECRET'],
    error: 'exactly one of API_JWT_SECRET and API_JWKS_URL is to be set',
    // Also when other variables are wrong: all problems are told at once.
    when: ({ issues }) => !issues.some(({ path }) => String(path?.[0]).startsWith('API_JW')),
  })

export type IngressConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): IngressConfig {
  return readEnv(schema, env)
}
