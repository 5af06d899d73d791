// What commands open or ask of an installation, by its settings.
import { z } from 'zod'
import type { AdminAddress } from '#shared/gates/seed-toggles.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaConfigOf, kafkaEnv, registryConfigOf, registryEnv } from '#shared/kafka/settings.ts'
import { createLogger } from '#shared/process/log.ts'
import { readEnv } from '#shared/process/settings.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { databaseUrlOf, postgresEnv } from '#shared/store/settings.ts'
import { urlOf, type ServiceName } from './config.ts'
import { flagAdminEnv } from './settings.ts'

const POOL_MAX = 3

/** The warnings of a command whose own lines do not say all. */
export const cliLogger = () => createLogger({ service: 'cli', level: 'warn' })
const silent = () => createLogger({ service: 'cli', level: 'silent' })

/**
 * As the scheduler unless told otherwise: the role that may read everything of interest here.
 * `migrate` is the owner of the tables.
 */
export function openDatabaseOf(
  env: NodeJS.ProcessEnv,
  logger = silent(),
  role: ServiceName | 'migrate' = 'scheduler',
): Database {
  const url = databaseUrlOf(readEnv(z.object(postgresEnv), urlOf(role, env)))
  return openDatabase({ url, applicationName: 'calstream-cli', poolMax: POOL_MAX }, logger)
}

export function kafkaOf(env: NodeJS.ProcessEnv, clientId = 'calstream-cli'): KafkaConfig {
  return kafkaConfigOf(readEnv(z.object(kafkaEnv), env), clientId)
}

export function registryOf(env: NodeJS.ProcessEnv) {
  return registryConfigOf(readEnv(z.object({ ...registryEnv, KAFKA_PREFIX: kafkaEnv.KAFKA_PREFIX }), env))
}

/** The flag server's console; its address is that of the API without `/api`. */
export function consoleOf(env: NodeJS.ProcessEnv): string {
  const { UNLEASH_URL: url } = readEnv(z.object({ UNLEASH_URL: unleashEnv.UNLEASH_URL }), env)
  return url.replace(/\/api$/, '')
}

export function flagAdminOf(env: NodeJS.ProcessEnv): AdminAddress {
  const schema = z.object({ UNLEASH_URL: unleashEnv.UNLEASH_URL, ...flagAdminEnv })
  const config = readEnv(schema, env)
  const { UNLEASH_PROJECT: project, UNLEASH_ENVIRONMENT: environment } = config
  const tokens = { admin: config.UNLEASH_ADMIN_TOKEN.reveal() }
  return { consoleUrl: consoleOf(env), tokens, project, environment }
}
