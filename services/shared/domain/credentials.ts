// The credentials of a connection as they are kept: every token is sealed.
import type { ConnectionId, Micros } from './ids.ts'

export interface StoredCredentials {
  readonly version: number
  readonly refreshToken: string
  readonly accessToken: string | null
  readonly accessExpiresAt: Micros | null
}

/** A refreshed grant. */
export interface AccessUpdate {
  readonly connectionId: ConnectionId
  /** The version that was read: the update applies to it or not at all. */
  readonly version: number
  /** null keeps the stored one, as of `scope` and `endsAt`. */
  readonly refreshToken: string | null
  readonly accessToken: string
  readonly accessExpiresAt: Micros
  readonly scope: string | null
  /** Whose grant it is, as the vendor says; null when it does not. */
  readonly subject: string | null
  /** When the grant ends whatever is done. */
  readonly endsAt: Micros | null
}
