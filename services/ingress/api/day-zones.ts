// In which zone the days of an all-day event lie. A vendor tells a date; whose midnight it begins
// at is the mailbox's to say, and where that is not known, whatever comes nearest. UTC is believed
// last: Graph names it for events of people who never were there.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/store/database.ts'
import { readUsualZones } from '#shared/store/busy.ts'
import type { CalendarState } from '#shared/store/connection-status.ts'
import { isKnownZone, startOf } from './busy-spans.ts'

export interface ZonedDay {
  readonly calendarId: string
  /** YYYY-MM-DD. */
  readonly startDate: string
  /** Of the event itself: a name, or the offset at which it told its start. */
  readonly timeZone: string | null
}

/** Names of UTC, which say as much as no name. */
const UTC = /^(?:(?:Etc\/)?(?:UTC|UCT|GMT|Universal|Zulu|Greenwich)|GMT[+-]?0|Etc\/GMT[+-]?0)$/i
const OFFSET = /^[+-]\d\d:\d\d$/

type Calendars = readonly {
  readonly calendar: Pick<CalendarState, 'id' | 'connectionId' | 'timeZone'>
}[]

/**
 * The zone of each day, null where nothing is known: that of its calendar (the vendor's, or the
 * mailbox's), else of the event (a name, or the offset at which it told its start), else of most
 * timed events of the account, else UTC if the event says so. Throws Failure store/*.
 */
export async function zonesOfDays(
  db: Queryable,
  synced: Calendars,
  days: readonly ZonedDay[],
): Promise<(day: ZonedDay) => string | null> {
  const calendars = new Map<string, Calendars[number]['calendar']>(
    synced.map(({ calendar }) => [calendar.id, calendar]),
  )
  const named = (day: ZonedDay): string | null => {
    const zone = calendars.get(day.calendarId)?.timeZone ?? null
    if (isKnownZone(zone)) return zone
    return isKnownZone(day.timeZone) && !UTC.test(day.timeZone) && !OFFSET.test(day.timeZone)
      ? day.timeZone
      : null
  }
  const connectionOf = (day: ZonedDay) => calendars.get(day.calendarId)?.connectionId
  const unplaced = new Set(days.flatMap((day) => (named(day) === null ? (connectionOf(day) ?? []) : [])))
  const usual = await usualZones(db, unplaced)
  return (day) => {
    const known = named(day)
    if (known !== null) return known
    const connection = connectionOf(day)
    const zones = connection === undefined ? [] : (usual.get(connection) ?? [])
    if (!isKnownZone(day.timeZone)) return zones[0] ?? null
    return OFFSET.test(day.timeZone) ? zoneAtOffset(day, zones) : (zones[0] ?? day.timeZone)
  }
}

/**
 * A zone of the account whose day begins at that offset:
 * it knows when its clock changes, which an offset does not.
 */
function zoneAtOffset({ startDate, timeZone }: ZonedDay, zones: readonly string[]): string | null {
  const begins = timeZone === null ? null : startOf(startDate, timeZone)
  return zones.find((zone) => startOf(startDate, zone) === begins) ?? timeZone
}

/**
 * The zones of timed events of each account, those of most events first,
 * among those that tell more than UTC.
 */
async function usualZones(
  db: Queryable,
  connections: ReadonlySet<ConnectionId>,
): Promise<ReadonlyMap<ConnectionId, readonly string[]>> {
  if (connections.size === 0) return new Map()
  const usual = new Map<ConnectionId, string[]>()
  const counted = await readUsualZones(db, [...connections])
  for (const { connectionId, timeZone } of counted.toSorted((a, b) => b.events - a.events)) {
    if (UTC.test(timeZone) || !isKnownZone(timeZone)) continue
    usual.set(connectionId, [...(usual.get(connectionId) ?? []), timeZone])
  }
  return usual
}
