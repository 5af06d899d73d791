// Taking a connection, or one of its calendars, out of sync. Invariants: the connection's row is
// locked first, so no unit writes beside it, and the epoch is bumped, so none that began before
// writes after it; every event row that goes advances the version by one, and its removal is
// published by the same transaction.
import type { ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { CalendarId, ConnectionId, EventId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface LockedConnection {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly status: ConnectionStatus
  /** The first event row that goes gets `version + 1`. */
  readonly version: number
  /** Database clock. */
  readonly now: Micros
}

/**
 * Locks a connection of a provider (of any, for an operator's null) until the transaction ends;
 * null when there is no such.
 */
export async function lockConnection(
  tx: Queryable,
  provider: ProviderId | null,
  connection: ConnectionId,
): Promise<LockedConnection | null> {
  const { rows } = await tx.query<LockedConnection>(
    `select id as "connectionId", provider_id as "providerId", vendor, status, version, to_micros(calstream_now()) as now
       from external_calendar_connections where id = $2 and ($1::uuid is null or provider_id = $1) for update`,
    [provider, connection],
  )
  return rows[0] ?? null
}

export interface RemovedEvent {
  readonly calendarId: CalendarId
  readonly eventId: EventId
  readonly vendorEventId: string
}

/**
 * Deletes event rows of a connection, of one of its calendars or (null) of all, at most `limit`.
 * @returns what was there; fewer than `limit` are the last.
 */
export async function takeEvents(
  tx: Queryable,
  from: { readonly connection: ConnectionId; readonly calendar: CalendarId | null },
  limit: number,
): Promise<readonly RemovedEvent[]> {
  const { rows } = await tx.query<RemovedEvent>(
    `delete from external_calendar_events where event_id in (
       select event_id from external_calendar_events
        where connection_id = $1 and ($2::uuid is null or calendar_id = $2) limit $3)
     returning calendar_id as "calendarId", event_id as "eventId", vendor_event_id as "vendorEventId"`,
    [from.connection, from.calendar, limit],
  )
  return rows
}

/**
 * The end of a connection: nothing is owed, held or read on from. The account stays until its grant
 * is revoked; then it is erased.
 */
export async function endConnection(tx: Queryable, connection: ConnectionId, removed: number): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set status = 'disconnected', disconnected_at = calstream_now(), sync_epoch = sync_epoch + 1, version = version + $2,
            sync_needed = false, last_synced_at = null, listed_from = null, error_count = 0, last_error = null, failing_since = null, backoff_until = null,
            unfinished = 0, paused_at = null, paused_by = null, updated_at = calstream_now()
      where id = $1`,
    [connection, removed],
  )
  await tx.query(
    `update external_calendars
        set cursor = null, checkpoint = null, last_full_sync = null, last_read_at = null, sweep_below = null,
            resync_after = null, resync_streak = 0, read_needed = false, failures = 0, error_count = 0, last_error = null,
            failing_since = null, backoff_until = null, updated_at = calstream_now()
      where connection_id = $1`,
    [connection],
  )
  await tx.query('delete from held_requests where connection_id = $1', [connection])
}

/** A new epoch, past this many event rows. */
export async function advanceConnection(
  tx: Queryable,
  connection: ConnectionId,
  removed: number,
): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set sync_epoch = sync_epoch + 1, version = version + $2, updated_at = calstream_now() where id = $1`,
    [connection, removed],
  )
}

/** Whether a calendar of this connection is synced; null when there is no such calendar. */
export async function isSelected(
  tx: Queryable,
  connection: ConnectionId,
  calendar: CalendarId,
): Promise<boolean | null> {
  const { rows } = await tx.query<{ selected: boolean }>(
    'select selected from external_calendars where id = $2 and connection_id = $1',
    [connection, calendar],
  )
  return rows[0]?.selected ?? null
}

/**
 * A person takes a calendar in or out:
 * what was chosen outlives a reconnect (only a reason of ours is undone by one).
 */
export async function selectCalendar(tx: Queryable, calendar: CalendarId, selected: boolean): Promise<void> {
  await tx.query(
    `update external_calendars
        set selected = $2, removal_reason = null, cursor = null, checkpoint = null, last_full_sync = null, last_read_at = null,
            sweep_below = null, resync_after = null, resync_streak = 0, reading = 'usual', usual_from = null,
            place_failures = 0, place_failing_since = null, fresh_starts = 0, fresh_after = null, read_needed = false,
            failures = 0, error_count = 0, last_error = null, failing_since = null, backoff_until = null, updated_at = calstream_now()
      where id = $1`,
    [calendar, selected],
  )
}
