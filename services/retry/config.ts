// What retry reads from its environment; the database is for its heartbeat alone. Pure.
import { z } from 'zod'
import { adminEnv, readEnv } from '#shared/process/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { postgresEnv } from '#shared/store/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z.object({ ...kafkaEnv, ...registryEnv, ...postgresEnv, ...unleashEnv, ...adminEnv })

export type RetryConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): RetryConfig {
  return readEnv(schema, env)
}
