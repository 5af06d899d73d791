// What a client writes as an event of Graph's, as the world stores it:
// learn.microsoft.com/graph/api/resources/event and …/resources/recurrencepattern. What cannot be
// stored truly is refused with Graph's own error, never stored as something else.
import type { Answer } from '../http.ts'
import type { Calendar } from '../world/calendar.ts'
import { type Fields, readTimes } from '../world/event-doc.ts'
import { parseRule } from '../world/recurrence.ts'
import { formatIn } from '../world/zones.ts'
import { graphError } from './errors.ts'
import { instantIn } from './event-shape.ts'
import { mergeProperties } from './extended-properties.ts'
import { zoneOf } from './zone-names.ts'

type Body = Readonly<Record<string, unknown>>
type Part = { readonly fields: Fields } | { readonly problem: Answer }

/**
 * The fields of a written event, merged over what was there;
 * the error answer when they make no event.
 */
export function fieldsFrom(body: Body, before: Fields, calendar: Calendar): Part {
  const times = timesFrom(body, before)
  if ('problem' in times) return times
  const repeats = recurrenceFrom(body)
  if ('problem' in repeats) return repeats
  const extended = mergeProperties(before, body['singleValueExtendedProperties'])
  if (extended === null)
    return invalid('An extended property has another id than the documented formats allow, or no value.')
  const location = body['location'] as { displayName?: unknown } | null | undefined
  const text = body['body'] as { content?: unknown } | null | undefined
  const fields: Fields = {
    ...before,
    ...times.fields,
    // null is a subject that somebody took away; one that was never given is made up by the world.
    ...('subject' in body ? { summary: body['subject'] ?? null } : {}),
    ...(location ? { location: location.displayName ?? '' } : {}),
    ...(text ? { description: text.content ?? '' } : {}),
    ...(typeof body['showAs'] === 'string' ? { showAs: body['showAs'] } : {}),
    ...(typeof body['sensitivity'] === 'string' ? { sensitivity: body['sensitivity'] } : {}),
    ...('isCancelled' in body ? { isCancelled: body['isCancelled'] } : {}),
    ...(typeof body['transactionId'] === 'string' ? { transactionId: body['transactionId'] } : {}),
    ...repeats.fields,
    ...extended,
  }
  const read = readTimes(fields, calendar.timeZone)
  return 'reason' in read ? invalid(`The event's times are ${read.reason}.`) : { fields }
}

function timesFrom(body: Body, before: Fields): Part {
  const allDay = typeof body['isAllDay'] === 'boolean' ? body['isAllDay'] : isDate(before)
  const fields: Record<string, unknown> = {}
  for (const name of ['start', 'end'] as const) {
    const time = body[name] as { dateTime?: unknown; timeZone?: unknown } | undefined
    if (time === undefined) continue
    const zone = zoneOf(typeof time.timeZone === 'string' ? time.timeZone : 'UTC')
    if (zone === null) return { problem: graphError('TimeZoneNotSupportedException') }
    if (typeof time.dateTime !== 'string' || Number.isNaN(instantIn(time.dateTime, zone)))
      return invalid('A time of the event cannot be read.')
    if (allDay && !/T00:00:00(?:\.0+)?Z?$/.test(time.dateTime))
      return invalid('The Event.Start and Event.End properties of an all-day event must be set to midnight.')
    fields[name] = allDay
      ? { date: time.dateTime.slice(0, 10) }
      : { dateTime: formatIn(zone, instantIn(time.dateTime, zone)), timeZone: zone }
  }
  return { fields }
}

interface Pattern {
  readonly type?: string
  readonly interval?: number
  readonly daysOfWeek?: readonly string[]
  readonly dayOfMonth?: number
  readonly month?: number
}

interface Range {
  readonly type?: string
  readonly endDate?: string
  readonly numberOfOccurrences?: number
}

function recurrenceFrom(body: Body): Part {
  if (!('recurrence' in body)) return { fields: {} }
  const { pattern, range } = (body['recurrence'] ?? {}) as { pattern?: Pattern; range?: Range }
  if (!pattern) return { fields: { recurrence: undefined } }
  const rule = ruleOf(pattern)
  if (rule === null) return invalid('This recurrence pattern is not expanded by this simulator.')
  const parts = [rule, `INTERVAL=${pattern.interval ?? 1}`]
  if (range?.type === 'numbered') parts.push(`COUNT=${range.numberOfOccurrences ?? 1}`)
  if (range?.type === 'endDate') parts.push(`UNTIL=${(range.endDate ?? '').replaceAll('-', '')}`)
  const recurrence = [`RRULE:${parts.join(';')}`]
  return parseRule(recurrence) ? { fields: { recurrence } } : invalid('The recurrence is not valid.')
}

/**
 * In a month without its day Outlook takes the last one and a rule takes none, so days that every
 * month has are the only ones taken.
 */
const DAY_OF_MONTH_MAX = 28

function ruleOf({ type, daysOfWeek, dayOfMonth, month }: Pattern): string | null {
  const isDay =
    Number.isInteger(dayOfMonth) && (dayOfMonth ?? 0) >= 1 && (dayOfMonth ?? 0) <= DAY_OF_MONTH_MAX
  switch (type ?? '') {
    case 'daily':
      return 'FREQ=DAILY'
    case 'weekly': {
      const days = (daysOfWeek ?? []).map((day) => day.slice(0, 2).toUpperCase())
      return days.length > 0 ? `FREQ=WEEKLY;BYDAY=${days.join(',')}` : 'FREQ=WEEKLY'
    }
    case 'absoluteMonthly':
      return isDay ? `FREQ=MONTHLY;BYMONTHDAY=${dayOfMonth}` : null
    case 'absoluteYearly':
      return isDay && Number.isInteger(month) ? `FREQ=YEARLY;BYMONTH=${month};BYMONTHDAY=${dayOfMonth}` : null
    default:
      return null
  }
}

function isDate(fields: Fields): boolean {
  return typeof (fields['start'] as { date?: unknown } | undefined)?.date === 'string'
}

function invalid(message: string): { readonly problem: Answer } {
  return { problem: graphError('ErrorPropertyValidationFailure', { message }) }
}
