// One grant of client credentials (RFC 6749 §4.4) for a Kafka login. In a file of its own: its
// library is loaded only where a login by OAUTHBEARER asks for it.
import {
  allowInsecureRequests,
  ClientSecretBasic,
  clientCredentialsGrant,
  Configuration,
  customFetch,
  ResponseBodyError,
  WWWAuthenticateChallengeError,
} from 'openid-client'
import { Failure } from '#shared/domain/failure.ts'
import { tlsTroubleIn } from '#shared/process/tls-words.ts'
import type { Secret } from '#shared/process/secret.ts'

export interface TokenSettings {
  readonly endpoint: string
  readonly clientId: string
  readonly clientSecret: Secret
  /** Separated by spaces; null: what the server gives. */
  readonly scope: string | null
}

export interface Granted {
  readonly value: string
  /** null: not told. */
  readonly lifeSeconds: number | null
}

const ANSWER_WITHIN_MS = 5_000
const TOKEN_BYTES_MAX = 64 * 1024

/**
 * Asks the endpoint once. Throws Failure `kafka/login-refused`, `kafka/certificate-refused` or
 * `kafka/unavailable`, within 5 s.
 */
export async function grantOf(settings: TokenSettings): Promise<Granted> {
  const { endpoint, clientId, clientSecret, scope } = settings
  const server = { issuer: new URL(endpoint).origin, token_endpoint: endpoint }
  const client = new Configuration(server, clientId, undefined, ClientSecretBasic(clientSecret.reveal()))
  // Which addresses may be http is for the settings to say (process/address.ts).
  allowInsecureRequests(client)
  client.timeout = undefined
  client[customFetch] = async (url, options) => {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS)
    const answer = await fetch(url, { ...(options as RequestInit), redirect: 'error', signal })
    return new Response(await textWithin(answer), { status: answer.status, headers: answer.headers })
  }
  try {
    const granted = await clientCredentialsGrant(client, scope === null ? {} : { scope })
    return { value: granted.access_token, lifeSeconds: granted.expires_in ?? null }
  } catch (error) {
    throw failureOf(error, endpoint)
  }
}

async function textWithin(answer: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of answer.body ?? []) {
    bytes += part.length
    if (bytes > TOKEN_BYTES_MAX) throw new Error('the answer is too long')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function failureOf(error: unknown, endpoint: string): Failure {
  const { host } = new URL(endpoint)
  const refused = refusalIn(error)
  if (refused !== null)
    return new Failure(
      'kafka/login-refused',
      `The token endpoint at ${host} refused the client of KAFKA_SASL_OAUTHBEARER_CLIENT_ID (${refused}). Correct its id, secret and scope.`,
    )
  const trouble = tlsTroubleIn(error)
  if (trouble !== null)
    return new Failure(
      'kafka/certificate-refused',
      `The token endpoint at ${host}: ${trouble.words}. An authority of your own goes into NODE_EXTRA_CA_CERTS.`,
    )
  return new Failure(
    'kafka/unavailable',
    `The token endpoint of the Kafka login, at ${host}, does not give a token. Work waits and continues automatically.`,
  )
}

/** The server's word for a refusal; null when it did not refuse. */
function refusalIn(error: unknown): string | null {
  const isRefusal =
    (error instanceof ResponseBodyError || error instanceof WWWAuthenticateChallengeError) &&
    error.status >= 400 &&
    error.status < 500 &&
    error.status !== 429
  if (!isRefusal) return null
  const word = error instanceof ResponseBodyError ? error.error : 'unauthorized'
  return /^[\w.-]{1,64}$/.test(word) ? word : String(error.status)
}
