// The expansion of series: what a reader with singleEvents=true is shown must be what the rule
// says, over changes of summer time.
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

describe('a monthly and a yearly series', () => {
  const days = (line: string, first: string) =>
    occurrences(rule(line), Date.parse(first), 'UTC').map((at) => new Date(at).toISOString().slice(0, 10))

  it.each([
    ['RRULE:FREQ=MONTHLY;COUNT=3', '2026-01-15T09:00:00Z', ['2026-01-15', '2026-02-15', '2026-03-15']],
    ['RRULE:FREQ=MONTHLY;BYMONTHDAY=3;COUNT=2', '2026-01-15T09:00:00Z', ['2026-02-03', '2026-03-03']],
    [
      'RRULE:FREQ=MONTHLY;INTERVAL=5;COUNT=3',
      '2026-10-01T09:00:00Z',
      ['2026-10-01', '2027-03-01', '2027-08-01'],
    ],
    ['RRULE:FREQ=YEARLY;COUNT=2', '2026-07-04T09:00:00Z', ['2026-07-04', '2027-07-04']],
    [
      'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=1;COUNT=2',
      '2026-07-04T09:00:00Z',
      ['2027-02-01', '2028-02-01'],
    ],
  ])('%s from %s', (line, first, expected) => {
    expect(days(line, first)).toEqual(expected)
  })

  it('leaves out months without its day, and ends where no month ever has it', () => {
    expect(days('RRULE:FREQ=MONTHLY;COUNT=3', '2026-01-31T09:00:00Z')).toEqual([
      '2026-01-31',
      '2026-03-31',
      '2026-05-31',
    ])
    expect(days('RRULE:FREQ=YEARLY', '2024-02-29T09:00:00Z')).toEqual(['2024-02-29'])
    expect(days('RRULE:FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31', '2026-02-10T09:00:00Z')).toEqual([])
  })

  it('keeps its wall-clock time over the change to winter time', () => {
    const starts = occurrences(
      rule('RRULE:FREQ=MONTHLY;COUNT=2'),
      Date.parse('2026-10-10T10:00:00+02:00'),
      'Europe/Berlin',
    )
    expect(starts.map((at) => formatIn('Europe/Berlin', at))).toEqual([
      '2026-10-10T10:00:00+02:00',
      '2026-11-10T10:00:00+01:00',
    ])
  })
})

describe('limits', () => {
  it('expands an endless series for 800 days only', () => {
    const all = occurrences(rule('RRULE:FREQ=DAILY'), Date.parse('2026-01-01T00:00:00Z'), 'UTC')
    expect(all).toHaveLength(801)
    expect(all.length).toBeLessThanOrEqual(OCCURRENCES_MAX)
  })

  it('refuses rules that it cannot expand', () => {
    expect(parseRule(['RRULE:FREQ=MONTHLY;BYDAY=2TU'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=MONTHLY;BYMONTHDAY=-1'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=YEARLY;BYMONTHDAY=3'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=YEARLY;BYMONTH=13'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=DAILY;INTERVAL=0'])).toBeNull()
    expect(parseRule(['RRULE:FREQ=HOURLY'])).toBeNull()
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
