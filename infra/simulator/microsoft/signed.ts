// Opaque tokens of the Microsoft side: they carry what they mean, signed, so that no table of them
// is kept and they are honoured after a restart. Access tokens of work accounts look like JWTs,
// those of personal accounts do not: nobody may read them.
import { createHmac, timingSafeEqual } from 'node:crypto'

export interface AccessClaims {
  readonly accountId: string
  readonly scope: string
  /** The account's era of issue: a revocation begins another. */
  readonly era: number
  /** ms epoch. */
  readonly expiresAt: number
}

/**
 * Where a round of a delta stands: a skip token has a position in the round,
 * a delta token only what was seen.
 */
export interface DeltaClaims {
  readonly accountId: string
  readonly calendarId: string
  readonly cursorEpoch: number
  readonly window: readonly [number, number]
  /** The reader has seen everything up to this change; null in a full round. */
  readonly since: number | null
  /**
   * What the next delta link will stand for:
   * changes made since the round began belong to the next one.
   */
  readonly asOf: number
  readonly page: number
  readonly index: number
  readonly last: { readonly ord: number; readonly at: number; readonly id: string } | null
}

export interface Signed {
  mint(kind: 'access', claims: AccessClaims): string
  mint(kind: 'skip' | 'delta', claims: DeltaClaims): string
  readAccess(token: string): AccessClaims | null
  readDelta(kind: 'skip' | 'delta', token: string): DeltaClaims | null
}

const ACCESS_PREFIX = 'EwB.'

export function createSigned(seed: string): Signed {
  const sign = (kind: string, body: string) =>
    createHmac('sha256', `${seed}/microsoft/${kind}`).update(body).digest().subarray(0, 12)
  const read = <T>(kind: string, token: string): T | null => {
    const [body = '', mac = ''] = token.split('.', 2)
    const given = Buffer.from(mac, 'base64url')
    const wanted = sign(kind, body)
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return null
    return JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as T
  }
  return {
    mint(kind: string, claims: object) {
      const body = Buffer.from(JSON.stringify(claims)).toString('base64url')
      const token = `${body}.${sign(kind, body).toString('base64url')}`
      return kind === 'access' ? `${ACCESS_PREFIX}${token}` : token
    },
    readAccess: (token) =>
      token.startsWith(ACCESS_PREFIX)
        ? read<AccessClaims>('access', token.slice(ACCESS_PREFIX.length))
        : null,
    readDelta: (kind, token) => read<DeltaClaims>(kind, token),
  }
}
