// Entra's OAuth 2.0 endpoints:
// learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow. A refresh answers a new
// refresh token and leaves the old one alive; there is no revocation of one grant.
import { randomUUID } from 'node:crypto'
import { decideConsent } from '../consent/consent.ts'
import { type Challenge, proves, readChallenge } from '../consent/proof.ts'
import type { Knobs } from '../control/knobs.ts'
import type { Answer, Call } from '../http.ts'
import { digest } from '../random.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { entraError, NO_STORE } from './entra-errors.ts'
import type { Signed } from './signed.ts'

const CODE_LIFE_MS = 600_000
const CODES_MAX = 10_000
const INACTIVE_MS_MAX = 90 * 86_400_000

export interface EntraDeps {
  readonly world: World
  readonly signed: Signed
  readonly knobs: Knobs
  readonly seed: string
  readonly codes: Map<string, Code>
  readonly minted: { codes: number }
  readonly newAccount: (email: string) => Account
}

export interface Code {
  readonly accountId: string
  readonly redirectUri: string
  readonly challenge: Challenge | null
  readonly scope: string
  readonly expiresAt: number
}

/** GET /{tenant}/oauth2/v2.0/authorize */
export function authorize(deps: EntraDeps, call: Pick<Call, 'path' | 'query'>): Answer {
  const { query } = call
  const challenge = readChallenge(query)
  const redirectUri = query.get('redirect_uri') ?? ''
  if (query.get('client_id') !== deps.world.identities.microsoft.clientId)
    return page('AADSTS700016: Application was not found in the directory.')
  if (!URL.canParse(redirectUri)) return page('AADSTS50011: The redirect URI does not match.')
  const target = new URL(redirectUri)
  const state = query.get('state')
  const back = (fields: Record<string, string>): Answer => {
    for (const [name, value] of Object.entries(fields)) target.searchParams.set(name, value)
    if (state !== null) target.searchParams.set('state', state)
    return { status: 302, headers: { location: target.href } }
  }
  if (query.get('response_type') !== 'code' || challenge === 'invalid' || !query.get('scope'))
    return back({ error: 'invalid_request', error_description: 'AADSTS900144: The request is not valid.' })
  const decision = decideConsent({
    world: deps.world,
    knobs: deps.knobs.consent,
    accounts: [...deps.world.accounts.values()].filter(({ vendor }) => vendor === 'microsoft'),
    path: call.path,
    query,
    essential: (scope) => scope.startsWith('Calendars.'),
    identityScope: 'openid profile',
    newAccount: deps.newAccount,
  })
  if (decision.kind === 'asked') return { status: 200, body: decision.html }
  if (decision.kind === 'refused')
    return back({
      error: 'access_denied',
      error_description: 'AADSTS65004: User declined to consent to access the app.',
    })
  deps.minted.codes += 1
  const code = `M.C5_${digest(`${deps.seed}/microsoft-code/${decision.account.id}/${deps.minted.codes}`, 40)}`
  deps.codes.set(code, {
    accountId: decision.account.id,
    redirectUri,
    challenge,
    scope: decision.scope,
    expiresAt: deps.world.now() + CODE_LIFE_MS,
  })
  for (const oldest of deps.codes.keys()) {
    if (deps.codes.size <= CODES_MAX) break
    deps.codes.delete(oldest)
  }
  return back({ code, session_state: randomUUID() })
}

/** POST /{tenant}/oauth2/v2.0/token */
export function issueToken(deps: EntraDeps, call: Call): Answer {
  const form = new URLSearchParams(call.body)
  const { clientId, clientSecret } = deps.world.identities.microsoft
  const basic = basicOf(call)
  if ((basic?.id ?? form.get('client_id')) !== clientId)
    return refusal(deps, {
      status: 400,
      error: 'unauthorized_client',
      code: 700016,
      text: 'Application was not found in the directory.',
    })
  if ((basic?.secret ?? form.get('client_secret')) !== clientSecret)
    return refusal(deps, {
      status: 401,
      error: 'invalid_client',
      code: 7000215,
      text: 'Invalid client secret provided.',
    })
  switch (form.get('grant_type') ?? '') {
    case 'authorization_code':
      return exchange(deps, form)
    case 'refresh_token':
      return refresh(deps, form)
    default:
      return refusal(deps, {
        status: 400,
        error: 'unsupported_grant_type',
        code: 70003,
        text: 'The grant type is not supported.',
      })
  }
}

/** The account that a token, live or not, belongs to. */
export function accountOf(deps: Pick<EntraDeps, 'world' | 'signed'>, token: string): Account | undefined {
  const claims = deps.signed.readAccess(token)
  const account = claims ? deps.world.accounts.get(claims.accountId) : deps.world.accountOfGrant(token)
  return account?.vendor === 'microsoft' ? account : undefined
}

function exchange(deps: EntraDeps, form: URLSearchParams): Answer {
  const code = form.get('code') ?? ''
  const known = deps.codes.get(code)
  const account = deps.world.accounts.get(known?.accountId ?? '')
  deps.codes.delete(code)
  if (!known || !account || known.expiresAt < deps.world.now())
    return refusal(deps, {
      error: 'invalid_grant',
      code: 54005,
      text: 'OAuth2 Authorization code was already redeemed.',
    })
  if (known.redirectUri !== form.get('redirect_uri'))
    return refusal(deps, { error: 'invalid_grant', code: 50011, text: 'The redirect URI does not match.' })
  if (!proves(known.challenge, form.get('code_verifier')))
    return refusal(deps, {
      error: 'invalid_grant',
      code: 501481,
      text: 'The Code_Verifier does not match the code_challenge.',
    })
  deps.world.consent(account, known.scope)
  return tokens(deps, account, known.scope)
}

function refresh(deps: EntraDeps, form: URLSearchParams): Answer {
  const grant = deps.world.grants.get(form.get('refresh_token') ?? '')
  const account = deps.world.accounts.get(grant?.accountId ?? '')
  if (!grant || account?.vendor !== 'microsoft')
    return refusal(deps, {
      error: 'invalid_grant',
      code: 9002313,
      text: 'Invalid request. Request is malformed or invalid.',
    })
  if (account.revoked || !grant.live)
    return refusal(deps, {
      error: 'invalid_grant',
      code: 50173,
      text: 'The provided grant has expired due to it being revoked.',
    })
  const seconds = deps.knobs.grants.refreshTokenSeconds
  const life = seconds === null ? INACTIVE_MS_MAX : seconds * 1000
  if (deps.world.now() > (seconds === null ? grant.usedAt : grant.issuedAt) + life)
    return refusal(deps, {
      error: 'invalid_grant',
      code: 700082,
      text: 'The refresh token has expired due to inactivity.',
    })
  deps.world.useGrant(grant)
  return tokens(deps, account, grant.scope, deps.knobs.microsoft.rotateRefreshTokens)
}

/** A refresh token comes with offline_access only. */
function tokens(deps: EntraDeps, account: Account, scope: string, rotate = true): Answer {
  const seconds = deps.knobs.accessTokenSeconds
  const lasting =
    rotate && /\boffline_access\b/.test(scope) ? deps.world.addGrant(account, scope).token : null
  const expiresAt = deps.world.now() + seconds * 1000
  return {
    status: 200,
    headers: NO_STORE,
    body: {
      token_type: 'Bearer',
      // offline_access is not named in the answer; the refresh token is its proof.
      scope: scope.replace(/\boffline_access\b ?/, '').trim(),
      expires_in: seconds,
      ext_expires_in: seconds,
      access_token: deps.signed.mint('access', { accountId: account.id, scope, era: account.era, expiresAt }),
      ...(lasting === null ? {} : { refresh_token: lasting }),
    },
  }
}

function refusal({ world }: Pick<EntraDeps, 'world'>, problem: Parameters<typeof entraError>[0]): Answer {
  return entraError(problem, world.now())
}

function page(text: string): Answer {
  return {
    status: 400,
    body: `<!DOCTYPE html><html lang="en"><title>Sign in</title><h1>Sorry, but we’re having trouble signing you in.</h1><p>${text}</p></html>`,
  }
}

function basicOf(call: Call): { id: string; secret: string } | null {
  const basic = /^Basic (.+)$/i.exec(call.headers.authorization ?? '')?.[1]
  if (basic === undefined) return null
  const [id = '', secret = ''] = Buffer.from(basic, 'base64').toString('utf8').split(':', 2)
  return { id: decodeURIComponent(id), secret: decodeURIComponent(secret) }
}
