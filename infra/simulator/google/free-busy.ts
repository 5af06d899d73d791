// freebusy.query: the merged busy intervals of several calendars. A calendar that cannot be told is
// an error of its own inside the 200.
// https://developers.google.com/workspace/calendar/api/v3/reference/freebusy/query
import { type Answer, type Call, readObject } from '../http.ts'
import { dayStart, formatIn, isZone } from '../world/zones.ts'
import type { Calendar } from '../world/calendar.ts'
import type { WireEvent } from '../world/event-doc.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'
import { listAll } from './list-items.ts'

const CALENDARS_MAX = 50

interface Span {
  start: number
  end: number
}

/** POST /calendar/v3/freeBusy. Intervals are cut to the window that was asked for. */
export function queryFreeBusy(world: World, account: Account, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const timeMin = instant(body['timeMin'])
  const timeMax = instant(body['timeMax'])
  if (timeMin === null || timeMax === null)
    return googleError('badRequest', { parameter: timeMin === null ? 'timeMin' : 'timeMax' })
  if (timeMax <= timeMin) return googleError('timeRangeEmpty')
  const zone = body['timeZone'] ?? 'UTC'
  if (typeof zone !== 'string' || !isZone(zone)) return googleError('invalid', { parameter: 'timeZone' })
  const most = Math.min(CALENDARS_MAX, Number(body['calendarExpansionMax'] ?? CALENDARS_MAX))
  const items = Array.isArray(body['items']) ? (body['items'] as readonly { id?: unknown }[]) : []
  const ids = items.map((item) => String(item?.id))
  const answers = ids.map((id, index) => {
    const calendar = world.calendar(account.id, id)
    if (index >= most) return [id, problem('tooManyCalendarsRequested')] as const
    if (!calendar) return [id, problem('notFound')] as const
    const busy = busySpans(calendar, { start: timeMin, end: timeMax }).map(({ start, end }) => ({
      start: formatIn(zone, start),
      end: formatIn(zone, end),
    }))
    return [id, { busy }] as const
  })
  return {
    status: 200,
    body: {
      kind: 'calendar#freeBusy',
      timeMin: new Date(timeMin).toISOString(),
      timeMax: new Date(timeMax).toISOString(),
      calendars: Object.fromEntries(answers),
    },
  }
}

function busySpans(calendar: Calendar, window: Span): readonly Span[] {
  const selection = { singleEvents: true, showDeleted: false, timeMin: window.start, timeMax: window.end }
  const spans = listAll(calendar, selection)
    .map((item) => item.render())
    .filter(blocks)
    .map((event) => ({ start: edge(event['start'], calendar), end: edge(event['end'], calendar) }))
    .toSorted((a, b) => a.start - b.start)
  const merged: Span[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last && span.start <= last.end) last.end = Math.max(last.end, span.end)
    else merged.push({ ...span })
  }
  return merged.map(({ start, end }) => ({
    start: Math.max(start, window.start),
    end: Math.min(end, window.end),
  }))
}

/**
 * Events block unless they say otherwise (events#transparency). The person's own "no" frees the
 * time, an invitation that waits for an answer does not (support.google.com/calendar/answer/37135),
 * and where somebody works never blocks (…/guides/calendar-status).
 */
export function blocks(event: WireEvent): boolean {
  const attendees = (event['attendees'] ?? []) as readonly { self?: boolean; responseStatus?: string }[]
  const said = attendees.filter(({ self }) => self === true).map(({ responseStatus }) => responseStatus)
  if (event['status'] === 'cancelled' || said.includes('declined')) return false
  return event['transparency'] !== 'transparent' && event['eventType'] !== 'workingLocation'
}

function edge(time: unknown, calendar: Calendar): number {
  const { date, dateTime } = time as { date?: string; dateTime?: string }
  return dateTime === undefined
    ? dayStart(calendar.timeZone, Date.parse(`${date}T00:00:00Z`))
    : Date.parse(dateTime)
}

function problem(reason: string) {
  return { errors: [{ domain: 'global', reason }], busy: [] }
}

function instant(value: unknown): number | null {
  const at =
    typeof value === 'string' && /T.*(Z|[+-]\d\d:\d\d)$/i.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(at) ? null : at
}
