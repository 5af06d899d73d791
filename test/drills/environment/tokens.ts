// Bearer tokens of the API, signed with the drill's own secret, as an install with a shared secret
// does.
import { SignJWT } from 'jose'
import type { System } from './system.ts'

export function operatorToken(system: Pick<System, 'env'>): Promise<string> {
  return signed(system, { scope: 'operator' })
}

export function providerToken(system: Pick<System, 'env'>, providerId: string): Promise<string> {
  return signed(system, { provider_id: providerId })
}

function signed({ env }: Pick<System, 'env'>, claims: Record<string, string>): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(env['API_JWT_SECRET'] ?? ''))
}
