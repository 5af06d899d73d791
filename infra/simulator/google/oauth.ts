// Google's OAuth 2.0 server (accounts.google.com and oauth2.googleapis.com, both here): consent, code exchange with PKCE, refresh
// and revocation. Shapes: https://developers.google.com/identity/protocols/oauth2/web-server and RFC 6749, RFC 7636.
import { createHash } from 'node:crypto'
import type { Answer, Call } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { digest } from '../random.ts'
import type { Account, World } from '../world/world.ts'
import type { TokenMint } from './tokens.ts'

const CODE_LIFE_MS = 600_000
const CODES_MAX = 10_000

export interface OAuthDeps {
  readonly world: World
  readonly tokens: TokenMint
  readonly knobs: Knobs
  readonly seed: string
  readonly codes: Map<string, CodeGrant>
}

export interface CodeGrant {
  readonly accountId: string
  readonly redirectUri: string
  readonly challenge: string | null
  readonly expiresAt: number
}

/**
 * The consent page, granted at once: `login_hint` (email) chooses the account, an unknown or missing one makes a new account;
 * `simulate=denied` in the query refuses. Answers 302 to the redirect address.
 */
export function authorize(
  deps: OAuthDeps,
  query: URLSearchParams,
  newAccount: (email?: string) => Account,
): Answer {
  const redirectUri = query.get('redirect_uri')
  const known = query.get('client_id') === deps.world.identity.clientId
  if (!redirectUri || !URL.canParse(redirectUri) || !known || query.get('response_type') !== 'code') {
    return { status: 400, body: '<html><body><h1>Error 400: invalid_request</h1></body></html>' }
  }
  const target = new URL(redirectUri)
  const state = query.get('state')
  if (state !== null) target.searchParams.set('state', state)
  if (query.get('simulate') === 'denied') {
    target.searchParams.set('error', 'access_denied')
    return { status: 302, headers: { location: target.href } }
  }
  const hint = query.get('login_hint') ?? undefined
  const account = [...deps.world.accounts.values()].find(({ email }) => email === hint) ?? newAccount(hint)
  const code = `4/${digest(`${deps.seed}/code/${account.id}/${deps.world.now()}/${deps.codes.size}`, 40)}`
  const challenge = query.get('code_challenge')
  deps.codes.set(code, {
    accountId: account.id,
    redirectUri,
    challenge,
    expiresAt: deps.world.now() + CODE_LIFE_MS,
  })
  for (const oldest of deps.codes.keys()) {
    if (deps.codes.size <= CODES_MAX) break
    deps.codes.delete(oldest)
  }
  target.searchParams.set('code', code)
  target.searchParams.set('scope', account.scope)
  return { status: 302, headers: { location: target.href } }
}

/** POST /token: grant types refresh_token and authorization_code. */
export function issueToken(deps: OAuthDeps, call: Call): Answer {
  const form = new URLSearchParams(call.body)
  const client = readClient(call, form)
  const { clientId, clientSecret } = deps.world.identity
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

/** POST /revoke: takes an access or a refresh token in the query or in the body, and ends the whole grant. */
export function revokeToken(deps: OAuthDeps, call: Call): Answer {
  const token = call.query.get('token') ?? new URLSearchParams(call.body).get('token') ?? ''
  const account = accountOfToken(deps, token)
  if (!account || account.revoked) return oauthError(400, 'invalid_token', 'Token expired or revoked')
  deps.world.revoke(account)
  return { status: 200, body: {} }
}

/** The account that a token, live or not, belongs to: for the request log and for matching faults. */
export function accountOfToken(
  deps: Pick<OAuthDeps, 'world' | 'tokens'>,
  token: string,
): Account | undefined {
  const claims = token.startsWith('ya29.') ? deps.tokens.readAccess(token) : null
  return claims ? deps.world.accounts.get(claims.accountId) : deps.world.byRefreshToken.get(token)
}

function refresh(deps: OAuthDeps, form: URLSearchParams): Answer {
  const account = deps.world.byRefreshToken.get(form.get('refresh_token') ?? '')
  if (!account || account.revoked)
    return oauthError(400, 'invalid_grant', 'Token has been expired or revoked.')
  return { status: 200, headers: NO_STORE, body: accessToken(deps, account) }
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
  const verifier = form.get('code_verifier') ?? ''
  const proof = createHash('sha256').update(verifier).digest('base64url')
  if (grant.challenge !== null && grant.challenge !== proof) {
    return oauthError(400, 'invalid_grant', 'Invalid code verifier.')
  }
  const idToken = unsignedIdToken(deps, account)
  const body = { ...accessToken(deps, account), refresh_token: account.refreshToken, id_token: idToken }
  return { status: 200, headers: NO_STORE, body }
}

function accessToken(deps: OAuthDeps, account: Account) {
  const seconds = deps.knobs.accessTokenSeconds
  const claims = { accountId: account.id, scope: account.scope, expiresAt: deps.world.now() + seconds * 1000 }
  return {
    access_token: deps.tokens.mint('access', claims),
    expires_in: seconds,
    scope: account.scope,
    token_type: 'Bearer',
  }
}

/** Carries the stable user key (`sub`). Unsigned: a client that gets it straight from the token endpoint over TLS need not check it. */
function unsignedIdToken(deps: OAuthDeps, account: Account): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(deps.world.now() / 1000)
  const claims = {
    iss: 'https://accounts.google.com',
    aud: deps.world.identity.clientId,
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

function oauthError(status: number, error: string, description: string): Answer {
  return { status, headers: NO_STORE, body: { error, error_description: description } }
}
