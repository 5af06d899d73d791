// `calstream migrate`, `topics`, `schemas`, `toggles`: what an install needs before services start.
// Each may run any number of times.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { readEnv } from '#shared/process/settings.ts'
import { kafkaEnv } from '#shared/kafka/settings.ts'
import { writeSchemaIds } from '#shared/kafka/schema-ids.ts'
import { databaseUrlOf, postgresEnv } from '#shared/store/settings.ts'
import { applySchemas, verifySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics, verifyTopics } from '#shared/kafka/topics.ts'
import { migrate } from '#shared/store/migrate.ts'
import { seedToggles } from '#shared/gates/seed-toggles.ts'
import { urlOf } from './config.ts'
import { wordsOf } from './look.ts'
import { cliLogger, flagAdminOf, kafkaOf, registryOf } from './open.ts'
import { complain, type Output } from './output.ts'
import { migrateEnv, topicsEnv } from './settings.ts'
import { UserError } from '#shared/process/user-error.ts'

const LIMIT_MS = 60_000
const rolePasswords = z.record(z.string(), z.string().min(1))

/**
 * Applies missing migrations and, from CALSTREAM_ROLE_PASSWORDS_FILE (JSON, role → password), sets
 * the passwords of the roles. Newer tables that this version works with are told and left alone.
 */
export async function prepareTables(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const config = readEnv(z.object({ ...postgresEnv, ...migrateEnv }), urlOf('migrate', env))
  const file = config.CALSTREAM_ROLE_PASSWORDS_FILE
  const { applied, newer } = await migrate({
    url: databaseUrlOf(config),
    rolePrefix: config.POSTGRES_ROLE_PREFIX,
    ...(file ? { rolePasswords: readPasswords(file) } : {}),
  })
  if (newer.length === 0 || output.isJson)
    output.rows(
      [...applied.map((name) => ({ applied: name })), ...newer.map((name) => ({ newer: name }))],
      'The tables are up to date.',
    )
  else
    output.line(
      `The tables are newer than this version (${newer.join(', ')}), which works with them. Nothing was changed.`,
    )
}

/** The passwords by role. Throws a UserError that tells nothing of what is in the file. */
function readPasswords(file: string): Record<string, string> {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    // The text of a SyntaxError quotes the file.
    if (error instanceof SyntaxError) throw badPasswords('is no JSON')
    const reason = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new UserError(`CALSTREAM_ROLE_PASSWORDS_FILE names a file that cannot be read (${reason}).`)
  }
  const passwords = rolePasswords.safeParse(content)
  if (!passwords.success) throw badPasswords('is something else')
  return passwords.data
}

function badPasswords(what: string): UserError {
  const form =
    '{"calstream_ingress": "…", "calstream_sync": "…", "calstream_retry": "…", "calstream_relay": "…", "calstream_scheduler": "…"}'
  return new UserError(
    `CALSTREAM_ROLE_PASSWORDS_FILE must hold a JSON object, role name → password: ${form}. It ${what}.`,
  )
}

/**
 * Creates missing topics (apply), then verifies all.
 * Sets the exit code when something is not as it must be.
 */
export async function prepareTopics(
  verb: 'apply' | 'verify',
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const { KAFKA_PARTITIONS: partitions } = readEnv(z.object({ ...kafkaEnv, ...topicsEnv }), env)
  const kafka = { ...kafkaOf(env), partitions }
  const logger = cliLogger()
  const report = await (verb === 'apply' ? applyTopics(kafka, logger) : verifyTopics(kafka, logger))
  output.rows(report.topics, 'There are no topics to look at.')
  complainOf(report.problems)
}

/**
 * Registers missing schemas (apply), then verifies all.
 * Sets the exit code when something is not as it must be.
 */
export async function prepareSchemas(
  verb: 'apply' | 'verify',
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const registry = registryOf(env)
  const signal = AbortSignal.timeout(LIMIT_MS)
  const report = await (verb === 'apply' ? applySchemas(registry, signal) : verifySchemas(registry, signal))
  const { idsPath } = registry
  // Half of them would be of no use: a service needs all that it reads and writes.
  if (verb === 'apply' && idsPath !== undefined && report.ids !== null) {
    try {
      writeSchemaIds(idsPath, registry.prefix, report.ids)
    } catch (error) {
      throw new UserError(`SCHEMA_IDS_PATH names a file that cannot be written (${wordsOf(error)}).`)
    }
  }
  output.rows(report.subjects, 'There are no schemas to look at.')
  complainOf(report.problems)
}

function complainOf(problems: readonly string[]): void {
  for (const problem of problems) complain(problem)
  if (problems.length > 0) process.exitCode = 1
}

/**
 * Makes missing toggles at the flag server: switches on, allowlists empty (they let no one in).
 * What an operator switched stays.
 */
export async function prepareToggles(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const seed = { switchesOn: true, providerIds: [], connectionIds: [] }
  const made = await seedToggles(flagAdminOf(env), seed, AbortSignal.timeout(LIMIT_MS)).catch(
    (error: unknown) => {
      throw new UserError(
        `The toggles could not be made: ${wordsOf(error)}. Check UNLEASH_URL and UNLEASH_ADMIN_TOKEN.`,
        { cause: error },
      )
    },
  )
  output.rows(
    made.map((toggle) => ({ made: toggle })),
    'All toggles are there.',
  )
}
