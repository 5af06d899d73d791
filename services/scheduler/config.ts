// What the scheduler reads from its environment. Pure.
import { z } from 'zod'
import {
  adminEnv,
  channelEnv,
  credentialsEnv,
  kafkaEnv,
  postgresEnv,
  readEnv,
  registryEnv,
  unleashEnv,
  vendorsEnv,
} from '#shared/platform/env.ts'

const schema = z.object({
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
