// getSchedule: learn.microsoft.com/graph/api/calendar-getschedule. The default calendars of several
// people in one answer; who is not known is an error of its own inside the 200.
import type { FreeBusyStatus, ScheduleInformation } from '@microsoft/microsoft-graph-types'
import { type Answer, type Call, readObject } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import { findEvent } from '../world/edit.ts'
import { bounds } from '../world/event-doc.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { listAll } from '../google/list-items.ts'
import { graphError } from './errors.ts'
import { instantIn, type Preferences, showEvent, showTime } from './event-shape.ts'
import { windowsName, zoneOf } from './zone-names.ts'

const INTERVAL_DEFAULT = 30
const DAYS_MAX = 62
/** Tells of the strongest claim on a slot; working elsewhere counts as free, for compatibility. */
const DIGITS: Readonly<Record<FreeBusyStatus, number>> = {
  free: 0,
  workingElsewhere: 0,
  tentative: 1,
  busy: 2,
  oof: 3,
  unknown: 2,
}

interface Asked {
  readonly from: number
  readonly to: number
  readonly intervalMs: number
}

interface Busy {
  readonly start: number
  readonly end: number
  readonly status: FreeBusyStatus
  readonly subject: string | null
  readonly location: string
}

/** POST /me/calendar/getSchedule */
export function getSchedule(
  { world, origin }: { readonly world: World; readonly origin: () => string },
  call: Call,
  prefer: Preferences,
): Answer {
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const read = (name: string) => body[name] ?? body[`${name[0]?.toUpperCase()}${name.slice(1)}`]
  const schedules = read('schedules')
  const [from, to] = [instantOfTime(read('startTime')), instantOfTime(read('endTime'))]
  const minutes = Number(read('availabilityViewInterval') ?? INTERVAL_DEFAULT)
  const valid = Array.isArray(schedules) && schedules.every((one) => typeof one === 'string')
  if (!valid || from === null || to === null || to <= from || to - from > DAYS_MAX * 86_400_000)
    return graphError('ErrorInvalidParameter')
  if (!Number.isInteger(minutes) || minutes < 5 || minutes > 1440 || minutes * 60_000 > to - from)
    return graphError('ErrorInvalidParameter', { message: 'The merged free/busy interval is not valid.' })
  const asked = { from, to, intervalMs: minutes * 60_000 }
  return {
    status: 200,
    headers: { 'preference-applied': prefer.applied.join(', ') },
    body: {
      '@odata.context': `${origin()}/v1.0/$metadata#Collection(microsoft.graph.scheduleInformation)`,
      value: schedules.map((address: string) => {
        const person = personOf(world, address)
        const calendar = person ? world.calendar(person.id, 'primary') : undefined
        return calendar ? scheduleOf(address, calendar, asked, prefer) : unknown(address)
      }),
    },
  }
}

function scheduleOf(
  address: string,
  calendar: Calendar,
  asked: Asked,
  prefer: Preferences,
): ScheduleInformation {
  const busy = busyOf(calendar, asked)
  return {
    scheduleId: address,
    availabilityView: viewOf(busy, asked),
    scheduleItems: busy.map(({ start, end, status, subject, location }) => ({
      isPrivate: false,
      status,
      subject,
      location,
      start: showTime(start, prefer.zone),
      end: showTime(end, prefer.zone),
    })),
    workingHours: {
      daysOfWeek: ['monday', 'tuesday', 'wednesday', 'thursday', 'friday'],
      startTime: '08:00:00.0000000',
      endTime: '17:00:00.0000000',
      timeZone: { name: windowsName(calendar.timeZone) },
    },
  }
}

function unknown(address: string): ScheduleInformation {
  return {
    scheduleId: address,
    availabilityView: '',
    scheduleItems: [],
    error: {
      message: `Unable to resolve e-mail address ${address} to an Active Directory object.`,
      responseCode: 'ErrorMailRecipientNotFound',
    },
  }
}

function busyOf(calendar: Calendar, { from, to }: Asked): readonly Busy[] {
  const items = listAll(calendar, { singleEvents: true, showDeleted: false, timeMin: from, timeMax: to })
  const found = items.flatMap(({ id }) => {
    const target = findEvent(calendar, id)
    if (!target) return []
    const [doc, start] = target.kind === 'document' ? [target.doc] : [target.master, target.start]
    const shown = showEvent(doc, calendar, { zone: 'UTC', immutableIds: true }, start)
    const { showAs, subject, location } = shown
    const { times } = doc
    if (!times || !showAs || showAs === 'free') return []
    // A day is one of the mailbox's zone, whatever zone an answer is told in.
    const { start: begin, end } = bounds(times, calendar, start)
    const place = location?.displayName ?? ''
    return [{ start: begin, end, status: showAs, subject: subject ?? null, location: place }]
  })
  return found.toSorted((a, b) => a.start - b.start || a.end - b.end)
}

function viewOf(busy: readonly Busy[], { from, to, intervalMs }: Asked): string {
  let view = ''
  for (let at = from; at < to; at += intervalMs) {
    const slot = busy.filter(({ start, end }) => start < at + intervalMs && end > at)
    view += String(Math.max(0, ...slot.map(({ status }) => DIGITS[status])))
  }
  return view
}

function personOf(world: World, address: string): Account | undefined {
  const wanted = address.toLowerCase()
  return [...world.accounts.values()].find(
    ({ vendor, email }) => vendor === 'microsoft' && email.toLowerCase() === wanted,
  )
}

function instantOfTime(value: unknown): number | null {
  const { dateTime, timeZone } = (value ?? {}) as { dateTime?: unknown; timeZone?: unknown }
  const zone = zoneOf(typeof timeZone === 'string' ? timeZone : 'UTC')
  if (typeof dateTime !== 'string' || zone === null) return null
  const at = instantIn(dateTime, zone)
  return Number.isNaN(at) ? null : at
}
