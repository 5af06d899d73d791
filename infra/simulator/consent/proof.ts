// PKCE: the challenge that comes with a consent and the verifier that comes
// with the code (RFC 7636).
import { createHash } from 'node:crypto'

export interface Challenge {
  readonly method: 'plain' | 'S256'
  readonly value: string
}

/**
 * The challenge of a consent request, null when it has none.
 * Without a method it is `plain` (RFC 7636 §4.3).
 */
export function readChallenge(query: URLSearchParams): Challenge | null | 'invalid' {
  const value = query.get('code_challenge')
  const method = query.get('code_challenge_method')
  if (value === null) return method === null ? null : 'invalid'
  if (method !== null && method !== 'plain' && method !== 'S256') return 'invalid'
  return /^[A-Za-z0-9\-._~]{43,128}$/.test(value) ? { method: method ?? 'plain', value } : 'invalid'
}

/**
 * Whether the verifier belongs to the challenge;
 * a verifier without a challenge, or the other way round, does not.
 */
export function proves(challenge: Challenge | null, verifier: string | null): boolean {
  if (challenge === null || verifier === null) return challenge === null && verifier === null
  if (!/^[A-Za-z0-9\-._~]{43,128}$/.test(verifier)) return false
  const proof =
    challenge.method === 'plain' ? verifier : createHash('sha256').update(verifier).digest('base64url')
  return proof === challenge.value
}
