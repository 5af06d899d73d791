// Why a connection or a calendar is not up to date: one answer for the API, the command and the
// console. Pure. Invariant: "up to date" is said only where no cause is known that stops or delays,
// and what is not known to be fresh has at least the cause `late`.
import { inOrder, isHarmless, causeOf, type Cause } from './cause.ts'
import { causesOfCalendar, type CalendarWhyFacts } from './causes-of-calendar.ts'
import { causesOfConnection } from './causes-of-connection.ts'
import {
  causesOfInstallation,
  causesAround,
  type Installation,
  type Place,
} from './causes-of-installation.ts'
import { entryOf } from './causes.ts'
import type { ConnectionFacts } from './connection-facts.ts'
import type { GateDecision } from './gates.ts'
import type { CalendarId, Micros } from './ids.ts'

export interface WhyFacts {
  readonly connection: ConnectionFacts
  /** Whether its sync may run at the moment. */
  readonly gate: GateDecision
  /** The first some of them, synced ones first; null: not looked at. */
  readonly calendars: readonly CalendarWhyFacts[] | null
  readonly installation: Installation
  /** null: not looked at. */
  readonly place: Place | null
}

export interface Why {
  readonly isUpToDate: boolean
  /** What the vendor had then is stored; null: nothing was read to its end yet. */
  readonly upToDateAsOf: Micros | null
  /** The one that a person can act on first. */
  readonly causes: readonly Cause[]
}

/** Of the codes that a connection and its calendars have in common, the connection's is told. */
const TOLD_ONCE: ReadonlySet<string> = new Set(['first_read', 'catching_up', 'calendar_ill', 'late'])

/** Why a connection is not up to date, or that it is. */
export function whyOfConnection(facts: WhyFacts): Why {
  const { connection, calendars } = facts
  const general = causesForAll(facts)
  if (connection.status === 'disconnected')
    return { isUpToDate: false, upToDateAsOf: null, causes: inOrder(general) }
  const synced = calendars?.filter(({ selected }) => selected) ?? null
  const isRead = connection.status === 'active'
  const own = isRead ? (synced ?? []).flatMap((one) => causesOfCalendar(one, connection.now)) : []
  const codes = new Set<string>(general.map(({ code }) => code))
  const all = [...general, ...own.filter(({ code }) => !TOLD_ONCE.has(code) || !codes.has(code))]
  if (isRead && synced?.length === 0) all.push(causeOf('no_calendar_selected'))
  const causes = withoutExplained(all)
  return { isUpToDate: isHarmless(causes), upToDateAsOf: asOf(connection, synced), causes: inOrder(causes) }
}

/** The same for one of its calendars. null: the calendar is not among the facts. */
export function whyOfCalendar(facts: WhyFacts, id: CalendarId): Why | null {
  const calendar = facts.calendars?.find((one) => one.id === id)
  if (calendar === undefined) return null
  const { status, now } = facts.connection
  const own = status === 'active' || !calendar.selected ? causesOfCalendar(calendar, now) : []
  // What is ill of the account is told of the calendar that is ill.
  const general = causesForAll(facts).filter(({ code }) => code !== 'calendar_ill' && code !== 'first_read')
  const codes = new Set<string>(general.map(({ code }) => code))
  const causes = withoutExplained([...general, ...own.filter(({ code }) => !codes.has(code))])
  return { isUpToDate: isHarmless(causes), upToDateAsOf: calendar.lastReadAt, causes: inOrder(causes) }
}

function causesForAll({ connection, gate, installation, place }: WhyFacts): readonly Cause[] {
  const own = causesOfConnection(connection, gate)
  if (connection.status !== 'active') return [...own, ...reconnectCauses(connection, installation)]
  const around = place === null ? causesOfInstallation(installation) : causesAround(installation, place)
  const codes = new Set<string>(own.map(({ code }) => code))
  return [...own, ...around.filter(({ code }) => !codes.has(code))]
}

const EXPLAINING: ReadonlySet<string | null> = new Set(['unknown', 'paused', 'retrying'])

/** What keeps it from being read explains why it is late. */
function withoutExplained(causes: readonly Cause[]): readonly Cause[] {
  const isExplained = causes.some(({ code }) => EXPLAINING.has(entryOf(code).state))
  return isExplained ? causes.filter(({ code }) => code !== 'late') : causes
}

function reconnectCauses({ status }: ConnectionFacts, { oauth }: Installation): readonly Cause[] {
  return status === 'needs_reauth' && oauth?.state === 'off' ? [causeOf('connecting_switched_off')] : []
}

/** The calendar that was read longest ago; one that was never read makes it null. */
function asOf({ lastSyncedAt }: ConnectionFacts, synced: readonly CalendarWhyFacts[] | null): Micros | null {
  if (synced === null || synced.length === 0) return lastSyncedAt
  const read = synced.flatMap(({ lastReadAt }) => lastReadAt ?? [])
  return read.length < synced.length ? null : Math.min(...read)
}
