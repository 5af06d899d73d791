// Where the broker and the schema registry are, and who we are there.
import { z } from 'zod'
import { readHosts } from '#shared/process/address.ts'
import { httpUrl, rotatingSecret, secret, text, together } from '#shared/process/settings.ts'
import type { KafkaConfig } from './client.ts'
import { openTokenSource } from './oauth-token.ts'
import { ClientTls, type KafkaLogin, type KafkaSecurity } from './security.ts'
import type { RegistryAccess } from './registry.ts'
import { MECHANISMS, PROTOCOLS, registryProblems, securityProblems } from './security-settings.ts'

export const kafkaEnv = {
  KAFKA_BROKERS: text('host:port of the brokers, separated by commas')
    .transform((value) => value.split(',').map((broker) => broker.trim()))
    .refine(
      (brokers) =>
        brokers.every(
          (broker) => /^[^\s:]+:\d{1,5}$/.test(broker) || /^\[[\da-f:]+\]:\d{1,5}$/i.test(broker),
        ),
      {
        error: 'it is not a list of host:port',
      },
    )
    .describe('host:port of the brokers, separated by commas'),
  KAFKA_PREFIX: z
    .string()
    .regex(/^[\w.-]{0,64}$/, { error: 'it may hold letters, digits, dot, dash and underscore, at most 64' })
    .default('')
    .describe(
      'text before every topic, subject, group and transactional id, so that several installs can share a broker',
    ),
  KAFKA_SECURITY_PROTOCOL: together(
    oneOf(PROTOCOLS, 'PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL'),
    securityProblems,
  ),
  KAFKA_SASL_MECHANISM: oneOf(MECHANISMS, 'PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER'),
  KAFKA_SASL_USERNAME: text('the user').optional(),
  KAFKA_SASL_PASSWORD: rotatingSecret("the user's password"),
  KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: httpUrl('where access tokens are given').optional(),
  KAFKA_SASL_OAUTHBEARER_CLIENT_ID: text('the OAuth client').optional(),
  KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: rotatingSecret('its secret'),
  KAFKA_SASL_OAUTHBEARER_SCOPE: text('scopes, separated by spaces').optional(),
  KAFKA_SSL_CA: rotatingSecret('certificates of authorities, as PEM'),
  KAFKA_SSL_CERT: rotatingSecret('the client certificate with its chain, as PEM'),
  KAFKA_SSL_KEY: rotatingSecret('the key of the client certificate, as PEM'),
  KAFKA_SSL_KEY_PASSWORD: rotatingSecret('the password of that key'),
  ALLOW_SASL_PLAINTEXT_TO: z
    .string()
    .refine((value) => readHosts(value) !== null, {
      error: 'it is not a list of host names, separated by commas',
    })
    .transform((value) => readHosts(value) ?? new Set<string>())
    .optional()
    .describe('hosts of brokers to which a login may go in clear'),
}

export const registryEnv = {
  SCHEMA_REGISTRY_URL: together(httpUrl('address of the schema registry'), registryProblems),
  SCHEMA_REGISTRY_USERNAME: text('the user').optional(),
  SCHEMA_REGISTRY_PASSWORD: rotatingSecret("the user's password"),
  SCHEMA_REGISTRY_BEARER_TOKEN: rotatingSecret('a token, in place of user and password'),
  SCHEMA_REGISTRY_SSL_CA: rotatingSecret('certificates of authorities, as PEM'),
  SCHEMA_IDS_PATH: text(
    'file in which `calstream schemas apply` notes the ids of our schemas, for services that start while the registry is away',
  ).optional(),
}

type KafkaSettings = z.output<z.ZodObject<typeof kafkaEnv>>

/** What every client of this process needs to know of Kafka. */
export function kafkaConfigOf(settings: KafkaSettings, clientId: string): KafkaConfig {
  const { KAFKA_BROKERS: brokers, KAFKA_PREFIX: prefix } = settings
  return { brokers, prefix, clientId, security: securityOf(settings) }
}

function securityOf(settings: KafkaSettings): KafkaSecurity {
  const protocol = settings.KAFKA_SECURITY_PROTOCOL ?? 'PLAINTEXT'
  const tls = new ClientTls({
    ca: settings.KAFKA_SSL_CA ?? null,
    cert: settings.KAFKA_SSL_CERT ?? null,
    key: settings.KAFKA_SSL_KEY ?? null,
    keyPassword: settings.KAFKA_SSL_KEY_PASSWORD ?? null,
  })
  return {
    tls: protocol.endsWith('SSL') ? tls : null,
    login: protocol.startsWith('SASL') ? loginOf(settings) : null,
    clearHosts: settings.ALLOW_SASL_PLAINTEXT_TO ?? new Set(),
  }
}

type RegistrySettings = z.output<z.ZodObject<typeof registryEnv>>

/** Where the registry is, and who we are there. */
export function registryConfigOf(settings: RegistrySettings & Pick<KafkaSettings, 'KAFKA_PREFIX'>): {
  readonly registryUrl: string
  readonly access: RegistryAccess
  readonly prefix: string
  /** Where the deployment noted the ids of our schemas. */
  readonly idsPath: string | undefined
} {
  const { SCHEMA_REGISTRY_URL: registryUrl, KAFKA_PREFIX: prefix } = settings
  return {
    registryUrl,
    prefix,
    idsPath: settings.SCHEMA_IDS_PATH,
    access: { login: registryLoginOf(settings), ca: settings.SCHEMA_REGISTRY_SSL_CA ?? null },
  }
}

function registryLoginOf(settings: RegistrySettings): RegistryAccess['login'] {
  const { SCHEMA_REGISTRY_USERNAME: username, SCHEMA_REGISTRY_PASSWORD: password } = settings
  if (username !== undefined && password !== undefined) return { kind: 'basic', username, password }
  const token = settings.SCHEMA_REGISTRY_BEARER_TOKEN
  return token === undefined ? null : { kind: 'bearer', token }
}

/** `securityProblems` has seen to it that nothing is missing. */
function loginOf(settings: KafkaSettings): KafkaLogin {
  const mechanism = settings.KAFKA_SASL_MECHANISM ?? 'PLAIN'
  if (mechanism !== 'OAUTHBEARER') {
    const { KAFKA_SASL_USERNAME: username = '', KAFKA_SASL_PASSWORD: password = secret('') } = settings
    return { mechanism, username, password }
  }
  const token = openTokenSource({
    endpoint: settings.KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL ?? '',
    clientId: settings.KAFKA_SASL_OAUTHBEARER_CLIENT_ID ?? '',
    clientSecret: settings.KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET ?? secret(''),
    scope: settings.KAFKA_SASL_OAUTHBEARER_SCOPE ?? null,
  })
  return { mechanism, token }
}

function oneOf<const Words extends readonly [string, ...string[]]>(words: Words, expected: string) {
  return z.enum(words, { error: 'it is none of the words' }).optional().describe(expected)
}
