// What the relay reads from its environment. Pure.
import { z } from 'zod'
import { adminEnv, readEnv } from '#shared/process/settings.ts'
import { kafkaEnv } from '#shared/kafka/settings.ts'
import { postgresEnv } from '#shared/store/settings.ts'

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z.object({ ...kafkaEnv, ...postgresEnv, ...adminEnv })

export type RelayConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): RelayConfig {
  return readEnv(schema, env)
}
