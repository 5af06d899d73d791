// What the scheduler reads from its environment. Pure.
import { z } from 'zod'
import { adminEnv, readEnv } from '#shared/process/settings.ts'
import { channelEnv, vendorsEnv } from '#shared/vendors/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z.object({
  ...kafkaEnv,
  ...registryEnv,
  ...postgresEnv,
  ...unleashEnv,
  ...credentialsEnv,
  ...channelEnv,
  ...vendorsEnv,
  ...adminEnv,
})

export type SchedulerConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): SchedulerConfig {
  return readEnv(schema, env)
}
