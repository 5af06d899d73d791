// What Postgres, or a client of it, says of certificates and logins, told apart.
// postgresql.org/docs/18/errcodes-appendix.html
import pg from 'pg'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { tlsTroubleIn, type TlsTrouble } from '#shared/process/tls-words.ts'

const REMEDIES: Readonly<Record<TlsTrouble['kind'], string>> = {
  authority: 'Name the authority as sslrootcert in POSTGRES_URL.',
  name: 'Correct the host in POSTGRES_URL, or the certificate.',
  time: 'Renew it, or set the clock.',
  client: 'Correct sslcert and sslkey in POSTGRES_URL.',
  'no-tls': 'Correct sslmode in POSTGRES_URL.',
}

interface Known {
  readonly code: FailureCode
  readonly words: string
}

/** The words for an error about certificates or logins; null when it is about something else. */
export function identityTrouble(error: unknown): Known | null {
  const tls = tlsTroubleIn(error)
  if (tls !== null)
    return { code: 'store/certificate-refused', words: `Postgres: ${tls.words}. ${REMEDIES[tls.kind]}` }
  if (error instanceof pg.DatabaseError) return ofServer(error)
  if (!(error instanceof Error)) return null
  // Said by the driver, which has no code for it.
  if (error.message === 'The server does not support SSL connections')
    return {
      code: 'store/unavailable',
      words: 'Postgres does not speak TLS on this port. Correct sslmode in POSTGRES_URL.',
    }
  // The driver reads the files of the URL for each connection.
  if ('syscall' in error && error.syscall === 'open')
    return {
      code: 'store/certificate-refused',
      words: 'A file of certificates that POSTGRES_URL names cannot be read.',
    }
  return null
}

/** The same as a Failure. */
export function identityFailure(error: unknown, cause: unknown = error): Failure | null {
  const known = identityTrouble(error)
  return known === null ? null : new Failure(known.code, known.words, { cause })
}

/** The server's own words name user, host and database: they are looked at, never repeated. */
function ofServer({ code: state = '', message }: pg.DatabaseError): Known | null {
  if (state === '28000' && /no encryption|SSL off/i.test(message))
    return {
      code: 'store/login-refused',
      words: 'Postgres lets this role in over TLS alone. Add sslmode=verify-full to POSTGRES_URL.',
    }
  if (state === '28000' && /client certificate/i.test(message))
    return {
      code: 'store/certificate-refused',
      words: 'Postgres wants a client certificate. Name it as sslcert and sslkey in POSTGRES_URL.',
    }
  if (state.startsWith('28'))
    return {
      code: 'store/login-refused',
      words: `Postgres refused the login (SQLSTATE ${state}). Check user and database in POSTGRES_URL, and the password there or in POSTGRES_PASSWORD.`,
    }
  return null
}
