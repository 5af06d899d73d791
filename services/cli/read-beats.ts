// What the processes of the services told in Postgres of themselves, and how the canaries are.
import { unrelayedShards } from '#shared/store/relay.ts'
import { readInstances } from '#shared/store/service-instances.ts'
import { type Canary, readCanaries } from '#shared/store/canaries.ts'
import { openDatabaseOf } from './open.ts'
import type { Beats } from './service-report.ts'

/** Reads them by a connection of its own. Throws ConfigError or Failure `store/*`. */
export async function readBeats(
  env: NodeJS.ProcessEnv,
): Promise<{ readonly beats: Beats; readonly canaries: readonly Canary[] }> {
  const database = openDatabaseOf(env)
  try {
    const [told, unrelayed, canaries] = await Promise.all([
      readInstances(database),
      unrelayedShards(database),
      readCanaries(database),
    ])
    return { beats: { ...told, unrelayed }, canaries }
  } finally {
    // A database that does not answer would not answer to a farewell either.
    void Promise.resolve(database[Symbol.asyncDispose]()).catch(() => {})
  }
}
