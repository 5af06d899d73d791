// Connections that somebody has to ring: those whose work is overdue (sweep) and those to be checked now and then
// (reconcile). Everything is judged by the database clock. Marks are set after the ring is durable, so a crash in between
// rings twice and never not at all; a row that a unit holds locked is left unmarked and comes again.
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

export interface DueConnection {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** Database clock when the row was read. */
  readonly readAt: Micros
}

const COLUMNS = `id as "connectionId", provider_id as "providerId", vendor, to_micros(calstream_now()) as "readAt"`

/**
 * Active connections with `sync_needed` whose backoff (or, without one, last write) is more than 30 s past and that the
 * sweep did not ring for 60 s; in id order from after `after`.
 */
export async function overdueConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueConnection[]> {
  const { rows } = await db.query<DueConnection>(
    `select ${COLUMNS} from external_calendar_connections
     where status = 'active' and sync_needed
       and coalesce(backoff_until, updated_at) < calstream_now() - interval '30 seconds'
       and (rung_at is null or rung_at < calstream_now() - interval '60 seconds')
       and ($1::uuid is null or id > $1)
     order by id limit $2`,
    [after, limit],
  )
  return rows
}

export async function markRung(db: Queryable, ids: readonly ConnectionId[]): Promise<void> {
  await db.query(
    `update external_calendar_connections set rung_at = calstream_now()
     where id in (select id from external_calendar_connections where id = any($1::uuid[]) order by id for no key update skip locked)`,
    [ids],
  )
}

/** Active connections whose time of reconcile has come, in id order from after `after`. */
export async function reconcilableConnections(
  db: Queryable,
  after: ConnectionId | null,
  limit: number,
): Promise<readonly DueConnection[]> {
  const { rows } = await db.query<DueConnection>(
    `select ${COLUMNS} from external_calendar_connections
     where status = 'active' and reconcile_at <= calstream_now() and ($1::uuid is null or id > $1)
     order by id limit $2`,
    [after, limit],
  )
  return rows
}

/**
 * Sets the next reconcile ± 20 %, so that connections made together do not stay together: after `seconds`, or
 * `unhealthySeconds` while a calendar that supports push has no open channel.
 */
export async function markReconciled(
  db: Queryable,
  ids: readonly ConnectionId[],
  every: { readonly seconds: number; readonly unhealthySeconds: number },
): Promise<void> {
  await db.query(
    `update external_calendar_connections connection
     set reconcile_at = calstream_now() + (0.8 + 0.4 * random()) * interval '1 second' *
       case when exists (
         select from external_calendars calendar
         where calendar.connection_id = connection.id and calendar.selected and calendar.push_supported
           and not exists (select from channels where channels.calendar_id = calendar.id
                             and channels.status = 'open' and channels.expires_at > calstream_now()))
       then $3::float8 else $2::float8 end
     where id in (select id from external_calendar_connections where id = any($1::uuid[]) order by id for no key update skip locked)`,
    [ids, every.seconds, every.unhealthySeconds],
  )
}
