// `calstream token`: a bearer token for the API, for installs that sign with a shared secret.
import { SignJWT } from 'jose'
import { z } from 'zod'
import { isUuid } from '#shared/domain/ids.ts'
import { readEnv, secretText } from '#shared/platform/env.ts'
import type { Output } from './output.ts'
import { Problem } from './problem.ts'

/** Prints the token alone, so that it can be used in a command substitution. Throws ConfigError without API_JWT_SECRET. */
export async function printToken(
  options: { provider?: string; operator?: boolean; expires: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  if (!options.operator && !options.provider)
    throw new Problem('Say who the token is for: --provider <id> or --operator.')
  if (options.provider && !isUuid(options.provider))
    throw new Problem(`--provider must be a uuid, not "${options.provider}".`)
  const { API_JWT_SECRET: secret } = readEnv(z.object({ API_JWT_SECRET: secretText() }), env)
  const claims = options.operator ? { scope: 'operator' } : { provider_id: options.provider?.toLowerCase() }
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime(options.expires)
    .sign(new TextEncoder().encode(secret.reveal()))
  output.text(token)
}
