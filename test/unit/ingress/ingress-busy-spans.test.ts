// Merging busy spans, against a minute-by-minute count; and days in zones whose clocks change.
import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { isKnownZone, mergeSpans, spanOfDays } from '../../../services/ingress/api/busy-spans.ts'

const MINUTE = 60_000_000
const HOURS = (span: { start: number; end: number }) => (span.end - span.start) / (60 * MINUTE)
const iso = (micros: number) => new Date(micros / 1000).toISOString()

describe('merged spans', () => {
  test('cover exactly the minutes that any span covers, in order, with gaps between them', () => {
    const seed = Number(process.env['TEST_SEED'] ?? randomInt(2 ** 31))
    process.stderr.write(`seed ${seed}\n`)
    let state = seed
    const next = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    for (let round = 0; round < 300; round += 1) {
      const [from, to] = [20, 20 + next(60)]
      const spans = Array.from({ length: next(12) }, () => {
        const start = next(100)
        return { start, end: start + next(20) }
      })
      const merged = mergeSpans(
        spans.map(({ start, end }) => ({ start: start * MINUTE, end: end * MINUTE })),
        { from: from * MINUTE, to: to * MINUTE },
      )
      const isIn = (list: readonly { start: number; end: number }[], unit: number) => (minute: number) =>
        list.some(({ start, end }) => start <= minute * unit && minute * unit < end)
      for (let minute = 0; minute < 130; minute += 1) {
        const expected = minute >= from && minute < to && isIn(spans, 1)(minute)
        expect(isIn(merged, MINUTE)(minute), `minute ${minute} of round ${round}`).toBe(expected)
      }
      for (const [i, span] of merged.entries()) {
        expect(span.start).toBeLessThan(span.end)
        if (i > 0) expect(span.start).toBeGreaterThan(merged[i - 1]?.end ?? 0)
      }
    }
  })

  test('count a part of a millisecond as a whole one, so that nothing busy shows as free', () => {
    const merged = mergeSpans(
      [
        { start: 1_000_400, end: 2_000_600 },
        { start: 2_000_700, end: 3_000_000 },
      ],
      { from: 0, to: 10_000_000 },
    )
    expect(merged).toEqual([{ start: 1_000_000, end: 3_000_000 }])
  })

  test('of nothing are nothing', () => {
    expect(mergeSpans([], { from: 0, to: 1000 })).toEqual([])
    expect(mergeSpans([{ start: 5000, end: 5000 }], { from: 0, to: 10_000 })).toEqual([])
  })
})

describe('a day', () => {
  test.each([
    ['Europe/Berlin', '2026-03-29', 23],
    ['Europe/Berlin', '2026-10-25', 25],
    ['Europe/Berlin', '2026-06-01', 24],
    // Midnight does not exist on this day.
    ['America/Santiago', '2026-09-06', 23],
    ['Asia/Kathmandu', '2026-01-01', 24],
    ['Australia/Lord_Howe', '2026-10-04', 23.5],
  ])('in %s, %s, has %d hours', (zone, date, hours) => {
    const endDate = new Date(Date.parse(date) + 86_400_000).toISOString().slice(0, 10)
    expect(HOURS(spanOfDays({ startDate: date, endDate }, zone))).toBe(hours)
  })

  test('of several days ends where the last one ends', () => {
    const span = spanOfDays({ startDate: '2026-05-04', endDate: '2026-05-07' }, 'America/New_York')
    expect([iso(span.start), iso(span.end)]).toEqual(['2026-05-04T04:00:00.000Z', '2026-05-07T04:00:00.000Z'])
  })

  test.each([null, 'Customized Time Zone', 'Mars/Olympus', ''])(
    'in the zone %j covers that date everywhere on earth',
    (zone) => {
      expect(isKnownZone(zone)).toBe(false)
      const span = spanOfDays({ startDate: '2026-05-04', endDate: '2026-05-05' }, zone)
      for (const known of ['Pacific/Kiritimati', 'Etc/GMT+12', 'UTC', 'Asia/Tokyo']) {
        const real = spanOfDays({ startDate: '2026-05-04', endDate: '2026-05-05' }, known)
        expect(span.start).toBeLessThanOrEqual(real.start)
        expect(span.end).toBeGreaterThanOrEqual(real.end)
      }
      expect(HOURS(span)).toBe(50)
    },
  )
})
