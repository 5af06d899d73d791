// Every topic by its logical name (KAFKA_PREFIX goes before it on the wire) and the message
// that its values carry. Partitions and policies are in schemas/topics.json; a test
// keeps the two lists equal.
import type { ConnectionChanged, EventChanged, SyncRequested, SyncRetryScheduled } from './messages.gen.ts'

export const TOPICS = {
  requestedGoogle: 'calendar.sync.requested.google.v1',
  requestedMicrosoft: 'calendar.sync.requested.microsoft.v1',
  retry30s: 'calendar.sync.retry.30s.v1',
  retry10m: 'calendar.sync.retry.10m.v1',
  retry6h: 'calendar.sync.retry.6h.v1',
  deadLetter: 'calendar.sync.dead-letter.v1',
  eventChanged: 'calendar.event.changed.v1',
  eventState: 'calendar.event.state.v1',
  connectionChanged: 'calendar.connection.changed.v1',
} as const

export type Topic = (typeof TOPICS)[keyof typeof TOPICS]

/**
 * The message type of each topic with a schema. The dead-letter topic has none:
 * it carries the original bytes.
 */
export interface TopicMessages {
  'calendar.sync.requested.google.v1': SyncRequested
  'calendar.sync.requested.microsoft.v1': SyncRequested
  'calendar.sync.retry.30s.v1': SyncRetryScheduled
  'calendar.sync.retry.10m.v1': SyncRetryScheduled
  'calendar.sync.retry.6h.v1': SyncRetryScheduled
  'calendar.event.changed.v1': EventChanged
  'calendar.event.state.v1': EventChanged
  'calendar.connection.changed.v1': ConnectionChanged
}

export type SchemaTopic = keyof TopicMessages

/** The file under schemas/messages that holds each topic's value schema. */
export const TOPIC_SCHEMAS = {
  'calendar.sync.requested.google.v1': 'sync-requested.v1',
  'calendar.sync.requested.microsoft.v1': 'sync-requested.v1',
  'calendar.sync.retry.30s.v1': 'sync-retry-scheduled.v1',
  'calendar.sync.retry.10m.v1': 'sync-retry-scheduled.v1',
  'calendar.sync.retry.6h.v1': 'sync-retry-scheduled.v1',
  'calendar.event.changed.v1': 'event-changed.v1',
  'calendar.event.state.v1': 'event-changed.v1',
  'calendar.connection.changed.v1': 'connection-changed.v1',
} as const satisfies Record<SchemaTopic, string>

/** The doorbell topic of a vendor. */
export const REQUESTED_TOPIC = {
  google: TOPICS.requestedGoogle,
  microsoft: TOPICS.requestedMicrosoft,
} as const

/**
 * Topics whose records ask for a sync, now or later:
 * a record of theirs may come back at any time.
 */
export const SYNC_REQUEST_TOPICS: readonly string[] = [
  ...Object.values(REQUESTED_TOPIC),
  TOPICS.retry30s,
  TOPICS.retry10m,
  TOPICS.retry6h,
]

/** Our consumer groups (KAFKA_PREFIX goes before them too). */
export const GROUPS = {
  sync: 'calstream-sync',
  retry: 'calstream-retry',
  deadLetterIndex: 'calstream-dead-letter-index',
} as const
