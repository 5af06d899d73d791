// The expansion of series: what a reader with singleEvents=true is shown must be what the rule says, over changes of summer time.
import { describe, expect, it } from 'vitest'
import {
  occurrences,
  OCCURRENCES_MAX,
  parseRule,
  type Rule,
} from '../../../infra/simulator/world/recurrence.ts'
import { formatIn, instantOf } from '../../../infra/simulator/world/zones.ts'

function rule(...lines: string[]): Rule {
  const parsed = parseRule(lines)
  if (!parsed) throw new Error(`not parsed: ${lines.join(' ')}`)
  return parsed
}

function starts(lines: string[], first: string, zone: string): string[] {
  return occurrences(rule(...lines), Date.parse(first), zone).map((at) => formatIn(zone, at))
}

describe('a daily series', () => {
  it('keeps its wall-clock time when summer time ends', () => {
    expect(starts(['RRULE:FREQ=DAILY;COUNT=3'], '2026-10-24T09:00:00+02:00', 'Europe/Berlin')).toEqual([
      '2026-10-24T09:00:00+02:00',
      '2026-10-25T09:00:00+01:00',
      '2026-10-26T09:00:00+01:00',
    ])
  })

  it('moves against the wall clock in UTC, which shows that the zone decides', () => {
    expect(starts(['RRULE:FREQ=DAILY;COUNT=2'], '2026-10-24T07:00:00Z', 'UTC')).toEqual([
      '2026-10-24T07:00:00Z',
      '2026-10-25T07:00:00Z',
    ])
  })

  it('ends with an inclusive UNTIL', () => {
    const until = ['RRULE:FREQ=DAILY;INTERVAL=2;UNTIL=20261205T100000Z']
    expect(starts(until, '2026-12-01T10:00:00Z', 'UTC')).toHaveLength(3)
    expect(starts(['RRULE:FREQ=DAILY;UNTIL=20261203'], '2026-12-01T10:00:00Z', 'UTC')).toHaveLength(3)
  })

  it('leaves out EXDATE and counts it', () => {
    const lines = ['RRULE:FREQ=DAILY;COUNT=3', 'EXDATE:20261202T100000Z']
    expect(starts(lines, '2026-12-01T10:00:00Z', 'UTC')).toEqual([
      '2026-12-01T10:00:00Z',
      '2026-12-03T10:00:00Z',
    ])
  })
})

describe('a weekly series', () => {
  it('falls on the weekday of its start unless BYDAY says otherwise', () => {
    expect(starts(['RRULE:FREQ=WEEKLY;COUNT=2'], '2026-12-01T10:00:00Z', 'UTC')).toEqual([
      '2026-12-01T10:00:00Z',
      '2026-12-08T10:00:00Z',
    ])
    expect(starts(['RRULE:FREQ=WEEKLY;BYDAY=TH,TU;COUNT=3'], '2026-12-01T10:00:00Z', 'UTC')).toEqual([
      '2026-12-01T10:00:00Z',
      '2026-12-03T10:00:00Z',
      '2026-12-08T10:00:00Z',
    ])
  })

  it('skips weeks with INTERVAL', () => {
    expect(starts(['RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=2'], '2026-12-01T10:00:00Z', 'UTC')[1]).toBe(
      '2026-12-15T10:00:00Z',
    )
  })
})

describe('limits', () => {
  it('expands an endless series for 800 days only', () => {
    const all = occurrences(rule('RRULE:FREQ=DAILY'), Date.parse('2026-01-01T00:00:00Z'), 'UTC')
    expect(all).toHaveLength(801)
    expect(all.length).toBeLessThanOrEqual(OCCURRENCES_MAX)
  })

  it('refuses rules that it cannot expand', () => {
    expect(parseRule(['RRULE:FREQ=MONTHLY'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=DAILY;BYMONTH=2'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=DAILY', 'RDATE:20261201'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=DAILY'])).not.toBeNull()
  })
})

describe('time zones', () => {
  it.each([
    ['Asia/Kolkata', '2026-06-01T12:00:00', '2026-06-01T06:30:00.000Z'],
    ['America/New_York', '2026-03-08T12:00:00', '2026-03-08T16:00:00.000Z'],
    ['Australia/Sydney', '2026-01-01T12:00:00', '2026-01-01T01:00:00.000Z'],
    ['UTC', '2026-01-01T12:00:00', '2026-01-01T12:00:00.000Z'],
  ])('finds the instant of a wall-clock time in %s', (zone, wall, instant) => {
    const found = instantOf(zone, Date.parse(`${wall}Z`))
    expect(new Date(found).toISOString()).toBe(instant)
    expect(formatIn(zone, found).startsWith(wall)).toBe(true)
  })
})
