// The OAuth 2.0 client of both vendors: where a person consents, and what the token endpoint and
// revocation endpoint are asked. Authorization code with PKCE S256; endpoints are configured,
// never discovered. Each call is one request through boundedFetch, and whatever goes wrong is a
// Failure without code, token or secret in it. What the words of a refusal mean is in
// grant-words.ts; what is not there is our trouble or the vendor's, never the person's. Of an
// identity token the subject alone is read.
// Source: RFC 6749, RFC 7636, RFC 7009.
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
import { decodeJwt } from 'jose'
import { z } from 'zod'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Micros, VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Secret } from '#shared/process/secret.ts'
import { brokenLibrary, failureInside, parseJson, readAs, reasonWord, type Answer } from './answer.ts'
import { createBoundedFetch, retryAtOf } from './fetch.ts'
import { clampMicros, cleanLine } from './storable.ts'
import { grantWordOf, numberIn, type GrantWord, type Refusal } from './grant-words.ts'
import type { CodeGrant, ConsentRequest, Grant, Vendor } from './vendor.ts'

/** A token answer has a few kB. */
const GRANT_BYTES_MAX = 1024 * 1024
const TOKEN_MAX = 16_384
const LIFE_SECONDS_MAX = 86_400
/**
 * Of a token whose life is not named or makes no sense: soon renewed, and a 401 renews it sooner.
 */
const LIFE_SECONDS_UNKNOWN = 300
/** Numbers of a refusal that are looked at; Entra names one or two. */
const NUMBERS_MAX = 8
/** What is kept of the scopes; those that we ask for have about 100 characters. */
const SCOPE_MAX = 4096

export interface OAuthSettings {
  readonly name: VendorName
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
  /** The plain name of a scope, so that two spellings of one can be compared. */
  readonly plainScope: (scope: string) => string
  /**
   * Who may sign the identity tokens whose `sub` is the account;
   * empty where another call names the account.
   */
  readonly subjectIssuers: readonly string[]
  /**
   * Where an administrator approves the app for an organization; null where there is no such page.
   */
  readonly approvalUrl: string | null
  /** More parameters of the consent page. */
  readonly consent: Readonly<Record<string, string>>
  /** More parameters of the token endpoint. */
  readonly tokenParameters: Readonly<Record<string, string>>
}

/** Why a vendor gives an access token alone, and what to do. */
const OFFLINE_TODO: Readonly<Record<VendorName, string>> = {
  google:
    'It gives one only to a consent page that is asked with access_type=offline and prompt=consent: GOOGLE_AUTH_URL has to be the bare address of that page. Correct it, and let the person connect again.',
  microsoft:
    'It gives one only with the permission offline_access: add it to the delegated permissions of the app (API permissions, Microsoft Graph), and let the person connect again.',
}

type OAuthClient = Pick<Vendor, 'approvalUrl' | 'consentUrl' | 'exchangeCode' | 'refresh' | 'revoke'>

/** RFC 6749 §A.12, §A.17: visible ASCII; a line end in one would be a header of its own. */
const wireToken = z
  .string()
  .max(TOKEN_MAX)
  .regex(/^[\x20-\x7E]+$/)

const seconds = z.coerce.number().positive().finite()

const wireGrant = z.object({
  access_token: wireToken,
  // RFC 6749 §5.1 recommends it alone.
  expires_in: seconds.catch(LIFE_SECONDS_UNKNOWN),
  refresh_token: wireToken.nullish(),
  scope: z.string().nullish().catch(null),
  // Google: only of a grant that ends, as those of a project in testing do after 7 days.
  refresh_token_expires_in: seconds.nullish().catch(null),
})

const word = z.string().max(200).optional().catch(undefined)

/** RFC 6749 §5.2, and what the vendors put beside it. */
const wireGrantError = z.object({
  error: z.string(),
  error_description: z.string().catch(''),
  error_subtype: word,
  error_codes: z.array(z.int().positive()).catch([]),
})

/**
 * The client of one vendor. Where its endpoints may lie is for the settings to
 * say (process/address.ts).
 */
export function createOAuth(settings: OAuthSettings, clock: Clock): OAuthClient {
  const { revokeUrl } = settings
  const ask = createAsk(settings, clock)
  return {
    approvalUrl: settings.approvalUrl,
    consentUrl: (request) => consentUrl(settings, request),
    exchangeCode: ({ code, codeVerifier, redirectUri }, signal) => {
      const callback = new URL(redirectUri)
      callback.searchParams.set('code', code)
      return ask(signal, 'exchange', async (client) => {
        await authorizationCodeGrant(
          client.configuration,
          callback,
          { pkceCodeVerifier: codeVerifier },
          { ...settings.tokenParameters },
        )
        return codeGrantOf(settings, client.told(), clock.now())
      })
    },
    refresh: (refreshToken, signal) =>
      ask(signal, 'refresh', async (client) => {
        await refreshTokenGrant(client.configuration, refreshToken, { ...settings.tokenParameters })
        const grant = withFitScope(grantOf(settings, client.told(), clock.now()))
        return grant.refreshToken === refreshToken ? { ...grant, refreshToken: null } : grant
      }),
    async revoke(refreshToken, signal) {
      if (revokeUrl === null) return
      await ask(signal, 'revoke', ({ configuration }) => tokenRevocation(configuration, refreshToken))
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
/** The client of one call, and the vendor's answer to it, as it came. */
interface Client {
  readonly configuration: Configuration
  readonly told: () => unknown
}
type Ask = <T>(signal: AbortSignal, purpose: Purpose, work: (client: Client) => Promise<T>) => Promise<T>

function createAsk(settings: OAuthSettings, clock: Clock): Ask {
  const send = createBoundedFetch({ vendor: settings.name, bytesMax: GRANT_BYTES_MAX })
  return async (signal, purpose, work) => {
    let answered = false
    let told: unknown
    // One configuration per call, so that the signal of a caller ends this call and no other.
    const configuration = configurationOf(settings, purpose)
    configuration.timeout = undefined
    configuration[customFetch] = async (url, options) => {
      const response = await send(url, { ...(options as RequestInit), signal })
      const text = await response.text()
      answered = true
      const answer = { status: response.status, headers: response.headers, data: parseJson(text) }
      if (purpose === 'revoke' && isGone(answer)) return new Response(null)
      if (!response.ok) throw failureOfGrant(answer, settings, purpose, clock.now())
      told = answer.data
      return new Response(bareGrant(told), { headers: { 'content-type': 'application/json' } })
    }
    try {
      return await work({ configuration, told: () => told })
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

/**
 * The checks of the library on an identity token,
 * a life or an end that is odd must not cost us the grant.
 */
const NOT_CHECKED = new Set(['id_token', 'expires_in', 'refresh_token_expires_in'])

function bareGrant(data: unknown): string {
  return JSON.stringify(data, (key, value: unknown) => (NOT_CHECKED.has(key) ? undefined : value)) ?? ''
}

/**
 * Whose grant it is, as the identity token that came with it says; null when none did, or it is for
 * another client. Its signature is not checked: it came over TLS straight from the token endpoint
 * (OpenID Connect Core §3.1.3.7, 6).
 */
function subjectOf({ subjectIssuers, clientId }: OAuthSettings, data: unknown): string | null {
  const token = z.object({ id_token: z.string() }).safeParse(data)
  if (!token.success || subjectIssuers.length === 0) return null
  try {
    const { iss = '', aud, sub = '' } = decodeJwt(token.data.id_token)
    const isOurs = subjectIssuers.includes(iss) && [aud].flat().includes(clientId)
    // OpenID Connect Core §2: at most 255 ASCII characters.
    return isOurs && /^[!-~]{1,255}$/.test(sub) ? sub : null
  } catch {
    return null
  }
}

function configurationOf(settings: OAuthSettings, purpose: Purpose = 'refresh'): Configuration {
  const { authUrl, tokenUrl, revokeUrl, clientId, clientSecret } = settings
  const server = {
    issuer: new URL(tokenUrl).origin,
    authorization_endpoint: authUrl,
    token_endpoint: tokenUrl,
    ...(revokeUrl === null ? {} : { revocation_endpoint: revokeUrl }),
  }
  // Google's revocation takes the token alone:
  // https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke
  const client =
    purpose === 'revoke'
      ? new Configuration(server, clientId, undefined, tokenAlone)
      : new Configuration(server, clientId, clientSecret.reveal())
  allowInsecureRequests(client)
  return client
}

const tokenAlone: ClientAuth = () => undefined

function grantOf(settings: OAuthSettings, data: unknown, now: Micros): Grant {
  const grant = readAs(wireGrant, data, { vendor: settings.vendor, what: 'token' })
  const life = Math.min(Math.ceil(grant.expires_in), LIFE_SECONDS_MAX)
  const left = grant.refresh_token_expires_in ?? null
  return {
    accessToken: grant.access_token,
    accessExpiresAt: now + life * 1_000_000,
    refreshToken: grant.refresh_token ?? null,
    scope: grant.scope ?? null,
    subject: subjectOf(settings, data),
    endsAt: left === null ? null : clampMicros(now + Math.floor(left * 1_000_000)),
  }
}

function codeGrantOf(settings: OAuthSettings, data: unknown, now: Micros): CodeGrant {
  const { vendor, needed, plainScope } = settings
  const { refreshToken, ...grant } = grantOf(settings, data, now)
  if (refreshToken === null) {
    throw new Failure(
      'vendor/no-offline-access',
      `${vendor} gave no refresh token. ${OFFLINE_TODO[settings.name]}`,
    )
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

/** A token that the vendor does not know (any more) is what a revocation wants. */
function isGone({ status, data }: Answer): boolean {
  const parsed = wireGrantError.safeParse(data)
  return status === 400 && parsed.success && /^invalid_(?:token|grant)$/.test(parsed.data.error)
}

/**
 * The refusals of a token or revocation endpoint as a Failure. `now` in µs:
 * the base of Retry-After.
 */
export function failureOfGrant(
  answer: Answer,
  settings: Pick<OAuthSettings, 'name' | 'vendor' | 'approvalUrl'>,
  purpose: Purpose,
  now: Micros,
): Failure {
  const refusal = refusalOf(answer)
  const retryAt = retryAtOf(answer.headers, now)
  const meant = isPassing(answer.status) ? null : grantWordOf(settings.name, refusal)
  const code = codeOfGrant(refusal, meant, purpose)
  const number = meant?.number ?? refusal.numbers[0]
  const named = number === undefined ? reasonWord(refusal.error) : `(AADSTS${number})`
  // A page tells the person of a refused exchange; what our app lacks an operator mends.
  const isTold = purpose === 'refresh' || meant?.code === 'vendor/client-rejected'
  const text =
    meant === null || !isTold
      ? `${settings.vendor}'s token endpoint answered ${answer.status} ${named}.`
      : `${settings.vendor}: ${meant.says} ${named}. ${todoOf(meant, settings)}`
  return new Failure(code, text, { retryAt, number, mayHeal: meant?.mayHeal ?? true })
}

function todoOf({ todo, asksApproval }: GrantWord, { approvalUrl }: Pick<OAuthSettings, 'approvalUrl'>) {
  return asksApproval === true && approvalUrl !== null ? `${todo.replace(/\.$/, '')}: ${approvalUrl}` : todo
}

function refusalOf({ status, data }: Answer): Refusal {
  const parsed = wireGrantError.safeParse(data)
  if (!parsed.success) return { status, error: undefined, subtype: undefined, description: '', numbers: [] }
  const { error, error_description: description, error_subtype: subtype, error_codes: codes } = parsed.data
  // A proxy may drop what is not in the RFC; the text begins with the number.
  const told = numberIn(description)
  const numbers = codes.length > 0 || told === null ? codes : [told]
  return { status, error, subtype, description, numbers: numbers.slice(0, NUMBERS_MAX) }
}

function isPassing(status: number): boolean {
  return status === 429 || status === 408 || status >= 500
}

function codeOfGrant(
  { status, error = '' }: Refusal,
  meant: GrantWord | null,
  purpose: Purpose,
): FailureCode {
  if (status === 429) return 'vendor/throttled'
  if (status === 408 || status >= 500) return 'vendor/unavailable'
  if (meant !== null) return meant.code
  // Google answers the rate limit of its token endpoint with a 403, in HTML or JSON (reports since
  // 2019); words that mean more were looked up before.
  if (status === 403 || /rate_?limit|slow_down|too_?many/i.test(error)) return 'vendor/throttled'
  if (error === '') return 'vendor/unreadable-answer'
  if (/^(?:temporarily_unavailable|server_error|internal_failure)$/.test(error)) return 'vendor/unavailable'
  if (purpose === 'revoke') return 'vendor/rejected'
  // Of a code, which is good once, it says that the person has to consent again.
  return purpose === 'exchange' && error === 'invalid_grant' ? 'vendor/grant-revoked' : 'vendor/token-refused'
}
