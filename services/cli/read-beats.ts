// What the processes of the services told in Postgres of themselves.
import { unrelayedShards } from '#shared/store/relay.ts'
import { readInstances } from '#shared/store/service-instances.ts'
import { openDatabaseOf } from './open.ts'
import type { Beats } from './service-report.ts'

/** Reads them by a connection of its own. Throws ConfigError or Failure `store/*`. */
export async function readBeats(env: NodeJS.ProcessEnv): Promise<Beats> {
  const database = openDatabaseOf(env)
  try {
    const [told, unrelayed] = await Promise.all([readInstances(database), unrelayedShards(database)])
    return { ...told, unrelayed }
  } finally {
    // A database that does not answer would not answer to a farewell either.
    void Promise.resolve(database[Symbol.asyncDispose]()).catch(() => {})
  }
}
