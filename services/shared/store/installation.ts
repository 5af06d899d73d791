// What is known of the installation as a whole, for `why`. Reads only.
import type { Installation } from '#shared/domain/causes-of-installation.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Queryable } from './database.ts'

/** The gates that hold for everybody, and the processes that tell of themselves. */
export async function readInstallation(
  _db: Queryable,
  gates: Pick<Gates, 'jobs' | 'webhook' | 'oauth'>,
): Promise<Installation> {
  return { processes: null, jobs: gates.jobs(), webhook: gates.webhook(), oauth: gates.oauth() }
}
