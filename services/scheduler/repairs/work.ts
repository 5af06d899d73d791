// Repairs are worked off at their rate, batch by batch. Invariants: a batch and how far it brings
// the repair are one transaction, so a scheduler that dies leaves nothing half done and its
// successor does nothing twice; a pause and its end need no gate, all else waits while the jobs are
// switched off; a repair that fails keeps no other back.
import { asFailure, FAILURE_CODES } from '#shared/domain/failure.ts'
import { SHARDS } from '#shared/domain/ids.ts'
import { filterProblem, REPAIR_KINDS, type RepairKind } from '#shared/domain/repair.ts'
import { metrics } from '#shared/process/metrics.ts'
import { outboxBacklog } from '#shared/store/relay.ts'
import { failRepair, noteWait, takeRunning, type Repair } from '#shared/store/repairs.ts'
import { stepConnections } from './connections.ts'
import { stepLetters } from './letters.ts'
import type { BatchEnd, RepairDeps } from './parts.ts'

/** A run ends before its lease (15 s) does, also when its last batch is slow. */
const RUN_MAX_MS = 5000
/** More is not put into the outbox before the relay has taken some of it. */
const BACKLOG_MAX = 20_000
const ALL_SHARDS = Array.from({ length: SHARDS }, (_, shard) => shard)
const UNGATED: readonly RepairKind[] = ['pause', 'resume']

/** One run. @returns how many batches it did. Throws the first Failure `store/*` or `kafka/*`. */
export async function workRepairs(deps: RepairDeps, signal: AbortSignal): Promise<number> {
  const running = await takeRunning(deps.db)
  for (const kind of REPAIR_KINDS)
    metrics.repairsRunning.record(running.filter((repair) => repair.kind === kind).length, { kind })
  const until = performance.now() + RUN_MAX_MS
  const failures: unknown[] = []
  let open = running
  let batches = 0
  while (open.length > 0 && !signal.aborted && performance.now() < until) {
    const left: Repair[] = []
    for (const repair of open) {
      if (signal.aborted) break
      const step = await stepOf(deps, repair, failures)
      if (step === 'more') left.push(repair)
      batches += 1
    }
    open = left
  }
  if (failures.length > 0) throw failures[0]
  return batches
}

/** A failure is told in the row: a person who looks at the repair sees why it stands still. */
async function stepOf(deps: RepairDeps, repair: Repair, failures: unknown[]): Promise<BatchEnd> {
  try {
    const problem = filterProblem(repair.kind, repair.filter)
    if (problem !== null) {
      await failRepair(deps.db, repair.id, problem)
      return 'over'
    }
    const wait = await waitOf(deps, repair)
    if (wait !== null) {
      if (wait !== repair.waitsFor) await noteWait(deps.db, repair.id, wait)
      return 'paced'
    }
    return repair.kind === 'replay_dead_letters'
      ? await stepLetters(deps, repair)
      : await stepConnections(deps, repair, repair.kind)
  } catch (error) {
    failures.push(error)
    const { code } = asFailure(error)
    await noteWait(deps.db, repair.id, FAILURE_CODES[code].text).catch(() => undefined)
    return 'paced'
  }
}

/** What keeps a repair from going on; null when nothing does. */
async function waitOf({ db, gates }: RepairDeps, { kind }: Repair): Promise<string | null> {
  if (!UNGATED.includes(kind)) {
    const decision = gates.jobs()
    if (decision.state === 'unknown')
      return 'It waits: whether jobs may run is not known, since the flag server does not answer.'
    if (decision.state === 'off') return `It waits: ${decision.text} (${decision.gate}).`
  }
  const { rows } = await outboxBacklog(db, ALL_SHARDS)
  if (rows < BACKLOG_MAX) return null
  return `It waits: ${rows} messages in the outbox wait for the relay. Look whether it runs: calstream doctor.`
}
