// Busy as the play vendors answer it themselves (freeBusy, getSchedule), and as we would answer it
// of the same calendars. The way between is short: the vendor's events through adapter and plan to
// the API's own spans, without a network.
import { randomUUID } from 'node:crypto'
import type { CalendarEvent } from '#shared/domain/event.ts'
import { calendarId, connectionId } from '#shared/domain/ids.ts'
import { planPage } from '#shared/domain/plan.ts'
import { windowAt } from '#shared/domain/window.ts'
import type { Queryable } from '#shared/store/database.ts'
import type { BusySpan } from '#shared/store/busy.ts'
import * as googleMap from '#shared/vendors/google/map.ts'
import * as microsoftMap from '#shared/vendors/microsoft/map.ts'
import { ianaZoneOf } from '#shared/vendors/microsoft/zones.ts'
import type { MappedItem } from '#shared/vendors/storable.ts'
import { createAccount } from '../../infra/simulator/control/accounts.ts'
import { showCalendar } from '../../infra/simulator/google/calendar-list.ts'
import { queryFreeBusy } from '../../infra/simulator/google/free-busy.ts'
import { listAll } from '../../infra/simulator/google/list-items.ts'
import { shownTo } from '../../infra/simulator/google/shown-event.ts'
import type { Call } from '../../infra/simulator/http.ts'
import { readPreferences, showEvent } from '../../infra/simulator/microsoft/event-shape.ts'
import { calendarRow, mailboxSettings } from '../../infra/simulator/microsoft/people.ts'
import { getSchedule } from '../../infra/simulator/microsoft/schedule.ts'
import { createRandom } from '../../infra/simulator/random.ts'
import type { Calendar } from '../../infra/simulator/world/calendar.ts'
import { findEvent, insertEvent, replaceEvent } from '../../infra/simulator/world/edit.ts'
import { generateClaim } from '../../infra/simulator/world/generate-claims.ts'
import { World } from '../../infra/simulator/world/world.ts'
import { mergeSpans, spanOfDays } from '../../services/ingress/api/busy-spans.ts'
import { zonesOfDays } from '../../services/ingress/api/day-zones.ts'

const DAY_MS = 86_400_000
/** getSchedule answers 62 days at most. */
export const ORACLE_DAYS = 60
/** Clocks change in both halves of the year, in some of these zones at midnight. */
const BEGINNINGS = [Date.UTC(2026, 9, 1), Date.UTC(2027, 2, 5)]
export const ORACLE_ZONES = [
  'Europe/Berlin',
  'Europe/London',
  'America/Los_Angeles',
  'America/New_York',
  'America/Sao_Paulo',
  'America/Santiago',
  'America/Havana',
  'America/St_Johns',
  'Africa/Cairo',
  'Asia/Beirut',
  'Asia/Tokyo',
  'Asia/Kolkata',
  'Asia/Kathmandu',
  'Australia/Sydney',
  'Australia/Lord_Howe',
  'Pacific/Auckland',
  'Pacific/Chatham',
  'Pacific/Kiritimati',
  'Pacific/Honolulu',
] as const
const ROLES = ['owner', 'writer', 'reader', 'freeBusyReader', 'writerWithoutPrivateAccess'] as const

export interface Asked {
  /** ms epoch. */
  readonly from: number
  readonly to: number
}

export interface OracleCalendar extends Asked {
  readonly vendor: 'google' | 'microsoft'
  readonly calendar: Calendar
  readonly world: World
  /** Whether the zone of a Microsoft mailbox may be read. */
  readonly tellsZone: boolean
}

/**
 * Calendar number `index` of a seed:
 * of either vendor, in some zone, with some role, full of claims.
 */
export function oracleCalendar(seed: string, index: number, events: number): OracleCalendar {
  const vendor = index % 2 === 0 ? 'google' : 'microsoft'
  const random = createRandom(`${seed}/${index}`)
  const from = BEGINNINGS[random.below(BEGINNINGS.length)]!
  const identity = { clientId: 'id', clientSecret: 'secret' }
  const world = new World({
    seed,
    identities: { google: identity, microsoft: identity },
    now: () => from,
  })
  const timeZone = ORACLE_ZONES[random.below(ORACLE_ZONES.length)]!
  const accessRole = vendor === 'google' ? ROLES[random.below(ROLES.length)]! : 'owner'
  const account = createAccount(world, seed, {
    vendor,
    eventsPerCalendar: 0,
    calendars: [{ timeZone, accessRole, primary: true }],
  })
  const [calendar] = account.calendars.values()
  for (let made = 0; made < events; made += 1) {
    // Most timed events are of the mailbox's own zone, by far,
    // as the zone of a mailbox that does not tell it is found.
    const when = { from: from + DAY_MS, days: ORACLE_DAYS - 4, mayBeForeign: made % 3 === 0 }
    const fields = generateClaim(random, calendar!, vendor, when)
    const { eventIds } = insertEvent(world, calendar!, fields)
    const one = eventIds.length > 1 ? findEvent(calendar!, eventIds[1]!) : undefined
    if (one === undefined) continue
    // One occurrence is answered differently from its series.
    const {
      recurrence: _rule,
      start: _start,
      end: _end,
      ...claim
    } = generateClaim(random, calendar!, vendor, { from, days: 1 })
    const { start, end } = shownTimes(calendar!, eventIds[1]!)
    replaceEvent(world, calendar!, one, { ...claim, start, end })
  }
  const tellsZone = random.chance(0.5)
  return { vendor, calendar: calendar!, world, tellsZone, from, to: from + ORACLE_DAYS * DAY_MS }
}

function shownTimes(calendar: Calendar, id: string) {
  const item = listAll(calendar, EVERYTHING).find((one) => one.id === id)
  const { start, end } = item?.render() ?? {}
  return { start, end }
}

const EVERYTHING = { singleEvents: true, showDeleted: false, timeMin: null, timeMax: null }

/** The vendor's own answer, merged. */
export function theirBusy({ vendor, calendar, world, from, to }: OracleCalendar): readonly BusySpan[] {
  const account = world.accounts.get(calendar.accountId)!
  const iso = (at: number) => new Date(at).toISOString()
  if (vendor === 'google') {
    const body = JSON.stringify({ timeMin: iso(from), timeMax: iso(to), items: [{ id: calendar.id }] })
    const answer = queryFreeBusy(world, account, { body } as Call)
    const { calendars } = answer.body as {
      calendars: Record<string, { busy: readonly { start: string; end: string }[] }>
    }
    return merged(
      calendars[calendar.id]!.busy.map(({ start, end }) => span(Date.parse(start), Date.parse(end))),
      { from, to },
    )
  }
  const time = (at: number) => ({ dateTime: iso(at).slice(0, 19), timeZone: 'UTC' })
  const body = JSON.stringify({ schedules: [account.email], startTime: time(from), endTime: time(to) })
  const prefer = readPreferences(undefined)!
  const answer = getSchedule({ world, origin: () => 'http://x' }, { body } as Call, prefer)
  const [{ scheduleItems }] = (
    answer.body as { value: [{ scheduleItems: { status: string; start: Told; end: Told }[] }] }
  ).value
  // What counts is what the answer's own view counts: workingElsewhere is a 0 there.
  const counted = scheduleItems.filter(({ status }) => status !== 'free' && status !== 'workingElsewhere')
  const at = ({ dateTime }: Told) => Date.parse(`${dateTime.slice(0, 23)}Z`)
  return merged(
    counted.map(({ start, end }) => span(at(start), at(end))),
    { from, to },
  )
}

interface Told {
  readonly dateTime: string
}

/** Our answer of the same calendar, with the events that it is made of. */
export async function ourBusy(
  played: OracleCalendar,
): Promise<{ readonly busy: readonly BusySpan[]; readonly events: readonly CalendarEvent[] }> {
  const { from, to } = played
  const id = calendarId(randomUUID())
  const mapped = itemsOf(played)
  const plan = planPage({
    calendarId: id,
    items: mapped.flatMap((one) => (one.kind === 'item' ? [one.item] : [])),
    unreadable: mapped.flatMap((one) => (one.kind === 'unreadable' ? (one.vendorEventId ?? []) : [])),
    stored: [],
    window: windowAt(from * 1000),
    generation: 1,
  })
  const events = plan.upserts.map(({ event }) => event)
  const home = { id, connectionId: connectionId(randomUUID()), timeZone: zoneOf(played) }
  const busy = events.filter((event) => event.busy)
  const days = busy.flatMap(({ start, end, timeZone }) =>
    start.date === null || end.date === null
      ? []
      : [{ calendarId: id, startDate: start.date, endDate: end.date, timeZone }],
  )
  const zone = await zonesOfDays(countedIn(events, home.connectionId), [{ calendar: home }], days)
  const timed = busy.flatMap(({ start, end }) =>
    start.at === null || end.at === null ? [] : [{ start: start.at, end: end.at }],
  )
  const spans = [...timed, ...days.map((day) => spanOfDays(day, zone(day)))]
  return { busy: mergeSpans(spans, { from: from * 1000, to: to * 1000 }), events }
}

function itemsOf({ vendor, calendar }: OracleCalendar): readonly MappedItem[] {
  const items = listAll(calendar, EVERYTHING)
  const query = new URLSearchParams({ maxAttendees: '1' })
  if (vendor === 'google')
    return items.map((item) => googleMap.mapEvent(overTheWire(shownTo(calendar, query, item.render()))))
  return items.flatMap(({ id }) => {
    const target = findEvent(calendar, id)
    if (!target) return []
    const [doc, start] = target.kind === 'document' ? [target.doc] : [target.master, target.start]
    return [
      microsoftMap.mapEvent(
        overTheWire(showEvent(doc, calendar, { zone: 'UTC', immutableIds: true }, start)),
      ),
    ]
  })
}

function overTheWire(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** What is held of the zone of its calendar. */
function zoneOf({ vendor, calendar, world, tellsZone }: OracleCalendar): string | null {
  if (vendor === 'google') return googleMap.mapCalendar(showCalendar(calendar))?.timeZone ?? null
  const account = world.accounts.get(calendar.accountId)!
  const timeZone = tellsZone ? ianaZoneOf(mailboxSettings(account, null).timeZone) : null
  return microsoftMap.mapCalendar(calendarRow(calendar), { owner: account.email, timeZone })?.timeZone ?? null
}

/** What Postgres would count of these events: their zones. */
function countedIn(events: readonly CalendarEvent[], connection: string): Queryable {
  const zones = new Map<string, number>()
  for (const { allDay, timeZone } of events)
    if (!allDay && timeZone !== null) zones.set(timeZone, (zones.get(timeZone) ?? 0) + 1)
  const rows = [...zones].map(([timeZone, count]) => ({ connectionId: connection, timeZone, events: count }))
  return { query: async () => ({ rows, rowCount: rows.length }) } as unknown as Queryable
}

function span(start: number, end: number): BusySpan {
  return { start: start * 1000, end: end * 1000 }
}

function merged(spans: readonly BusySpan[], { from, to }: Asked): readonly BusySpan[] {
  const joined: { start: number; end: number }[] = []
  const inside = spans
    .map(({ start, end }) => ({ start: Math.max(start, from * 1000), end: Math.min(end, to * 1000) }))
    .filter(({ start, end }) => start < end)
    .toSorted((a, b) => a.start - b.start)
  for (const one of inside) {
    const last = joined.at(-1)
    if (last !== undefined && one.start <= last.end) last.end = Math.max(last.end, one.end)
    else joined.push({ ...one })
  }
  return joined
}
