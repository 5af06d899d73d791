// `calstream migrate`, `topics`, `schemas`, `toggles`: what an install needs before services start. Each may run any number of times.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { kafkaEnv, postgresEnv, readEnv, registryEnv } from '#shared/platform/env.ts'
import { applySchemas, verifySchemas } from '#shared/platform/schemas.ts'
import { applyTopics, verifyTopics } from '#shared/platform/topics.ts'
import { migrate } from '#shared/store/migrate.ts'
import { seedToggles } from '../../infra/local/seed-toggles.ts'
import { urlOf } from './config.ts'
import type { Output } from './output.ts'
import { Problem } from './problem.ts'

const rolePasswords = z.record(z.string(), z.string().min(1))

/** Applies missing migrations and, from CALSTREAM_ROLE_PASSWORDS_FILE (JSON, role → password), sets the passwords of the roles. */
export async function prepareTables(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const config = readEnv(
    postgresEnv.extend({ CALSTREAM_ROLE_PASSWORDS_FILE: z.string().optional() }),
    urlOf('migrate', env),
  )
  const file = config.CALSTREAM_ROLE_PASSWORDS_FILE
  const passwords =
    file === undefined ? undefined : rolePasswords.safeParse(JSON.parse(readFileSync(file, 'utf8')))
  if (passwords?.success === false)
    throw new Problem('CALSTREAM_ROLE_PASSWORDS_FILE must hold a JSON object: role name → password.')
  const applied = await migrate({
    url: config.POSTGRES_URL,
    ...(passwords ? { rolePasswords: passwords.data } : {}),
  })
  output.rows(
    applied.map((migration) => ({ applied: migration })),
    'The tables are up to date.',
  )
}

export async function prepareTopics(
  verb: 'apply' | 'verify',
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const config = readEnv(kafkaEnv, env)
  const kafka = { brokers: config.KAFKA_BROKERS, prefix: config.KAFKA_PREFIX }
  const topics = verb === 'apply' ? await applyTopics(kafka) : await verifyTopics(kafka)
  output.rows(topics, 'There are no topics to look at.')
}

export async function prepareSchemas(
  verb: 'apply' | 'verify',
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const config = readEnv(registryEnv.extend(kafkaEnv.pick({ KAFKA_PREFIX: true }).shape), env)
  const registry = { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: config.KAFKA_PREFIX }
  const schemas = verb === 'apply' ? await applySchemas(registry) : await verifySchemas(registry)
  output.rows(schemas, 'There are no schemas to look at.')
}

/** Makes missing toggles at the flag server: switches on, allowlists empty (nobody). What an operator switched stays. */
export async function prepareToggles(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const config = readEnv(z.object({ UNLEASH_URL: z.url(), UNLEASH_ADMIN_TOKEN: z.string().min(1) }), env)
  const consoleUrl = config.UNLEASH_URL.replace(/\/api\/?$/, '')
  const made = await seedToggles(
    { consoleUrl, tokens: { admin: config.UNLEASH_ADMIN_TOKEN } },
    { switchesOn: true, providerIds: [], connectionIds: [] },
    AbortSignal.timeout(60_000),
  )
  output.rows(
    made.map((toggle) => ({ made: toggle })),
    'All toggles are there.',
  )
}
