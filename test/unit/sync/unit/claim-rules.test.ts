// The claim's rules, each with its control.
import { describe, expect, test } from 'vitest'
import type { RequestReason, SyncRequested } from '#schemas/messages.gen.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import type { ClaimedConnection } from '#shared/store/connections.ts'
import { judgeClaim, type ClaimView } from '../../../../services/sync/unit/claim-rules.ts'
import { UNTROUBLED } from '../../../support/untroubled.ts'

const CONNECTION = connectionId('0197a000-0000-7000-8000-00000000000c')
const SECOND = 1_000_000
const NOW = 1_000_000 * SECOND

function calendar(n: number, changes: Partial<CalendarRow> = {}): CalendarRow {
  return {
    calendarId: calendarId(`0197a000-0000-7000-8000-00000000000${n}`),
    vendorCalendarId: `calendar ${n}`,
    cursor: 'cursor',
    checkpoint: null,
    generation: 1,
    lastFullSync: NOW,
    sweepBelow: null,
    resyncAfter: null,
    resyncStreak: 0,
    isUnlisted: false,
    ...UNTROUBLED,
    ...changes,
  }
}

const CALENDARS = [calendar(1), calendar(2)]

function connection(changes: Partial<ClaimedConnection> = {}): ClaimedConnection {
  return {
    connectionId: CONNECTION,
    providerId: providerId('0197a000-0000-7000-8000-00000000000d'),
    vendor: 'google',
    status: 'active',
    syncNeeded: false,
    errorCount: 0,
    failures: 0,
    failingSince: null,
    backoffUntil: null,
    isAllIll: false,
    epoch: 2,
    unfinished: 1,
    listedFrom: NOW - 60 * SECOND,
    now: NOW,
    ...changes,
  }
}

function request(reason: RequestReason, changes: Partial<SyncRequested> = {}): SyncRequested {
  return {
    connectionId: CONNECTION,
    providerId: CONNECTION,
    vendor: 'google',
    reason,
    calendarId: null,
    deliveryKey: null,
    asOf: null,
    requestedAt: NOW,
    ...changes,
  }
}

function judge(view: Partial<ClaimView> & { readonly requests: readonly SyncRequested[] }): string {
  const verdict = judgeClaim({
    connection: connection(),
    calendars: CALENDARS,
    recordedKeys: new Set(),
    closedGate: null,
    ...view,
  })
  switch (verdict.kind) {
    case 'run':
      return `run ${names(verdict.scope)}${verdict.early.length > 0 ? `, early ${names(verdict.early)}` : ''}`
    case 'done':
      return verdict.why
    case 'early':
      return `early ${verdict.waitMs}`
    case 'held':
      return `held by ${verdict.gate}`
    default:
      return verdict satisfies never
  }
}

function names(calendars: readonly CalendarRow[]): string {
  return calendars.map((one) => one.vendorCalendarId).join(' + ')
}

const PLACE = { cursor: null, endCursor: null, window: { from: 0, to: NOW }, generation: 1, startedAt: NOW }
const ALL = 'run calendar 1 + calendar 2'
const one = { calendarId: CALENDARS[0]!.calendarId }

describe('a connection', () => {
  test.each(['needs_reauth', 'disabled', 'disconnected'] as const)('that is %s does not run', (status) => {
    const requests = [request('api')]
    expect(judge({ requests, connection: connection({ status }) })).toBe('parked')
    expect(judge({ requests })).toBe(ALL)
  })

  test.each([
    [-1, ALL],
    [0, ALL],
    [1, 'early 1000'],
    [30, 'early 30000'],
    [31, 'backing-off'],
  ])('whose backoff ends in %i s: %s', (seconds, verdict) => {
    const backoffUntil = NOW + seconds * SECOND
    expect(
      judge({ requests: [request('retry')], connection: connection({ syncNeeded: true, backoffUntil }) }),
    ).toBe(verdict)
  })

  test('behind a closed gate is held, but not for what is satisfied, parked or backing off', () => {
    const closedGate = 'CALENDAR_JOBS_ENABLED'
    expect(judge({ requests: [request('api')], closedGate })).toBe('held by CALENDAR_JOBS_ENABLED')
    expect(judge({ requests: [request('sweep')], closedGate })).toBe('satisfied')
    const parked = connection({ status: 'needs_reauth' })
    expect(judge({ requests: [request('api')], closedGate, connection: parked })).toBe('parked')
  })
})

describe('satisfied', () => {
  test('is a webhook whose key is recorded, also while more is owed; not one with a new key or none', () => {
    const recordedKeys = new Set(['k1'])
    const known = [request('webhook', { deliveryKey: 'k1' })]
    expect(judge({ requests: known, recordedKeys })).toBe('satisfied')
    expect(judge({ requests: known, recordedKeys, connection: connection({ syncNeeded: true }) })).toBe(
      'satisfied',
    )
    expect(judge({ requests: [request('webhook', { deliveryKey: 'k2' })], recordedKeys })).toBe(ALL)
    expect(judge({ requests: [request('webhook')], recordedKeys })).toBe(ALL)
  })

  test.each(['retry', 'sweep', 'continue'] as const)(
    'is a %s when nothing is owed; not while something is',
    (reason) => {
      const requests = [request(reason)]
      expect(judge({ requests })).toBe('satisfied')
      expect(judge({ requests, connection: connection({ syncNeeded: true }) })).toBe(ALL)
    },
  )

  test.each(['api', 'connected', 'reconcile', 'recheck', 'held', 'unknown'] as const)(
    'is a %s asked before the last full listing began; not one asked after, one without a time, or while something is owed',
    (reason) => {
      const listedFrom = NOW - 60 * SECOND
      const asked = (asOf: number | null) => [request(reason, { asOf })]
      expect(judge({ requests: asked(listedFrom - 1) })).toBe('satisfied')
      expect(judge({ requests: asked(listedFrom) })).toBe(ALL)
      expect(judge({ requests: asked(null) })).toBe(ALL)
      expect(judge({ requests: asked(0), connection: connection({ listedFrom: null }) })).toBe(ALL)
      expect(judge({ requests: asked(0), connection: connection({ syncNeeded: true }) })).toBe(ALL)
    },
  )

  test('needs every request to be: one that is not makes the unit run', () => {
    expect(judge({ requests: [request('sweep'), request('retry')] })).toBe('satisfied')
    expect(judge({ requests: [request('sweep'), request('api')] })).toBe(ALL)
  })
})

describe('the scope', () => {
  test('is the calendars that are named, unless one request names none or something is owed', () => {
    const named = request('webhook', { ...one, deliveryKey: 'k' })
    expect(judge({ requests: [named] })).toBe('run calendar 1')
    expect(judge({ requests: [named, request('webhook')] })).toBe(ALL)
    expect(judge({ requests: [named], connection: connection({ syncNeeded: true }) })).toBe(ALL)
  })

  test('is all when all are named, and leaves out a calendar that is synced no more', () => {
    const both = CALENDARS.map((row) => request('webhook', { calendarId: row.calendarId }))
    expect(judge({ requests: both })).toBe(ALL)
    expect(judge({ requests: [request('webhook', { calendarId: CONNECTION })] })).toBe('run ')
  })

  test('has a calendar in the middle of a run behind those that a unit can read to their end, rung or not', () => {
    const checkpoint = { ...PLACE, pageToken: 'page 300' }
    const calendars = [calendar(1, { checkpoint }), calendar(2), calendar(3, { failures: 1 })]
    const rung = request('webhook', { calendarId: calendars[0]!.calendarId })
    expect(judge({ calendars, requests: [rung, request('continue'), request('api')] })).toBe(
      'run calendar 2 + calendar 1 + calendar 3',
    )
  })

  test('is not widened by requests that are satisfied', () => {
    const requests = [request('sweep'), request('webhook', one)]
    expect(judge({ requests })).toBe('run calendar 1')
  })
})

describe('an ill calendar', () => {
  const ill = (seconds: number, changes: Partial<CalendarRow> = {}) =>
    calendar(1, { failures: 3, readNeeded: true, backoffUntil: NOW + seconds * SECOND, ...changes })
  const well = CALENDARS[1]!
  const ring = (row: CalendarRow) => request('webhook', { calendarId: row.calendarId })
  const retry = (row: CalendarRow | null) =>
    request('retry', { calendarId: row === null ? null : row.calendarId })

  test('in its backoff is left out: a ring for its sibling, or for all, reads the sibling at once', () => {
    const calendars = [ill(600), well]
    expect(judge({ calendars, requests: [ring(well)] })).toBe('run calendar 2')
    expect(judge({ calendars, requests: [request('api')] })).toBe('run calendar 2')
    const syncNeeded = connection({ syncNeeded: true })
    expect(judge({ calendars, requests: [request('connected')], connection: syncNeeded })).toBe(
      'run calendar 2',
    )
  })

  test.each([
    [0, 'run calendar 1'],
    [1, 'early 1000'],
    [30, 'early 30000'],
    [31, 'backing-off'],
  ])('whose own ring comes %i s before its time: %s', (seconds, verdict) => {
    const calendars = [ill(seconds), well]
    expect(judge({ calendars, requests: [retry(calendars[0]!)] })).toBe(verdict)
    expect(judge({ calendars, requests: [ring(calendars[0]!)] })).toBe(verdict)
  })

  test('whose own ring is a little early beside another that runs gets it again', () => {
    const calendars = [ill(5), well]
    expect(judge({ calendars, requests: [ring(well), retry(calendars[0]!)] })).toBe(
      'run calendar 2, early calendar 1',
    )
    // Its retry is scheduled for later, so the ring of now was of no use.
    const later = [ill(600), well]
    expect(judge({ calendars: later, requests: [ring(well), retry(later[0]!)] })).toBe('run calendar 2')
    // A notification of it is no ring that anything rests on.
    expect(judge({ calendars, requests: [ring(well), ring(calendars[0]!)] })).toBe('run calendar 2')
  })

  test('that is due is read last, whatever rang', () => {
    const calendars = [ill(0), well, calendar(3)]
    expect(judge({ calendars, requests: [request('api')] })).toBe('run calendar 2 + calendar 3 + calendar 1')
    expect(judge({ calendars, requests: [ring(calendars[0]!), ring(calendars[2]!), request('api')] })).toBe(
      'run calendar 3 + calendar 2 + calendar 1',
    )
  })

  test('owes its own read: a retry without a name reads what is owed and due, not the others', () => {
    expect(judge({ calendars: [ill(0), well], requests: [retry(null)] })).toBe('run calendar 1')
    expect(judge({ calendars: [ill(600), well], requests: [retry(null)] })).toBe('satisfied')
    const wellAgain = calendar(1)
    expect(judge({ calendars: [wellAgain, well], requests: [retry(wellAgain)] })).toBe('satisfied')
    expect(judge({ calendars: [ill(0), well], requests: [retry(well)] })).toBe('satisfied')
  })

  test('whose account backs off waits with it; when all are ill, each waits for itself', () => {
    const backoffUntil = NOW + 600 * SECOND
    const account = connection({ syncNeeded: true, backoffUntil })
    const calendars = [ill(600), well]
    expect(judge({ calendars, requests: [ring(well)], connection: account })).toBe('backing-off')
    // A calendar that is new, beside others that are all ill.
    const allIll = connection({ syncNeeded: true, backoffUntil, isAllIll: true })
    expect(judge({ calendars, requests: [ring(well)], connection: allIll })).toBe('run calendar 2')
    expect(judge({ calendars: [ill(600)], requests: [retry(null)], connection: allIll })).toBe('backing-off')
  })

  test('is read, when all are ill, once a person clears the backoff of their connection', () => {
    const verdict = (backoffUntil: number | null) => {
      const account = connection({ syncNeeded: true, backoffUntil, isAllIll: true })
      return judge({ calendars: [ill(600)], requests: [retry(null)], connection: account })
    }
    expect(verdict(NOW + 600 * SECOND)).toBe('backing-off')
    expect(verdict(null)).toBe('run calendar 1')
  })

  test('that rests before a full read is owed when the rest is over, not before', () => {
    const resting = { failures: 0, backoffUntil: null, cursor: null, resyncAfter: NOW + SECOND }
    expect(judge({ calendars: [ill(0, resting), well], requests: [retry(null)] })).toBe('satisfied')
    const rested = { ...resting, resyncAfter: NOW }
    expect(judge({ calendars: [ill(0, rested), well], requests: [retry(null)] })).toBe('run calendar 1')
  })
})
