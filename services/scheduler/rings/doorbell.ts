// Ringing the doorbell of many connections. Invariant: a ring counts only once Kafka has it on all
// in-sync replicas, so whatever remembers it is written afterwards.
import type { RequestReason } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { JobDeps } from '../deps.ts'

export const REQUESTED_TOPICS = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] as const

export interface Ring {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly calendarId: CalendarId | null
  /**
   * Database clock: a full listing that began later has seen what this ring is about. null: only a
   * listing after it will do.
   */
  readonly asOf: Micros | null
}

export type DoorbellDeps = Pick<JobDeps, 'codec' | 'producer' | 'clock'>

export type RingRow = Omit<Ring, 'calendarId' | 'asOf'> & { readonly calendarId?: CalendarId | null }

/** The ring of a connection, or of one of its calendars. */
export function ringOf(
  { connectionId, providerId, vendor, calendarId = null }: RingRow,
  asOf: Micros | null = null,
): Ring {
  return { connectionId, providerId, vendor, calendarId, asOf }
}

/** Rings all of them as one batch. Throws Failure `kafka/*`: then none counts. */
export async function ring(deps: DoorbellDeps, reason: RequestReason, rings: readonly Ring[]): Promise<void> {
  if (rings.length === 0) return
  const origin = sentBy('scheduler', deps.codec)
  await deps.producer.send(
    rings.map((one) => syncRequested(one, { ...one, reason, at: deps.clock.now() }, origin)),
  )
  metrics.schedulerRings.add(rings.length, { job: reason })
}

/**
 * Whether a connection may be rung at all: the jobs gate, then sync with both allowlists.
 * Off and unknown both mean no.
 */
export function mayRing(
  gates: Gates,
  connection: { providerId: ProviderId; connectionId: ConnectionId },
): boolean {
  return (
    gates.jobs().state === 'on' && gates.sync(connection.providerId, connection.connectionId).state === 'on'
  )
}
