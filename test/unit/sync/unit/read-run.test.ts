import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { calendarId } from '#shared/domain/ids.ts'
import { PAGE_SHRINKS_MAX, shrunkSize } from '#shared/domain/page-limits.ts'
import { windowAt } from '#shared/domain/window.ts'
import type { CalendarRow, Checkpoint } from '#shared/store/calendars.ts'
import {
  beginRun,
  checkpointOf,
  followUp,
  fullReadReason,
  isFullRead,
  isPutOff,
  nextPage,
  restartRun,
  coolDownMs,
  withSmallerPages,
} from '../../../../services/sync/unit/read-run.ts'
import { UNTROUBLED } from '../../../support/untroubled.ts'

const HOUR = 3_600_000_000
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

describe('a run', () => {
  test('of a calendar of which even the smallest page was too large asks for those first', () => {
    const ill = calendar({ lastCode: 'vendor/answer-too-large' })
    expect(beginRun(ill, NOW)?.shrunk).toBe(PAGE_SHRINKS_MAX)
    const checkpoint = checkpointOf(beginRun(calendar({ cursor: null }), NOW)!)
    expect(beginRun(calendar({ ...ill, checkpoint }), NOW)?.shrunk).toBe(PAGE_SHRINKS_MAX)
    expect(beginRun(calendar({ lastCode: 'vendor/unavailable' }), NOW)?.shrunk).toBe(0)
  })

  test('of a calendar with a cursor reads its changes, in the window of the last full read', () => {
    expect(beginRun(calendar(), NOW)).toMatchObject({
      cursor: 'cursor',
      generation: 4,
      window: windowAt(NOW - HOUR),
      isResumed: false,
    })
  })

  test('of a calendar without one reads it fully, under a new generation', () => {
    const run = beginRun(calendar({ cursor: null, lastFullSync: null }), NOW)
    expect(run).toMatchObject({ cursor: null, generation: 5, window: windowAt(NOW), startedAt: NOW })
    expect(run && fullReadReason(run)).toBe('first')
  })

  test('of a calendar that was judged by other rules reads it fully once its time has come', () => {
    const rules = { rules: '3', isRereadDue: true }
    const run = beginRun(calendar(rules), NOW)
    expect(run).toMatchObject({ cursor: null, generation: 5, rules: '3' })
    expect(beginRun(calendar({ rules: '3', isRereadDue: false }), NOW)).toMatchObject({ cursor: 'cursor' })
    // A rest of the vendor's comes first.
    expect(beginRun(calendar({ ...rules, resyncAfter: NOW + HOUR }), NOW)).toBeNull()
  })

  test('keeps the rules that it began with, also when another release goes on with it', () => {
    const run = beginRun(calendar({ cursor: null, rules: '3' }), NOW)!
    const checkpoint = JSON.parse(JSON.stringify({ ...checkpointOf(run), pageToken: 'p' })) as Checkpoint
    expect(beginRun(calendar({ checkpoint, rules: '4' }), NOW)?.rules).toBe('3')
    const { rules: _unknown, ...before } = checkpoint
    expect(beginRun(calendar({ checkpoint: before, rules: '4' }), NOW)?.rules).toBeUndefined()
  })

  test('that has a checkpoint goes on from it with its own window and generation', () => {
    const checkpoint = {
      cursor: null,
      pageToken: 'page 7',
      endCursor: null,
      window: windowAt(NOW - 5 * HOUR),
      generation: 5,
      startedAt: NOW - 5 * HOUR,
    }
    const run = beginRun(calendar({ cursor: null, checkpoint, generation: 5 }), NOW)
    expect(run).toMatchObject({ ...checkpoint, isResumed: true })
    expect(run && checkpointOf(run)).toMatchObject({ ...checkpoint, shrunk: 0 })
    expect(run && followUp(run, 'end')).toMatchObject({ cursor: 'end', pageToken: null, isResumed: false })
  })
})

describe('the weekly full read', () => {
  const at = (days: number, id: string) =>
    isFullRead(calendar({ lastFullSync: NOW - days * 24 * HOUR, calendarId: calendarId(id) }), NOW)

  test('comes after 6.5 to 7.5 days, by the calendar', () => {
    expect(at(6.4, '0197a000-0000-7000-8000-000000000000')).toBe(false)
    expect(at(6.5, '0197a000-0000-7000-8000-000000000000')).toBe(true)
    expect(at(7.4, '0197a000-0000-7000-8000-00000000ffff')).toBe(false)
    expect(at(7.5, '0197a000-0000-7000-8000-00000000ffff')).toBe(true)
  })

  test('spreads calendars that were connected together over a day', () => {
    const due = fc.sample(fc.uuid(), 400).filter((id) => at(7, id)).length
    expect(due).toBeGreaterThan(120)
    expect(due).toBeLessThan(280)
  })
})

describe('an expired cursor', () => {
  test('starts a full read under a new generation; the second in a row does not', () => {
    const run = beginRun(calendar(), NOW)
    const restarted = run && restartRun(run, NOW)
    expect(restarted).toMatchObject({ cursor: null, generation: 5, resyncStreak: 1, isResumed: false })
    expect(restarted && restartRun(restarted, NOW)).toBeNull()
  })

  test('in the middle of a full read takes yet another generation', () => {
    const first = beginRun(calendar({ cursor: null, lastFullSync: null }), NOW)
    expect(first && restartRun(first, NOW)).toMatchObject({ generation: 6 })
  })

  test('counts as in a row until its successor has been of use, over units', () => {
    const run = beginRun(calendar({ resyncStreak: 1 }), NOW)
    expect(run && restartRun(run, NOW)).toBeNull()
  })

  test('rests longer each time, up to six hours', () => {
    expect([1, 2, 3, 6, 60].map((streak) => coolDownMs(streak, null))).toEqual([
      600_000, 1_200_000, 2_400_000, 19_200_000, 21_600_000,
    ])
  })

  test('keeps the calendar from a full read while it rests, and not after', () => {
    const resting = calendar({ cursor: null, resyncAfter: NOW + 1, resyncStreak: 2 })
    expect(beginRun(resting, NOW)).toBeNull()
    expect(beginRun(resting, NOW + 1)).toMatchObject({ cursor: null, resyncStreak: 2 })
  })
})

describe('a sweep that was put off', () => {
  const row = calendar({ sweepBelow: 4, resyncAfter: NOW + HOUR })

  test('lets changes be read meanwhile, and is still owed', () => {
    expect(beginRun(row, NOW)).toMatchObject({ cursor: 'cursor', generation: 4 })
    expect(isPutOff(row, NOW)).toBe(true)
  })

  test('is decided by a second full read when the rest is over', () => {
    const run = beginRun(row, NOW + HOUR)
    expect(run).toMatchObject({ cursor: null, generation: 5 })
    expect(run && fullReadReason(run)).toBe('second-look')
    expect(isPutOff(row, NOW + HOUR)).toBe(false)
  })
})

test('pages become smaller as often as a page may be asked for again, and stay so over the checkpoint', () => {
  const run = beginRun(calendar({ cursor: 'c', lastFullSync: NOW }), NOW)
  let smaller = run
  for (let shrunk = 1; shrunk <= PAGE_SHRINKS_MAX; shrunk += 1) {
    smaller = smaller && withSmallerPages(smaller)
    expect(smaller).toEqual({ ...run, shrunk })
  }
  expect(smaller && withSmallerPages(smaller)).toBeNull()
  const checkpoint = smaller && { ...checkpointOf(smaller), pageToken: 'p' }
  expect(beginRun(calendar({ checkpoint }), NOW)).toMatchObject({ shrunk: PAGE_SHRINKS_MAX, isResumed: true })
})

test('pages that were made smaller grow again with each that is stored, and none is forgotten by a resync', () => {
  const run = beginRun(calendar({ cursor: null, lastFullSync: null }), NOW)!
  let page = withSmallerPages(withSmallerPages(run)!)!
  expect(restartRun(page, NOW)).toMatchObject({ pageToken: null, shrunk: PAGE_SHRINKS_MAX })
  const sizes: number[] = []
  for (let i = 0; page.shrunk > 0; i += 1) {
    sizes.push(shrunkSize(2500, page.shrunk))
    page = nextPage(page, `page ${i}`)
  }
  expect(sizes).toHaveLength(20)
  expect(sizes[0]).toBe(25)
  expect(sizes[10]).toBe(250)
  expect(sizes).toEqual(sizes.toSorted((a, b) => a - b))
  expect(nextPage(page, 'last')).toEqual({ ...run, pageToken: 'last', pages: 21 })
  // One that is too large on the way is shrunk to a tenth again, and to no less than the smallest.
  const halfway = { ...page, shrunk: 1.3 }
  expect(withSmallerPages(halfway)).toEqual({ ...halfway, shrunk: PAGE_SHRINKS_MAX })
  expect(withSmallerPages({ ...page, shrunk: 0.3 })).toMatchObject({ shrunk: 1.3 })
})
