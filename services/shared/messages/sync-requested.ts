// The sync request: pull this connection, or one of its calendars. It never carries calendar data.
import type { RequestReason } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { connectionMessage, type Connection, type Origin, type OutboxMessage } from './message.ts'

const TYPE = 'calendar.sync.requested.v1'

/** The facts of one sync request. */
interface SyncRequest {
  readonly reason: RequestReason
  /** null, as if left out: the whole connection. */
  readonly calendarId?: string | null
  /** What its notification is known by; null, as if left out: it always makes a unit read. */
  readonly deliveryKey?: string | null
  /**
   * Database clock: a full listing that began later has seen what this is about. null, as if left
   * out: only a listing after it will do.
   */
  readonly asOf?: Micros | null
  readonly at: Micros
}

/** Asks for a sync. */
export function syncRequested(
  { connectionId, providerId, vendor }: Connection,
  { reason, calendarId = null, deliveryKey = null, asOf = null, at }: SyncRequest,
  origin: Origin,
): OutboxMessage {
  const about = { connectionId, providerId, vendor, reason, calendarId }
  const message = { ...about, deliveryKey, asOf, requestedAt: at }
  // The ingress alone has always named a subject, and what is on the wire stays as it is.
  const subject = origin.sender === 'ingress' ? connectionId : undefined
  return connectionMessage(REQUESTED_TOPIC[vendor], message, { type: TYPE, at, subject }, origin)
}
