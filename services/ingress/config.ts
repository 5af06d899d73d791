// What the ingress reads from its environment. Pure.
import { z } from 'zod'
import { bearerCheckEnv, bearerRules } from '#shared/process/bearer-settings.ts'
import { adminEnv, readEnv, text, wholeNumber } from '#shared/process/settings.ts'
import { channelEnv, vendorsEnv } from '#shared/vendors/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import { isNetwork } from './sockets/addresses.ts'

const PORT = 'port of the webhooks and the API; 0 takes a free one'
const HOST = 'interface of that port; 0.0.0.0 inside a container'
const CONNECTIONS = 'sockets open at a time; for one more, the one that keeps us waiting longest is closed'
const PER_ADDRESS =
  'the same of one address (of IPv6: of its first 64 bits); vendors and proxies send much from few'
const PROXIES =
  'addresses or networks like 10.0.0.0/8 of your proxies, separated by commas; their X-Forwarded-For is believed'
const RETURN_ORIGINS =
  'origins like https://app.example.com, separated by commas, where a browser may be sent after it connected an account; http://127.0.0.1:* is every port of this machine'

/**
 * Every port of a machine that only its own user reaches: where people build apps, ports change.
 */
const ANY_LOOPBACK_PORT = /^https?:\/\/(?:127\.0\.0\.1|localhost|\[::1\]):\*$/

function isOrigin(part: string): boolean {
  // A host may be "*" to a URL parser, and nothing else here is a pattern.
  return ANY_LOOPBACK_PORT.test(part) || (/^https?:[^*]+$/.test(part) && URL.parse(part)?.origin === part)
}

/** Origins exactly as browsers write them: anything more would never match, or match too much. */
function originList(expected: string) {
  const error = 'it has an entry that is no http or https origin'
  return z
    .string({ error })
    .transform((value) => value.split(',').map((part) => part.trim().replace(/\/$/, '')))
    .refine((parts) => parts.every(isOrigin), { error })
    .describe(expected)
}

function networkList(expected: string) {
  const error = 'it has an entry that is neither an address nor a network'
  return z
    .string({ error })
    .transform((value) => value.split(',').map((part) => part.trim()))
    .refine((parts) => parts.every(isNetwork), { error })
    .describe(expected)
}

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z
  .object({
    ...kafkaEnv,
    ...registryEnv,
    ...postgresEnv,
    ...unleashEnv,
    ...adminEnv,
    ...channelEnv,
    ...credentialsEnv,
    ...vendorsEnv,
    OAUTH_RETURN_ORIGINS: originList(RETURN_ORIGINS).default([]).describe(RETURN_ORIGINS),
    INGRESS_PORT: wholeNumber(PORT, { min: 0, max: 65_535 }).default(8080).describe(PORT),
    // Loopback unless told otherwise: opening to the network is a decision.
    INGRESS_HOST: text(HOST).default('127.0.0.1').describe(HOST),
    INGRESS_CONNECTIONS_MAX: wholeNumber(CONNECTIONS, { min: 10, max: 100_000 })
      .default(2000)
      .describe(CONNECTIONS),
    INGRESS_CONNECTIONS_PER_ADDRESS_MAX: wholeNumber(PER_ADDRESS, { min: 1, max: 100_000 })
      .default(500)
      .describe(PER_ADDRESS),
    INGRESS_TRUSTED_PROXIES: networkList(PROXIES).default([]).describe(PROXIES),
    ...bearerCheckEnv,
  })
  .check(...bearerRules)

export type IngressConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): IngressConfig {
  return readEnv(schema, env)
}
