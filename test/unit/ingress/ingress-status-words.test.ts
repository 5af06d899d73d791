// States of connections and calendars in words:
// each state is reached, and stale is said exactly when it is so.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { calendarWords, connectionWords, staleReasons } from '#shared/domain/connection-words.ts'
import { GATES, whyClosed } from '#shared/domain/gates.ts'
import { nameInWords } from '#shared/domain/ill-words.ts'
import { calendarId, connectionId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { CalendarState, ConnectionState } from '#shared/store/connection-status.ts'
import { instantOf } from '../../../services/ingress/api/times.ts'

const NOW = Date.parse('2026-05-04T12:00:00Z') * 1000
const MINUTE = 60_000_000
const ON = { state: 'on' } as const
const UNKNOWN = { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' } as const
const OFF = { state: 'off', gate: 'CALENDAR_SYNC_ENABLED', text: 'Calendar sync not enabled' } as const

const CONNECTION: ConnectionState = {
  id: connectionId(randomUUID()),
  vendor: 'google',
  account: 'a@example.com',
  status: 'active',
  syncNeeded: false,
  connectedAt: NOW - 1000 * MINUTE,
  disconnectedAt: null,
  lastSyncedAt: NOW - MINUTE,
  errorCount: 0,
  lastError: null,
  backoffUntil: null,
  probeAt: null,
  grantEndsAt: null,
  isHeld: false,
  illCalendars: [],
  illCount: 0,
  now: NOW,
}
const CALENDAR: CalendarState = {
  id: calendarId(randomUUID()),
  connectionId: CONNECTION.id,
  name: 'Work',
  timeZone: 'Europe/Berlin',
  accessRole: 'owner',
  isPrimary: true,
  judgedBy: '2',
  selected: true,
  pushSupported: true,
  removalReason: null,
  lastReadAt: NOW - MINUTE,
  lastFullReadAt: NOW - 1000 * MINUTE,
  coolDownUntil: null,
  missingSince: null,
  readNeeded: false,
  ill: null,
  plain: null,
}
const ILL = {
  since: NOW - 60 * MINUTE,
  code: 'vendor/unavailable',
  message: 'Google answered 500 x.',
  nextTryAt: NOW + 20 * MINUTE,
}
const PARTLY = { illCalendars: [{ id: CALENDAR.id, name: 'Team', ...ILL }], illCount: 1 }
const ERROR = { code: 'vendor/unavailable', message: 'It is down.', at: '2026-05-04T11:59:00Z' }

describe('a connection that waits for somebody', () => {
  const parked = (code: string, probeAt: number | null) => {
    const lastError = { ...ERROR, code, message: 'Refused.' }
    return connectionWords({ ...CONNECTION, status: 'needs_reauth', lastError, probeAt }, ON)
  }

  test('says who can mend it, and whether it goes on automatically then', () => {
    const at = NOW + 20 * MINUTE
    expect(parked('vendor/grant-revoked', null).next_step).toMatch(
      /^The person has to connect the account again/,
    )
    expect(parked('vendor/account-refused', at).next_step).toMatch(
      /^It continues automatically when the vendor lets it in/,
    )
    expect(parked('vendor/admin-required', at).next_step).toMatch(
      /^An administrator of the organization has to act/,
    )
    for (const code of ['vendor/account-refused', 'vendor/admin-required'])
      expect(parked(code, at).next_step).toContain(isoOf(at))
  })
})

describe('a grant that ends', () => {
  const words = (grantEndsAt: number | null, more: object = {}) =>
    connectionWords({ ...CONNECTION, ...more, grantEndsAt }, ON)

  test('is warned of within a week of its end, whatever else is so', () => {
    const at = NOW + 7 * 1440 * MINUTE
    expect(words(at).next_step).toContain(`This grant ends at ${isoOf(at)}`)
    expect(words(at).state).toBe('in_sync')
    expect(words(at, { lastError: ERROR }).next_step).toMatch(/tried again automatically.*This grant ends at/)
    for (const none of [null, at + 1, NOW]) expect(words(none)).toEqual(connectionWords(CONNECTION, ON))
    expect(words(at, { status: 'disabled' }).next_step).not.toContain('grant')
  })
})

describe('a connection', () => {
  test.each([
    ['in_sync', {}, ON],
    ['first_sync', { lastSyncedAt: null, syncNeeded: true, connectedAt: NOW - MINUTE }, ON],
    ['first_sync', { lastSyncedAt: null, connectedAt: NOW - STALE_AFTER_MS * 1000 }, ON],
    // A first read that never ends is no calm state.
    ['late', { lastSyncedAt: null, connectedAt: NOW - STALE_AFTER_MS * 1000 - 1 }, ON],
    ['in_sync', { connectedAt: NOW - 1000 * MINUTE }, ON],
    ['catching_up', { syncNeeded: true }, ON],
    ['partly_in_sync', PARTLY, ON],
    ['partly_in_sync', { ...PARTLY, syncNeeded: true }, ON],
    ['first_sync', { ...PARTLY, lastSyncedAt: null, connectedAt: NOW - MINUTE }, ON],
    ['late', { ...PARTLY, lastSyncedAt: NOW - 60 * MINUTE }, ON],
    ['retrying', { ...PARTLY, lastError: ERROR }, ON],
    ['paused', PARTLY, OFF],
    ['retrying', { syncNeeded: true, lastError: ERROR }, ON],
    ['retrying', { lastError: ERROR, backoffUntil: NOW + MINUTE }, ON],
    ['retrying', { lastError: ERROR }, ON],
    ['retrying', { backoffUntil: NOW + MINUTE }, ON],
    ['in_sync', { backoffUntil: NOW - MINUTE }, ON],
    ['catching_up', { isHeld: true }, ON],
    ['in_sync', { lastSyncedAt: NOW - STALE_AFTER_MS * 1000 }, ON],
    ['late', { lastSyncedAt: NOW - STALE_AFTER_MS * 1000 - 1 }, ON],
    ['late', { lastSyncedAt: NOW - 60 * MINUTE, syncNeeded: true }, ON],
    ['unknown', {}, UNKNOWN],
    ['unknown', { lastSyncedAt: null, syncNeeded: true }, UNKNOWN],
    ['needs_reauth', { status: 'needs_reauth' }, UNKNOWN],
    ['paused', {}, OFF],
    ['paused', { lastError: ERROR, backoffUntil: NOW + MINUTE }, OFF],
    ['needs_reauth', { status: 'needs_reauth', lastError: ERROR }, OFF],
    ['needs_reauth', { status: 'needs_reauth' }, ON],
    ['disabled', { status: 'disabled' }, ON],
    ['disconnected', { status: 'disconnected' }, ON],
  ] as const)('is %s', (state, change, gate) => {
    const words = connectionWords({ ...CONNECTION, ...change }, gate)
    expect(words.state).toBe(state)
    expect(words.summary).toMatch(/^[A-Z].*[.]$/)
    expect(words.next_step).toMatch(/^[A-Z].*[.]$/)
  })

  test('that fails says why and when it is tried again', () => {
    const words = connectionWords({ ...CONNECTION, lastError: ERROR, backoffUntil: NOW + MINUTE }, ON)
    expect(words.summary).toContain('It is down.')
    expect(words.next_step).toContain('2026-05-04T12:01:00.000Z')
  })
})

describe('a connection of which a calendar cannot be read', () => {
  test('names it, since when, why and when it is tried again', () => {
    const words = connectionWords({ ...CONNECTION, ...PARTLY }, ON)
    expect(words.summary).toBe(
      'All but one calendar are read. "Team" cannot be read since 2026-05-04T11:00:00.000Z: Google answered 500 x.',
    )
    expect(words.next_step).toContain('The next try is at 2026-05-04T12:20:00.000Z.')
    const more = connectionWords({ ...CONNECTION, ...PARTLY, illCount: 3 }, ON)
    expect(more.summary).toMatch(/^All but 3 calendars are read\. .* 2 more cannot be read either\.$/)
  })

  test.each([
    [null, 'a calendar without a name'],
    [' \n\u0000 ', 'a calendar without a name'],
    ['Team\r\nBCC: x', '"Team BCC: x"'],
    ['\u202Etxt.exe\u202C', '"txt.exe"'],
    ['say "hi"', `"say 'hi'"`],
    ['😀'.repeat(80), `"${'😀'.repeat(29)}…"`],
    ['\ud800', 'a calendar without a name'],
  ])('tells the name %j as %s', (name, words) => {
    expect(nameInWords(name)).toBe(words)
  })
})

describe('a closed gate', () => {
  test.each(GATES)('%s is named, with who opens it, and nobody is said to have closed it', (gate) => {
    const why = whyClosed({ state: 'off', gate, text: 'Calendar sync not enabled' })
    expect(why).toContain(gate)
    expect(why).toMatch(
      /an operator (switches (it|them) on|adds it \(calstream allow --(provider|connection) <id>\))\.$/,
    )
    expect(why).not.toMatch(/switched (it|them) off/)
  })

  test('of an allowlist tells a connection what it is not on', () => {
    const gate = {
      state: 'off',
      gate: 'CALENDAR_ALLOWLIST_CONNECTION_IDS',
      text: 'Connection not allowed',
    } as const
    const words = connectionWords(CONNECTION, gate)
    expect(words).toMatchObject({
      state: 'paused',
      summary: 'Not synced at the moment: Connection not allowed.',
    })
    expect(words.next_step).toContain('not on CALENDAR_ALLOWLIST_CONNECTION_IDS')
  })
})

describe('a calendar', () => {
  test('is fresh up to the limit and stale from there on', () => {
    const at = (ageMs: number) =>
      staleReasons({ ...CALENDAR, lastReadAt: NOW - ageMs * 1000 }, CONNECTION, ON).map(({ code }) => code)
    expect(at(0)).toEqual([])
    expect(at(STALE_AFTER_MS)).toEqual([])
    expect(at(STALE_AFTER_MS + 1)).toEqual(['not_read_lately'])
  })

  test.each([
    [[], {}, {}, ON],
    [
      ['never_read', 'connection_not_active'],
      { lastReadAt: null },
      { status: 'disabled', backoffUntil: NOW + MINUTE },
      OFF,
    ],
    [['not_read_lately', 'paused'], { lastReadAt: NOW - 31 * MINUTE }, { backoffUntil: NOW + MINUTE }, OFF],
    [['paused'], {}, {}, OFF],
    [['gates_unknown'], {}, {}, UNKNOWN],
    [['backing_off'], { coolDownUntil: NOW + MINUTE }, { syncNeeded: true, backoffUntil: NOW + MINUTE }, ON],
    [['failing'], { ill: ILL, readNeeded: true }, {}, ON],
    [['failing'], { ill: ILL, readNeeded: true }, { syncNeeded: true, backoffUntil: NOW + MINUTE }, ON],
    [['never_read', 'failing'], { ill: ILL, lastReadAt: null }, {}, ON],
    [['paused'], { ill: ILL, readNeeded: true }, {}, OFF],
    [['catching_up'], { readNeeded: true }, {}, ON],
    [['not_listed'], { missingSince: NOW - MINUTE }, {}, ON],
    [['resting'], { coolDownUntil: NOW + MINUTE }, { syncNeeded: true }, ON],
    [['plain_listing'], { coolDownUntil: NOW + MINUTE, plain: { usualFrom: NOW + 60 * MINUTE } }, {}, ON],
    [['plain_listing'], { readNeeded: true, plain: { usualFrom: null } }, {}, ON],
    [['catching_up'], {}, { syncNeeded: true }, ON],
    [['catching_up'], { coolDownUntil: NOW - MINUTE }, { isHeld: true }, ON],
    [['never_read'], { lastReadAt: null }, { syncNeeded: true }, ON],
  ] as const)(
    'is stale because of its age and of what has to change first: %j',
    (codes, calendar, connection, gate) => {
      const reasons = staleReasons({ ...CALENDAR, ...calendar }, { ...CONNECTION, ...connection }, gate)
      expect(reasons.map(({ code }) => code)).toEqual(codes)
    },
  )

  test('that is listed as a whole says so, why, and when it is asked for changes again', () => {
    const plain = { coolDownUntil: NOW + MINUTE, plain: { usualFrom: NOW + 60 * MINUTE } }
    const { summary } = calendarWords({ ...CALENDAR, ...plain }, CONNECTION, ON)
    expect(summary).toMatch(/led nowhere, so it is listed as a whole, at least once an hour; next at /)
    expect(summary).toContain(`Asking for changes is tried again from ${isoOf(NOW + 60 * MINUTE)}`)
  })

  test.each([
    ['in_sync', {}, {}, ON],
    ['first_sync', { lastReadAt: null }, {}, ON],
    ['stale', { lastReadAt: null }, {}, OFF],
    ['stale', {}, {}, UNKNOWN],
    ['stale', { lastReadAt: NOW - 60 * MINUTE }, {}, ON],
    ['failing', { ill: ILL }, {}, ON],
    ['failing', { ill: ILL, lastReadAt: null }, {}, ON],
    ['in_sync', {}, PARTLY, ON],
    ['not_selected', { selected: false, lastReadAt: null }, {}, ON],
    ['removed', { selected: false, removalReason: 'vendor/calendar-gone' }, {}, ON],
    ['disconnected', { lastReadAt: null }, { status: 'disconnected' }, ON],
    ['disconnected', { selected: false }, { status: 'disconnected' }, OFF],
  ] as const)('is %s', (state, change, connection, gate) => {
    expect(calendarWords({ ...CALENDAR, ...change }, { ...CONNECTION, ...connection }, gate).state).toBe(
      state,
    )
  })
})

describe('an instant', () => {
  test.each([
    ['2026-05-04T09:00:00Z', '2026-05-04T09:00:00.000Z'],
    ['2026-05-04T09:00:00.123456+02:00', '2026-05-04T07:00:00.123Z'],
    ['2026-05-04t09:00z', '2026-05-04T09:00:00.000Z'],
    ['2026-05-04T00:00:00+01:00', '2026-05-03T23:00:00.000Z'],
    // An unencoded `+` of a query.
    ['2026-05-04T00:00:00 01:00', '2026-05-03T23:00:00.000Z'],
    ['2026-05-04T00:00:00-01:00', '2026-05-04T01:00:00.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ])('%s is %s', (text, utc) => expect(isoOf(instantOf(text))).toBe(utc))

  test.each([
    '2026-05-04',
    '2026-05-04T09:00:00',
    '2026-05-04T25:00:00Z',
    '2026-02-30T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-05-04 09:00:00Z',
    '2026-05-04T09:00:00 ',
    '2026-05-04T09:00:00  01:00',
    'now',
    '',
    1_777_000_000,
    ['x'],
    undefined,
  ])('%j is none', (text) => expect(instantOf(text)).toBeNull())
})
