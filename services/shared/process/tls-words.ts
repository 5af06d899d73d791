// What is wrong with a certificate, in words for a person: the four cases that they mend in four
// different ways. The codes are those of OpenSSL's verification and of TLS alerts, as Node names
// them (https://nodejs.org/api/tls.html#x509-certificate-error-codes).

export interface TlsTrouble {
  readonly kind: 'authority' | 'name' | 'time' | 'client' | 'no-tls'
  /** The subject is the other side: "its certificate …". */
  readonly words: string
}

const CODES: Readonly<Record<string, TlsTrouble>> = {
  ...each(
    [
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'UNABLE_TO_GET_ISSUER_CERT',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'CERT_SIGNATURE_FAILURE',
      'CERT_UNTRUSTED',
      'INVALID_CA',
    ],
    { kind: 'authority', words: 'its certificate is of an authority that is not known here' },
  ),
  ...each(['ERR_TLS_CERT_ALTNAME_INVALID', 'HOSTNAME_MISMATCH'], {
    kind: 'name',
    words: 'its certificate is for another name than the one in the address',
  }),
  ...each(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'], {
    kind: 'time',
    words: 'its certificate is not valid now (it has expired, or a clock is wrong)',
  }),
  ...each(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_HTTP_REQUEST'], {
    kind: 'no-tls',
    words: 'it does not speak TLS on this port',
  }),
}

/** Alerts about a certificate that we sent, or did not send (RFC 8446 §6.2). */
const ALERT = /ALERT_(?:CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/
const REFUSED: TlsTrouble = {
  kind: 'client',
  words: 'it refuses our client certificate, or wants one and got none',
}

/** What an error code says of certificates; null when it says nothing of them. */
export function tlsTroubleOf(code: unknown): TlsTrouble | null {
  if (typeof code !== 'string') return null
  return CODES[code] ?? (ALERT.test(code) ? REFUSED : null)
}

/** The first trouble with certificates in an error, its causes and what it gathers. */
export function tlsTroubleIn(error: unknown, depth = 0): TlsTrouble | null {
  if (!(error instanceof Error) || depth > 8) return null
  const own = tlsTroubleOf('code' in error ? error.code : undefined)
  if (own !== null) return own
  const more = error instanceof AggregateError ? (error.errors as readonly unknown[]) : []
  for (const cause of [error.cause, ...more]) {
    const found = tlsTroubleIn(cause, depth + 1)
    if (found !== null) return found
  }
  return null
}

function each(codes: readonly string[], trouble: TlsTrouble): Readonly<Record<string, TlsTrouble>> {
  return Object.fromEntries(codes.map((code) => [code, trouble]))
}
