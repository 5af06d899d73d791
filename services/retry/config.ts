// What retry reads from its environment: no database, since its topics have all that it has. Pure.
import { z } from 'zod'
import { adminEnv, readEnv } from '#shared/process/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z.object({ ...kafkaEnv, ...registryEnv, ...unleashEnv, ...adminEnv })

export type RetryConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): RetryConfig {
  return readEnv(schema, env)
}
