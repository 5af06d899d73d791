// Which of the security settings of Kafka and of the registry go together. Pure but for reading
// certificates. All that is wrong is told at once. A setting that would have no effect is wrong:
// the operator who wrote it believes that it protects something.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readHosts } from '#shared/process/address.ts'
import type { Input } from '#shared/process/settings.ts'
import { clearHostProblem } from './security.ts'

export const PROTOCOLS = ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'] as const
export const MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'] as const

const PASSWORD_NAMES = ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD']
const TOKEN_NAMES = [
  'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL',
  'KAFKA_SASL_OAUTHBEARER_CLIENT_ID',
  'KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET',
]
const TOKEN_EXTRAS = ['KAFKA_SASL_OAUTHBEARER_SCOPE']
const SASL_NAMES = ['KAFKA_SASL_MECHANISM', ...PASSWORD_NAMES, ...TOKEN_NAMES, ...TOKEN_EXTRAS]
const SSL_NAMES = ['KAFKA_SSL_CA', 'KAFKA_SSL_CERT', 'KAFKA_SSL_KEY', 'KAFKA_SSL_KEY_PASSWORD']

/** What is wrong with the security settings of Kafka, each sentence with its variables. */
export function securityProblems(input: Input): readonly string[] {
  const protocol = input['KAFKA_SECURITY_PROTOCOL'] ?? 'PLAINTEXT'
  // A word that is none is told by its own piece.
  if (!PROTOCOLS.some((one) => one === protocol)) return []
  return [
    ...(protocol.startsWith('SASL')
      ? loginProblems(input)
      : useless(input, SASL_NAMES, protocol, 'SASL_SSL')),
    ...(protocol.endsWith('SSL')
      ? certificateProblems(input)
      : useless(input, SSL_NAMES, protocol, protocol === 'PLAINTEXT' ? 'SSL' : 'SASL_SSL')),
    ...(protocol === 'SASL_PLAINTEXT' ? clearProblems(input) : []),
  ]
}

/** What is wrong with the settings of the registry's login. */
export function registryProblems(input: Input): readonly string[] {
  const { SCHEMA_REGISTRY_USERNAME: user, SCHEMA_REGISTRY_PASSWORD: password } = input
  const { SCHEMA_REGISTRY_BEARER_TOKEN: token, SCHEMA_REGISTRY_SSL_CA: ca, SCHEMA_REGISTRY_URL: url } = input
  const problems: string[] = []
  if (user !== undefined && password === undefined)
    problems.push('SCHEMA_REGISTRY_PASSWORD is not set, and SCHEMA_REGISTRY_USERNAME is.')
  if (user === undefined && password !== undefined)
    problems.push('SCHEMA_REGISTRY_USERNAME is not set, and SCHEMA_REGISTRY_PASSWORD is.')
  if (token !== undefined && (user ?? password) !== undefined)
    problems.push('SCHEMA_REGISTRY_BEARER_TOKEN and SCHEMA_REGISTRY_USERNAME are both set; keep one.')
  if (ca !== undefined && certificateIn(ca) === null) problems.push(noCertificate('SCHEMA_REGISTRY_SSL_CA'))
  if (ca !== undefined && url?.startsWith('http:') === true)
    problems.push('SCHEMA_REGISTRY_SSL_CA has no effect while SCHEMA_REGISTRY_URL begins with http://.')
  return problems
}

function noCertificate(name: string): string {
  return `${name} cannot be used: it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).`
}

function useless(
  input: Input,
  names: readonly string[],
  protocol: string,
  wanted: string,
): readonly string[] {
  const set = names.filter((name) => input[name] !== undefined)
  if (set.length === 0) return []
  const has = set.length === 1 ? 'has' : 'have'
  return [
    `${set.join(', ')} ${has} no effect while KAFKA_SECURITY_PROTOCOL is ${protocol}: set it to ${wanted}, or leave them unset.`,
  ]
}

function loginProblems(input: Input): readonly string[] {
  const mechanism = input['KAFKA_SASL_MECHANISM']
  if (mechanism === undefined)
    return [`KAFKA_SASL_MECHANISM is not set. Expected: one of ${MECHANISMS.join(', ')}.`]
  if (!MECHANISMS.some((one) => one === mechanism)) return []
  const isToken = mechanism === 'OAUTHBEARER'
  const [needed, foreign] = isToken
    ? [TOKEN_NAMES, PASSWORD_NAMES]
    : [PASSWORD_NAMES, [...TOKEN_NAMES, ...TOKEN_EXTRAS]]
  const missing = needed.filter((name) => input[name] === undefined)
  const wrong = foreign.filter((name) => input[name] !== undefined)
  return [
    ...missing.map((name) => `${name} is not set. KAFKA_SASL_MECHANISM ${mechanism} needs it.`),
    ...wrong.map((name) => `${name} has no effect with KAFKA_SASL_MECHANISM ${mechanism}: leave it unset.`),
  ]
}

function clearProblems(input: Input): readonly string[] {
  const hosts = readHosts(input['ALLOW_SASL_PLAINTEXT_TO'] ?? '') ?? new Set<string>()
  const brokers = (input['KAFKA_BROKERS'] ?? '').split(',').map((broker) => broker.trim())
  const problem = brokers
    .map((broker) => clearHostProblem(broker.replace(/:\d*$/, ''), hosts))
    .find((found) => found !== null)
  return problem === undefined ? [] : [`KAFKA_SECURITY_PROTOCOL cannot be SASL_PLAINTEXT: ${problem}.`]
}

function certificateProblems(input: Input): readonly string[] {
  const { KAFKA_SSL_CA: ca, KAFKA_SSL_CERT: cert, KAFKA_SSL_KEY: key } = input
  const passphrase = input['KAFKA_SSL_KEY_PASSWORD']
  const problems: string[] = []
  for (const [name, pem] of Object.entries({ KAFKA_SSL_CA: ca, KAFKA_SSL_CERT: cert }))
    if (pem !== undefined && certificateIn(pem) === null) problems.push(noCertificate(name))
  if (cert === undefined && key !== undefined)
    problems.push('KAFKA_SSL_CERT is not set, and KAFKA_SSL_KEY is.')
  if (key === undefined && cert !== undefined)
    problems.push('KAFKA_SSL_KEY is not set, and KAFKA_SSL_CERT is.')
  if (key === undefined && passphrase !== undefined)
    problems.push('KAFKA_SSL_KEY_PASSWORD is set, and KAFKA_SSL_KEY is not.')
  if (key !== undefined) problems.push(...keyProblems(key, passphrase, cert))
  return problems
}

function keyProblems(
  key: string,
  passphrase: string | undefined,
  cert: string | undefined,
): readonly string[] {
  let read
  try {
    read = createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) })
  } catch {
    return [
      'KAFKA_SSL_KEY cannot be used: it is no key in PEM form, or KAFKA_SSL_KEY_PASSWORD does not open it.',
    ]
  }
  const certificate = cert === undefined ? null : certificateIn(cert)
  if (certificate === null || certificate.checkPrivateKey(read)) return []
  return ['KAFKA_SSL_KEY and KAFKA_SSL_CERT do not belong together: the key is of another certificate.']
}

function certificateIn(pem: string): X509Certificate | null {
  try {
    return pem.includes('-----BEGIN CERTIFICATE-----') ? new X509Certificate(pem) : null
  } catch {
    return null
  }
}
