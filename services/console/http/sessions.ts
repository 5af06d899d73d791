// Who is signed in. Kept in memory: a console that starts anew signs everybody out, and works while
// Postgres is away. Invariants: a session ends with the token that opened it, at the latest; what
// is kept is the hash of its secret, which the browser alone has.
import { createHash, randomBytes } from 'node:crypto'

export type Role = 'operator' | 'viewer'

/** Who asks, and what they may do: a viewer reads. */
export interface Person {
  readonly role: Role
  /** As the token names them, for the audit of what they do. */
  readonly name: string
}

interface Session extends Person {
  readonly endsAtMs: number
}

export interface Sessions {
  /** Opens a session that ends at `endsAtMs` (of this machine's clock). @returns its secret. */
  open(person: Person, endsAtMs: number): string
  /** null for a secret of no session, or of one that has ended. */
  find(secret: string): Person | null
  close(secret: string): void
}

/** A team has a few; beyond that the oldest gives way. */
const SESSIONS_MAX = 500
const SECRET_BYTES = 32
const SECRET = /^[A-Za-z0-9_-]{43}$/

/** @param now milliseconds since 1970; a test moves it. */
export function createSessions(now: () => number = Date.now): Sessions {
  const open = new Map<string, Session>()
  return {
    open(person, endsAtMs) {
      const secret = randomBytes(SECRET_BYTES).toString('base64url')
      for (const [key, { endsAtMs: end }] of open) if (end <= now()) open.delete(key)
      const [oldest] = open.keys()
      if (open.size >= SESSIONS_MAX && oldest !== undefined) open.delete(oldest)
      open.set(hashOf(secret), { ...person, endsAtMs })
      return secret
    },
    find(secret) {
      if (!SECRET.test(secret)) return null
      const session = open.get(hashOf(secret))
      if (session === undefined || session.endsAtMs <= now()) return null
      return { role: session.role, name: session.name }
    },
    close(secret) {
      open.delete(hashOf(secret))
    },
  }
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64')
}
