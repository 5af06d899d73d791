// What the vendor holds, as images under our ids: what Postgres and the folded topics have
// to equal. The vendor's JSON is read here with a few lines of its own; the adapter's
// mapping is what is being checked.
import type { StoredConnection } from './rows.ts'
import { eventKey, type EventImage } from './verify.ts'

export interface Truth {
  readonly holdings: Map<string, EventImage>
  /** Whether an event lies so near the window's edges that it may be on one side only. */
  readonly mayDiffer: (image: EventImage) => boolean
  /** Calendars of these connections that the vendor has and we do not. */
  readonly unknownCalendars: readonly string[]
}

const DAY_MS = 86_400_000
const WINDOW_BEFORE_DAYS = 30
const WINDOW_AFTER_DAYS = 365
/**
 * The window of a calendar rolls once a week:
 * until then old events stay and new ones are not there yet.
 */
const EDGE_DAYS = 9
const TIMEOUT_MS = 60_000

interface WireTruth {
  readonly accounts: readonly {
    readonly email: string
    readonly calendars: readonly { readonly id: string; readonly events: readonly WireEvent[] }[]
  }[]
}

interface WireTime {
  readonly date?: string
  readonly dateTime?: string
  readonly timeZone?: string
}

interface WireEvent {
  readonly id: string
  readonly status: string
  readonly summary?: string
  readonly location?: string
  readonly transparency?: string
  readonly attendees?: readonly { readonly self?: boolean; readonly responseStatus?: string }[]
  readonly start: WireTime
  readonly end: WireTime
  readonly recurringEventId?: string
  readonly originalStartTime?: WireTime
  readonly organizer?: { readonly email?: string }
  readonly updated: string
  readonly etag: string
}

/**
 * Asks the simulator at `adminUrl` for the truth of these connections at `now` (ms
 * epoch); others are left out.
 */
export async function readTruth(
  adminUrl: string,
  connections: readonly Pick<StoredConnection, 'connectionId' | 'email' | 'calendars'>[],
  now = Date.now(),
): Promise<Truth> {
  const from = now - WINDOW_BEFORE_DAYS * DAY_MS
  const to = now + WINDOW_AFTER_DAYS * DAY_MS
  const query = new URLSearchParams({
    timeMin: new Date(from).toISOString(),
    timeMax: new Date(to).toISOString(),
  })
  const response = await fetch(`${adminUrl}/admin/truth?${query.toString()}`, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  if (!response.ok)
    throw new Error(`The simulator answered ${response.status} to the question for the truth.`)
  const wire = (await response.json()) as WireTruth
  const byAccount = new Map(connections.map((connection) => [connection.email, connection]))
  const holdings = new Map<string, EventImage>()
  const unknownCalendars: string[] = []
  for (const account of wire.accounts) {
    const connection = byAccount.get(account.email)
    if (!connection) continue
    for (const calendar of account.calendars) {
      const calendarId = connection.calendars.get(calendar.id)
      if (calendarId === undefined) unknownCalendars.push(`${account.email} ${calendar.id}`)
      else
        for (const event of calendar.events) {
          holdings.set(eventKey(connection.connectionId, calendarId, event.id), imageOf(event))
        }
    }
  }
  const mayDiffer = ({ start, end }: EventImage) =>
    milliseconds(end) < from + DAY_MS || milliseconds(start) > to - EDGE_DAYS * DAY_MS
  return { holdings, mayDiffer, unknownCalendars }
}

function imageOf(event: WireEvent): EventImage {
  return {
    title: event.summary ?? null,
    status: event.status,
    busy: event.transparency !== 'transparent' && !event.attendees?.some(isDeclined),
    allDay: event.start.date !== undefined,
    start: time(event.start),
    end: time(event.end),
    timeZone: event.start.timeZone ?? null,
    seriesId: event.recurringEventId ?? null,
    originalStart: event.originalStartTime ? time(event.originalStartTime) : null,
    location: event.location ?? null,
    organizer: event.organizer?.email ?? null,
    updatedAt: Date.parse(event.updated) * 1000,
    etag: event.etag,
  }
}

function isDeclined({ self, responseStatus }: { self?: boolean; responseStatus?: string }): boolean {
  return self === true && responseStatus === 'declined'
}

function time({ date, dateTime }: WireTime): number | string {
  return date ?? Date.parse(dateTime ?? '') * 1000
}

function milliseconds(at: number | string): number {
  return typeof at === 'string' ? Date.parse(`${at}T00:00:00Z`) : at / 1000
}
