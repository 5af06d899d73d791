// One batch of a repair of connections.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { RepairKind } from '#shared/domain/repair.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { sentBy, type OutboxMessage } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import type { Queryable } from '#shared/store/database.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import {
  lockFirst,
  oweReadsFromStart,
  oweSyncs,
  pauseConnections,
  probeConnections,
  resumeConnections,
  type Repaired,
} from '#shared/store/repair-effects.ts'
import { nextMatches, type RepairMatch } from '#shared/store/repair-matches.ts'
import { lockRepair, saveProgress, type Repair, type TakenRepair } from '#shared/store/repairs.ts'
import type { BatchEnd, RepairDeps } from './parts.ts'

/** Locks of one transaction: it lasts some ms, and a unit of one of them waits no longer. */
const BATCH_MAX = 100
const BURST_SECONDS = 2
/** Whom a cause is about is found among all rows, so few large pages cost least. */
const CAUSE_BURST_SECONDS = 10

type OfConnections = Exclude<RepairKind, 'replay_dead_letters'>

/** Does one batch in one transaction. Throws Failure `store/*`: nothing was done. */
export async function stepConnections(
  deps: RepairDeps,
  repair: Repair,
  kind: OfConnections,
): Promise<BatchEnd> {
  const outcome = await deps.db.transaction(async (tx) => {
    const taken = await lockRepair(tx, repair.id, burstOf(repair))
    if (taken === null) return { step: 'over', done: 0 } as const
    const limit = limitOf(repair, taken.allowed)
    if (limit < 1) return { step: 'paced', done: 0 } as const
    return workBatch(deps, tx, { repair, kind, taken, limit })
  })
  if (outcome.done > 0) metrics.repaired.add(outcome.done, { kind, outcome: 'done' })
  return outcome.step
}

function burstOf({ filter }: Repair): number {
  return filter.cause === undefined ? BURST_SECONDS : CAUSE_BURST_SECONDS
}

/** How many are done now; 0: it is not time. */
function limitOf({ filter, ratePerS }: Repair, allowed: number): number {
  if (filter.cause === undefined) return Math.min(BATCH_MAX, allowed)
  const page = Math.min(BATCH_MAX, Math.max(1, Math.floor(ratePerS * CAUSE_BURST_SECONDS)))
  return allowed < page ? 0 : page
}

interface Batch {
  readonly repair: Repair
  readonly kind: OfConnections
  readonly taken: TakenRepair
  readonly limit: number
}

async function workBatch(
  deps: RepairDeps,
  tx: Queryable,
  { repair, kind, taken, limit }: Batch,
): Promise<{ readonly step: BatchEnd; readonly done: number }> {
  const page = await nextMatches(tx, repair, taken.reached, limit)
  const found = page.matches
  const ids = found.map(({ connectionId }) => connectionId)
  const locked = ids.length === 0 ? [] : await lockFirst(tx, ids)
  const meant = found.slice(0, locked.length).filter((match) => isMeant(deps, repair, match))
  const repaired = await EFFECTS[kind](
    tx,
    meant.map(({ connectionId }) => connectionId),
    repair.by,
  )
  await insertOutbox(tx, messagesOf(deps, kind, repaired))
  const isWhole = locked.length === found.length
  const isEnd = page.isLast && isWhole
  const reached = isWhole ? page.reached : (locked.at(-1) ?? null)
  const progress = { reached, done: repaired.length, failed: 0, why: null, isEnd }
  await saveProgress(tx, repair.id, burstOf(repair), progress)
  step('scheduler.repair-before-commit')
  return { step: isEnd ? 'over' : 'more', done: repaired.length }
}

/** Causes that only what a gate lets in can have. */
const BEHIND_GATES: readonly (string | undefined)[] = ['late', 'first_read', 'held_request', 'catching_up']

/**
 * A state was judged as if every gate were open, and so was a cause; whom a gate keeps out is
 * paused, and not in that state.
 */
function isMeant({ gates }: RepairDeps, { filter }: Repair, match: RepairMatch): boolean {
  const dependsOnGate = filter.state !== undefined || BEHIND_GATES.includes(filter.cause)
  if (!dependsOnGate || match.status !== 'active') return true
  return gates.sync(match.providerId, match.connectionId).state === 'on'
}

const EFFECTS: Readonly<
  Record<
    OfConnections,
    (tx: Queryable, ids: readonly ConnectionId[], by: string) => Promise<readonly Repaired[]>
  >
> = {
  sync_now: oweSyncs,
  full_read: oweReadsFromStart,
  pause: pauseConnections,
  resume: resumeConnections,
  // The job of the probes asks.
  probe: probeConnections,
}

function messagesOf(
  { codec }: RepairDeps,
  kind: OfConnections,
  repaired: readonly Repaired[],
): readonly OutboxMessage[] {
  const origin = sentBy('scheduler', codec)
  return repaired.flatMap((one) => {
    const { status, previousStatus, at } = one
    const told =
      status === previousStatus ? [] : [connectionChanged(one, { status, previousStatus, at }, origin)]
    const isRung = kind === 'sync_now' || kind === 'full_read' || (kind === 'resume' && told.length > 0)
    // No listing answers it but one that begins after it.
    return isRung ? [...told, syncRequested(one, { reason: 'api', at }, origin)] : told
  })
}
