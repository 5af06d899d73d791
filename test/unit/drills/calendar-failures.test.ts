// I23 of a calendar that fails beside siblings that are well: its row, one line and one count
// belong together.
import { expect, test } from 'vitest'
import { telemetryIsTrue } from '../../drills/checkers/failures.ts'
import type { Ledgers } from '../../drills/ledgers/ledgers.ts'
import { CALENDAR, CONNECTION, goodLedgers, row, T0 } from './hand-made.ts'
import { logged } from './spoilt.ts'

const fails = row(7, 'external_calendars', {
  old: { id: CALENDAR, failures: 0 },
  new: { id: CALENDAR, failures: 1 },
})
const told = logged({ kind: 'partly', connectionId: CONNECTION, code: 'vendor/timeout' })
const counted = (value: number): Ledgers['scrapes'] => [
  {
    at: T0,
    instance: 'sync-1',
    pid: 1,
    values: new Map([['calendar_sync_calendar_failures_total{code="x"}', value]]),
  },
]
const failuresOf = (changes: Partial<Ledgers>) => telemetryIsTrue.check(goodLedgers(changes)).failures

test('a failure of one calendar that is logged and counted once is told truthfully', () => {
  expect(failuresOf({ audit: [fails], logs: [told], scrapes: counted(1) })).toEqual([])
})

test.each<[string, Partial<Ledgers>]>([
  ['is not logged', { audit: [fails], logs: [], scrapes: counted(1) }],
  ['is logged twice', { audit: [fails], logs: [told, told], scrapes: counted(1) }],
  ['is not counted', { audit: [fails], logs: [told], scrapes: counted(0) }],
  ['is logged and never recorded', { audit: [], logs: [told], scrapes: counted(0) }],
])('one that %s is not', (_what, changes) => {
  expect(failuresOf(changes)).toHaveLength(1)
})
