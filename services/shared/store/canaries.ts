// The canaries: which calendars they are, and how far the change of the moment has come. Written by
// the scheduler alone, under the lease of its job.
import type { CanaryFacts } from '#shared/domain/canary.ts'
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { Queryable } from './database.ts'

/** Their number is that of vendors, or a few more. */
export const CANARIES_MAX = 20

export interface Canary extends CanaryFacts {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly status: string
  readonly calendarId: CalendarId
  readonly vendorCalendarId: string
  readonly vendorEventId: string | null
  readonly beat: number
  /** When the last beat that arrived was begun. */
  readonly lastArrivedBeatAt: Micros | null
  readonly refusal: string | null
  readonly createdAt: Micros
  /** The clock of its times. */
  readonly now: Micros
}

/** The title by which the row of an event shows a beat; `readCanaries` compares with it. */
export function canaryTitle(beat: number): string {
  return `Calstream canary ${beat}`
}

/** All canaries, with what is stored and published of their beats. Throws Failure `store/*`. */
export async function readCanaries(db: Queryable): Promise<readonly Canary[]> {
  const { rows } = await db.query<Canary>(
    `select y.connection_id as "connectionId", c.provider_id as "providerId", c.vendor, c.status,
       y.calendar_id as "calendarId", k.vendor_calendar_id as "vendorCalendarId",
       y.vendor_event_id as "vendorEventId", y.beat,
       to_micros(y.begun_at) as "begunAt", to_micros(y.taken_at) as "takenAt", to_micros(y.rung_at) as "rungAt",
       to_micros(y.stored_at) as "storedAt", to_micros(y.arrived_at) as "arrivedAt",
       to_micros(y.last_arrived_beat_at) as "lastArrivedBeatAt", to_micros(y.silent_since) as "silentSince",
       to_micros(y.refused_since) as "refusedSince", y.refusal, to_micros(y.created_at) as "createdAt",
       to_micros(calstream_now()) as now,
       coalesce((select e.title = 'Calstream canary ' || y.beat from external_calendar_events e
          where e.calendar_id = y.calendar_id and e.vendor_event_id = y.vendor_event_id), false) as "isStored",
       exists (select from outbox o
          where o.shard = get_byte(uuid_send(y.connection_id), 15) % 16
            and o.topic = $2 and o.key = y.connection_id::text) as "isWaiting",
       exists (select from webhook_dedupe_keys d
          where d.connection_id = y.connection_id and d.seen_at >= y.begun_at) as "isNotified"
     from canaries y
     join external_calendar_connections c on c.id = y.connection_id
     join external_calendars k on k.id = y.calendar_id
     order by c.vendor, y.connection_id limit $1`,
    [CANARIES_MAX, TOPICS.eventChanged],
  )
  return rows
}

/**
 * Begins the next beat, or the same again that the vendor did not take. @returns its number.
 * @param isNotified whether the vendor rang for the beat before.
 */
export async function beginBeat(
  db: Queryable,
  connection: ConnectionId,
  isNotified: boolean,
): Promise<number> {
  const { rows } = await db.query<{ beat: number }>(
    `update canaries set begun_at = calstream_now(), rung_at = null, stored_at = null, arrived_at = null,
       beat = case when begun_at is not null and taken_at is null then beat else beat + 1 end, taken_at = null,
       silent_since = case when stored_at is null then silent_since
         when $2 then null else coalesce(silent_since, begun_at) end
     where connection_id = $1 returning beat`,
    [connection, isNotified],
  )
  return rows[0]?.beat ?? 0
}

/** The vendor took the change. */
export async function noteTaken(
  db: Queryable,
  connection: ConnectionId,
  vendorEventId: string,
): Promise<void> {
  await db.query(
    `update canaries set taken_at = calstream_now(), vendor_event_id = $2, refused_since = null, refusal = null
      where connection_id = $1`,
    [connection, vendorEventId],
  )
}

/** The vendor did not. @param refusal a sentence without a secret. */
export async function noteRefused(db: Queryable, connection: ConnectionId, refusal: string): Promise<void> {
  await db.query(
    `update canaries set refused_since = coalesce(refused_since, calstream_now()), refusal = $2
      where connection_id = $1`,
    [connection, refusal],
  )
}

/** A sync was asked for. */
export async function noteRung(db: Queryable, connection: ConnectionId): Promise<void> {
  await db.query('update canaries set rung_at = calstream_now() where connection_id = $1', [connection])
}

/** A unit stored it. */
export async function noteStored(db: Queryable, connection: ConnectionId): Promise<void> {
  await db.query('update canaries set stored_at = calstream_now() where connection_id = $1', [connection])
}

/** The relay published it. */
export async function noteArrived(db: Queryable, connection: ConnectionId): Promise<void> {
  await db.query(
    `update canaries set arrived_at = calstream_now(), last_arrived_beat_at = begun_at where connection_id = $1`,
    [connection],
  )
}

/** While a gate is closed for it nothing is known of any leg. */
export async function pauseCanary(db: Queryable, connection: ConnectionId): Promise<void> {
  await db.query(
    `update canaries set begun_at = null, taken_at = null, rung_at = null, stored_at = null, arrived_at = null,
       silent_since = null, refused_since = null, refusal = null
      where connection_id = $1 and (begun_at is not null or refused_since is not null)`,
    [connection],
  )
}

/** Makes the account's own calendar a canary. @returns false without such a calendar. */
export async function addCanary(db: Queryable, connection: ConnectionId): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into canaries (connection_id, calendar_id)
     select connection_id, id from external_calendars
      where connection_id = $1 and selected and missing_since is null and removal_reason is null order by is_primary desc, id limit 1
     on conflict (connection_id) do nothing`,
    [connection],
  )
  return rowCount > 0
}

/** @returns false when it was none. */
export async function removeCanary(db: Queryable, connection: ConnectionId): Promise<boolean> {
  const { rowCount } = await db.query('delete from canaries where connection_id = $1', [connection])
  return rowCount > 0
}
