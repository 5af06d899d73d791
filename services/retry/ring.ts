// Rings the doorbell of what is due. Whether a ring is stale is decided by the claim, in
// Postgres: a ring too many costs one short transaction, a ring too few is found by the sweep.
// Invariant: nothing is rung while the jobs gate is not on; it stays in the heap, and its offset
// uncommitted, until the gate opens.
import type { RequestReason } from '#schemas/messages.gen.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import type { OutboundRecord, Producer } from '#shared/kafka/broker.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { step } from '#shared/process/step.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { DueHeap } from './due-heap.ts'
import { offer, type Scheduling } from './intake.ts'

/** Due times are met to 250 ms; looking this often also meets clocks that are set forward. */
const LOOK_MAX_MS = 100
const RINGS_MAX = 500

export interface RingDeps {
  readonly codec: Codec
  readonly producer: Producer
  readonly heap: DueHeap<Scheduling>
  readonly gates: Gates
  readonly clock: Clock
}

/**
 * Rings what is due, at most 500.
 * @returns ms until the next look. Throws Failure `kafka/*`;
 * what was due then waits in the heap again.
 */
export async function ringDue(deps: RingDeps): Promise<number> {
  if (deps.gates.jobs().state !== 'on') return LOOK_MAX_MS
  const now = deps.clock.now()
  const due = deps.heap.takeDue(now, RINGS_MAX)
  if (due.length === 0) return waitMs(deps.heap.nextDueAt, now)
  try {
    step('retry.before-ring')
    await deps.producer.send(due.map((item) => ringOf(deps.codec, item, now)))
  } catch (error) {
    // A later unit's record may have come meanwhile; the partition may be somebody else's.
    for (const item of due) if (item.receipt.isOurs()) offer(deps.heap, item)
    throw error
  }
  step('retry.rung')
  for (const item of due) {
    item.receipt.done()
    metrics.retryLateSeconds.record(Math.max(0, (now - item.dueAt) / 1e6))
  }
  metrics.retryRings.add(due.length)
  return 0
}

function ringOf(codec: Codec, { message, traceparent }: Scheduling, at: Micros): OutboundRecord {
  // A recheck is satisfied by a full listing that began after its due time.
  const asOf = message.reason === 'recheck' ? message.dueAt : null
  const request = { reason: reasonOf(message.reason), calendarId: message.calendarId, asOf, at }
  return syncRequested(message, request, { codec, sender: 'retry', traceparent })
}

/**
 * A reason that a later version introduces is rung as a plain retry:
 * the claim looks at Postgres, not at the reason.
 */
function reasonOf(reason: Scheduling['message']['reason']): RequestReason {
  return reason === 'unknown' ? 'retry' : reason
}

function waitMs(nextDueAt: Micros | null, now: Micros): number {
  if (nextDueAt === null) return LOOK_MAX_MS
  return Math.min(LOOK_MAX_MS, Math.max(1, Math.ceil((nextDueAt - now) / 1000)))
}
