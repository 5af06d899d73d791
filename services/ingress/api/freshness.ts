// How much of an answer is backed by what is stored: why a calendar may be out of date, and of
// which accounts nothing is known. Without the second, "not known" would read as "free".
import { keptWindow, staleReasons, type StaleReason } from '#shared/domain/connection-words.ts'
import { knowsBusy, REREAD_SPREAD_HOURS } from '#shared/domain/judged-by.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { ConnectionId, Micros, ProviderId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { Queryable } from '#shared/store/database.ts'
import {
  readUnbackedConnections,
  type CalendarState,
  type ConnectionState,
} from '#shared/store/connection-status.ts'
import { instantOf } from './times.ts'

const SPAN_NEEDED =
  'from and to are instants with their offset, like 2026-05-04T09:00:00Z or 2026-05-04T09:00:00%2B02:00.'

const DAY_MICROS = 86_400_000_000

export interface Span {
  readonly from: Micros
  readonly to: Micros
}

export interface Synced {
  readonly calendar: CalendarState
  readonly connection: ConnectionState
}

export interface Unbacked {
  readonly code: 'no_calendar_selected' | 'disconnected' | 'no_connection'
  readonly text: string
  readonly connection_id: ConnectionId | null
}

const OLDER_RULES: StaleReason = {
  code: 'older_rules',
  text: `Its events were read before answers counted, so declined ones may still block. It is read again automatically within ${REREAD_SPREAD_HOURS} hours.`,
}

/** Each says the same; an app that has more asks for one connection at a time. */
const UNBACKED_MAX = 100

/** The span of a query, or what is wrong with it in words. */
export function askedSpan(query: Readonly<Record<string, unknown>>, daysMax: number): Span | string {
  const from = instantOf(query['from'])
  const to = instantOf(query['to'])
  if (from === null || to === null) return SPAN_NEEDED
  if (to <= from || to - from > daysMax * DAY_MICROS)
    return `to comes after from, by ${daysMax} days at most.`
  return { from, to }
}

/** Why what is stored of a calendar may not be all that there is in a span; empty when it is. */
export function calendarReasons(
  gates: Pick<Gates, 'sync'>,
  provider: ProviderId,
  { calendar, connection }: Synced,
  span: Span,
): readonly StaleReason[] {
  const stale = staleReasons(calendar, connection, gates.sync(provider, connection.id))
  const reasons = knowsBusy(calendar.judgedBy) ? stale : [...stale, OLDER_RULES]
  const kept = keptWindow(calendar)
  if (kept === null || (span.from >= kept.from && span.to <= kept.to)) return reasons
  const text = `Only events from ${isoOf(kept.from)} to ${isoOf(kept.to)} are kept.`
  return [...reasons, { code: 'outside_of_window', text }]
}

/** A calendar as every answer with events or their times tells it. */
export function freshnessJson(calendar: CalendarState, reasons: readonly StaleReason[]) {
  return {
    id: calendar.id,
    connection_id: calendar.connectionId,
    name: calendar.name,
    last_synced_at: isoOf(calendar.lastReadAt),
    stale: reasons.length > 0,
    stale_because: reasons,
  }
}

/** The accounts that were asked about and of which nothing is stored. Throws Failure store/*. */
export async function unbackedReasons(
  db: Queryable,
  asked: { readonly provider: ProviderId; readonly connection: ConnectionId | null },
  isBacked: boolean,
): Promise<readonly Unbacked[]> {
  const found = await readUnbackedConnections(db, { ...asked, limit: UNBACKED_MAX })
  const connected = found.filter(({ status }) => status !== 'disconnected')
  if (connected.length > 0) {
    const text = 'No calendar of this account is synced, so nothing is known about it.'
    return connected.map(({ id }) => ({ code: 'no_calendar_selected', text, connection_id: id }))
  }
  // An account that left beside others that are synced is asked about no more.
  if (isBacked) return []
  const text =
    found.length > 0
      ? 'The account was disconnected and its events are removed, so nothing is known.'
      : 'No account is connected, so nothing is known.'
  return [
    { code: found.length > 0 ? 'disconnected' : 'no_connection', text, connection_id: asked.connection },
  ]
}
