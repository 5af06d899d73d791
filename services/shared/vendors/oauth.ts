// The OAuth 2.0 client of both vendors: where a person consents, and what the token endpoint and revocation endpoint are asked.
// Authorization code with PKCE S256; endpoints are configured, never discovered. Each call is one request through boundedFetch, and
// whatever goes wrong is a Failure without code, token or secret in it. Identity tokens are not asked for and not read.
// Source: RFC 6749, RFC 7636, RFC 7009; error words of the vendors beside each table entry.
import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  Configuration,
  customFetch,
  refreshTokenGrant,
  tokenRevocation,
  type ClientAuth,
} from 'openid-client'
import { z } from 'zod'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/platform/clock.ts'
import type { Secret } from '#shared/platform/env.ts'
import { brokenLibrary, failureInside, parseJson, readAs, reasonWord, type Answer } from './answer.ts'
import { createBoundedFetch, retryAtOf } from './fetch.ts'
import { cleanLine } from './fit.ts'
import type { CodeGrant, ConsentRequest, Grant, Vendor } from './vendor.ts'

/** A token answer has a few kB. */
const GRANT_BYTES_MAX = 1024 * 1024
const TOKEN_MAX = 16_384
const LIFE_SECONDS_MAX = 86_400
/** What is kept of the scopes; those that we ask for have about 100 characters. */
const SCOPE_MAX = 4096

export interface OAuthSettings {
  /** As people know it: Google, Microsoft. */
  readonly vendor: string
  readonly authUrl: string
  readonly tokenUrl: string
  /** null where the vendor has no revocation endpoint. */
  readonly revokeUrl: string | null
  readonly clientId: string
  readonly clientSecret: Secret
  /** Asked of the person, separated by spaces. */
  readonly scope: string
  /** Scopes without which nothing works, each with the wider ones that include it. */
  readonly needed: readonly { readonly scope: string; readonly widerScopes: readonly string[] }[]
  /** More parameters of the consent page. */
  readonly consent: Readonly<Record<string, string>>
  /** More parameters of the token endpoint. */
  readonly tokenParameters: Readonly<Record<string, string>>
}

export type OAuthClient = Pick<Vendor, 'consentUrl' | 'exchangeCode' | 'refresh' | 'revoke'>

/** RFC 6749 §A.12, §A.17: visible ASCII; a line end in one would be a header of its own. */
const wireToken = z
  .string()
  .max(TOKEN_MAX)
  .regex(/^[\x20-\x7E]+$/)

const wireGrant = z.object({
  access_token: wireToken,
  expires_in: z.coerce.number().positive(),
  refresh_token: wireToken.nullish(),
  scope: z.string().nullish().catch(null),
})

/** RFC 6749 §5.2. */
const wireGrantError = z.object({ error: z.string() })

/** The client of one vendor. Where its endpoints may lie is for the settings to say (platform/address.ts). */
export function createOAuth(settings: OAuthSettings, clock: Clock): OAuthClient {
  const { revokeUrl, vendor } = settings
  const ask = createAsk(settings, clock)
  return {
    consentUrl: (request) => consentUrl(settings, request),
    exchangeCode: ({ code, codeVerifier, redirectUri }, signal) => {
      const callback = new URL(redirectUri)
      callback.searchParams.set('code', code)
      return ask(signal, 'exchange', async (client) => {
        const data = await authorizationCodeGrant(
          client,
          callback,
          { pkceCodeVerifier: codeVerifier },
          { ...settings.tokenParameters },
        )
        return codeGrantOf(settings, data, clock.now())
      })
    },
    refresh: (refreshToken, signal) =>
      ask(signal, 'refresh', async (client) => {
        const data = await refreshTokenGrant(client, refreshToken, { ...settings.tokenParameters })
        const grant = withFitScope(grantOf(vendor, data, clock.now()))
        return grant.refreshToken === refreshToken ? { ...grant, refreshToken: null } : grant
      }),
    async revoke(refreshToken, signal) {
      if (revokeUrl === null) return
      await ask(signal, 'revoke', (client) => tokenRevocation(client, refreshToken))
    },
  }
}

function consentUrl(settings: OAuthSettings, request: ConsentRequest): string {
  const { redirectUri, state, codeChallenge, loginHint } = request
  const url = buildAuthorizationUrl(configurationOf(settings), {
    redirect_uri: redirectUri,
    scope: settings.scope,
    state,
    code_challenge: codeChallenge,
    code_challenge_method: 'S256',
    ...settings.consent,
    ...(loginHint === null ? {} : { login_hint: loginHint }),
  })
  return url.href
}

type Purpose = 'exchange' | 'refresh' | 'revoke'
type Ask = <T>(
  signal: AbortSignal,
  purpose: Purpose,
  work: (client: Configuration) => Promise<T>,
) => Promise<T>

function createAsk(settings: OAuthSettings, clock: Clock): Ask {
  const send = createBoundedFetch({ bytesMax: GRANT_BYTES_MAX })
  return async (signal, purpose, work) => {
    let answered = false
    // One configuration per call, so that the signal of a caller ends this call and no other.
    const client = configurationOf(settings, purpose)
    client.timeout = undefined
    client[customFetch] = async (url, options) => {
      const response = await send(url, { ...(options as RequestInit), signal })
      const text = await response.text()
      answered = true
      const answer = { status: response.status, headers: response.headers, data: parseJson(text) }
      if (purpose === 'revoke' && isGone(answer)) return new Response(null)
      if (!response.ok) throw failureOfGrant(answer, settings.vendor, clock.now())
      return new Response(withoutIdentity(answer.data), { headers: { 'content-type': 'application/json' } })
    }
    try {
      return await work(client)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      const failure = failureInside(error)
      if (failure) throw failure
      if (!answered) throw brokenLibrary('openid-client', error)
      throw new Failure(
        'vendor/unreadable-answer',
        `${settings.vendor}'s token endpoint sent an answer that is not in its documented format.`,
      )
    }
  }
}

/** An identity token comes with scopes that the person gave to other parts of the app; its checks must not cost us the grant. */
function withoutIdentity(data: unknown): string {
  return JSON.stringify(data, (key, value: unknown) => (key === 'id_token' ? undefined : value)) ?? ''
}

function configurationOf(settings: OAuthSettings, purpose: Purpose = 'refresh'): Configuration {
  const { authUrl, tokenUrl, revokeUrl, clientId, clientSecret } = settings
  const server = {
    issuer: new URL(tokenUrl).origin,
    authorization_endpoint: authUrl,
    token_endpoint: tokenUrl,
    ...(revokeUrl === null ? {} : { revocation_endpoint: revokeUrl }),
  }
  // Google's revocation takes the token alone: https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke
  const client =
    purpose === 'revoke'
      ? new Configuration(server, clientId, undefined, tokenAlone)
      : new Configuration(server, clientId, clientSecret.reveal())
  allowInsecureRequests(client)
  return client
}

const tokenAlone: ClientAuth = () => undefined

function grantOf(vendor: string, data: unknown, now: Micros): Grant {
  const grant = readAs(wireGrant, data, { vendor, what: 'token' })
  const seconds = Math.min(Math.floor(grant.expires_in), LIFE_SECONDS_MAX)
  return {
    accessToken: grant.access_token,
    accessExpiresAt: now + seconds * 1_000_000,
    refreshToken: grant.refresh_token ?? null,
    scope: grant.scope ?? null,
  }
}

function codeGrantOf({ vendor, needed }: OAuthSettings, data: unknown, now: Micros): CodeGrant {
  const { refreshToken, ...grant } = grantOf(vendor, data, now)
  if (refreshToken === null) {
    throw new Failure('vendor/access-denied', `${vendor} gave no lasting access to this account.`)
  }
  // RFC 6749 §5.1: without `scope` it is the one that was asked for.
  const given = new Set((grant.scope ?? '').split(/\s+/).map(plainScope))
  const lacks = (scope: string) => !given.has(plainScope(scope))
  const missing = needed.filter(({ scope, widerScopes }) => [scope, ...widerScopes].every(lacks))
  return {
    ...withFitScope(grant),
    refreshToken,
    missingScopes: grant.scope === null ? [] : missing.map(({ scope }) => scope),
  }
}

/** What a person granted is compared whole and kept fit. */
function withFitScope<G extends { readonly scope: string | null }>(grant: G): G {
  return { ...grant, scope: cleanLine(grant.scope, SCOPE_MAX) }
}

/** Microsoft names a scope with or without its resource, in either case. */
function plainScope(scope: string): string {
  return scope.toLowerCase().replace(/^https:\/\/graph\.microsoft\.com\//, '')
}

/** A token that the vendor does not know (any more) is what a revocation wants. */
function isGone({ status, data }: Answer): boolean {
  const parsed = wireGrantError.safeParse(data)
  return status === 400 && parsed.success && /^invalid_(?:token|grant)$/.test(parsed.data.error)
}

/** The refusals of a token or revocation endpoint as a Failure. `now` in µs: the base of Retry-After. */
export function failureOfGrant(answer: Answer, vendor: string, now: Micros): Failure {
  const parsed = wireGrantError.safeParse(answer.data)
  const error = parsed.success ? parsed.data.error : undefined
  return new Failure(
    codeOfGrant(answer.status, error),
    `${vendor}'s token endpoint answered ${answer.status} ${reasonWord(error)}.`,
    { retryAt: retryAtOf(answer.headers, now) },
  )
}

function codeOfGrant(status: number, error: string | undefined): FailureCode {
  if (status === 429) return 'vendor/throttled'
  if (status === 408 || status >= 500) return 'vendor/unavailable'
  switch (error) {
    case undefined:
      return 'vendor/unreadable-answer'
    case 'invalid_grant':
    // Entra ID: the person has to be there again. learn.microsoft.com/entra/identity-platform/reference-error-codes
    case 'interaction_required':
    case 'consent_required':
    case 'login_required':
      return 'vendor/grant-revoked'
    case 'invalid_client':
    case 'unauthorized_client':
    case 'redirect_uri_mismatch':
    case 'deleted_client':
    case 'disabled_client':
      return 'vendor/client-rejected'
    case 'access_denied':
    case 'admin_policy_enforced':
    case 'org_internal':
    case 'invalid_scope':
      return 'vendor/access-denied'
    case 'temporarily_unavailable':
    case 'server_error':
    case 'internal_failure':
      return 'vendor/unavailable'
    default:
      return 'vendor/rejected'
  }
}
