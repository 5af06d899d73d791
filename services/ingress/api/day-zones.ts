// In which zone the days of an all-day event lie. A vendor tells a date; whose midnight it begins at is the mailbox's to say, and where
// that is not known, whatever comes nearest. UTC is believed last: Graph names it for events of people who never were there.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { readUsualZones } from '#shared/store/busy.ts'
import { isKnownZone } from './busy-spans.ts'
import type { Synced } from './freshness.ts'

export interface ZonedDay {
  readonly calendarId: string
  /** Of the event itself. */
  readonly timeZone: string | null
}

/** Names of UTC, which say as much as no name. */
const UTC = /^(?:(?:Etc\/)?(?:UTC|UCT|GMT|Universal|Zulu|Greenwich)|GMT[+-]?0|Etc\/GMT[+-]?0)$/i

/**
 * The zone of each day, null where nothing is known: that of its calendar (the vendor's, or the mailbox's), else of the event
 * (a name, or the offset at which it told its start), else of most timed events of the account, else UTC if the event says so.
 * Throws Failure store/*.
 */
export async function zonesOfDays(
  db: Queryable,
  synced: readonly Synced[],
  days: readonly ZonedDay[],
): Promise<(day: ZonedDay) => string | null> {
  const calendars = new Map(synced.map(({ calendar }) => [calendar.id as string, calendar]))
  const own = (day: ZonedDay): string | null => {
    const zone = calendars.get(day.calendarId)?.timeZone ?? null
    if (isKnownZone(zone)) return zone
    return isKnownZone(day.timeZone) && !UTC.test(day.timeZone) ? day.timeZone : null
  }
  const connectionOf = (day: ZonedDay) => calendars.get(day.calendarId)?.connectionId
  const unplaced = new Set(days.flatMap((day) => (own(day) === null ? (connectionOf(day) ?? []) : [])))
  const usual = await usualZones(db, unplaced)
  return (day) => {
    const connection = connectionOf(day)
    const known = own(day) ?? (connection === undefined ? null : (usual.get(connection) ?? null))
    return known ?? (isKnownZone(day.timeZone) ? day.timeZone : null)
  }
}

/** The zone of most timed events of each account, among those that tell more than UTC. */
async function usualZones(
  db: Queryable,
  connections: ReadonlySet<ConnectionId>,
): Promise<ReadonlyMap<ConnectionId, string>> {
  if (connections.size === 0) return new Map()
  const usual = new Map<ConnectionId, { readonly zone: string; readonly events: number }>()
  for (const { connectionId, timeZone, events } of await readUsualZones(db, [...connections])) {
    if (UTC.test(timeZone) || !isKnownZone(timeZone)) continue
    if (events > (usual.get(connectionId)?.events ?? 0)) usual.set(connectionId, { zone: timeZone, events })
  }
  return new Map([...usual].map(([connection, { zone }]) => [connection, zone]))
}
