// What the ingress reads from its environment. Pure.
import { z } from 'zod'
import { adminEnv, httpUrl, readEnv, secretText, text, wholeNumber } from '#shared/process/settings.ts'
import { channelEnv, vendorsEnv } from '#shared/vendors/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import { isNetwork } from './sockets/addresses.ts'

/** RFC 7518 §3.2: the key of HS256 has at least the size of its hash. */
const SECRET_BYTES_MIN = 32

/**
 * How long a bearer token may live, in seconds. Access tokens of Entra ID live for about an hour,
 * Auth0's for a day unless told otherwise, Okta's for a day at most. One that lives longer is a
 * password that no one can take back.
 */
export const BEARER_LIFE_MAX_S = 86_400

/** As API_JWT_ISSUER or API_JWT_AUDIENCE: not looked at, and said so. */
export const ANY_CLAIM = 'any'

const PORT = 'port of the webhooks and the API; 0 takes a free one'
const HOST = 'interface of that port; 0.0.0.0 inside a container'
const CONNECTIONS = 'sockets open at a time; for one more, the one that keeps us waiting longest is closed'
const PER_ADDRESS =
  'the same of one address (of IPv6: of its first 64 bits); vendors and proxies send much from few'
const PROXIES =
  'addresses or networks like 10.0.0.0/8 of your proxies, separated by commas; their X-Forwarded-For is believed'
const SECRET =
  'the secret that signs bearer tokens, at least 32 bytes; leave it unset where API_JWKS_URL is set'

function claimed(claim: string, risk: string): string {
  return `the ${claim} that bearer tokens must name; needed with API_JWKS_URL, where "${ANY_CLAIM}" lets in ${risk}`
}
const ISSUER = claimed('issuer', 'every issuer that signs with those keys')
const AUDIENCE = claimed('audience', "the issuer's tokens for every other app")

const RETURN_ORIGINS =
  'origins like https://app.example.com, separated by commas, where a browser may be sent after it connected an account; http://127.0.0.1:* is every port of this machine'

/**
 * Every port of a machine that only its own user reaches: where people build apps, ports change.
 */
const ANY_LOOPBACK_PORT = /^https?:\/\/(?:127\.0\.0\.1|localhost|\[::1\]):\*$/

function isOrigin(part: string): boolean {
  // A host may be "*" to a URL parser, and nothing else here is a pattern.
  return ANY_LOOPBACK_PORT.test(part) || (/^https?:[^*]+$/.test(part) && URL.parse(part)?.origin === part)
}

/** Origins exactly as browsers write them: anything more would never match, or match too much. */
function originList(expected: string) {
  const error = 'it has an entry that is no http or https origin'
  return z
    .string({ error })
    .transform((value) => value.split(',').map((part) => part.trim().replace(/\/$/, '')))
    .refine((parts) => parts.every(isOrigin), { error })
    .describe(expected)
}

/** What signs bearer tokens. */
export const bearerSecret = secretText()
  .refine((secret) => Buffer.byteLength(secret.reveal()) >= SECRET_BYTES_MIN, { error: 'it is too short' })
  .describe(SECRET)

/** The settings of bearer tokens that a maker of one needs too. */
export const bearerEnv = {
  API_JWT_SECRET: bearerSecret.optional().describe(SECRET),
  API_JWT_ISSUER: text(ISSUER).optional().describe(ISSUER),
  API_JWT_AUDIENCE: text(AUDIENCE).optional().describe(AUDIENCE),
}

/**
 * Published keys sign for every app of their issuer, so a claim has to say for whom; a secret is
 * known to those alone whom it was given to. RFC 8725 §3.8, §3.9.
 */
function neededWithKeys(claim: 'API_JWT_ISSUER' | 'API_JWT_AUDIENCE') {
  return {
    path: [claim],
    error: 'API_JWKS_URL needs it',
    // All problems are told at once, but not those of settings that are too many.
    when: ({ value }: { value: unknown }) => !(value as Readonly<Record<string, unknown>>)['API_JWT_SECRET'],
  }
}

function networkList(expected: string) {
  const error = 'it has an entry that is neither an address nor a network'
  return z
    .string({ error })
    .transform((value) => value.split(',').map((part) => part.trim()))
    .refine((parts) => parts.every(isNetwork), { error })
    .describe(expected)
}

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z
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
    INGRESS_CONNECTIONS_PER_ADDRESS_MAX: wholeNumber(PER_ADDRESS, { min: 1, max: 100_000 })
      .default(500)
      .describe(PER_ADDRESS),
    INGRESS_TRUSTED_PROXIES: networkList(PROXIES).default([]).describe(PROXIES),
    ...bearerEnv,
    API_JWKS_URL: httpUrl('address of the keys that sign bearer tokens').optional(),
  })
  .refine((env) => (env.API_JWT_SECRET === undefined) !== (env.API_JWKS_URL === undefined), {
    path: ['API_JWT_SECRET'],
    error: 'exactly one of API_JWT_SECRET and API_JWKS_URL is to be set',
    // Also when other variables are wrong: all problems are told at once.
    when: ({ issues }) => !issues.some(({ path }) => String(path?.[0]).startsWith('API_JW')),
  })
  .refine(
    (env) => env.API_JWKS_URL === undefined || env.API_JWT_ISSUER !== undefined,
    neededWithKeys('API_JWT_ISSUER'),
  )
  .refine(
    (env) => env.API_JWKS_URL === undefined || env.API_JWT_AUDIENCE !== undefined,
    neededWithKeys('API_JWT_AUDIENCE'),
  )

export type IngressConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): IngressConfig {
  return readEnv(schema, env)
}
