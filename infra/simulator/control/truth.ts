// The truth: what every calendar holds right now, exactly as a reader with `singleEvents=true`
// would have to see it, and what has ended. Oracles compare it with the database and with the
// published stream. Both vendors' events are told in one dialect, Google's, with what a Graph
// reader gets to see: its etags, and zones by the names that Windows leaves of them.
import { listAll } from '../google/list-items.ts'
import { windowsName, zoneOf } from '../microsoft/zone-names.ts'
import type { Calendar } from '../world/calendar.ts'
import type { WireEvent } from '../world/event-doc.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'

export interface TruthQuery {
  readonly accountId: string | null
  /** ms epoch; the window of events.list. */
  readonly timeMin: number | null
  readonly timeMax: number | null
}

/** Everything alive in the window, with `_version`, and tombstones of all that ended. */
export function tellTruth(world: World, query: TruthQuery) {
  const chosen = [...world.accounts.values()].filter(
    (account) => query.accountId === null || account.id === query.accountId,
  )
  return { seq: world.seq, accounts: chosen.map((account) => tellAccount(account, query)) }
}

function tellAccount(account: Account, query: TruthQuery) {
  const calendars = [...account.calendars.values()].filter((calendar) => !calendar.gone)
  return {
    accountId: account.id,
    vendor: account.vendor,
    email: account.email,
    revoked: account.revoked,
    calendars: calendars.map((calendar) => ({
      id: calendar.id,
      name: calendar.name,
      events: liveEvents(calendar, query).map((event) =>
        account.vendor === 'microsoft' ? asGraphShows(event, calendar) : event,
      ),
      tombstones: tombstones(calendar),
    })),
  }
}

function liveEvents(calendar: Calendar, query: TruthQuery): readonly WireEvent[] {
  const { timeMin, timeMax } = query
  const items = listAll(calendar, { singleEvents: true, showDeleted: false, timeMin, timeMax })
  return items.map((item) => ({ ...item.render(), _version: item.version }))
}

function asGraphShows(event: WireEvent, calendar: Calendar): WireEvent {
  const zoned = (time: unknown) => {
    const { timeZone = calendar.timeZone, ...rest } = time as { timeZone?: string }
    return { ...rest, timeZone: zoneOf(windowsName(timeZone)) ?? timeZone }
  }
  return {
    ...event,
    etag: `W/${String(event['etag'])}`,
    // One field, showAs, says both: what is free is not tentative too.
    status: event['transparency'] === 'transparent' ? 'confirmed' : event['status'],
    start: zoned(event['start']),
    end: zoned(event['end']),
  }
}

function tombstones(calendar: Calendar) {
  const ended: { id: string; version: number; at: number }[] = []
  for (const doc of calendar.docs.values()) {
    if (doc.deleted) ended.push({ id: doc.id, version: doc.version, at: doc.at })
  }
  for (const ghosts of calendar.ghosts.values()) {
    for (const { id, version, at } of ghosts.values()) ended.push({ id, version, at })
  }
  return ended
}
