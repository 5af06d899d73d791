// Asks for a sync of a connection, or of one of its calendars, when it is due.
import type { RetryReason } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import { connectionMessage, type Connection, type Origin, type OutboxMessage } from './message.ts'

const TYPE = 'calendar.sync.retry-scheduled.v1'

/**
 * One topic per band of delays; the head of a band holds its watermark no
 * longer than the band's delay.
 */
export const RETRY_TOPICS = [TOPICS.retry30s, TOPICS.retry10m, TOPICS.retry6h] as const
export type RetryTopic = (typeof RETRY_TOPICS)[number]

/** The facts of one sync request that is due later. */
interface ScheduledRetry {
  /** The band for its delay (`bandOf`). */
  readonly topic: RetryTopic
  /** Failures in a row; left out when none is behind it. */
  readonly attempt?: number
  readonly dueAt: Micros
  readonly reason: RetryReason
  /** Of the failure behind it. */
  readonly code?: string | null
  /** null, as if left out: the whole connection. */
  readonly calendarId?: string | null
  readonly at: Micros
}

/** Schedules a sync request. */
export function syncRetryScheduled(
  { connectionId, providerId, vendor, epoch }: Connection & { readonly epoch: number },
  { topic, attempt = 0, dueAt, reason, code = null, calendarId = null, at }: ScheduledRetry,
  origin: Origin,
): OutboxMessage {
  const about = { connectionId, providerId, vendor, epoch, calendarId }
  const message = { ...about, attempt, dueAt, reason, code, requestedAt: at }
  return connectionMessage(topic, message, { type: TYPE, at }, origin)
}

/** The band for a wait. */
export function bandOf(waitMs: number): RetryTopic {
  if (waitMs <= 30_000) return TOPICS.retry30s
  return waitMs <= 600_000 ? TOPICS.retry10m : TOPICS.retry6h
}
