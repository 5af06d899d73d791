// The tokens of an OAuth flow: the link that a person follows, the form behind the button that
// begins, and the state that comes back from the vendor. All are JWTs that name a try of the flow's
// row and nothing else, each signed with a key of its own that is derived from the credentials'
// keys, so that made-up ones cost no query and none passes for another. Once and in time: that the
// row decides, by one clock.
import { hkdfSync } from 'node:crypto'
import { jwtVerify, SignJWT, type JWTPayload } from 'jose'
import { isUuid } from '#shared/domain/ids.ts'
import type { Keyring } from '#shared/process/keyring.ts'

export type FlowPurpose = 'link' | 'form' | 'state'

export interface NamedTry {
  readonly flow: string
  /** 1 for the link that the app was given. */
  readonly attempt: number
  /** Of a form: the hash of the browser's cookie, so that no other page can send it there. */
  readonly browser?: string
}

export interface FlowTokens {
  /** The same try gives the same token, also later. */
  sign(purpose: FlowPurpose, named: NamedTry): Promise<string>
  /**
   * What a token names; null for one that is not ours, altered,
   * of another purpose, or no token at all.
   */
  read(purpose: FlowPurpose, token: unknown): Promise<NamedTry | null>
}

/** Ours have about 240 characters at most. */
const TOKEN_MAX = 400

export function createFlowTokens(keyring: Keyring): FlowTokens {
  return {
    async sign(purpose, { flow, attempt, browser }) {
      const key = keyFor(keyring, purpose, keyring.current)
      if (key === null) throw new Error('The keyring has no current key.')
      return new SignJWT({ jti: flow, n: attempt, ...(browser === undefined ? {} : { b: browser }) })
        .setProtectedHeader({ alg: 'HS256', kid: keyring.current })
        .sign(key)
    },
    async read(purpose, token) {
      if (typeof token !== 'string' || token.length > TOKEN_MAX) return null
      try {
        const { payload } = await jwtVerify(token, ({ kid }) => keyOrThrow(keyring, purpose, kid), {
          algorithms: ['HS256'],
        })
        return namedBy(payload)
      } catch {
        // Why it is none of ours is not said; there is no network and no disk in this check.
        return null
      }
    },
  }
}

/** Releases without tries named none: theirs is the first. */
function namedBy({ jti, n = 1, b }: JWTPayload): NamedTry | null {
  if (jti === undefined || !isUuid(jti) || !Number.isSafeInteger(n)) return null
  return { flow: jti, attempt: n as number, ...(typeof b === 'string' ? { browser: b } : {}) }
}

function keyOrThrow(keyring: Keyring, purpose: FlowPurpose, kid: string | undefined): Uint8Array {
  const key = keyFor(keyring, purpose, kid ?? '')
  if (key === null) throw new RangeError('unknown key')
  return key
}

/**
 * RFC 5869; the purpose is its context,
 * so one key of the keyring gives three that have nothing in common.
 */
function keyFor(keyring: Keyring, purpose: FlowPurpose, kid: string): Uint8Array | null {
  const key = keyring.key(kid)
  return key ? new Uint8Array(hkdfSync('sha256', key, '', `calstream oauth ${purpose} v1`, 32)) : null
}
