// Event rows that changed. Invariant: every event row that changes is published twice with the same
// sequence, side by side: to the change stream in the order of the connection, and to the compacted
// state (a removal is a tombstone there).
import type { EventChanged, EventTime as MessageTime } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { CalendarEvent, EventTime } from '#shared/domain/event.ts'
import {
  connectionId as idOf,
  shardOf,
  type CalendarId,
  type EventId,
  type Micros,
} from '#shared/domain/ids.ts'
import { headersOf, type Connection, type Origin, type OutboxMessage } from './message.ts'

const TYPE = 'calendar.event.changed.v1'

export type RemovalReason = 'deleted' | 'cancelled' | 'window' | 'calendar_removed' | 'disconnected'

/** One event row that changed; `event` is null for a removal. */
export interface RowChange {
  readonly eventId: EventId
  readonly vendorEventId: string
  readonly event: CalendarEvent | null
  readonly reason: RemovalReason | null
  /** The connection's version at this row. */
  readonly sequence: number
}

interface ChangesOf {
  readonly calendarId: CalendarId
  /** Database clock. */
  readonly observedAt: Micros
  /** Read as a change since a cursor: only then its time at the vendor says how fresh we are. */
  readonly isIncremental: boolean
  readonly changes: readonly RowChange[]
}

/**
 * The event that a message tells, as a row of ours has it; null for a removal. A word that came
 * after this version is read as the one that claims the least.
 */
export function eventOf({ vendorEventId, event }: EventChanged): CalendarEvent | null {
  if (event === null) return null
  const { status, response, visibility, start, end, originalStart, ...same } = event
  return {
    ...same,
    vendorEventId,
    status: status === 'unknown' ? 'confirmed' : status,
    response: response === 'unknown' ? 'none' : response,
    visibility: visibility === 'unknown' ? 'default' : visibility,
    start: timeOf(start),
    end: timeOf(end),
    originalStart: originalStart === null ? null : timeOf(originalStart),
  }
}

function timeOf({ at, date }: MessageTime): EventTime {
  return date === null ? { at: at ?? 0, date: null } : { at: null, date }
}

/** Publishes changed rows, in the order of their sequence. */
export function eventsChanged(
  { connectionId, providerId, vendor }: Connection,
  { calendarId, observedAt, isIncremental, changes }: ChangesOf,
  origin: Origin,
): readonly OutboxMessage[] {
  const { codec } = origin
  const shard = shardOf(idOf(connectionId))
  return changes.flatMap((change) => {
    const message: EventChanged = {
      eventId: change.eventId,
      connectionId,
      providerId,
      calendarId,
      vendor,
      vendorEventId: change.vendorEventId,
      change: change.event === null ? 'removed' : 'upserted',
      removalReason: change.reason,
      sequence: change.sequence,
      observedAt,
      vendorUpdatedAt: change.event?.updatedAt ?? null,
      event: change.event,
    }
    const about = { type: TYPE, subject: change.eventId, sequence: change.sequence, at: observedAt }
    const stateKey = `${connectionId}/${calendarId}/${change.eventId}`
    return [
      {
        shard,
        topic: TOPICS.eventChanged,
        key: connectionId,
        value: codec.encode(TOPICS.eventChanged, message),
        headers: {
          ...headersOf({ ...about, key: connectionId }, origin),
          ...(isIncremental && change.event?.updatedAt
            ? { ce_changedat: String(change.event.updatedAt) }
            : {}),
        },
      },
      {
        shard,
        topic: TOPICS.eventState,
        key: stateKey,
        value: change.event === null ? null : codec.encode(TOPICS.eventState, message),
        headers: headersOf({ ...about, key: stateKey }, origin),
      },
    ]
  })
}
