// The ends of a unit that are not failures: closed, held, handed over. Invariant: the outcome is one fenced write together with the
// delivery keys it answers, and whatever is still owed is rung by something durable.
import type { SyncRetryScheduled } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { GateName } from '#shared/domain/gates.ts'
import { crashPoint } from '#shared/platform/crash-point.ts'
import { metrics } from '#shared/platform/metrics.ts'
import { clearConnection, markDirty, touchConnection } from '#shared/store/connections.ts'
import { recordKeys } from '#shared/store/dedupe.ts'
import { holdRequests } from '#shared/store/held-requests.ts'
import { insertOutbox, type OutboxMessage } from '#shared/store/outbox.ts'
import { keysOf } from './claim-unit.ts'
import { connectionMessage } from './publish-changes.ts'
import { writeFenced, type FencedWrite, type Unit, type UnitDeps, type UnitEnd } from './unit.ts'

/** A change may be readable only some seconds after its notification. */
const RECHECK_MS = 20_000

/** Writes the outcome of a unit that has read what it was asked for; part of its last write. */
export async function closeUnit(
  deps: Pick<UnitDeps, 'codec'>,
  unit: Unit,
  write: FencedWrite,
): Promise<void> {
  const { connection, progress, readsAll } = unit
  const { tx } = write
  if (progress.isPutOff) await markDirty(tx, connection.connectionId)
  else if (readsAll) await clearConnection(tx, connection.connectionId, connection.now)
  else await touchConnection(tx, connection.connectionId)
  await recordKeys(tx, connection.connectionId, keysOf(unit.requests))
  const foundNothing = progress.changes === 0 && progress.pages > 0
  if (unit.isNotified && foundNothing) await insertOutbox(tx, [recheck(deps, unit, write)])
  progress.isClosed = true
}

/** A gate closed: the refusal becomes a durable row, which the scheduler rings when the gate is open again. */
export async function holdUnit(deps: Pick<UnitDeps, 'db'>, unit: Unit, gate: GateName): Promise<UnitEnd> {
  const { connectionId } = unit.connection
  await writeFenced(deps, unit, 0, ({ tx }) => holdRequests(tx, [{ connectionId, gate }]))
  crashPoint('sync.held')
  metrics.heldRequests.add(1, { gate })
  return { kind: 'held', gate }
}

/** Passes the rest on to a later unit, which is rung after `waitMs`; this unit's requests are answered by it. */
export async function handOver(
  deps: Pick<UnitDeps, 'db' | 'codec'>,
  unit: Unit,
  waitMs: number,
): Promise<UnitEnd> {
  const { connectionId } = unit.connection
  await writeFenced(deps, unit, 0, async (write) => {
    await markDirty(write.tx, connectionId)
    await recordKeys(write.tx, connectionId, keysOf(unit.requests))
    await insertOutbox(write.tx, [ring(deps, unit, write, { reason: 'continue', waitMs })])
  })
  crashPoint('sync.handed-over')
  return { kind: 'handed-over' }
}

function recheck(deps: Pick<UnitDeps, 'codec'>, unit: Unit, write: FencedWrite): OutboxMessage {
  return ring(deps, unit, write, { reason: 'recheck', waitMs: RECHECK_MS })
}

function ring(
  deps: Pick<UnitDeps, 'codec'>,
  { connection }: Unit,
  { now }: FencedWrite,
  { reason, waitMs }: { readonly reason: 'recheck' | 'continue'; readonly waitMs: number },
): OutboxMessage {
  const { connectionId, providerId, vendor, epoch } = connection
  const message: SyncRetryScheduled = {
    connectionId,
    providerId,
    vendor,
    epoch,
    attempt: 0,
    dueAt: now + Math.round(waitMs * 1000),
    reason,
    code: null,
    requestedAt: now,
  }
  return connectionMessage(deps, TOPICS.retry30s, message, {
    type: 'calendar.sync.retry-scheduled.v1',
    at: now,
  })
}
