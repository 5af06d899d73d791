// Whether a system has come to rest in the right state: the tables equal the vendor's truth and
// nothing waits. Before a method begins: whether the vendors ring for every calendar.
import { openStoredEvents } from '../../../infra/oracle/rows.ts'
import { readTruth } from '../../../infra/oracle/truth.ts'
import { compareHoldings } from '../../../infra/oracle/verify.ts'
import type { System } from './system.ts'

/**
 * Two looks at what a full read lacked lie ten minutes apart (ADR 18). Small calendars of a drill
 * easily lack most of their events. A drill that waits for rest lets the second look come now.
 * Throws when the database cannot be asked.
 */
export async function hastenSecondLooks(system: System): Promise<void> {
  await system.ask(
    `update external_calendars set resync_after = calstream_now()
      where selected and sweep_below is not null and resync_after > calstream_now()`,
  )
}

/**
 * What is still wrong, for a person. Empty when all is well. Throws when the database cannot be
 * asked.
 */
export async function unrest(system: System): Promise<readonly string[]> {
  const [waiting] = await system.ask<{ dirty: number; outbox: number; held: number; unread: number }>(
    `select (select count(*)::int from external_calendar_connections where sync_needed and status = 'active') as dirty,
            (select count(*)::int from outbox) as outbox, (select count(*)::int from held_requests) as held,
            (select count(*)::int from external_calendars cal join external_calendar_connections con on con.id = cal.connection_id
              where con.status = 'active' and cal.selected and cal.checkpoint is not null) as unread`,
  )
  const found: string[] = []
  if (waiting && waiting.dirty > 0) found.push(`${waiting.dirty} connections need a sync`)
  if (waiting && waiting.outbox > 0) found.push(`${waiting.outbox} rows wait for the relay`)
  if (waiting && waiting.held > 0) found.push(`${waiting.held} requests are held`)
  // Its rows may all be there already; then only the next reconcile would tell.
  if (waiting && waiting.unread > 0) found.push(`${waiting.unread} calendars are in the middle of a read`)
  if (found.length > 0) return found
  await using stored = await openStoredEvents(system.databaseUrl)
  const ours = new Set(system.accounts.map(({ connectionId }) => connectionId))
  const active = (await stored.connections()).filter(
    ({ connectionId, status }) => ours.has(connectionId) && status === 'active',
  )
  const never = active.filter(({ lastSyncedAtMs }) => lastSyncedAtMs === null)
  if (never.length > 0) return [`${never.length} connections were never synced`]
  const truth = await readTruth(system.vendor.adminUrl, active)
  const rows = await stored.events(active.map(({ connectionId }) => connectionId))
  const differences = compareHoldings('Postgres', truth.holdings, rows, truth.mayDiffer)
  return differences.slice(0, 5).map(({ kind, key, story }) => `${kind} ${key}: ${story}`)
}

/**
 * What the vendors do not ring for yet, for a person. Empty when every calendar that can be watched
 * is. A first sync ends before the scheduler has opened the channels. A method that begins between
 * the two sees no notification at all.
 */
export async function unwatched(system: System): Promise<readonly string[]> {
  const [found] = await system.ask<{ n: number }>(
    `select count(*)::int as n
       from external_calendars cal
       join external_calendar_connections con on con.id = cal.connection_id
      where con.status = 'active' and cal.selected and cal.push_supported
        and not exists (select from channels ch where ch.calendar_id = cal.id and ch.status = 'open')`,
  )
  return found && found.n > 0 ? [`${found.n} calendars have no channel`] : []
}
