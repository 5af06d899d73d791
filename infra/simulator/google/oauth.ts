// Google's OAuth 2.0 server (accounts.google.com and oauth2.googleapis.com, both here): consent,
// code exchange with PKCE, refresh and revocation. Shapes:
// https://developers.google.com/identity/protocols/oauth2/web-server and RFC 6749, RFC 7636.
import { decideConsent } from '../consent/consent.ts'
import { type Challenge, proves, readChallenge } from '../consent/proof.ts'
import type { Answer, Call } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { digest } from '../random.ts'
import type { Account, Grant } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import type { TokenMint } from './tokens.ts'

const CODE_LIFE_MS = 600_000
const CODES_MAX = 10_000
/** Six months without a use end a refresh token. */
const UNUSED_MS_MAX = 182 * 86_400_000

export interface OAuthDeps {
  readonly world: World
  readonly tokens: TokenMint
  readonly knobs: Knobs
  readonly seed: string
  readonly codes: Map<string, CodeGrant>
  /** Counts the codes, so that no two of one instant are alike. */
  readonly minted: { codes: number }
}

export interface CodeGrant {
  readonly accountId: string
  readonly redirectUri: string
  readonly challenge: Challenge | null
  readonly scope: string
  /** Whether a refresh token belongs to it. */
  readonly lasting: boolean
  readonly expiresAt: number
}

/**
 * GET /o/oauth2/v2/auth: 302 back to the client at once when somebody decides (consent/consent.ts),
 * else a page that asks. A request that must not be sent back to its redirect address (unknown
 * client, no address) is answered here, as at Google.
 */
export function authorize(
  deps: OAuthDeps,
  call: Pick<Call, 'path' | 'query'>,
  newAccount: (email: string) => Account,
): Answer {
  const { query } = call
  const redirectUri = query.get('redirect_uri') ?? ''
  const challenge = readChallenge(query)
  const problem = refuseRequest(deps, query, challenge)
  if (problem || challenge === 'invalid')
    return { status: 400, body: errorPage(problem ?? 'invalid_request') }
  const decision = decideConsent({
    world: deps.world,
    knobs: deps.knobs.consent,
    accounts: [...deps.world.accounts.values()].filter(({ vendor }) => vendor === 'google'),
    path: call.path,
    query,
    essential: (scope) => scope.includes('/auth/calendar'),
    identityScope: 'openid https://www.googleapis.com/auth/userinfo.email',
    newAccount,
  })
  if (decision.kind === 'asked') return { status: 200, body: decision.html }
  const target = new URL(redirectUri)
  const state = query.get('state')
  if (state !== null) target.searchParams.set('state', state)
  if (decision.kind === 'refused') {
    target.searchParams.set('error', 'access_denied')
    return { status: 302, headers: { location: target.href } }
  }
  const { account } = decision
  const granted = query.get('include_granted_scopes') === 'true' && account.consented ? account.scope : ''
  const scope = [...new Set(`${decision.scope} ${granted}`.trim().split(' '))].join(' ')
  const offline = query.get('access_type') === 'offline'
  // A refresh token comes with the first consent only, unless the person is asked again.
  const lasting = offline && (!account.consented || /\bconsent\b/.test(query.get('prompt') ?? ''))
  const code = keepCode(deps, { accountId: account.id, redirectUri, challenge, scope, lasting })
  target.searchParams.set('code', code)
  target.searchParams.set('scope', scope)
  return { status: 302, headers: { location: target.href } }
}

function refuseRequest(
  deps: OAuthDeps,
  query: URLSearchParams,
  challenge: ReturnType<typeof readChallenge>,
): string | null {
  if (query.get('client_id') !== deps.world.identities.google.clientId) return 'invalid_client'
  if (!URL.canParse(query.get('redirect_uri') ?? '')) return 'redirect_uri_mismatch'
  if (query.get('response_type') !== 'code' || challenge === 'invalid') return 'invalid_request'
  return query.get('scope') ? null : 'invalid_scope'
}

function errorPage(reason: string): string {
  return `<!DOCTYPE html><html lang="en"><title>Error 400</title><h1>Access blocked: authorization error</h1><p>Error 400: ${reason}</p></html>`
}

function keepCode(deps: OAuthDeps, grant: Omit<CodeGrant, 'expiresAt'>): string {
  deps.minted.codes += 1
  const code = `4/${digest(`${deps.seed}/code/${grant.accountId}/${deps.world.now()}/${deps.minted.codes}`, 40)}`
  deps.codes.set(code, { ...grant, expiresAt: deps.world.now() + CODE_LIFE_MS })
  for (const oldest of deps.codes.keys()) {
    if (deps.codes.size <= CODES_MAX) break
    deps.codes.delete(oldest)
  }
  return code
}

/** POST /token: grant types refresh_token and authorization_code. */
export function issueToken(deps: OAuthDeps, call: Call): Answer {
  const form = new URLSearchParams(call.body)
  const client = readClient(call, form)
  const { clientId, clientSecret } = deps.world.identities.google
  if (client.id !== clientId) {
    return oauthError(401, 'invalid_client', 'The OAuth client was not found.')
  }
  if (client.secret !== clientSecret) return oauthError(401, 'invalid_client', 'Unauthorized')
  const grantType = form.get('grant_type') ?? ''
  switch (grantType) {
    case 'refresh_token':
      return refresh(deps, form)
    case 'authorization_code':
      return exchange(deps, form)
    default:
      return oauthError(400, 'unsupported_grant_type', `Invalid grant_type: ${grantType}`)
  }
}

/**
 * POST /revoke: takes an access or a refresh token in the query or in the body,
 * and ends the whole grant.
 */
export function revokeToken(deps: OAuthDeps, call: Call): Answer {
  const token = call.query.get('token') ?? new URLSearchParams(call.body).get('token') ?? ''
  const account = accountOfToken(deps, token)
  if (!account || account.revoked) return oauthError(400, 'invalid_token', 'Token expired or revoked')
  deps.world.revoke(account)
  return { status: 200, body: {} }
}

/**
 * The account that a token, live or not, belongs to: for the request log and for matching faults.
 */
export function accountOfToken(
  deps: Pick<OAuthDeps, 'world' | 'tokens'>,
  token: string,
): Account | undefined {
  const claims = token.startsWith('ya29.') ? deps.tokens.readAccess(token) : null
  return claims ? deps.world.accounts.get(claims.accountId) : deps.world.accountOfGrant(token)
}

function refresh(deps: OAuthDeps, form: URLSearchParams): Answer {
  const grant = deps.world.grants.get(form.get('refresh_token') ?? '')
  const account = deps.world.accounts.get(grant?.accountId ?? '')
  if (!grant || !account || account.revoked || !isAlive(deps, grant))
    return oauthError(400, 'invalid_grant', 'Token has been expired or revoked.')
  deps.world.useGrant(grant)
  const next = deps.knobs.grants.rotate ? deps.world.addGrant(account, grant.scope) : null
  const body = {
    ...accessToken(deps, account, grant.scope),
    ...(next ? { refresh_token: next.token } : {}),
    ...endOf(deps, next ?? grant),
    ...identityOf(deps, account, grant.scope),
  }
  return { status: 200, headers: NO_STORE, body }
}

/** Not revoked, not older than the knob says, and used within the last half year. */
function isAlive(deps: OAuthDeps, grant: Grant): boolean {
  const now = deps.world.now()
  const seconds = deps.knobs.grants.refreshTokenSeconds
  if (!grant.live || (seconds !== null && now >= grant.issuedAt + seconds * 1000)) return false
  return now < grant.usedAt + UNUSED_MS_MAX
}

function exchange(deps: OAuthDeps, form: URLSearchParams): Answer {
  const code = form.get('code') ?? ''
  const grant = deps.codes.get(code)
  deps.codes.delete(code)
  const account = deps.world.accounts.get(grant?.accountId ?? '')
  if (!grant || !account || grant.expiresAt < deps.world.now()) {
    return oauthError(400, 'invalid_grant', 'Malformed auth code.')
  }
  if (grant.redirectUri !== form.get('redirect_uri')) {
    return oauthError(400, 'redirect_uri_mismatch', 'Bad Request')
  }
  const verifier = form.get('code_verifier')
  if (grant.challenge !== null && verifier === null) {
    return oauthError(400, 'invalid_grant', 'Missing code verifier.')
  }
  if (grant.challenge === null && verifier !== null) {
    return oauthError(400, 'invalid_grant', 'code_verifier or verifier is not needed.')
  }
  if (!proves(grant.challenge, verifier)) return oauthError(400, 'invalid_grant', 'Invalid code verifier.')
  deps.world.consent(account, grant.scope)
  const lasting = grant.lasting ? deps.world.addGrant(account, grant.scope) : null
  const body = {
    ...accessToken(deps, account, grant.scope),
    ...(lasting ? { refresh_token: lasting.token, ...endOf(deps, lasting) } : {}),
    ...identityOf(deps, account, grant.scope),
  }
  return { status: 200, headers: NO_STORE, body }
}

/** How long the refresh token lives from now, for those that end. */
function endOf(deps: OAuthDeps, { issuedAt }: Grant) {
  const seconds = deps.knobs.grants.refreshTokenSeconds
  if (seconds === null) return {}
  return { refresh_token_expires_in: seconds - Math.floor((deps.world.now() - issuedAt) / 1000) }
}

function identityOf(deps: OAuthDeps, account: Account, scope: string) {
  return /\bopenid\b/.test(scope) ? { id_token: unsignedIdToken(deps, account) } : {}
}

function accessToken(deps: OAuthDeps, account: Account, scope: string) {
  const seconds = deps.knobs.accessTokenSeconds
  const expiresAt = deps.world.now() + seconds * 1000
  const claims = { accountId: account.id, scope, era: account.era, expiresAt }
  return {
    access_token: deps.tokens.mint('access', claims),
    expires_in: seconds,
    scope,
    token_type: 'Bearer',
  }
}

/**
 * Carries the stable user key (`sub`). Unsigned: a client that gets it straight from the token
 * endpoint over TLS need not check it.
 */
function unsignedIdToken(deps: OAuthDeps, account: Account): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(deps.world.now() / 1000)
  const claims = {
    iss: 'https://accounts.google.com',
    aud: deps.world.identities.google.clientId,
    sub: `1${digest(account.id, 12).replaceAll(/[a-f]/g, '7')}`,
    email: account.email,
    email_verified: true,
    iat: now,
    exp: now + 3600,
  }
  return `${part({ alg: 'none', typ: 'JWT' })}.${part(claims)}.`
}

function readClient(call: Call, form: URLSearchParams): { id: string | null; secret: string | null } {
  const basic = /^Basic (.+)$/i.exec(call.headers.authorization ?? '')
  if (!basic) return { id: form.get('client_id'), secret: form.get('client_secret') }
  const [id = '', secret = ''] = Buffer.from(basic[1] ?? '', 'base64')
    .toString('utf8')
    .split(':', 2)
  return { id: decodeURIComponent(id), secret: decodeURIComponent(secret) }
}

const NO_STORE = { 'cache-control': 'no-store' }

/** What the authorization server answers when it is told to fail: its own shape, not the API's. */
export function oauthFault(status: number, reason: string | undefined): Answer {
  const error =
    reason ??
    (status >= 500
      ? 'internal_failure'
      : status === 429
        ? 'rate_limit_exceeded'
        : status === 401
          ? 'invalid_client'
          : 'invalid_grant')
  return oauthError(status, error, FAULT_TEXTS[error] ?? 'Bad Request')
}

const FAULT_TEXTS: Readonly<Record<string, string>> = {
  invalid_grant: 'Token has been expired or revoked.',
  invalid_client: 'The OAuth client was not found.',
  internal_failure: 'Backend Error',
  rate_limit_exceeded: 'Rate Limit Exceeded',
  admin_policy_enforced: 'The scopes are restricted by the policies of the administrator.',
}

function oauthError(status: number, error: string, description: string): Answer {
  return { status, headers: NO_STORE, body: { error, error_description: description } }
}
