// What the end of a unit means for its connection, for every mix of calendars.
import { describe, expect, test } from 'vitest'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { calendarId, type CalendarId } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { judgeEnd } from '../../../../services/sync/unit/end.ts'
import { UNTROUBLED } from '../../../support/untroubled.ts'

/** How each calendar stood and what the unit did with it. */
interface Case {
  readonly before?: FailureCode
  readonly scope?: boolean
  readonly failed?: FailureCode
  readonly putOff?: boolean
  readonly left?: boolean
}

function judge(...cases: readonly Case[]): string {
  const calendars = cases.map(
    ({ before }, n) =>
      ({
        ...UNTROUBLED,
        calendarId: calendarId(`0197a000-0000-7000-8000-00000000000${n}`),
        vendorCalendarId: String(n),
        cursor: 'c',
        checkpoint: null,
        generation: 1,
        lastFullSync: 1,
        sweepBelow: null,
        resyncAfter: null,
        resyncStreak: 0,
        isUnlisted: false,
        ...(before !== undefined && { failures: 2, readNeeded: true, lastCode: before }),
      }) satisfies CalendarRow,
  )
  const failed = new Map<CalendarId, Failure>()
  for (const [n, { failed: code }] of cases.entries())
    if (code !== undefined) failed.set(calendars[n]!.calendarId, new Failure(code))
  const verdict = judgeEnd({
    calendars,
    scope: calendars.filter((_row, n) => cases[n]!.scope ?? true),
    failed,
    putOff: new Set(calendars.filter((_row, n) => cases[n]!.putOff).map((row) => row.calendarId)),
    left: new Set(calendars.filter((_row, n) => cases[n]!.left)),
  })
  if (verdict.kind === 'all-ill')
    return `all ill: ${verdict.failure.code}${verdict.isRefused ? ', refused' : ''}`
  return verdict.kind === 'well' ? `well${verdict.isListed ? ', listed' : ''}` : verdict.kind
}

const DOWN = 'vendor/unavailable'
const DENIED = 'vendor/access-denied'
const READ: Case = {}
const NOT_ASKED: Case = { scope: false }
const RESTS: Case = { before: DOWN, scope: false }

describe('the connection', () => {
  test.each<[string, readonly Case[]]>([
    ['well, listed', []],
    ['well, listed', [READ, READ]],
    ['well', [READ, NOT_ASKED]],
    // An ill one in its backoff owes its read by itself.
    ['well, listed', [READ, RESTS]],
    ['well, listed', [READ, { failed: DOWN }]],
    ['well', [NOT_ASKED, { failed: DOWN }]],
    ['all ill: vendor/unavailable', [{ failed: DOWN }]],
    ['all ill: vendor/unavailable', [{ failed: DOWN }, { failed: DOWN }]],
    ['all ill: vendor/unavailable', [{ failed: DOWN }, RESTS]],
    // One that was ill and could be read is well.
    ['well, listed', [{ before: DOWN }, { failed: DOWN }]],
    ['well, listed', [{ before: DOWN }, RESTS]],
    // Nothing failed now, so nothing new is to be told.
    ['well, listed', [RESTS, RESTS]],
    ['all ill: vendor/unavailable', [{ before: DOWN, left: true }, { failed: DOWN }]],
    ['all ill: vendor/unavailable', [{ before: DOWN, putOff: true }, { failed: DOWN }]],
    ['all-put-off', [{ putOff: true }, { putOff: true }]],
    ['well, listed', [{ putOff: true }, READ]],
  ])('is %s after %j', (verdict, cases) => {
    expect(judge(...cases)).toBe(verdict)
  })
})

describe('a refusal', () => {
  test.each<[string, readonly Case[]]>([
    ['all ill: vendor/access-denied, refused', [{ failed: DENIED }]],
    ['all ill: vendor/access-denied, refused', [{ failed: DENIED }, { before: DENIED, scope: false }]],
    ['well, listed', [{ failed: DENIED }, READ]],
    // The vendor is down for one of them: that says nothing of the account.
    ['all ill: vendor/unavailable', [{ failed: DENIED }, { failed: DOWN }]],
    ['all ill: vendor/access-denied', [{ failed: DENIED }, RESTS]],
  ])('of some calendars is that of the account only when it is of all: %s after %j', (verdict, cases) => {
    expect(judge(...cases)).toBe(verdict)
  })

  test('giving way is never what a connection is said to suffer from', () => {
    expect(judge({ failed: 'sync/gave-way' }, { failed: DOWN })).toBe('all ill: vendor/unavailable')
  })
})
