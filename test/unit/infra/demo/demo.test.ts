// The demo's arguments and its table, and how the vendor's ledger becomes changes of ours.
import { describe, expect, test } from 'vitest'
import { firstSyncOf } from '../../../../infra/demo/converge.ts'
import { describeFreshness, toLedger } from '../../../../infra/demo/live.ts'
import { parseDemoOptions } from '../../../../infra/demo/options.ts'
import { peakMemory, reportLines } from '../../../../infra/demo/report.ts'
import { eventKey } from '../../../../infra/oracle/verify.ts'

describe('the arguments of npm start', () => {
  test('have defaults: 20 accounts, 50 changes/s for a minute, until Ctrl-C', () => {
    expect(parseDemoOptions([])).toEqual({
      secure: false,
      untilSynced: false,
      connections: 20,
      changesPerSecond: 50,
      durationMs: 60_000,
      withinMs: 180_000,
    })
    expect(parseDemoOptions(['--secure', '--until-synced', '--duration', '5'])).toMatchObject({
      secure: true,
      untilSynced: true,
      durationMs: 5_000,
    })
  })

  test.each([
    [['--duration', '0'], '--duration'],
    [['--connections', 'many'], '--connections'],
    [['--changes-per-second', '1e3'], '--changes-per-second'],
    [['--connections', '100'], '--connections'],
    [['--unknown'], '--unknown'],
    [['stray'], 'stray'],
  ])('%j is refused by name', (args, named) => {
    expect(() => parseDemoOptions(args)).toThrow(named)
  })
})

test('the table names every figure, also when nothing was downloaded or connected', () => {
  const figures = {
    downloadMs: 0,
    readyMs: 9_200,
    firstSyncMs: [],
    connections: 20,
    events: 7536,
    changes: { create: 1, update: 2, delete: 3 },
    load: '50 changes/s for 60 s',
    freshness: 'p50 0.30 s, p95 0.50 s, p99 0.60 s',
    repeats: 0,
    memory: { sync: 190 * 1_048_576 },
  }
  const text = reportLines(figures).join('\n')
  for (const part of [
    'nothing to download',
    '9.2 s',
    '7536',
    '6 (1 new, 2 changed, 3 deleted)',
    'sync 190 MB',
  ])
    expect(text).toContain(part)
  expect(reportLines({ ...figures, firstSyncMs: [1000, 3000, 2000] }).join('\n')).toContain(
    '2.0 s in the middle, 3.0 s the slowest of 3',
  )
})

test.each([
  ['connected now', { createdAtMs: 100, lastSyncedAtMs: 400 }, 90, 300],
  ['connected again: the row is old', { createdAtMs: 1, lastSyncedAtMs: 400 }, 90, 310],
  ['connected again, and last synced before that', { createdAtMs: 1, lastSyncedAtMs: 80 }, 90, null],
  ['not synced yet', { createdAtMs: 100, lastSyncedAtMs: null }, 90, null],
  ['connected by an earlier start, days ago', { createdAtMs: 1, lastSyncedAtMs: 400 }, undefined, null],
])('the first sync of an account that was %s', (_name, connection, connectedAtMs, expected) => {
  expect(firstSyncOf(connection, connectedAtMs)).toBe(expected)
})

test('freshness says of how many changes it speaks, also when none arrived', () => {
  const seven = { samplesMs: [100, 200, 300, 400, 500, 600, 700], uncovered: [] }
  expect(describeFreshness(seven, 60)).toBe('7 of 60 arrived, p50 0.40 s, p95 0.70 s, p99 0.70 s')
  expect(describeFreshness(seven, 60, true)).toContain('7 of 60 arrived (53 lie outside the window')
  expect(describeFreshness(seven, 7, true)).toMatch(/^7 of 7 arrived, p50/)
  expect(describeFreshness({ samplesMs: [], uncovered: [] }, 60)).toBe('0 of 60 arrived, p50 –, p95 –, p99 –')
})

test('peak memory is that of live processes; one that is gone is left out', () => {
  const memory = peakMemory({ self: process.pid, gone: 4_194_305 })
  expect(Object.keys(memory)).toEqual(['self'])
  expect(memory['self']).toBeGreaterThan(10_000_000)
})

test('the ledger of the vendor comes under our names; what nobody may know of is left out', () => {
  const connection = {
    connectionId: 'connection',
    providerId: 'provider',
    email: 'demo-01@example.com',
    status: 'active',
    syncNeeded: false,
    lastSyncedAtMs: 1,
    createdAtMs: 0,
    lastError: null,
    calendars: new Map([['primary', 'calendar']]),
  }
  const change = {
    seq: 7,
    at: 100,
    accountId: 'c1',
    calendarId: 'primary',
    eventId: 's',
    eventIds: ['s_1', 's_far'],
    removedEventIds: ['s_2'],
    kind: 'update' as const,
    etag: '"34"',
  }
  const key = (id: string) => eventKey('connection', 'calendar', id)
  const known = new Set([key('s_1'), key('s_2')])
  const accounts = new Map([['c1', 'demo-01@example.com']])
  const ledger = (changes: (typeof change)[]) =>
    toLedger(changes, [connection], (id) => known.has(id), accounts)
  expect(ledger([change])).toEqual([{ atMs: 100, version: 34, changed: [key('s_1')], removed: [key('s_2')] }])
  expect(ledger([{ ...change, calendarId: 'other' }])).toEqual([])
  expect(ledger([{ ...change, accountId: 'c2' }])).toEqual([])
  expect(ledger([{ ...change, eventIds: ['s_far'], removedEventIds: [] }])).toEqual([])
})
