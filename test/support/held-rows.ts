// Connections, calendars and events put straight into the tables, as superuser,
// for tests of what is told about them.
import { randomUUID } from 'node:crypto'
import { HASH_VERSION } from '#shared/domain/content-hash.ts'
import { calendarId, eventIdOf } from '#shared/domain/ids.ts'

type Look = <R extends object>(sql: string, values?: readonly unknown[]) => Promise<R[]>

export interface StoredCalendar {
  readonly connection: string
  readonly calendar: string
}

/** A healthy connection with one calendar, read a minute ago. */
export async function holdCalendar(
  look: Look,
  options: {
    readonly provider: string
    readonly connection?: string
    readonly zone?: string | null
    readonly vendor?: string
    readonly name?: string
  },
): Promise<StoredCalendar> {
  const connection = options.connection ?? randomUUID()
  if (options.connection === undefined) {
    await look(
      `insert into external_calendar_connections (id, provider_id, vendor, vendor_account_id, account_label, last_synced_at)
       values ($1, $2, $3, $4, 'somebody@example.com', calstream_now() - interval '1 minute')`,
      [connection, options.provider, options.vendor ?? 'google', randomUUID()],
    )
  }
  const calendar = randomUUID()
  await look(
    `insert into external_calendars (id, connection_id, vendor_calendar_id, name, time_zone, cursor, generation, last_full_sync, last_read_at)
     values ($1, $2, $3, $4, $5, 'cursor', 1, calstream_now() - interval '1 day', calstream_now() - interval '1 minute')`,
    [
      calendar,
      connection,
      randomUUID(),
      options.name ?? 'Work',
      options.zone === undefined ? 'Europe/Berlin' : options.zone,
    ],
  )
  return { connection, calendar }
}

export interface StoredTimes {
  readonly start: string
  readonly end: string
  readonly busy?: boolean
  readonly status?: 'confirmed' | 'tentative'
  readonly zone?: string | null
  readonly response?: string
  readonly kind?: string
  readonly showAs?: string
  /** 1: written before answers were kept. */
  readonly hashVersion?: number
}

/** One event; dates (YYYY-MM-DD) make it last all day. */
export async function holdEvent(look: Look, held: StoredCalendar, times: StoredTimes): Promise<string> {
  const vendorEventId = randomUUID()
  const eventId = eventIdOf(calendarId(held.calendar), vendorEventId)
  const allDay = times.start.length === 10
  const at = allDay ? [null, null, times.start, times.end] : [times.start, times.end, null, null]
  await look(
    `insert into external_calendar_events (event_id, connection_id, calendar_id, vendor_event_id, status, busy, all_day,
       start_at, end_at, start_date, end_date, time_zone, response, kind, show_as, hash_version, content_hash, generation, sequence)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, '\\x00', 1, 1)`,
    [
      eventId,
      held.connection,
      held.calendar,
      vendorEventId,
      times.status ?? 'confirmed',
      times.busy ?? true,
      allDay,
      ...at,
      times.zone ?? null,
      times.response ?? null,
      times.kind ?? null,
      times.showAs ?? null,
      times.hashVersion ?? HASH_VERSION,
    ],
  )
  return eventId
}

/**
 * Many events of one hour, one after the other, with sequences as sync gives them;
 * the connection's version follows.
 */
export async function holdMany(look: Look, held: StoredCalendar, count: number): Promise<void> {
  await look(
    `insert into external_calendar_events (event_id, connection_id, calendar_id, vendor_event_id, title, status, busy, all_day,
       start_at, end_at, content_hash, hash_version, generation, sequence)
     select gen_random_uuid(), $1, $2, 'event-' || n, 'Meeting ' || n, 'confirmed', true, false,
       clock.now + n * interval '1 hour', clock.now + (n + 1) * interval '1 hour', sha256(n::text::bytea), 2, 1, n
     from (select calstream_now() as now offset 0) clock, generate_series(1, $3::int) n`,
    [held.connection, held.calendar, count],
  )
  await look('update external_calendar_connections set version = version + $2 where id = $1', [
    held.connection,
    count,
  ])
}

/**
 * One more calendar of a connection, read three hours ago and ill for two;
 * its next try is in 20 minutes.
 */
export async function holdIll(look: Look, connection: string, name: string): Promise<void> {
  await look(
    `insert into external_calendars (connection_id, vendor_calendar_id, name, cursor, last_full_sync, last_read_at,
       read_needed, failures, error_count, failing_since, backoff_until, last_error)
     values ($1, 'ill', $2, 'c', calstream_now(), calstream_now() - interval '3 hours', true, 4, 4,
       calstream_now() - interval '2 hours', calstream_now() + interval '20 minutes', $3)`,
    [connection, name, JSON.stringify({ code: 'vendor/unavailable', message: 'Google answered 500 x.' })],
  )
}
