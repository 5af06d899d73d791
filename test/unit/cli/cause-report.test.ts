// What `calstream status` says of causes: the counts as they came, and a finding for what no state
// of a connection tells of, so that nothing that stands still is called healthy.
import { expect, test } from 'vitest'
import { CAUSE_CODES, entryOf } from '#shared/domain/causes.ts'
import type { CauseCount } from '#shared/store/cause-counts.ts'
import { causeDocuments, causeFindings, causeLines } from '../../../services/cli/cause-report.ts'

const SINCE = Date.parse('2026-05-04T12:00:00Z') * 1000
const counted = (cause: CauseCount['cause'], connections = 1, vendor: CauseCount['vendor'] = 'google') => {
  return { cause, connections, vendor, oldestSince: SINCE }
}

test('each cause is told with its age and who acts, in the order in which they came', () => {
  const counts = [counted('throttled', 12), { ...counted('no_push', 3, 'microsoft'), oldestSince: null }]
  expect(causeDocuments(counts)).toMatchObject([
    { cause: 'throttled', connections: 12, actor: 'vendor', oldest_since: '2026-05-04T12:00:00.000Z' },
    { cause: 'no_push', vendor: 'microsoft', effect: 'warns', oldest_since: null },
  ])
  const lines = causeLines(counts)
  expect(lines[2]).toMatch(/^ {2}throttled +12 {2}google +who acts: vendor {2}since 2026-05-04T12:00/)
  expect(causeLines([])).toEqual([])
})

test('what keeps calendars back and is no state is a finding, with both vendors in one; what is a state or a warning is none', () => {
  const found = causeFindings([counted('held_mass_delete', 2), counted('held_mass_delete', 1, 'microsoft')])
  expect(found).toEqual([
    {
      what: 'held_mass_delete',
      found: '3 connections',
      do: 'calstream connections list --cause held_mass_delete',
    },
  ])
  for (const cause of CAUSE_CODES) {
    const { effect, state } = entryOf(cause)
    const isTold = effect !== 'warns' && state === null && cause !== 'plain_listing'
    expect(causeFindings([counted(cause)]).length, cause).toBe(isTold ? 1 : 0)
  }
})
