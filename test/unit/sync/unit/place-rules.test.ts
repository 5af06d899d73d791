// When a place counts as dead, and where a calendar goes on.
import { describe, expect, test } from 'vitest'
import { BACKOFF_CAP_MS } from '#shared/domain/backoff.ts'
import { FAILURE_CODES, Failure, type FailureCode } from '#shared/domain/failure.ts'
import { calendarId } from '#shared/domain/ids.ts'
import {
  plainCoolDownMs,
  PLAIN_COOL_DOWN_MAX_MS,
  readingAfterNoProgress,
  readingFromStart,
  USUAL_AGAIN_MS,
  usualAfterPlainMs,
  type Reading,
} from '#shared/domain/reading.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import {
  afterPlain,
  backToPlain,
  beginRun,
  isTry,
  nextPage,
  pagesToHere,
  restartRun,
  coolDownMs,
} from '../../../../services/sync/unit/read-run.ts'
import {
  freshCoolDownMs,
  otherPlaces,
  PLACE_FAILURES,
  PLACE_LASTS_MS,
  placeOf,
  tellsOfPlace,
} from '../../../../services/sync/unit/place-rules.ts'
import { UNTROUBLED } from '../../../support/untroubled.ts'

const MINUTE = 60_000_000
const HOUR = 60 * MINUTE
const NOW = 500_000 * HOUR

function calendar(changes: Partial<CalendarRow> = {}): CalendarRow {
  return {
    calendarId: calendarId('0197a000-0000-7000-8000-000000000001'),
    vendorCalendarId: 'primary',
    cursor: 'cursor',
    checkpoint: null,
    generation: 4,
    lastFullSync: NOW - HOUR,
    sweepBelow: null,
    resyncAfter: null,
    resyncStreak: 0,
    isUnlisted: false,
    ...UNTROUBLED,
    ...changes,
  }
}

const DEAD = { placeFailures: PLACE_FAILURES - 1, placeFailingSince: NOW - 1000 * PLACE_LASTS_MS }
const atCursor = (changes: Partial<CalendarRow> = {}) => beginRun(calendar(changes), NOW)!
const atPage = (changes: Partial<CalendarRow> = {}) => nextPage(atCursor(changes), 'page 2')
/** A refusal unless said otherwise: nothing that passes by itself. */
const places = (run: ReturnType<typeof atCursor>, code: FailureCode = 'vendor/rejected') =>
  otherPlaces(run, { code }, NOW).map((other) => `${placeOf(other)} ${other.reading}`)

describe('a place', () => {
  test('is kept while it failed once or twice', () => {
    expect(places(atPage())).toEqual([])
    expect(places(atPage({ placeFailures: PLACE_FAILURES - 2, placeFailingSince: NOW - MINUTE }))).toEqual([])
  })

  test('that failed three times is left for the cursor, and that for the start', () => {
    expect(places(atPage(DEAD))).toEqual(['cursor usual', 'start small-pages', 'start plain'])
    expect(places(atCursor(DEAD))).toEqual(['start small-pages', 'start plain'])
    expect(places(atCursor({ ...DEAD, cursor: null }))).toEqual(['start small-pages', 'start plain'])
    expect(places(atCursor({ ...DEAD, freshStarts: 1 }))).toEqual(['start plain'])
  })

  test.each(['vendor/unavailable', 'vendor/unreadable-answer'] as const)(
    'that fails by %s, as all do in an outage, is left once that has lasted, and plainly after an hour',
    (code) => {
      const young = { ...DEAD, placeFailures: 20, placeFailingSince: DEAD.placeFailingSince + 1 }
      expect(places(atPage(young), code)).toEqual([])
      expect(places(atPage(young))).toHaveLength(3)
      expect(places(atPage(DEAD), code)).toEqual(['cursor usual', 'start small-pages'])
      const old = { ...DEAD, placeFailingSince: NOW - HOUR }
      expect(places(atPage(old), code)).toEqual(['cursor usual', 'start small-pages', 'start plain'])
    },
  )

  test('that failed twice in an hour is left too', () => {
    expect(places(atPage({ placeFailures: 1, placeFailingSince: NOW - HOUR }))).toHaveLength(3)
    expect(places(atPage({ placeFailures: 1, placeFailingSince: NOW - HOUR + 1 }))).toEqual([])
  })

  test('of a run that went back to its cursor before is left for the start', () => {
    const back = restartRun(atPage(DEAD), NOW)!
    expect(placeOf(back)).toBe('cursor')
    expect(places(nextPage(back, 'page 2 again'))).toEqual(['start small-pages', 'start plain'])
  })

  test('is not left for the start before the last such read has rested, nor before a second look is due', () => {
    expect(places(atPage({ ...DEAD, freshAfter: NOW + 1 }))).toEqual([])
    expect(places(atPage({ ...DEAD, freshAfter: NOW }))).toHaveLength(3)
    expect(places(atPage({ ...DEAD, sweepBelow: 4, resyncAfter: NOW + 1 }))).toEqual([])
  })

  test('that is throttled is left only when that lasts an hour, as only a place could be', () => {
    expect(
      places(atPage({ placeFailures: 50, placeFailingSince: NOW - HOUR + 1 }), 'vendor/throttled'),
    ).toEqual([])
    expect(
      places(atPage({ placeFailures: 50, placeFailingSince: NOW - HOUR }), 'vendor/throttled'),
    ).toHaveLength(3)
  })

  test('that takes half a minute to fail is left for the start at once', () => {
    expect(places(atPage(DEAD), 'vendor/timeout')).toEqual(['start small-pages'])
  })

  test('takes a read from the start under a new generation', () => {
    const [, start] = otherPlaces(atPage(DEAD), { code: 'vendor/rejected' }, NOW)
    expect(start).toMatchObject({ cursor: null, pageToken: null, generation: 5, isResumed: false })
  })
})

test('reads from the start are few a day, each in another way', () => {
  const hours = [0]
  while (hours.at(-1)! < 48) hours.push(hours.at(-1)! + freshCoolDownMs(hours.length, null) / 3_600_000)
  expect(hours.filter((at) => at < 24).length).toBeLessThanOrEqual(7)
  expect(hours.filter((at) => at >= 24 && at < 48).length).toBeLessThanOrEqual(4)
  expect([0, 1, 2, 3].map((nth) => readingFromStart(nth, 'other-pages'))).toEqual([
    'small-pages',
    'plain',
    'usual',
    'small-pages',
  ])
  for (const failed of ['usual', 'small-pages', 'plain'] as const)
    for (const nth of [0, 1, 2]) expect(readingFromStart(nth, failed)).not.toBe(failed)
})

test('what is read again to a dead page rests no longer than a backoff while that takes a few pages', () => {
  const full = atPage({ cursor: null })
  expect([pagesToHere(full), pagesToHere(nextPage(full, 'page 3'))]).toEqual([2, 3])
  // How much there is behind a cursor or a start nobody knows.
  expect([pagesToHere(atPage()), pagesToHere(atCursor()), pagesToHere(atCursor({ cursor: null }))]).toEqual([
    null,
    null,
    null,
  ])
  const most = [1, 2, 3, 9, 60]
  for (const nth of most) {
    for (const pages of [1, 2, 5]) {
      expect(freshCoolDownMs(nth, pages)).toBeLessThanOrEqual(BACKOFF_CAP_MS)
      expect(coolDownMs(nth, pages)).toBeLessThanOrEqual(BACKOFF_CAP_MS)
    }
    expect(freshCoolDownMs(nth, 500)).toBe(freshCoolDownMs(nth, null))
    expect(coolDownMs(nth, 500)).toBe(coolDownMs(nth, null))
  }
})

test('what is about the account, our limits or a young change counts against no place', () => {
  const counted = (code: FailureCode) => tellsOfPlace(new Failure(code))
  expect(
    (['vendor/unavailable', 'vendor/timeout', 'vendor/calendar-gone', 'vendor/rejected'] as const).filter(
      counted,
    ),
  ).toHaveLength(4)
  const others = (Object.keys(FAILURE_CODES) as FailureCode[]).filter((code) => {
    const { kind, scope } = FAILURE_CODES[code]
    if (code === 'vendor/throttled') return false
    return kind === 'throttled' || kind === 'unauthorized' || scope === 'process' || scope === 'connection'
  })
  expect(others).toContain('vendor/circuit-open')
  expect(
    [...others, 'vendor/not-yet-readable' as const, 'vendor/no-progress' as const].filter(counted),
  ).toEqual([])
})

describe('a run that got nowhere', () => {
  test('is followed by one in other pages, then by plain listings', () => {
    const ways: Reading[] = ['usual']
    for (let n = 0; n < 3; n += 1) ways.push(readingAfterNoProgress(ways.at(-1)!, ways.at(-1)!))
    expect(ways).toEqual(['usual', 'other-pages', 'plain', 'plain'])
  })

  test('of a calendar that only a plain listing could read is followed by that', () => {
    expect(readingAfterNoProgress('usual', 'plain')).toBe('plain')
    expect(readingAfterNoProgress('plain', 'plain')).toBe('plain')
  })
})

describe('a calendar that is listed plainly', () => {
  const plain = calendar({ cursor: null, reading: 'plain', usualFrom: NOW + HOUR })

  test('is listed whole each time, and in the usual way when it is time for that', () => {
    expect(beginRun(plain, NOW)).toMatchObject({ cursor: null, generation: 5, reading: 'plain' })
    expect(beginRun(plain, NOW + HOUR)).toMatchObject({ cursor: null, reading: 'usual' })
  })

  test('rests in between, longer when it is large, and not for ever', () => {
    expect(plainCoolDownMs(1)).toBe(720_000)
    expect(plainCoolDownMs(2)).toBe(1_440_000)
    expect(plainCoolDownMs(5_000)).toBe(PLAIN_COOL_DOWN_MAX_MS)
    expect(beginRun({ ...plain, resyncAfter: NOW + 1 }, NOW)).toBeNull()
  })

  test('is tried in the usual way within the hour when it took five pages at most, and within a day', () => {
    for (const pages of [1, 2, 3, 4, 5]) expect(usualAfterPlainMs(pages)).toBeLessThanOrEqual(3_600_000)
    expect(usualAfterPlainMs(5_000)).toBe(USUAL_AGAIN_MS)
  })

  test('goes on plainly after a try in vain, and rests for the pages of both', () => {
    const tried = nextPage(beginRun({ ...plain, usualFrom: NOW }, NOW)!, 'page 2')
    expect(isTry(tried)).toBe(true)
    const again = backToPlain(tried, NOW + HOUR, NOW)
    expect(isTry(again)).toBe(false)
    expect(again).toMatchObject({ cursor: null, pageToken: null, reading: 'plain', generation: 6, pages: 2 })
    expect(afterPlain(again, NOW)).toEqual({ usualInMs: 3_600_000, coolDownMs: plainCoolDownMs(3) })
  })

  test('is tried a minute later when what was dead may answer again, and rests long after runs that cost much', () => {
    const usual = calendar({ cursor: null })
    const run = { ...beginRun(usual, NOW)!, reading: 'plain' as const }
    expect(afterPlain(run, NOW)).toEqual({ usualInMs: usualAfterPlainMs(1), coolDownMs: plainCoolDownMs(1) })
    // Its second page was refused for an hour.
    expect(afterPlain(run, NOW + HOUR)).toEqual({ usualInMs: 0, coolDownMs: 60_000 })
    const endless = beginRun({ ...plain, lastCode: 'vendor/no-progress' }, NOW)!
    expect(afterPlain(endless, NOW)).toEqual({ usualInMs: 3_600_000, coolDownMs: PLAIN_COOL_DOWN_MAX_MS })
  })
})
