// The end of a disconnected account: once its channels are stopped the grant is given back and the
// account is erased: credentials, address, label, calendars. Invariants: ten minutes after the
// disconnect they are gone, whatever the vendor says and whatever the gates are; the grant of an
// account that was connected again, or that another provider holds too, is not revoked.
import { asFailure } from '#shared/domain/failure.ts'
import { openSecret } from '#shared/process/keyring.ts'
import {
  erasableConnections,
  eraseAccount,
  forgetHeld,
  isErasable,
  putOffErasure,
  type ErasableConnection,
} from '#shared/store/erasure.ts'
import type { JobDeps } from './deps.ts'
import { settleJob, waitMsAfter } from './settle-job.ts'
import { boundedEach } from './bounded-each.ts'

const PER_RUN = 100

/** One run. @returns how many accounts were erased. Throws Failure `store/*`. */
export async function eraseDisconnected(deps: JobDeps, signal: AbortSignal): Promise<number> {
  await forgetHeld(deps.db)
  const erasable = await erasableConnections(deps.db, PER_RUN)
  return boundedEach(erasable, { signal }, async (connection) => {
    const revoked = await isRevoked(deps, connection, signal)
    if (!revoked && !connection.isOverdue) return false
    const erased = await eraseAccount(deps.db, connection)
    const about = { connectionId: connection.connectionId }
    if (erased && !revoked)
      deps.logger.warn(about, 'an account was erased although the vendor did not take the grant back')
    return erased
  })
}

/** Gives the grant back. @returns false when that is to be tried again. */
async function isRevoked(
  deps: JobDeps,
  connection: ErasableConnection,
  signal: AbortSignal,
): Promise<boolean> {
  const { connectionId, vendor, credentials, isOverdue, isShared } = connection
  // A revocation at Google ends every grant of the account to our app, not just this one.
  if (!deps.mailboxes.vendors.has(vendor) || credentials === null || isShared) return true
  if (deps.gates.jobs().state !== 'on') return false
  try {
    const place = { connectionId, field: 'refresh_token' } as const
    const refreshToken = openSecret(deps.credentialKeys, credentials.refreshToken, place)
    // Asked as late as can be: a person who has just connected again must keep the new grant.
    if (!(await isErasable(deps.db, connection))) return false
    await deps.mailboxes.of(connection).revoke(refreshToken, signal)
    return true
  } catch (error) {
    if (signal.aborted) return false
    const failure = asFailure(error)
    // Throws what is no fault of the account; any other failure is put off alike.
    settleJob(failure)
    const about = { code: failure.code, connectionId, isOverdue }
    deps.logger.info(about, 'the grant of a disconnected account could not be given back')
    const waitMs = waitMsAfter(failure, connection.attempts + 1, deps.clock)
    if (!isOverdue) await putOffErasure(deps.db, connectionId, waitMs)
    return false
  }
}
