// Bearer tokens of our own HTTP API: JWTs signed with a shared secret (HS256) or by an issuer
// that publishes its keys (JWKS). Invariant: a token counts only with a signature of an
// algorithm that we allow, the type of an access token, an expiry within a day, and the expected
// issuer and audience where they are configured; "cannot tell" (the key server is down) is an
// error, never a yes and never a no.
import {
  createRemoteJWKSet,
  errors,
  jwtVerify,
  type JWTHeaderParameters,
  type JWTPayload,
  type JWTVerifyGetKey,
} from 'jose'
import { ANY_CLAIM, BEARER_LIFE_MAX_S, type BearerConfig } from './bearer-settings.ts'

/**
 * The claims of a good token; null for one that is missing, malformed, forged, expired, too long in
 * life, or foreign. Throws when the keys cannot be had.
 */
export type BearerCheck = (authorization: string | undefined) => Promise<JWTPayload | null>

/** Clocks of two machines differ; RFC 7519 §4.1.4 allows "some small leeway". */
const CLOCK_TOLERANCE_S = 5
const KEYS_TIMEOUT_MS = 2000
/**
 * An unknown kid makes us ask for new keys, at most this often:
 * a stream of made-up kids must not become one of requests.
 */
const KEYS_COOLDOWN_MS = 30_000
const PUBLIC_KEY_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'EdDSA',
]
/**
 * RFC 9068 §2.1, RFC 8725 §3.11: a logout notice, security event or DPoP proof is no access token.
 */
const ACCESS_TOKEN_TYPE = /^(?:application\/)?(?:jwt|at\+jwt)$/i
/** RFC 7235: the scheme is case-insensitive; RFC 6750: one b64token follows. */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** Builds the check; asks for published keys only when the first token needs them. */
export function createBearerCheck(config: BearerConfig): BearerCheck {
  const { key, algorithms } = keySource(config)
  const { API_JWT_ISSUER: issuer = ANY_CLAIM, API_JWT_AUDIENCE: audience = ANY_CLAIM } = config
  const options = {
    algorithms,
    clockTolerance: CLOCK_TOLERANCE_S,
    requiredClaims: ['exp'],
    ...(issuer === ANY_CLAIM ? {} : { issuer }),
    ...(audience === ANY_CLAIM ? {} : { audience }),
  }
  return async (authorization) => {
    const token = BEARER.exec(authorization ?? '')?.[1]
    if (token === undefined) return null
    let trouble: unknown = null
    const keyOrTrouble: JWTVerifyGetKey = async (header, input) => {
      try {
        return await key(header, input)
      } catch (error) {
        if (!isFaultOfToken(error)) trouble = error
        throw error
      }
    }
    try {
      const { protectedHeader, payload } = await jwtVerify(token, keyOrTrouble, options)
      return isAccessToken(protectedHeader) && isTimely(payload, Date.now() / 1000) ? payload : null
    } catch {
      if (trouble === null) return null
      throw new Error('The keys that sign bearer tokens cannot be had from API_JWKS_URL.', { cause: trouble })
    }
  }
}

function isAccessToken({ typ }: JWTHeaderParameters): boolean {
  return typ === undefined || (typeof typ === 'string' && ACCESS_TOKEN_TYPE.test(typ))
}

/**
 * Whether the times of a token that is not expired make sense: it ends within BEARER_LIFE_MAX_S of
 * now and of its issue, and was not issued in the future. All in seconds since 1970.
 */
function isTimely({ exp, iat, nbf }: JWTPayload, now: number): boolean {
  const longest = BEARER_LIFE_MAX_S + CLOCK_TOLERANCE_S
  if (!Number.isFinite(exp) || (exp as number) > now + longest) return false
  // JSON has no infinity, but 1e400 reads as one.
  if (nbf !== undefined && !Number.isFinite(nbf)) return false
  if (iat === undefined) return true
  return Number.isFinite(iat) && iat <= now + CLOCK_TOLERANCE_S && (exp as number) <= iat + longest
}

function keySource(config: BearerConfig): { key: JWTVerifyGetKey; algorithms: string[] } {
  if (config.API_JWKS_URL !== undefined) {
    const key = createRemoteJWKSet(new URL(config.API_JWKS_URL), {
      timeoutDuration: KEYS_TIMEOUT_MS,
      cooldownDuration: KEYS_COOLDOWN_MS,
    })
    return { key, algorithms: PUBLIC_KEY_ALGORITHMS }
  }
  if (config.API_JWT_SECRET === undefined) throw new Error('Bearer tokens need a secret or a JWKS url.')
  const bytes = new TextEncoder().encode(config.API_JWT_SECRET.reveal())
  return { key: async () => bytes, algorithms: ['HS256'] }
}

/**
 * A key that the issuer does not publish, named by the token;
 * everything else means that the key server failed us.
 */
function isFaultOfToken(error: unknown): boolean {
  return error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys
}
