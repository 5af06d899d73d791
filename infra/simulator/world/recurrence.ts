// Recurrence: the original starts of a series. DAILY and WEEKLY with INTERVAL, COUNT, UNTIL, BYDAY and EXDATE (RFC 5545 §3.3.10);
// anything else is refused at the door, so a series that the simulator accepted is one that it expands truly.
import { instantOf, offsetAt } from './zones.ts'

const DAY_MS = 86_400_000
/** An endless series is expanded this far beyond its first occurrence, and never to more occurrences than this. */
export const SERIES_DAYS_MAX = 800
export const OCCURRENCES_MAX = 1_200

const DAYS = ['SU', 'MO', 'TU', 'WE', 'TH', 'FR', 'SA']

export interface Rule {
  readonly freq: 'DAILY' | 'WEEKLY'
  readonly interval: number
  readonly count: number | null
  /** Inclusive, ms epoch. */
  readonly until: number | null
  /** 0 = Sunday; empty means the weekday of the first start. */
  readonly byDay: readonly number[]
  /** Instants (ms epoch) that EXDATE lines take out. */
  readonly except: ReadonlySet<number>
}

/** The rule that the `recurrence` lines of an event state, or null when they use something that is not supported. */
export function parseRule(lines: readonly string[]): Rule | null {
  const ruleLine = lines.find((line) => line.startsWith('RRULE:'))
  if (!ruleLine || lines.some((line) => !/^(RRULE:|EXDATE)/.test(line))) return null
  const parts = new Map(
    ruleLine
      .slice(6)
      .split(';')
      .map((part) => part.split('=', 2) as [string, string]),
  )
  const freq = parts.get('FREQ')
  if (freq !== 'DAILY' && freq !== 'WEEKLY') return null
  for (const name of parts.keys()) {
    if (!['FREQ', 'INTERVAL', 'COUNT', 'UNTIL', 'BYDAY', 'WKST'].includes(name)) return null
  }
  const byDay = (parts.get('BYDAY') ?? '').split(',').filter((day) => day !== '')
  if (byDay.some((day) => !DAYS.includes(day)) || (freq === 'DAILY' && byDay.length > 0)) return null
  const until = parts.get('UNTIL')
  return {
    freq,
    interval: Math.max(1, Number(parts.get('INTERVAL') ?? '1')),
    count: parts.has('COUNT') ? Number(parts.get('COUNT')) : null,
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
 * The starts (ms epoch) of a series in order, from its first start. The wall clock of `zone` is kept over changes to and from
 * summer time; a date-only series passes zone `UTC`.
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

function* wallTimes(rule: Rule, firstWall: number): Generator<number> {
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

function compactTime(text: string): number | null {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)Z?)?$/.exec(text)
  if (!match) return null
  const [, year, month, day, hour, minute, second] = match
  const date = Date.UTC(Number(year), Number(month) - 1, Number(day))
  if (hour === undefined) return date
  return date + Number(hour) * 3_600_000 + Number(minute) * 60_000 + Number(second) * 1000
}
