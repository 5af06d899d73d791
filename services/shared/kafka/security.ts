// How a client proves who it is and knows whom it speaks to: TLS, and a login. What rotates
// (certificates, keys, passwords) is read again for each connection, so a process that runs takes
// the new ones without a restart.
import { createSecureContext, type SecureContext } from 'node:tls'
import { hostProblem } from '#shared/process/address.ts'
import type { Secret } from '#shared/process/secret.ts'
import type { TokenSource } from './oauth-token.ts'

export type KafkaLogin =
  | {
      readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
      readonly username: string
      readonly password: Secret
    }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: TokenSource }

export interface KafkaSecurity {
  /** null: in clear. */
  readonly tls: ClientTls | null
  /** null: without a login, or by the client certificate alone. */
  readonly login: KafkaLogin | null
  /** Hosts to which a login may go in clear; this machine always is one. */
  readonly clearHosts: ReadonlySet<string>
}

export const NO_SECURITY: KafkaSecurity = { tls: null, login: null, clearHosts: new Set() }

/** What a client shows and knows now; another one may be taken where this was refused. */
export function credentialsOf({ tls, login }: KafkaSecurity): readonly unknown[] {
  const password = login === null || login.mechanism === 'OAUTHBEARER' ? null : login.password.reveal()
  return [tls?.context() ?? null, password]
}

/** The setting that names hosts to which a Kafka login may go in clear. */
export const ALLOW_SASL_PLAINTEXT_TO = 'ALLOW_SASL_PLAINTEXT_TO'

/** Why a login may not go to this host in clear; null when it may. */
export function clearHostProblem(host: string, clearHosts: ReadonlySet<string>): string | null {
  return hostProblem(host, clearHosts)
    ? `a login would leave this machine in clear: use SASL_SSL, or name the host in ${ALLOW_SASL_PLAINTEXT_TO} if it is on a private network`
    : null
}

/** PEM texts; null where the setting is unset. */
export interface TlsParts {
  /** Authorities instead of those that Node brings. */
  readonly ca: Secret | null
  readonly cert: Secret | null
  readonly key: Secret | null
  readonly keyPassword: Secret | null
}

/** The certificates of a client, as their files hold them now. */
export class ClientTls {
  readonly #parts: TlsParts
  #made: { readonly of: string; readonly context: SecureContext } | null = null

  constructor(parts: TlsParts) {
    this.#parts = parts
  }

  /**
   * For one connection. A certificate whose key is not there yet (two files are never replaced at
   * the same moment) leaves the last pair in use. Throws what OpenSSL says of the first one.
   */
  context(): SecureContext {
    const { ca, cert, key, keyPassword } = this.#parts
    const texts = [ca, cert, key, keyPassword].map((part) => part?.reveal())
    const of = JSON.stringify(texts)
    if (this.#made?.of === of) return this.#made.context
    try {
      this.#made = { of, context: contextOf(texts) }
    } catch (error) {
      if (this.#made === null) throw error
    }
    return this.#made.context
  }
}

function contextOf([ca, cert, key, passphrase]: readonly (string | undefined)[]): SecureContext {
  return createSecureContext({
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
  })
}
