// Ringing the doorbell of many connections. Invariant: a ring counts only once Kafka has it on all
// in-sync replicas, so whatever remembers it is written afterwards.
import type { RequestReason } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { OutboundRecord, Producer } from '#shared/platform/broker.ts'
import type { Clock } from '#shared/platform/clock.ts'
import type { Codec } from '#shared/platform/codec.ts'
import { eventHeaders } from '#shared/platform/envelope.ts'
import { metrics } from '#shared/platform/metrics.ts'
import { currentTraceparent } from '#shared/platform/telemetry.ts'

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

export interface DoorbellDeps {
  readonly codec: Codec
  readonly producer: Producer
  readonly clock: Clock
}

/** Rings all of them as one batch. Throws Failure `kafka/*`: then none counts. */
export async function ring(deps: DoorbellDeps, reason: RequestReason, rings: readonly Ring[]): Promise<void> {
  if (rings.length === 0) return
  await deps.producer.send(rings.map((one) => recordOf(deps, reason, one)))
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

function recordOf(deps: DoorbellDeps, reason: RequestReason, one: Ring): OutboundRecord {
  const topic = REQUESTED_TOPIC[one.vendor]
  const requestedAt = deps.clock.now()
  return {
    topic,
    key: one.connectionId,
    value: deps.codec.encode(topic, { ...one, reason, deliveryKey: null, requestedAt }),
    headers: eventHeaders({
      type: 'calendar.sync.requested.v1',
      source: '/calstream/scheduler',
      key: one.connectionId,
      at: requestedAt,
      traceparent: currentTraceparent(),
    }),
  }
}
