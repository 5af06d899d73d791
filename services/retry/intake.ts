// From the retry topics into the heap, eagerly: a record that is due in an hour never stands before
// one that is due now. Invariant: a record is done only when it was rung, was superseded by a later
// unit's for the same thing, or lies in the dead-letter topic; until then its offset holds the
// watermark, so a crash reads it again.
import { GROUPS, type TopicMessages } from '#schemas/topics.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { RETRY_TOPICS, type RetryTopic } from '#shared/messages/sync-retry-scheduled.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { openIntake, type IntakeDeps, type OpenConsumer, type Receipt } from '#shared/kafka/intake.ts'
import { step } from '#shared/process/step.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { DueHeap } from './due-heap.ts'

/** Per band: 100 000 waiting records are some 60 MB. */
const BAND_MAX = 100_000

type Scheduled = TopicMessages[RetryTopic]
type Readable = Scheduled & { readonly vendor: VendorName }

/** What waits for its time. */
export type Scheduling = Readable & {
  readonly subject: string
  readonly traceparent: string | undefined
  readonly receipt: Receipt
}

export interface RetryDeps extends IntakeDeps {
  readonly codec: Codec
  readonly heap: DueHeap<Scheduling>
  readonly gates: Gates
}

/** Puts what is scheduled into the heap, and takes out what came from a partition that was lost. */
export function openSchedulings(open: OpenConsumer, deps: RetryDeps) {
  const { codec, heap } = deps
  return openIntake<Readable>(open, {
    ...deps,
    owner: "retry's",
    groupId: GROUPS.retry,
    topics: RETRY_TOPICS,
    isolation: 'read-uncommitted',
    // Read on as soon as there is room: what comes may be due before all that waits here.
    capacity: { per: 'topic', max: BAND_MAX, resumeBelow: BAND_MAX },
    async read({ topic, value }) {
      const decoded = await codec.decode(topic as RetryTopic, value)
      if (decoded.kind === 'unreadable') return decoded
      const { vendor } = decoded.message
      // An enum value that a later schema version knows: nothing that we could ring.
      if (vendor === 'unknown') return { kind: 'unreadable', problem: 'vendor is unknown' }
      return { kind: 'message', message: { ...decoded.message, vendor } }
    },
    accept({ message, record, receipt }) {
      step('retry.taken-in')
      const traceparent = record.headers.get('traceparent')
      offer(heap, { ...message, subject: subjectOf(message), traceparent, receipt })
    },
    lost: () => heap.removeIf(({ receipt }) => !receipt.isOurs()),
    observe: () => metrics.retryHeld.record(heap.size),
  })
}

/** Puts a scheduling into the heap; the one that need not be rung any more is done. */
export function offer(heap: DueHeap<Scheduling>, item: Scheduling): void {
  heap.offer(item)?.receipt.done()
}

/**
 * A later unit speaks for an earlier one where both ring for the same: a calendar's record says
 * nothing about its siblings, and a recheck nothing about a backoff.
 */
export function subjectOf(about: Pick<Scheduled, 'connectionId' | 'calendarId' | 'reason'>): string {
  return `${about.connectionId} ${about.calendarId ?? 'all'} ${about.reason}`
}
