// The connection row as a unit sees and writes it. Invariant: every write of a unit goes through
// `fence` first, in the same transaction: it takes the row lock and proves that no newer unit has
// claimed the connection. Times are judged by the database clock alone.
import type { ConnectionStatus } from '#shared/domain/connection-facts.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface ClaimedConnection {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly status: ConnectionStatus
  readonly syncNeeded: boolean
  /** Counted failures in a row. */
  readonly errorCount: number
  /** Failures in a row, also those that do not count. */
  readonly failures: number
  readonly failingSince: Micros | null
  readonly backoffUntil: Micros | null
  /**
   * Error and backoff are those of all its calendars, each of which has its own;
   * else they are the account's.
   */
  readonly isAllIll: boolean
  /** The epoch of this claim. */
  readonly epoch: number
  /** Claims since the last page or outcome, this one included. */
  readonly unfinished: number
  /** Database clock at the start of the last completed unit that read all calendars. */
  readonly listedFrom: Micros | null
  /** Database clock of this statement: the start of the unit. */
  readonly now: Micros
}

/**
 * Takes the row lock and the next epoch; null if there is no such connection. What belongs
 * to the connection has to be read by a later statement: a join in this one would return
 * rows older than the lock.
 */
export async function bumpEpoch(tx: Queryable, connection: ConnectionId): Promise<ClaimedConnection | null> {
  const { rows } = await tx.query<ClaimedConnection>(
    `update external_calendar_connections
        set sync_epoch = sync_epoch + 1, unfinished = unfinished + 1, updated_at = calstream_now()
      where id = $1
      returning id as "connectionId", provider_id as "providerId", vendor, status, sync_needed as "syncNeeded",
        error_count as "errorCount", coalesce((last_error ->> 'attempt')::int, 0) as failures,
        to_micros(failing_since) as "failingSince", to_micros(backoff_until) as "backoffUntil",
        coalesce(last_error ->> 'scope' = 'calendars', false) as "isAllIll", sync_epoch as epoch, unfinished, to_micros(listed_from) as "listedFrom",
        to_micros(calstream_now()) as now`,
    [connection],
  )
  return rows[0] ?? null
}

export interface Fence {
  /** The connection's version before this write: its first event row gets `version + 1`. */
  readonly version: number
  /** Database clock. */
  readonly now: Micros
}

/**
 * First statement of every write of a unit. A fenced write is progress, so it clears `unfinished`.
 * @param advance how many event rows the transaction writes.
 * Throws Failure `store/fence-lost` when a newer unit,
 * a connect or a disconnect took the connection over.
 */
export async function fence(
  tx: Queryable,
  unit: { readonly connectionId: ConnectionId; readonly epoch: number },
  advance: number,
): Promise<Fence> {
  const { rows } = await tx.query<Fence>(
    `update external_calendar_connections
        set unfinished = 0, version = version + $3, updated_at = calstream_now()
      where id = $1 and sync_epoch = $2
      returning version - $3 as version, to_micros(calstream_now()) as now`,
    [unit.connectionId, unit.epoch, advance],
  )
  const row = rows[0]
  if (!row) throw new Failure('store/fence-lost')
  return row
}

/**
 * After a unit that read every calendar to its end that was due: the connection owes nothing any
 * more. A calendar that is ill, or waits for its second look, owes it in its own row. `listedFrom`:
 * database clock at its start.
 */
export async function clearConnection(
  tx: Queryable,
  connection: ConnectionId,
  listedFrom: Micros,
): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set sync_needed = false, last_synced_at = calstream_now(), listed_from = from_micros($2), error_count = 0,
            last_error = null, failing_since = null, backoff_until = null
      where id = $1`,
    [connection, listedFrom],
  )
}

/** After a unit that read the calendars it was rung for, while nothing else is owed. */
export async function touchConnection(tx: Queryable, connection: ConnectionId): Promise<void> {
  await tx.query('update external_calendar_connections set last_synced_at = calstream_now() where id = $1', [
    connection,
  ])
}

/**
 * More is owed than was done: the sweep rings until a unit clears it.
 * A backoff that has passed is forgotten.
 */
export async function markDirty(tx: Queryable, connection: ConnectionId): Promise<void> {
  await tx.query(
    `update external_calendar_connections
        set sync_needed = true,
            backoff_until = case when last_error ->> 'scope' = 'calendars' then backoff_until end where id = $1`,
    [connection],
  )
}

export interface RecordedFailure {
  readonly connectionId: ConnectionId
  /** The streak of counted failures, this one included if it counts. */
  readonly errorCount: number
  /** Whose failure it is: the account's, or that of all its calendars at once. */
  readonly scope: 'account' | 'calendars'
  readonly error: {
    readonly code: string
    readonly message: string
    /** Failures in a row, this one included. */
    readonly attempt: number
    readonly traceId: string | null
    /** The number that the vendor gives its reason; null: none. */
    readonly number: number | null
  }
  /** From now by the database clock; null sets no time (a parked connection is not tried). */
  readonly backoffMs: number | null
  readonly status: 'active' | 'needs_reauth'
}

/**
 * Writes a failed unit.
 * @returns when it is due again and since when it fails, by the database clock.
 */
export async function saveFailure(
  tx: Queryable,
  failed: RecordedFailure,
): Promise<{ readonly backoffUntil: Micros | null; readonly failingSince: Micros; readonly now: Micros }> {
  const { rows } = await tx.query<{ backoffUntil: Micros | null; failingSince: Micros; now: Micros }>(
    `update external_calendar_connections
        set status = $6, sync_needed = true, error_count = $2,
            last_error = jsonb_build_object('code', $3::text, 'message', $4::text, 'at', to_jsonb(clock.now),
              'attempt', $5::int, 'traceId', $8::text, 'scope', $9::text)
              || case when $10::int is null then '{}' else jsonb_build_object('number', $10::int) end,
            failing_since = coalesce(failing_since, clock.now),
            backoff_until = clock.now + $7::float8 * interval '1 millisecond'
       from (select calstream_now() as now) clock
      where id = $1
      returning to_micros(backoff_until) as "backoffUntil", to_micros(failing_since) as "failingSince",
        to_micros(clock.now) as now`,
    [
      failed.connectionId,
      failed.errorCount,
      failed.error.code,
      failed.error.message,
      failed.error.attempt,
      failed.status,
      failed.backoffMs,
      failed.error.traceId,
      failed.scope,
      failed.error.number,
    ],
  )
  const row = rows[0]
  if (!row) throw new Failure('store/fence-lost')
  return row
}

/**
 * The list of calendars is compared next, because it may say more about what a calendar answered.
 */
export async function askForList(tx: Queryable, connection: ConnectionId): Promise<void> {
  await tx.query(
    `update external_calendar_connections set list_calendars_at = least(list_calendars_at, calstream_now()) where id = $1`,
    [connection],
  )
}
