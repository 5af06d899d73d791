// `calstream token`: a bearer token for the API, for installs that sign with a shared secret.
import { decodeJwt, SignJWT } from 'jose'
import { z } from 'zod'
import { readEnv } from '#shared/process/settings.ts'
import { ANY_CLAIM, BEARER_LIFE_MAX_S, bearerEnv, bearerSecret } from '#shared/process/bearer-settings.ts'
import { uuidOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'

export interface TokenOptions {
  readonly provider?: string
  readonly operator?: boolean
  /** The console alone takes it, to read. */
  readonly viewer?: boolean
  /** Who has it, for the audit of what they do. */
  readonly name?: string
  readonly expires: string
}

/**
 * Prints the token alone, so that it can be used in a command substitution.
 * Throws ConfigError without API_JWT_SECRET.
 */
export async function printToken(
  options: TokenOptions,
  env: NodeJS.ProcessEnv,
  output: Pick<Output, 'text'>,
): Promise<void> {
  const claims = claimsOf(options)
  const settings = readEnv(z.object({ ...bearerEnv, API_JWT_SECRET: bearerSecret }), env)
  const unsigned = new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setIssuedAt()
  const { API_JWT_ISSUER: issuer = ANY_CLAIM, API_JWT_AUDIENCE: audience = ANY_CLAIM } = settings
  if (issuer !== ANY_CLAIM) unsigned.setIssuer(issuer)
  if (audience !== ANY_CLAIM) unsigned.setAudience(audience)
  if (options.name !== undefined) unsigned.setSubject(options.name)
  const wrongLife = `--expires is a time from 1s to ${BEARER_LIFE_MAX_S / 3600}h, like 15m or 8h, not "${options.expires}".`
  try {
    unsigned.setExpirationTime(options.expires)
  } catch {
    throw new UserError(wrongLife)
  }
  const token = await unsigned.sign(new TextEncoder().encode(settings.API_JWT_SECRET.reveal()))
  const { exp = 0, iat = 0 } = decodeJwt(token)
  // The API takes no token that lives longer.
  if (exp <= iat || exp > iat + BEARER_LIFE_MAX_S) throw new UserError(wrongLife)
  output.text(token)
}

function claimsOf({ provider, operator, viewer }: TokenOptions): Readonly<Record<string, string>> {
  const kinds = [provider, operator, viewer].filter((kind) => kind !== undefined && kind !== false)
  if (kinds.length === 0)
    throw new UserError('Say who the token is for: --provider <id>, --operator or --viewer.')
  // The stronger of two would be given to an app by a slip.
  if (kinds.length > 1)
    throw new UserError(
      'A token is for a provider, an operator or a viewer: give one of --provider, --operator and --viewer.',
    )
  if (provider !== undefined) return { provider_id: uuidOf('--provider', provider) }
  return { scope: operator ? 'operator' : 'operator.read' }
}
