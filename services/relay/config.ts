// What the relay reads from its environment. Pure.
import { z } from 'zod'
import { adminEnv, kafkaEnv, postgresEnv, readEnv } from '#shared/platform/env.ts'

const schema = z.object({ ...kafkaEnv, ...postgresEnv, ...adminEnv })

export type RelayConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): RelayConfig {
  return readEnv(schema, env)
}
