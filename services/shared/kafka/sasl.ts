// A login in the form that KafkaJS takes.
import type { AuthenticationProviderArgs, Mechanism, SASLOptions } from 'kafkajs'
import { Failure } from '#shared/domain/failure.ts'
import type { TokenSource } from './oauth-token.ts'
import type { KafkaLogin } from './security.ts'
import { tokenRefusal } from './trouble.ts'

/**
 * The password is asked for at each login, and so is the token. KafkaJS logs in again on a
 * connection before its session ends (KIP-368), by the same way.
 */
export function saslOf(login: KafkaLogin): SASLOptions | Mechanism {
  if (login.mechanism === 'OAUTHBEARER') return bearer(login.token)
  const { username, password } = login
  const user = {
    username,
    get password() {
      return password.reveal()
    },
  }
  // Not spread: that would read the password once and for all.
  switch (login.mechanism) {
    case 'PLAIN':
      return Object.assign(user, { mechanism: 'plain' as const })
    case 'SCRAM-SHA-256':
      return Object.assign(user, { mechanism: 'scram-sha-256' as const })
    case 'SCRAM-SHA-512':
      return Object.assign(user, { mechanism: 'scram-sha-512' as const })
    default:
      return login satisfies never
  }
}

/** RFC 7628 §3.1. */
const SEPARATOR = '\u0001'

/**
 * KafkaJS 2.2.4 has this mechanism too, but takes the server's refusal for its consent: it never
 * looks at the challenge that carries it (RFC 7628 §3.2.2). What comes next is then a closed
 * connection, which looks like a broker that is away. Here the challenge is answered as the RFC
 * says, upon which the broker names the refusal.
 */
function bearer(token: TokenSource): Mechanism {
  return {
    mechanism: 'OAUTHBEARER',
    authenticationProvider: ({ saslAuthenticate }: AuthenticationProviderArgs) => ({
      async authenticate() {
        const first = `n,,${SEPARATOR}auth=Bearer ${await token()}${SEPARATOR}${SEPARATOR}`
        const challenge = await saslAuthenticate(exchange(first))
        if (!challenge) return
        token.forget()
        // Its answer says no more than the challenge did.
        await saslAuthenticate(exchange(SEPARATOR)).catch(() => {})
        throw new Failure('kafka/login-refused', tokenRefusal(challenge))
      },
    }),
  }
}

/** One message of ours and the bytes of the answer, each behind its length, as KafkaJS wants it. */
function exchange(text: string) {
  return {
    request: {
      encode: () => {
        const bytes = Buffer.from(text)
        const size = Buffer.alloc(4)
        size.writeInt32BE(bytes.length)
        return Buffer.concat([size, bytes])
      },
    },
    response: { decode: (raw: Buffer) => raw, parse: (raw: Buffer) => raw.subarray(4).toString('utf8') },
  }
}
