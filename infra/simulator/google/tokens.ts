// Opaque tokens: access, sync and page tokens carry what they mean, signed, so that the simulator
// keeps no table of them and honours them after a restart. Nobody outside can read a position into
// one: clients must treat them as the strings they are.
import { createHmac, timingSafeEqual } from 'node:crypto'

export interface AccessClaims {
  readonly accountId: string
  readonly scope: string
  /** The account's era of issue: a revocation ends them all. */
  readonly era: number
  /** ms epoch. */
  readonly expiresAt: number
}

/** A Google sync token belongs to one user, one calendar and one set of parameters. */
export interface SyncClaims {
  readonly accountId: string
  readonly calendarId: string
  /** The reader has seen everything up to this change. */
  readonly seq: number
  readonly cursorEpoch: number
  /** ms epoch. */
  readonly issuedAt: number
  readonly params: string
  readonly window: readonly [number | null, number | null]
}

export interface PageClaims {
  readonly runKey: string
  /**
   * What the run will hand out as its sync token's position:
   * changes made since its first page belong to the next run.
   */
  readonly asOf: number
  readonly page: number
  readonly index: number
  readonly last: ItemKey | null
}

export interface ItemKey {
  readonly ord: number
  readonly at: number
  readonly id: string
}

export interface TokenMint {
  mint(kind: 'access', claims: AccessClaims): string
  mint(kind: 'sync', claims: SyncClaims): string
  mint(kind: 'page', claims: PageClaims): string
  readAccess(token: string): AccessClaims | null
  readSync(token: string): SyncClaims | null
  readPage(token: string): PageClaims | null
}

export function createTokenMint(seed: string): TokenMint {
  const sign = (kind: string, body: string) =>
    createHmac('sha256', `${seed}/${kind}`).update(body).digest().subarray(0, 12)
  const read = <T>(kind: string, token: string): T | null => {
    const [body = '', mac = ''] = (kind === 'access' ? token.replace(/^ya29\./, '') : token).split('.', 2)
    const given = Buffer.from(mac, 'base64url')
    const wanted = sign(kind, body)
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return null
    return JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as T
  }
  return {
    mint(kind, claims) {
      const body = Buffer.from(JSON.stringify(claims)).toString('base64url')
      const token = `${body}.${sign(kind, body).toString('base64url')}`
      return kind === 'access' ? `ya29.${token}` : token
    },
    readAccess: (token) => read<AccessClaims>('access', token),
    readSync: (token) => read<SyncClaims>('sync', token),
    readPage: (token) => read<PageClaims>('page', token),
  }
}
