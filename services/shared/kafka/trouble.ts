// What an error of KafkaJS means: which of network, certificate, login or right it was, and whether
// waiting cures it.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { tlsTroubleOf } from '#shared/process/tls-words.ts'
import { ALLOW_SASL_PLAINTEXT_TO } from './security.ts'

export const SPEAKS_TLS = 'The broker speaks TLS on this port.'
/** Codes of a connection that was not made, since who refused us is not asked again yet. */
const HELD: Readonly<Record<string, FailureCode>> = {
  KAFKA_LOGIN_HELD: 'kafka/login-refused',
  KAFKA_CERTIFICATE_HELD: 'kafka/certificate-refused',
}
/** KafkaJS says so before what a socket says. */
const OF_A_SOCKET = /^Connection error: /
/** KafkaJS says so before what a broker says of a login. */
const OF_A_LOGIN = /^SASL [\w ]+ authentication failed: /
/** How a broker refuses a token (RFC 7628 §3.2.2). */
const TOKEN_STATUS = /"status"\s*:\s*"([\w.-]{1,64})"/

/**
 * The broker's name of what went wrong (`MESSAGE_TOO_LARGE` …),
 * from anywhere in the chain of causes.
 */
export function protocolErrors(error: unknown): readonly string[] {
  return causes(error).flatMap((cause) =>
    'type' in cause && typeof cause.type === 'string' ? [cause.type] : [],
  )
}

const FENCED = new Set(['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'TRANSACTION_COORDINATOR_FENCED'])
/**
 * KafkaJS knows no code above 88; 90 is PRODUCER_FENCED
 * (https://kafka.apache.org/protocol#protocol_error_codes).
 */
const UNKNOWN_FENCED = /Unknown error code 90\b/
const REJECTED = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
])
/** The broker takes one login of a connection in a second. */
const TOO_SOON = 'ILLEGAL_SASL_STATE'
const LOGIN_REFUSED = new Set(['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', TOO_SOON])
/** What one has no right to, by the broker's name of the refusal. */
const RIGHTS: Readonly<Record<string, string>> = {
  TOPIC_AUTHORIZATION_FAILED: 'a topic',
  GROUP_AUTHORIZATION_FAILED: 'a consumer group',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'a transactional id',
  CLUSTER_AUTHORIZATION_FAILED: 'the cluster',
}

/** Any error of a producer or of a commit as a Failure of the area kafka. */
export function kafkaFailure(error: unknown): Failure {
  const ours = causes(error).find((cause) => cause instanceof Failure)
  if (ours !== undefined) return ours
  const types = protocolErrors(error)
  const text = error instanceof Error ? error.message : String(error)
  const failure = (code: FailureCode, message?: string) => new Failure(code, message, { cause: error })
  if (types.some((type) => FENCED.has(type)) || UNKNOWN_FENCED.test(text)) return failure('kafka/fenced')
  if (types.some((type) => REJECTED.has(type)))
    return failure('kafka/rejected', `Kafka refused a record: ${text}`)
  return (
    refusalOf(error) ??
    failure('kafka/unavailable', `Kafka cannot be reached or does not serve us: ${text}.${hintOf(types)}`)
  )
}

/**
 * Whether the broker hung up. To one that wants TLS or a login everything that comes without is a
 * reason to.
 */
export function isHungUp(error: unknown): boolean {
  return causes(error).some(({ name }) => name === 'KafkaJSConnectionClosedError')
}

function hintOf(types: readonly string[]): string {
  if (!types.includes('UNKNOWN_TOPIC_OR_PARTITION')) return ' Work waits and continues automatically.'
  // Kafka hides what one may not describe.
  return ' A topic is missing: run `calstream topics apply`. To a user without the right DESCRIBE it seems so too: `calstream acls verify` tells.'
}

/**
 * Certificates, login and rights: what a person has to put right. null when it is none of them.
 */
export function refusalOf(error: unknown): Failure | null {
  const chain = causes(error)
  for (const { code, message } of chain) {
    const held = typeof code === 'string' ? HELD[code] : undefined
    if (held !== undefined) return new Failure(held, message.replace(OF_A_SOCKET, ''), { cause: error })
  }
  const tls = chain.map(({ code }) => tlsTroubleOf(code)).find((trouble) => trouble !== null)
  if (tls !== undefined) {
    const code = tls.kind === 'no-tls' ? 'kafka/unavailable' : 'kafka/certificate-refused'
    return new Failure(code, `Kafka: ${tls.words}. ${TLS_REMEDIES[tls.kind]}`, { cause: error })
  }
  if (chain.some(({ message }) => message.includes(SPEAKS_TLS)))
    return new Failure('kafka/unavailable', `Kafka: ${SPEAKS_TLS} Correct KAFKA_SECURITY_PROTOCOL.`, {
      cause: error,
    })
  const clear = chain.find(({ message }) => message.includes(ALLOW_SASL_PLAINTEXT_TO))
  if (clear !== undefined)
    return new Failure('kafka/login-refused', `Kafka was not asked: ${clear.message}.`, { cause: error })
  const types = protocolErrors(error)
  const login = chain.find(
    ({ name, type }) => name === 'KafkaJSSASLAuthenticationError' || LOGIN_REFUSED.has(String(type)),
  )
  if (login !== undefined) {
    if (TOKEN_STATUS.test(login.message))
      return new Failure('kafka/login-refused', tokenRefusal(login.message), { cause: error })
    const todo =
      login.type === TOO_SOON
        ? 'Sessions end too soon: connections.max.reauth.ms of the broker and the life of tokens have to be longer than 10 s.'
        : 'Correct KAFKA_SASL_MECHANISM, user and password, or the user at the broker.'
    const told = login.message.replace(OF_A_LOGIN, '')
    return new Failure('kafka/login-refused', `Kafka refused the login: ${told}. ${todo}`, { cause: error })
  }
  const right = types.map((type) => RIGHTS[type]).find((found) => found !== undefined)
  if (right === undefined) return null
  const words = `Kafka took the login, but its user has no right to ${right}: ${chain[0]?.message}.`
  return new Failure('kafka/right-missing', `${words} See \`calstream acls verify\`.`, { cause: error })
}

/** What a broker's challenge says of the token. */
export function tokenRefusal(challenge: string): string {
  return `Kafka refused the token of the login (${TOKEN_STATUS.exec(challenge)?.[1] ?? 'no reason given'}).`
}

/**
 * A refusal for clients that come before it is time to ask again, as the error of a socket: KafkaJS
 * hands on nothing but its words and its code. `refusalOf` makes the same Failure of it.
 */
export function heldError(refusal: Error): Error {
  const failure = refusal instanceof Failure ? refusal : refusalOf(refusal)
  const [code] = Object.entries(HELD).find(([, of]) => of === failure?.code) ?? []
  return Object.assign(new Error((failure ?? refusal).message), { code: code ?? 'KAFKA_LOGIN_HELD' })
}

const TLS_REMEDIES = {
  authority: 'Name the authority in KAFKA_SSL_CA.',
  name: 'Correct KAFKA_BROKERS, or what the brokers advertise, or their certificate.',
  time: 'Renew it, or set the clock.',
  client: 'Correct KAFKA_SSL_CERT and KAFKA_SSL_KEY.',
  'no-tls': 'Correct KAFKA_SECURITY_PROTOCOL or the port in KAFKA_BROKERS.',
} as const

/**
 * Names under which KafkaJS reports a broker that is gone, restarting or moving its leaders;
 * waiting cures all of them.
 */
const TROUBLE_NAMES = new Set([
  // Only what is retriable is retried.
  'KafkaJSNumberOfRetriesExceeded',
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSBrokerNotFound',
  'KafkaJSNoBrokerAvailableError',
  'KafkaJSGroupCoordinatorNotFound',
  'KafkaJSMetadataNotLoaded',
  'KafkaJSTopicMetadataNotLoaded',
  'KafkaJSStaleTopicMetadataAssignment',
  'KafkaJSLockTimeout',
  'KafkaJSTimeout',
  // While a password rotates, broker and file have two different ones for a moment.
  'KafkaJSSASLAuthenticationError',
])

/** Failures that pass once the other side is back, or a file is corrected: no restart helps. */
const TROUBLE_CODES: ReadonlySet<FailureCode> = new Set([
  'kafka/unavailable',
  'kafka/certificate-refused',
  'kafka/login-refused',
])

/**
 * The one trouble for which KafkaJS has no class:
 * it used a broker whose connection had just been given up.
 */
const NOT_CONNECTED = 'Broker not connected'

/**
 * Whether waiting will cure it: the broker is away, or is one that KafkaJS itself calls retriable,
 * or a login or a certificate is refused, which a rotated file mends. Anything else is a defect or
 * a wrong set-up.
 */
export function isBrokerTrouble(error: unknown): boolean {
  const chain = causes(error)
  const ours = chain.find((cause) => cause instanceof Failure)
  if (ours !== undefined) return TROUBLE_CODES.has(ours.code)
  return chain.some(
    ({ name, message, type, retriable }) =>
      TROUBLE_NAMES.has(name) ||
      message === NOT_CONNECTED ||
      retriable === true ||
      type === 'UNKNOWN_TOPIC_OR_PARTITION' ||
      LOGIN_REFUSED.has(String(type)),
  )
}

/** An error with the fields that KafkaJS may add. */
type Met = Error & { readonly type?: unknown; readonly code?: unknown; readonly retriable?: unknown }

function causes(error: unknown): readonly Met[] {
  const found: Met[] = []
  let current: unknown = error
  while (current instanceof Error && found.length < 10) {
    const met: Met & { originalError?: unknown; errors?: unknown } = current
    found.push(met)
    // Some errors of KafkaJS carry the first one as originalError, others as cause, and those of
    // several topics in a list.
    current = met.cause ?? met.originalError ?? (Array.isArray(met.errors) ? met.errors[0] : undefined)
  }
  return found
}
