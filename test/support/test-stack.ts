// What is known of the stack that all test files of a run share.
import { randomBytes } from 'node:crypto'
import { DEFAULT_ROLE_PREFIX } from '#shared/store/settings.ts'
import type { DatabaseRole } from '../../infra/stack/secrets.ts'
import type { UnleashAddress } from '../../infra/stack/unleash.ts'

/** What a test file gets to know: plain data, since it crosses to other processes. */
export interface TestStack {
  readonly infra: 'local' | 'docker' | 'external'
  /** Names what this run makes on servers that outlive it. */
  readonly runId: string
  /** Of this run; removed at its end. */
  readonly folder: string
  /** For KAFKA_BROKERS. */
  readonly brokers: string
  /** For SCHEMA_REGISTRY_URL. */
  readonly registryUrl: string
  /** A superuser's URL of the database `postgres`. */
  readonly postgresUrl: string
  /**
   * Role → password, as set by freshDatabase. The names are those of schemas/sql; on the server
   * they begin with TEST_ROLE_PREFIX.
   */
  readonly rolePasswords: Readonly<Record<string, string>>
  /** Shared by all files, every toggle on: a file that flips one needs startOwnUnleash. */
  readonly unleash: UnleashAddress
}

/**
 * Of the roles of all test databases. A server that is not ours alone may have an install on it,
 * whose roles are none of our business.
 */
export const TEST_ROLE_PREFIX = 'calstream_test_'

/** The name that a role of schemas/sql has on the server of the tests. */
export function roleName(role: DatabaseRole | 'calstream_migrate'): string {
  return role.replace(DEFAULT_ROLE_PREFIX, TEST_ROLE_PREFIX)
}

/** What `migrate` gets on the server of the tests. */
export function testRoles({ rolePasswords }: Pick<TestStack, 'rolePasswords'>) {
  const passwords = Object.entries(rolePasswords).map(([role, password]) => [
    role.slice(DEFAULT_ROLE_PREFIX.length),
    password,
  ])
  return {
    rolePrefix: TEST_ROLE_PREFIX,
    rolePasswords: Object.fromEntries(passwords) as Record<string, string>,
  }
}

export interface StartedStack extends AsyncDisposable {
  readonly stack: TestStack
}

export function newRunId(): string {
  return randomBytes(4).toString('hex')
}
