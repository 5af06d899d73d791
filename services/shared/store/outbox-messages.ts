// What changed rows tell the world, as outbox rows. Invariant: every event row that changes is told
// twice with the same sequence, side by side: to the change stream in the order of the connection,
// and to the compacted state (a removal is a tombstone there).
import type { EventChanged } from '#schemas/messages.gen.ts'
import { type SchemaTopic, type TopicMessages, TOPICS } from '#schemas/topics.ts'
import type { CalendarEvent } from '#shared/domain/event.ts'
import {
  connectionId,
  shardOf,
  type CalendarId,
  type ConnectionId,
  type EventId,
  type Micros,
  type ProviderId,
  type VendorName,
} from '#shared/domain/ids.ts'
import type { Codec } from '#shared/platform/codec.ts'
import { eventHeaders } from '#shared/platform/envelope.ts'
import { currentTraceparent } from '#shared/platform/telemetry.ts'
import type { OutboxMessage } from './outbox.ts'

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

export interface ChangesOf {
  readonly calendarId: CalendarId
  /** Database clock. */
  readonly observedAt: Micros
  /** Read as a change since a cursor: only then its time at the vendor says how fresh we are. */
  readonly isIncremental: boolean
  readonly changes: readonly RowChange[]
}

/** Whose rows changed, and in which part of the system (`/calstream/…`). */
export interface ChangedIn {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly source: string
}

/** The messages of changed rows, in the order of their sequence. */
export function changeMessages(
  codec: Pick<Codec, 'encode'>,
  { connectionId, providerId, vendor, source }: ChangedIn,
  { calendarId, observedAt, isIncremental, changes }: ChangesOf,
): readonly OutboxMessage[] {
  const shard = shardOf(connectionId)
  const traceparent = currentTraceparent()
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
    const about = { source, subject: change.eventId, sequence: change.sequence, at: observedAt }
    const stateKey = `${connectionId}/${calendarId}/${change.eventId}`
    return [
      {
        shard,
        topic: TOPICS.eventChanged,
        key: connectionId,
        value: codec.encode(TOPICS.eventChanged, message),
        headers: {
          ...eventHeaders({ ...about, type: 'calendar.event.changed.v1', key: connectionId, traceparent }),
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
        headers: eventHeaders({ ...about, type: 'calendar.event.changed.v1', key: stateKey, traceparent }),
      },
    ]
  })
}

/** One message keyed by its connection. `type`: the CloudEvents type. `at`: database clock. */
export function connectionMessage<T extends SchemaTopic>(
  codec: Pick<Codec, 'encode'>,
  topic: T,
  message: TopicMessages[T] & { readonly connectionId: string },
  { type, source, at }: { readonly type: string; readonly source: string; readonly at: Micros },
): OutboxMessage {
  const key = message.connectionId
  return {
    shard: shardOf(connectionId(key)),
    topic,
    key,
    value: codec.encode(topic, message),
    headers: eventHeaders({ type, source, key, at, traceparent: currentTraceparent() }),
  }
}
