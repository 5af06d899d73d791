// A connection changed its status.
import type { ConnectionStatus } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { connectionMessage, type Connection, type Origin, type OutboxMessage } from './message.ts'

const TYPE = 'calendar.connection.changed.v1'

/** The facts of one change of status. */
interface StatusChange {
  readonly status: ConnectionStatus
  /** null when the connection was not there before. */
  readonly previousStatus: ConnectionStatus | null
  /** The failure code of why; left out when nothing failed. */
  readonly code?: string | null
  readonly at: Micros
}

/** Announces a change of status. */
export function connectionChanged(
  { connectionId, providerId, vendor }: Connection,
  { status, previousStatus, code = null, at }: StatusChange,
  origin: Origin,
): OutboxMessage {
  const message = { connectionId, providerId, vendor, status, previousStatus, code, at }
  return connectionMessage(TOPICS.connectionChanged, message, { type: TYPE, at }, origin)
}
