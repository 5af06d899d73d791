// Generated from schemas/messages/*.avsc by `npm run gen`. Do not edit.
// Times are whole microseconds since 1970-01-01T00:00:00Z.

export type Vendor = 'unknown' | 'google' | 'microsoft'

export type ConnectionStatus = 'unknown' | 'active' | 'needs_reauth' | 'disabled' | 'disconnected'

/** A connection changed its status. Key: connectionId. */
export interface ConnectionChanged {
  connectionId: string
  providerId: string
  vendor: Vendor
  status: ConnectionStatus
  previousStatus: ConnectionStatus | null
  code: string | null
  at: number
}

export type Change = 'unknown' | 'upserted' | 'removed'

export type RemovalReason =
  | 'unknown'
  | 'deleted'
  | 'cancelled'
  | 'window'
  | 'calendar_removed'
  | 'disconnected'

export type EventStatus = 'unknown' | 'confirmed' | 'tentative'

/** Exactly one is set: at for timed events, date (YYYY-MM-DD) for all-day events. */
export interface EventTime {
  at: number | null
  date: string | null
}

export type Response =
  | 'unknown'
  | 'none'
  | 'organizer'
  | 'accepted'
  | 'tentative'
  | 'declined'
  | 'needs_action'

export type EventKind =
  | 'unknown'
  | 'default'
  | 'out_of_office'
  | 'focus_time'
  | 'working_location'
  | 'birthday'
  | 'from_gmail'
  | 'task'

export type ShownAs = 'unknown' | 'free' | 'tentative' | 'busy' | 'out_of_office' | 'working_elsewhere'

export type Visibility = 'unknown' | 'default' | 'public' | 'private' | 'confidential'

export interface Event {
  title: string | null
  status: EventStatus
  busy: boolean
  allDay: boolean
  start: EventTime
  end: EventTime
  timeZone: string | null
  seriesId: string | null
  originalStart: EventTime | null
  location: string | null
  organizer: string | null
  updatedAt: number | null
  etag: string | null
  response: Response
  kind: EventKind
  showAs: ShownAs
  visibility: Visibility
}

/**
 * One event was upserted or removed. Ordered per connection by sequence (the header ce_sequence
 * carries the same number).
 */
export interface EventChanged {
  eventId: string
  connectionId: string
  providerId: string
  calendarId: string
  vendor: Vendor
  vendorEventId: string
  change: Change
  removalReason: RemovalReason | null
  sequence: number
  observedAt: number
  vendorUpdatedAt: number | null
  event: Event | null
}

export type RequestReason =
  | 'unknown'
  | 'webhook'
  | 'api'
  | 'connected'
  | 'reconcile'
  | 'sweep'
  | 'retry'
  | 'continue'
  | 'recheck'
  | 'held'

/** The doorbell: pull this connection. It never carries calendar data. Key: connectionId. */
export interface SyncRequested {
  connectionId: string
  providerId: string
  vendor: Vendor
  reason: RequestReason
  calendarId: string | null
  deliveryKey: string | null
  asOf: number | null
  requestedAt: number
}

export type RetryReason = 'unknown' | 'retry' | 'continue' | 'recheck'

/**
 * Ring the doorbell of this connection, or of one of its calendars, when due. Key: connectionId.
 */
export interface SyncRetryScheduled {
  connectionId: string
  providerId: string
  vendor: Vendor
  epoch: number
  attempt: number
  dueAt: number
  reason: RetryReason
  code: string | null
  calendarId: string | null
  requestedAt: number
}
