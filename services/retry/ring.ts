// Rings what is due. The claim decides, in Postgres, whether a sync request is stale: one too many
// costs one short transaction, one too few is found by the sweep. Invariant: nothing is rung while
// the jobs gate is not on; it stays in the heap, and its offset uncommitted, until the gate opens.
import type { Micros } from '#shared/domain/ids.ts'
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import { offer, type RetryDeps, type Scheduling } from './intake.ts'

/** Due times are met to 250 ms; looking this often also meets clocks that are set forward. */
const LOOK_MAX_MS = 100
const REQUESTS_MAX = 500

/**
 * Rings what is due, at most 500.
 * @returns ms until the next look. Throws Failure `kafka/*`;
 * what was due then waits in the heap again.
 */
export async function ringDue({ codec, producer, heap, gates, clock }: RetryDeps): Promise<number> {
  if (gates.jobs().state !== 'on') return LOOK_MAX_MS
  const now = clock.now()
  const due = heap.takeDue(now, REQUESTS_MAX)
  if (due.length === 0) {
    const dueInMs = ((heap.nextDueAt ?? Infinity) - now) / 1000
    return Math.min(LOOK_MAX_MS, Math.max(1, Math.ceil(dueInMs)))
  }
  try {
    step('retry.before-ring')
    await producer.send(due.map((item) => requestOf(codec, item, now)))
  } catch (error) {
    // A later unit's record may have come meanwhile, and a partition may have been lost.
    for (const item of due) if (item.receipt.isOurs()) offer(heap, item)
    throw error
  }
  step('retry.rung')
  for (const { receipt, dueAt } of due) {
    receipt.done()
    metrics.retryLateSeconds.record(Math.max(0, (now - dueAt) / 1e6))
  }
  metrics.retryRings.add(due.length)
  return 0
}

function requestOf(codec: Codec, scheduling: Scheduling, at: Micros): OutboundRecord {
  const { calendarId, dueAt, traceparent } = scheduling
  // A reason of a later version is rung as a plain retry: the claim looks at Postgres, not at it.
  const reason = scheduling.reason === 'unknown' ? 'retry' : scheduling.reason
  // A recheck is satisfied by a full listing that began after its due time.
  const asOf = reason === 'recheck' ? dueAt : null
  return syncRequested(scheduling, { reason, calendarId, asOf, at }, { codec, sender: 'retry', traceparent })
}
