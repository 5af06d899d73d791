// The settings of bearer tokens: what signs them, and for whom. Read by those who take such a token
// and those who make one.
import { z } from 'zod'
import { httpUrl, secretText, text } from './settings.ts'

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

const SECRET =
  'the secret that signs bearer tokens, at least 32 bytes; leave it unset where API_JWKS_URL is set'

function claimed(claim: string, risk: string): string {
  return `the ${claim} that bearer tokens must name; needed with API_JWKS_URL, where "${ANY_CLAIM}" lets in ${risk}`
}
const ISSUER = claimed('issuer', 'every issuer that signs with those keys')
const AUDIENCE = claimed('audience', "the issuer's tokens for every other app")

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

/** The settings of those who check bearer tokens; `bearerRules` look at them together. */
export const bearerCheckEnv = {
  ...bearerEnv,
  API_JWKS_URL: httpUrl('address of the keys that sign bearer tokens').optional(),
}

/** Either the secret or the url is set. Without a name any issuer or audience is taken. */
export type BearerConfig = z.output<z.ZodObject<typeof bearerCheckEnv>>

/**
 * Exactly one kind of key, and with published ones an issuer and an audience: they sign for every
 * app of their issuer, so a claim has to say for whom; a secret is known to those alone whom it was
 * given to. RFC 8725 §3.8, §3.9.
 */
export const bearerRules = [
  z.refine<BearerConfig>((env) => (env.API_JWT_SECRET === undefined) !== (env.API_JWKS_URL === undefined), {
    path: ['API_JWT_SECRET'],
    error: 'exactly one of API_JWT_SECRET and API_JWKS_URL is to be set',
    // Also when other variables are wrong: all problems are told at once.
    when: ({ issues }) => !issues.some(({ path }) => String(path?.[0]).startsWith('API_JW')),
  }),
  z.refine<BearerConfig>(
    (env) => env.API_JWKS_URL === undefined || env.API_JWT_ISSUER !== undefined,
    neededWithKeys('API_JWT_ISSUER'),
  ),
  z.refine<BearerConfig>(
    (env) => env.API_JWKS_URL === undefined || env.API_JWT_AUDIENCE !== undefined,
    neededWithKeys('API_JWT_AUDIENCE'),
  ),
] as const

function neededWithKeys(claim: 'API_JWT_ISSUER' | 'API_JWT_AUDIENCE') {
  return {
    path: [claim],
    error: 'API_JWKS_URL needs it',
    // All problems are told at once, but not those of settings that are too many.
    when: ({ value }: { value: unknown }) => !(value as Readonly<Record<string, unknown>>)['API_JWT_SECRET'],
  }
}
