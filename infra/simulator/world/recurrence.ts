// Recurrence: the original starts of a series. DAILY, WEEKLY with BYDAY, MONTHLY by a day
// of the month and YEARLY by a date, with INTERVAL, COUNT, UNTIL and EXDATE (RFC 5545
// §3.3.10); anything else is refused at the door, so a series that the simulator accepted
// is one that it expands truly.
import { instantOf, offsetAt } from './zones.ts'

const DAY_MS = 86_400_000
/**
 * An endless series is expanded this far beyond its first occurrence,
 * and never to more occurrences than this.
 */
export const SERIES_DAYS_MAX = 800
export const OCCURRENCES_MAX = 1_200

/** Enough for the horizon of a series, and an end for a rule that no month ever meets. */
const MONTHS_MAX = 60

const DAYS = ['SU', 'MO', 'TU', 'WE', 'TH', 'FR', 'SA']

export type Frequency = 'DAILY' | 'WEEKLY' | 'MONTHLY' | 'YEARLY'

const PARTS_OF: Readonly<Record<Frequency, readonly string[]>> = {
  DAILY: [],
  WEEKLY: ['BYDAY'],
  MONTHLY: ['BYMONTHDAY'],
  YEARLY: ['BYMONTH', 'BYMONTHDAY'],
}

export interface Rule {
  readonly freq: Frequency
  readonly interval: number
  readonly count: number | null
  /** Inclusive, ms epoch. */
  readonly until: number | null
  /** 0 = Sunday; empty means the weekday of the first start. */
  readonly byDay: readonly number[]
  /** 1–31; null means the day of the first start. A month without that day has no occurrence. */
  readonly byMonthDay: number | null
  /** 1–12, of a yearly rule; null means the month of the first start. */
  readonly byMonth: number | null
  /** Instants (ms epoch) that EXDATE lines take out. */
  readonly except: ReadonlySet<number>
}

/**
 * The rule that the `recurrence` lines of an event state,
 * or null when they use something that is not supported.
 */
export function parseRule(lines: readonly string[]): Rule | null {
  const ruleLine = lines.find((line) => line.startsWith('RRULE:'))
  if (!ruleLine || lines.some((line) => !/^(RRULE:|EXDATE)/.test(line))) return null
  const parts = new Map(
    ruleLine
      .slice(6)
      .split(';')
      .map((part) => part.split('=', 2) as [string, string]),
  )
  const freq = frequencyOf(parts.get('FREQ'))
  if (freq === null) return null
  const known = ['FREQ', 'INTERVAL', 'COUNT', 'UNTIL', 'WKST', ...PARTS_OF[freq]]
  if ([...parts.keys()].some((name) => !known.includes(name))) return null
  const interval = numberIn(parts, 'INTERVAL', 9999)
  const count = numberIn(parts, 'COUNT', 9999)
  const byMonthDay = numberIn(parts, 'BYMONTHDAY', 31)
  const byMonth = numberIn(parts, 'BYMONTH', 12)
  if (interval === 'bad' || count === 'bad' || byMonthDay === 'bad' || byMonth === 'bad') return null
  // Without a month, a day of a yearly rule is that day of every month.
  if (freq === 'YEARLY' && byMonthDay !== null && byMonth === null) return null
  const byDay = (parts.get('BYDAY') ?? '').split(',').filter((day) => day !== '')
  if (byDay.some((day) => !DAYS.includes(day))) return null
  const until = parts.get('UNTIL')
  return {
    freq,
    interval: interval ?? 1,
    count,
    byMonthDay,
    byMonth,
    // A date-only UNTIL means the whole day.
    until: until === undefined ? null : (compactTime(until) ?? 0) + (until.includes('T') ? 0 : DAY_MS - 1),
    byDay: byDay.map((day) => DAYS.indexOf(day)).toSorted((a, b) => ((a + 6) % 7) - ((b + 6) % 7)),
    except: new Set(
      lines
        .filter((line) => line.startsWith('EXDATE'))
        .flatMap((line) => line.slice(line.indexOf(':') + 1).split(','))
        .map((text) => compactTime(text) ?? Number.NaN),
    ),
  }
}

/**
 * The starts (ms epoch) of a series in order, from its first start. The wall clock of `zone` is
 * kept over changes to and from summer time; a date-only series passes zone `UTC`.
 */
export function occurrences(rule: Rule, firstStart: number, zone: string): readonly number[] {
  const starts: number[] = []
  const firstWall = firstStart + offsetAt(zone, firstStart)
  const horizon = Math.min(rule.until ?? Infinity, firstStart + SERIES_DAYS_MAX * DAY_MS)
  let counted = 0
  for (const wall of wallTimes(rule, firstWall)) {
    const start = instantOf(zone, wall)
    if (start > horizon || counted >= (rule.count ?? OCCURRENCES_MAX) || counted >= OCCURRENCES_MAX) break
    counted += 1
    if (!rule.except.has(start)) starts.push(start)
  }
  return starts
}

function frequencyOf(text: string | undefined): Frequency | null {
  return text !== undefined && Object.hasOwn(PARTS_OF, text) ? (text as Frequency) : null
}

/** A single positive number; null when the part is absent. */
function numberIn(parts: ReadonlyMap<string, string>, name: string, max: number): number | null | 'bad' {
  const text = parts.get(name)
  if (text === undefined) return null
  return /^[1-9]\d{0,3}$/.test(text) && Number(text) <= max ? Number(text) : 'bad'
}

function* wallTimes(rule: Rule, firstWall: number): Generator<number> {
  if (rule.freq === 'MONTHLY' || rule.freq === 'YEARLY') return yield* dayTimes(rule, firstWall)
  if (rule.freq === 'DAILY') {
    for (let day = 0; ; day += rule.interval) yield firstWall + day * DAY_MS
  }
  const weekday = new Date(firstWall).getUTCDay()
  const days = rule.byDay.length > 0 ? rule.byDay : [weekday]
  const monday = firstWall - ((weekday + 6) % 7) * DAY_MS
  for (let week = 0; ; week += rule.interval) {
    for (const day of days) {
      const wall = monday + (week * 7 + ((day + 6) % 7)) * DAY_MS
      if (wall >= firstWall) yield wall
    }
  }
}

/** The same day of each month, or of one month of each year. */
function* dayTimes(rule: Rule, firstWall: number): Generator<number> {
  const first = new Date(firstWall)
  const [year, month, date] = [first.getUTCFullYear(), first.getUTCMonth(), first.getUTCDate()]
  const timeOfDay = firstWall - Date.UTC(year, month, date)
  const day = rule.byMonthDay ?? date
  const begin = rule.freq === 'YEARLY' && rule.byMonth !== null ? rule.byMonth - 1 : month
  const step = rule.interval * (rule.freq === 'YEARLY' ? 12 : 1)
  for (let months = 0; months <= MONTHS_MAX; months += step) {
    const at = new Date(Date.UTC(year, begin + months, day))
    const wall = at.getTime() + timeOfDay
    if (at.getUTCDate() === day && wall >= firstWall) yield wall
  }
}

function compactTime(text: string): number | null {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)Z?)?$/.exec(text)
  if (!match) return null
  const [, year, month, day, hour, minute, second] = match
  const date = Date.UTC(Number(year), Number(month) - 1, Number(day))
  if (hour === undefined) return date
  return date + Number(hour) * 3_600_000 + Number(minute) * 60_000 + Number(second) * 1000
}
