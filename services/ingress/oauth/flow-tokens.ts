// The two tokens of an OAuth flow: the link that a person follows, and the state that comes back from the vendor. Both are JWTs
// that name the flow's row and nothing else, each signed with a key of its own that is derived from the credentials' keys, so
// that made-up ones cost no query and neither passes for the other. Once and in time: that the row decides, by one clock.
import { hkdfSync } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import { isUuid } from '#shared/domain/ids.ts'
import type { Keyring } from '#shared/platform/crypto.ts'

export type FlowPurpose = 'link' | 'state'

export interface FlowTokens {
  sign(purpose: FlowPurpose, flow: string): Promise<string>
  /** The flow that a token names; null for one that is not ours, altered, of the other purpose, or no token at all. */
  read(purpose: FlowPurpose, token: unknown): Promise<string | null>
}

/** Ours have about 170 characters. */
const TOKEN_MAX = 400

export function createFlowTokens(keyring: Keyring): FlowTokens {
  return {
    async sign(purpose, flow) {
      const key = keyFor(keyring, purpose, keyring.current)
      if (key === null) throw new Error('The keyring has no current key.')
      return new SignJWT({ jti: flow }).setProtectedHeader({ alg: 'HS256', kid: keyring.current }).sign(key)
    },
    async read(purpose, token) {
      if (typeof token !== 'string' || token.length > TOKEN_MAX) return null
      try {
        const { payload } = await jwtVerify(token, ({ kid }) => keyOrThrow(keyring, purpose, kid), {
          algorithms: ['HS256'],
        })
        return payload.jti !== undefined && isUuid(payload.jti) ? payload.jti : null
      } catch {
        // Why it is none of ours is nobody's business; there is no network and no disk in this check.
        return null
      }
    },
  }
}

function keyOrThrow(keyring: Keyring, purpose: FlowPurpose, kid: string | undefined): Uint8Array {
  const key = keyFor(keyring, purpose, kid ?? '')
  if (key === null) throw new RangeError('unknown key')
  return key
}

/** RFC 5869; the purpose is its context, so one key of the ring gives two that have nothing in common. */
function keyFor(keyring: Keyring, purpose: FlowPurpose, kid: string): Uint8Array | null {
  const key = keyring.key(kid)
  return key ? new Uint8Array(hkdfSync('sha256', key, '', `calstream oauth ${purpose} v1`, 32)) : null
}
