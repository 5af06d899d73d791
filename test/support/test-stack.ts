// What is known of the stack that all test files of a run share.
import { randomBytes } from 'node:crypto'
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
  /** Role name → password, as set by freshDatabase. */
  readonly rolePasswords: Readonly<Record<string, string>>
  /** Shared by all files, every toggle on: a file that flips one needs startOwnUnleash. */
  readonly unleash: UnleashAddress
}

export interface StartedStack extends AsyncDisposable {
  readonly stack: TestStack
}

export function newRunId(): string {
  return randomBytes(4).toString('hex')
}
