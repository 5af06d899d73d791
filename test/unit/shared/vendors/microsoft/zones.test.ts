// Zones of Windows and IANA: every name leads to an instant whose wall clock is the one that was
// written; what the clock skips or shows twice is read as RFC 5545 has it. The oracle is ICU's
// formatting, not the library that reads.
import windowsZones from 'cldr-core/supplemental/windowsZones.json' with { type: 'json' }
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dateIn, ianaZoneOf, instantIn } from '#shared/vendors/microsoft/zones.ts'

const WINDOWS = windowsZones.supplemental.windowsZones.mapTimezones
const WINDOWS_NAMES = [...new Set(WINDOWS.map(({ mapZone }) => mapZone._other))]
const IANA_NAMES = [...Intl.supportedValuesOf('timeZone'), 'UTC', 'Europe/Kyiv', 'US/Pacific', 'Asia/Kolkata']
const formats = new Map<string, Intl.DateTimeFormat>()

/** ms since 1970 → wall clock text in a zone, by ICU. */
function wall(at: number, zone: string): string {
  let format = formats.get(zone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    })
    formats.set(zone, format)
  }
  const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]))
  return `${parts['year']}-${parts['month']}-${parts['day']}T${parts['hour']}:${parts['minute']}:${parts['second']}`
}

const instants = fc.integer({ min: Date.UTC(1971, 0, 1) / 1000, max: Date.UTC(2037, 11, 31) / 1000 })

describe('names', () => {
  test('every zone that Windows has leads to a zone of ICU, and every zone of ICU to itself', () => {
    expect(WINDOWS_NAMES.length).toBeGreaterThan(130)
    for (const name of WINDOWS_NAMES) {
      const iana = ianaZoneOf(name)
      expect(iana, name).not.toBeNull()
      expect(ianaZoneOf(iana!), name).toBe(iana)
    }
    for (const name of IANA_NAMES) expect(ianaZoneOf(name), name).not.toBeNull()
  })

  test.each([
    ['W. Europe Standard Time', 'Europe/Berlin'],
    ['pacific standard time', 'America/Los_Angeles'],
    ['UTC', 'UTC'],
    ['Etc/UTC', 'UTC'],
    ['tzone://Microsoft/Utc', 'UTC'],
    ['Europe/Berlin', 'Europe/Berlin'],
    [
      'India Standard Time',
      new Intl.DateTimeFormat('en', { timeZone: 'Asia/Kolkata' }).resolvedOptions().timeZone,
    ],
    ['Kamchatka Standard Time', 'Asia/Kamchatka'],
    ['Mid-Atlantic Standard Time', 'Atlantic/South_Georgia'],
    ['Türkiye Standard Time', 'Europe/Istanbul'],
    ['Coordinated Universal Time', 'UTC'],
    ['Romance Standard Time 1', 'Europe/Paris'],
    ['(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna', 'Europe/Amsterdam'],
    ['(UTC-08:00) Pacific Time (US & Canada)', 'America/Los_Angeles'],
    ['(UTC) Coordinated Universal Time', 'UTC'],
    ['(GMT+08:00) Beijing, Chongqing, Hong Kong, Urumqi', 'Asia/Hong_Kong'],
    ['(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi', '+05:30'],
    ['(UTC-10:00) Hawaii', '-10:00'],
    ['(UTC+99:00) Nowhere', null],
    ['tzone://Microsoft/Custom', null],
    ['Customized Time Zone', null],
    ['+01:00', null],
    ['', null],
    ['constructor', null],
    ['__proto__', null],
    ['a'.repeat(10_000), null],
  ])('%s is %s', (name, zone) => {
    expect(ianaZoneOf(name)).toBe(zone)
    expect(ianaZoneOf(name)).toBe(zone)
  })
})

describe('an instant', () => {
  const check = (name: string, zone: string) =>
    fc.assert(
      fc.property(instants, (seconds) => {
        const local = wall(seconds * 1000, zone)
        const at = instantIn(`${local}.0000000`, name)
        expect(at).not.toBeNull()
        // The clock may show this time twice; the first one is meant.
        expect(wall(at! / 1000, zone)).toBe(local)
        expect(at! / 1_000_000).toBeLessThanOrEqual(seconds)
        expect(seconds - at! / 1_000_000).toBeLessThanOrEqual(25 * 3600)
      }),
      { numRuns: 25 },
    )

  test('of every zone of Windows has the wall clock that was written', () => {
    for (const { mapZone } of WINDOWS.filter(({ mapZone: zone }) => zone._territory === '001')) {
      check(mapZone._other, mapZone._type)
    }
  })

  test('of every zone of IANA has the wall clock that was written', () => {
    for (const name of IANA_NAMES) check(name, name)
  })

  test.each([
    ['2026-03-29T02:30:00', 'W. Europe Standard Time', '2026-03-29T01:30:00Z'],
    ['2026-10-25T02:30:00', 'W. Europe Standard Time', '2026-10-25T00:30:00Z'],
    ['2026-03-08T02:00:00', 'Pacific Standard Time', '2026-03-08T10:00:00Z'],
    ['2026-11-01T01:00:00', 'Pacific Standard Time', '2026-11-01T08:00:00Z'],
    ['2026-04-05T01:45:00', 'Lord Howe Standard Time', '2026-04-04T14:45:00Z'],
    ['2011-12-30T12:00:00', 'Pacific/Apia', '2011-12-30T22:00:00Z'],
    ['2026-12-01T10:00:00.1234567', 'UTC', '2026-12-01T10:00:00.123Z'],
    ['2026-12-01T10:00:00+02:00', 'UTC', '2026-12-01T08:00:00Z'],
  ])('%s in %s is %s', (local, zone, instant) => {
    expect(Math.floor(instantIn(local, zone)! / 1000)).toBe(Date.parse(instant))
  })

  test('every gap is crossed by as much as it skips, and every fold gives its first time, in all zones of a year', () => {
    let gaps = 0
    let folds = 0
    for (const zone of IANA_NAMES) {
      for (const change of changesIn(2026, zone)) {
        const [before, after] = [offsetAt(change - 1000, zone), offsetAt(change, zone)]
        const middle = change + (before + after) / 2
        const local = new Date(middle).toISOString().slice(0, 19)
        expect(instantIn(local, zone)! / 1000, `${zone} ${local}`).toBe(middle - before)
        if (after > before) gaps += 1
        else folds += 1
      }
    }
    expect(gaps).toBeGreaterThan(100)
    expect(folds).toBeGreaterThan(100)
  })

  test.each([
    ['2026-02-30T10:00:00', 'UTC'],
    ['2026-02-30T10:00:00', 'Europe/Berlin'],
    ['2026-12-01', 'UTC'],
    ['noon', 'UTC'],
    ['2026-12-01T10:00:00', 'Nowhere/Land'],
  ])('%s in %s is none', (local, zone) => {
    expect(instantIn(local, zone)).toBeNull()
  })

  test('never throws and stays exact, whatever it is given', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?$/))
    const zone = fc.oneof(fc.string(), fc.constantFrom(...IANA_NAMES, ...WINDOWS_NAMES))
    fc.assert(
      fc.property(text, zone, (local, name) => {
        const at = instantIn(local, name)
        expect(at === null || Number.isSafeInteger(at)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})

test('the date on the wall is that of the zone', () => {
  const at = Date.UTC(2026, 10, 30, 23) * 1000
  expect(dateIn(at, 'W. Europe Standard Time')).toBe('2026-12-01')
  expect(dateIn(at, 'UTC')).toBe('2026-11-30')
  expect(dateIn(at, 'tzone://Microsoft/Custom')).toBeNull()
})

/** ms that a zone is ahead of UTC, by ICU. */
function offsetAt(at: number, zone: string): number {
  return Date.parse(`${wall(at, zone)}Z`) - Math.floor(at / 1000) * 1000
}

/** The moments of a year at which the offset of a zone changes. */
function changesIn(year: number, zone: string): number[] {
  const found: number[] = []
  const step = 7 * 86_400_000
  for (let at = Date.UTC(year, 0, 1); at < Date.UTC(year + 1, 0, 1); at += step) {
    if (offsetAt(at, zone) === offsetAt(at + step, zone)) continue
    let [low, high] = [at, at + step]
    while (high - low > 1000) {
      const middle = low + Math.floor((high - low) / 2000) * 1000
      if (offsetAt(middle, zone) === offsetAt(at, zone)) low = middle
      else high = middle
    }
    found.push(high)
  }
  return found
}
