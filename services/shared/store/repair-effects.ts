// What a repair does to connections. Callers lock them first (`lockFirst`), in the transaction that
// also moves the repair on. Invariant: what takes a place or a right away bumps the epoch, so that
// no unit of before writes after it.
import type { ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

/** A connection that a repair has changed. */
export interface Repaired {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly status: ConnectionStatus
  readonly previousStatus: ConnectionStatus
  /** Database clock. */
  readonly at: Micros
}

/**
 * Locks these connections (in the order of their ids) until one of them is held by a unit, so that
 * none of the others waits for it. When that is the first, it is waited for.
 * @returns those before it: at least the first. Throws Failure `store/*`.
 */
export async function lockFirst(
  tx: Queryable,
  ids: readonly ConnectionId[],
): Promise<readonly ConnectionId[]> {
  const { rows } = await tx.query<{ id: ConnectionId }>(
    'select id from external_calendar_connections where id = any($1::uuid[]) order by id for no key update skip locked',
    [ids],
  )
  const held = ids.findIndex((id, i) => rows[i]?.id !== id)
  if (held !== 0) return held < 0 ? ids : ids.slice(0, held)
  const first = ids.slice(0, 1)
  await tx.query('select from external_calendar_connections where id = any($1::uuid[]) for no key update', [
    first,
  ])
  return first
}

const REPAIRED = `returning c.id as "connectionId", c.provider_id as "providerId", c.vendor, c.status, before.status as "previousStatus",
  to_micros(calstream_now()) as at`

/** As they are before; they are locked. */
const BEFORE = `(select id, status from external_calendar_connections where id = any($1::uuid[]) order by id) before`

/**
 * Each owes a read now, whatever its backoff: a budget or a cool-down of its vendor still holds,
 * where calls are made. Throws Failure `store/*`.
 */
export async function oweSyncs(tx: Queryable, ids: readonly ConnectionId[]): Promise<readonly Repaired[]> {
  const { rows } = await tx.query<Repaired>(
    `update external_calendar_connections c
        set sync_needed = true, backoff_until = null, rung_at = calstream_now(), updated_at = calstream_now()
       from ${BEFORE} where c.id = before.id and c.status = 'active' ${REPAIRED}`,
    [ids],
  )
  await tx.query(
    `update external_calendars set backoff_until = null
      where connection_id = any($1::uuid[]) and selected and backoff_until is not null`,
    [idsOf(rows)],
  )
  return rows
}

/**
 * Each owes a read of every calendar from the start. What a suspicious sweep waits for keeps its
 * time: a second look needs one (ADR 18). Throws Failure `store/*`.
 */
export async function oweReadsFromStart(
  tx: Queryable,
  ids: readonly ConnectionId[],
): Promise<readonly Repaired[]> {
  const { rows } = await tx.query<Repaired>(
    `update external_calendar_connections c
        set sync_needed = true, backoff_until = null, rung_at = calstream_now(), updated_at = calstream_now(),
            sync_epoch = sync_epoch + 1, unfinished = 0, listed_from = null
       from ${BEFORE} where c.id = before.id and c.status = 'active' ${REPAIRED}`,
    [ids],
  )
  await tx.query(
    `update external_calendars
        set cursor = null, checkpoint = null, read_needed = true, backoff_until = null, resync_streak = 0,
            resync_after = case when sweep_below is not null then resync_after end,
            place_failures = 0, place_failing_since = null, fresh_starts = 0, fresh_after = null,
            updated_at = calstream_now()
      where connection_id = any($1::uuid[]) and selected and removal_reason is null`,
    [idsOf(rows)],
  )
  return rows
}

/**
 * Keeps each from being synced until it is resumed. Its channels stay as long as they live, and its
 * credentials. Throws Failure `store/*`.
 */
export async function pauseConnections(
  tx: Queryable,
  ids: readonly ConnectionId[],
  by: string,
): Promise<readonly Repaired[]> {
  const { rows } = await tx.query<Repaired>(
    `update external_calendar_connections c
        set paused_at = calstream_now(), paused_by = $2, sync_epoch = sync_epoch + 1, unfinished = 0,
            status = case c.status when 'active' then 'disabled' else c.status end, updated_at = calstream_now()
       from ${BEFORE} where c.id = before.id and c.paused_at is null and c.status in ('active', 'needs_reauth') ${REPAIRED}`,
    [ids, by],
  )
  return rows
}

/**
 * Lets each be synced again: it owes a read of what it missed. One that waits for a person goes on
 * waiting. Throws Failure `store/*`.
 */
export async function resumeConnections(
  tx: Queryable,
  ids: readonly ConnectionId[],
): Promise<readonly Repaired[]> {
  const { rows } = await tx.query<Repaired>(
    `update external_calendar_connections c
        set paused_at = null, paused_by = null, sync_epoch = sync_epoch + 1, unfinished = 0, updated_at = calstream_now(),
            status = case c.status when 'disabled' then 'active' else c.status end,
            sync_needed = c.sync_needed or c.status = 'disabled', rung_at = calstream_now(),
            backoff_until = case c.status when 'disabled' then null else c.backoff_until end
       from ${BEFORE} where c.id = before.id and c.status <> 'disconnected'
        and (c.paused_at is not null or c.status = 'disabled') ${REPAIRED}`,
    [ids],
  )
  return rows
}

/**
 * Each parked one is due to be asked about, also one whose grant the vendor called gone. Throws
 * Failure `store/*`.
 */
export async function probeConnections(
  tx: Queryable,
  ids: readonly ConnectionId[],
): Promise<readonly Repaired[]> {
  const { rows } = await tx.query<Repaired>(
    `update external_calendar_connections c set probe_at = calstream_now()
       from ${BEFORE} where c.id = before.id and c.status = 'needs_reauth' ${REPAIRED}`,
    [ids],
  )
  return rows
}

function idsOf(repaired: readonly Repaired[]): readonly ConnectionId[] {
  return repaired.map(({ connectionId }) => connectionId)
}
