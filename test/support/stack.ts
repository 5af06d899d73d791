// What a test file uses of the shared stack: a database of its own (cloned from a migrated
// template), a prefix of its own on the shared broker, and, where it stops or kills
// something, a component of its own.
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { migrate } from '#shared/store/migrate.ts'
import { runStatement } from '../../infra/stack/postgres.ts'
import type { DatabaseRole } from '../../infra/stack/secrets.ts'
import { templateDatabase } from './template-database.ts'
import { roleName, testRoles, type TestStack } from './test-stack.ts'

export { roleName, testRoles, type TestStack }
export { startOwnKafka, startOwnPostgres, startOwnRegistry, startOwnUnleash } from './own-components.ts'

export interface TestDatabase extends AsyncDisposable {
  readonly name: string
  /** As a role of the product; as the superuser when none is named. */
  url(role?: DatabaseRole): string
}

/**
 * The shared infrastructure of this run.
 * Only files of the projects contract, integration and drill have it.
 */
export function testStack(): TestStack {
  return inject('stack')
}

/**
 * A database with all tables and role passwords, this file's own.
 * Disposing drops it, open sessions included.
 */
export async function freshDatabase(label: string): Promise<TestDatabase> {
  const stack = testStack()
  const template = await migratedTemplate(stack)
  const name = `${label
    .replaceAll(/[^a-z0-9]+/gi, '_')
    .toLowerCase()
    .slice(0, 40)}_${randomBytes(4).toString('hex')}`
  await runStatement(stack.postgresUrl, `CREATE DATABASE ${pg.escapeIdentifier(name)} TEMPLATE ${template}`)
  // Rights on a database are not part of its template.
  await runStatement(stack.postgresUrl, `REVOKE ALL ON DATABASE ${pg.escapeIdentifier(name)} FROM PUBLIC`)
  const roles = (Object.keys(stack.rolePasswords) as DatabaseRole[]).map(roleName).join(', ')
  await runStatement(stack.postgresUrl, `GRANT CONNECT ON DATABASE ${pg.escapeIdentifier(name)} TO ${roles}`)
  return {
    name,
    url: (role) => databaseUrl(stack, name, role),
    [Symbol.asyncDispose]: async () => {
      await runStatement(
        stack.postgresUrl,
        `DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`,
      )
    },
  }
}

/** A KAFKA_PREFIX that no other file has. */
export function freshPrefix(): string {
  return `t${randomBytes(4).toString('hex')}-`
}

function databaseUrl(stack: TestStack, database: string, role?: DatabaseRole): string {
  const url = new URL(stack.postgresUrl)
  url.pathname = `/${database}`
  if (role === undefined) return url.href
  url.username = roleName(role)
  url.password = stack.rolePasswords[role] ?? ''
  return url.href
}

async function migratedTemplate(stack: TestStack): Promise<string> {
  const template = `calstream_template_${stack.runId}`
  await templateDatabase(stack.postgresUrl, template, (url) =>
    migrate({ url: new Secret(url), ...testRoles(stack) }),
  )
  return template
}
