// How the scheduler rings. Invariant: a sync request counts only once Kafka has it on all in-sync
// replicas, so whatever remembers it is written afterwards.
import type { RequestReason } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { inCreateSpan } from '#shared/kafka/spans.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { JobDeps } from '../deps.ts'

/** What is rung: a connection, or one of its calendars. */
export interface RungRow {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly calendarId?: CalendarId
  /** See `SyncRequest`. */
  readonly asOf?: Micros | null
}

/** Rings all of them as one batch. Throws Failure `kafka/*`: then none counts. */
export async function ring(deps: JobDeps, reason: RequestReason, rows: readonly RungRow[]): Promise<void> {
  const topics = new Set(rows.map(({ vendor }) => REQUESTED_TOPIC[vendor]))
  await inCreateSpan(topics, [], async () => {
    const origin = sentBy('scheduler', deps.codec)
    const at = deps.clock.now()
    await deps.producer.send(rows.map((row) => syncRequested(row, { ...row, reason, at }, origin)))
  })
  metrics.schedulerRings.add(rows.length, { job: reason })
}

/** The jobs gate, then sync with both allowlists. Off and unknown both mean no. */
export function mayRing({ gates }: Pick<JobDeps, 'gates'>, row: RungRow): boolean {
  return gates.jobs().state === 'on' && gates.sync(row.providerId, row.connectionId).state === 'on'
}

/** Whether its vendor may be asked on its behalf. */
export function mayAsk(deps: Pick<JobDeps, 'gates' | 'mailboxes'>, row: RungRow): boolean {
  return deps.mailboxes.vendors.has(row.vendor) && mayRing(deps, row)
}
