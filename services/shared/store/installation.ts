// What is known of the installation as a whole, for `why`. Reads only.
import type { Installation } from '#shared/domain/causes-of-installation.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Queryable } from './database.ts'
import { readServiceInstances } from './service-instances.ts'

/**
 * The processes that tell of themselves, and the gates that hold for everybody.
 * Throws Failure `store/*`.
 */
export async function readInstallation(
  db: Queryable,
  gates: Pick<Gates, 'jobs' | 'webhook' | 'oauth'>,
): Promise<Installation> {
  const processes = await readServiceInstances(db)
  return { processes, jobs: gates.jobs(), webhook: gates.webhook(), oauth: gates.oauth() }
}
