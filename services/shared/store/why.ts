// What is known of one connection, for `why`. Reads only. Invariant: one statement whose cost does
// not grow with the fleet, the outbox or the events; every list in it is bounded.
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { partitionOfRequests, type Installation, type Place } from '#shared/domain/causes-of-installation.ts'
import type { CalendarWhyFacts } from '#shared/domain/causes-of-calendar.ts'
import { isUuid, shardOf, type ConnectionId, type Micros, type ProviderId } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'
import { ILL_CALENDAR } from './calendar-failures.ts'
import { SILENT_FINDS } from './channels.ts'
import { CONNECTION_STATE, type ConnectionState } from './connection-status.ts'

export interface WhyRows {
  readonly connection: ConnectionState & { readonly providerId: ProviderId }
  /** Synced ones first, by name; at most CALENDARS_MAX. */
  readonly calendars: readonly CalendarWhyFacts[]
  /** When the oldest row of its outbox shard was written; null: none waits. */
  readonly outboxSince: Micros | null
}

/** Of one account; Google lists up to 10 000, people have a few. */
const CALENDARS_MAX = 1000

/** SQL, with `k` an external_calendars row and `clock.now`: how its changes are told. */
const PUSH = `case
    when k.channel_attempts > 0 then
      jsonb_build_object('kind', 'failing', 'attempts', k.channel_attempts, 'retryAt', to_micros(k.channel_retry_at))
    when not k.push_supported then jsonb_build_object('kind', 'none')
    when k.unrung_finds >= ${SILENT_FINDS} then jsonb_build_object('kind', 'silent', 'finds', k.unrung_finds)
  end`

/**
 * The facts of one connection; null when the provider has no such. `provider` null asks for any
 * (operators). Throws Failure `store/*`.
 */
export async function readWhyFacts(
  db: Queryable,
  connection: ConnectionId,
  provider: ProviderId | null = null,
): Promise<WhyRows | null> {
  const { rows } = await db.query<
    ConnectionState & {
      providerId: ProviderId
      calendarFacts: CalendarWhyFacts[]
      outboxSince: Micros | null
    }
  >(
    `select ${CONNECTION_STATE}, c.provider_id as "providerId",
       (select coalesce(jsonb_agg(one.facts order by one.selected desc, one.name, one.id), '[]') from (
          select k.id, k.selected, k.name, jsonb_build_object('id', k.id, 'name', k.name, 'selected', k.selected,
            'removalReason', k.removal_reason, 'lastReadAt', to_micros(k.last_read_at),
            'lastFullReadAt', to_micros(k.last_full_sync), 'coolDownUntil', to_micros(k.resync_after),
            'missingSince', to_micros(k.missing_since), 'readNeeded', k.read_needed, 'ill', ${ILL_CALENDAR},
            'plain', case when k.reading = 'plain' then jsonb_build_object('usualFrom', to_micros(k.usual_from)) end,
            'isDeleteHeld', k.sweep_below is not null, 'push', ${PUSH}) as facts
            from external_calendars k where k.connection_id = c.id
           order by k.selected desc, k.name, k.id limit $4) one) as "calendarFacts",
       (select to_micros(first.created_at) from
          (select created_at from outbox where outbox.shard = $3 order by id limit 1) first) as "outboxSince"
       from external_calendar_connections c
      where c.id = $1 and ($2::uuid is null or c.provider_id = $2)`,
    [connection, provider, shardOf(connection), CALENDARS_MAX],
  )
  const [row] = rows
  if (row === undefined) return null
  const { calendarFacts, outboxSince, ...found } = row
  return { connection: found, calendars: calendarFacts, outboxSince }
}

/**
 * The connections that a person means by an id, or by the address or name of an account in any
 * letter case; those that are connected first, at most `limit`. Throws Failure `store/*`.
 */
export async function findConnections(
  db: Queryable,
  text: string,
  limit: number,
): Promise<readonly ConnectionId[]> {
  const { rows } = await db.query<{ id: ConnectionId }>(
    `select c.id from external_calendar_connections c
      where c.id = $1::uuid or ($1::uuid is null and
            (lower(c.vendor_account_id) = lower($2) or lower(c.account_label) = lower($2)))
      order by c.status = 'disconnected', c.id limit $3`,
    [isUuid(text) ? text : null, text, limit],
  )
  return rows.map(({ id }) => id)
}

/** Where it stands in the installation. */
export function placeOf(
  { connection, outboxSince }: { readonly connection: ConnectionState; readonly outboxSince: Micros | null },
  installation: Installation,
): Place {
  const { id, vendor, now } = connection
  const partition = partitionOfRequests(installation, REQUESTED_TOPIC[vendor], id)
  return { vendor, partition, outboxSince, now }
}
