// Which browser a flow belongs to: a random cookie that scripts cannot read, whose hash is kept
// with the flow. Invariant: a state is worth nothing in another browser, so no stranger can
// have a person finish a consent that the stranger began (RFC 9700 §4.7).
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'

export interface BrowserCookie {
  /** The hash of this browser's cookie; null when it has none of ours. */
  read(request: FastifyRequest): Buffer | null
  /**
   * Gives the browser a cookie, or its own again,
   * so that flows in two tabs do not disturb each other.
   * @returns its hash.
   */
  bind(request: FastifyRequest, reply: FastifyReply): Buffer
}

const SECRET_BYTES = 32
const SECRET = /^[A-Za-z0-9_-]{43}$/

/** `lifeMs`: as long as a link may be tried. */
export function createBrowserCookie(options: {
  readonly isSecure: boolean
  readonly lifeMs: number
}): BrowserCookie {
  // __Host- keeps other hosts of the domain from planting one, but takes effect only over https.
  const name = options.isSecure ? '__Host-calstream_oauth' : 'calstream_oauth'
  const secretOf = (request: FastifyRequest): string | null => {
    const value = request.cookies[name]
    return value !== undefined && SECRET.test(value) ? value : null
  }
  return {
    read(request) {
      const secret = secretOf(request)
      return secret === null ? null : hashOf(secret)
    },
    bind(request, reply) {
      const secret = secretOf(request) ?? randomBytes(SECRET_BYTES).toString('base64url')
      void reply.setCookie(name, secret, {
        path: '/',
        httpOnly: true,
        // Lax: it has to come along when the vendor sends the browser back.
        sameSite: 'lax',
        secure: options.isSecure,
        maxAge: Math.ceil(options.lifeMs / 1000),
      })
      return hashOf(secret)
    },
  }
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
