// Parked connections whose grant may be good again are asked about: every hour of the first day,
// then every day. Invariants: a connection that answers continues, and that is published in the
// transaction that lets it; one whose gate is closed is left as it is; a grant that the vendor's
// documented words call gone is asked about no more.
import { asFailure, type Failure } from '#shared/domain/failure.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { metrics } from '#shared/process/metrics.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { probableConnections, putOffProbe, unpark, type ProbableConnection } from '#shared/store/refusals.ts'
import type { JobDeps } from './deps.ts'
import { allowedRows, type Paging } from './paging.ts'
import { mayAsk } from './ringing/ring.ts'
import { settleJob } from './settle-job.ts'
import { boundedEach } from './bounded-each.ts'

const HOUR_SECONDS = 3600
const DAY_SECONDS = 86_400
const SOON_SECONDS = 600
const HOURLY_PROBES = 24

type ProbeDeps = Pick<JobDeps, 'db' | 'codec' | 'mailboxes' | 'gates' | 'logger'>

const PROBABLE: Paging<ProbableConnection, 'connectionId'> = {
  read: probableConnections,
  by: 'connectionId',
  pageSize: 200,
  perRun: 50,
}

/** One run. @returns how many were let in again. Throws Failure `store/*`. */
export async function probeParked(deps: ProbeDeps, signal: AbortSignal): Promise<number> {
  const probable = await allowedRows(deps, PROBABLE, (connection) => mayAsk(deps, connection), signal)
  return boundedEach(probable, { signal }, (connection) => probeOne(deps, connection, signal))
}

async function probeOne(
  deps: ProbeDeps,
  connection: ProbableConnection,
  signal: AbortSignal,
): Promise<boolean> {
  const { connectionId, vendor } = connection
  if (!mayAsk(deps, connection)) return false
  try {
    await deps.mailboxes.of(connection).account(signal)
  } catch (error) {
    if (signal.aborted) return false
    const next = nextProbe(asFailure(error), connection)
    metrics.probes.add(1, { vendor, outcome: 'refused' })
    await putOffProbe(deps.db, connectionId, next)
    return false
  }
  const isLetIn = await unparkAndRing(deps, connection)
  if (isLetIn) {
    metrics.probes.add(1, { vendor, outcome: 'restored' })
    deps.logger.info({ connectionId, vendor, code: connection.parkedCode }, 'a parked connection goes on')
  }
  return isLetIn
}

/**
 * What is no answer about the grant (an outage, a quota, our own limits) is no probe either: it is
 * soon asked again. Throws what is no fault of the connection.
 */
function nextProbe(failure: Failure, { probes }: ProbableConnection) {
  const settled = settleJob(failure)
  if (settled === 'locked-out' && !failure.mayHeal) return { seconds: null, probes }
  if (settled !== 'locked-out' && settled !== 'refused') return { seconds: SOON_SECONDS, probes }
  const asked = probes + 1
  return { seconds: asked < HOURLY_PROBES ? HOUR_SECONDS : DAY_SECONDS, probes: asked }
}

/** In one transaction. @returns false when a person connected it again meanwhile. */
function unparkAndRing(deps: ProbeDeps, connection: ProbableConnection) {
  const { connectionId, parkedCode } = connection
  return deps.db.transaction(async (tx) => {
    const unparked = await unpark(tx, connectionId)
    if (unparked === null) return false
    const { status, at } = unparked
    const change = { status, previousStatus: 'needs_reauth', code: parkedCode, at } as const
    const origin = sentBy('scheduler', deps.codec)
    await insertOutbox(tx, [
      connectionChanged(connection, change, origin),
      syncRequested(connection, { reason: 'connected', at }, origin),
    ])
    return true
  })
}
