// Every invariant on a good history made by hand:
// a judge that always says FAIL proves nothing either.
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { InvariantId } from '../../drills/checkers/check.ts'
import { INVARIANTS, judgeInvariants } from '../../drills/checkers/invariants.ts'
import type { Ledgers } from '../../drills/ledgers/ledgers.ts'
import { change, CONNECTION, connectionUpdate, goodLedgers, listing, record, row, T0 } from './hand-made.ts'
import {
  disconnected,
  verdict,
  fault,
  OFF,
  ON,
  LISTED,
  failed,
  ring,
  attempt,
  graphAttempt,
  graphRing,
  unitFailed,
  counted,
} from './spoilt.ts'

test('there are the 26 invariants, each once', () => {
  expect(INVARIANTS.map(({ id }) => id)).toEqual(Array.from({ length: 26 }, (_, index) => `I${index + 1}`))
})

test('an unknown invariant is an error, not a pass', () => {
  expect(() => judgeInvariants(['I99'], goodLedgers())).toThrow('I99')
})

test('a cursor is judged by the run it ends, also when a woken owner has begun another from the same one', () => {
  const last = listing(60, 65, { syncTokenIn: 'k1', pageTokenIn: 'p2', syncTokenOut: 'k2' })
  const woken = listing(50, 55, { syncTokenIn: 'k1' })
  const changes = [change(1, 0), change(2, 20), change(3, 45)]
  const first = listing(10, 15, { syncTokenOut: 'k1' })
  const calls = [first, listing(30, 35, { syncTokenIn: 'k1' }), woken, last]
  expect(verdict('I7', { changes, calls })).toBe('pass')
  expect(verdict('I7', { changes, calls: [first, woken, last] })).toBe('fail')
})

test('a removal that a full read lacked may wait for the second look behind the cursor; one that it had seen may not', () => {
  const changes = [change(1, 0), change(2, 20), change(3, 25, true)]
  const waiting = (sweepBelow: number) =>
    goodLedgers().audit.map((one) =>
      one.table === 'external_calendars' ? { ...one, new: { ...one.new, sweep_below: sweepBelow } } : one,
    )
  // The row of the good history was seen by the full read of generation 1.
  expect(verdict('I7', { changes, audit: waiting(2) })).toBe('pass')
  expect(verdict('I7', { changes, audit: waiting(1) })).toBe('fail')
})

test('a checker with nothing to check is invalid, not a pass', () => {
  expect(verdict('I14')).toBe('invalid')
  expect(verdict('I11')).toBe('invalid')
})

const GOOD: readonly (readonly [InvariantId, Partial<Ledgers>])[] = [
  ...(['I1', 'I2', 'I3', 'I5', 'I6', 'I7', 'I8', 'I9', 'I10', 'I18', 'I20', 'I21'] as const).map(
    (id) => [id, {}] as const,
  ),
  ['I4', { topics: new Map([[TOPICS.eventChanged, [record(1, 1), record(2, 2), record(2, 2)]]]) }],
  ['I11', { gates: [OFF, ON], calls: [listing(1_500, 1_600), listing(61_000, 61_100)] }],
  ['I12', { gates: LISTED, calls: [listing(1_000, 1_100)] }],
  ['I13', { gates: [OFF, ON], webhooks: [attempt(403)] }],
  ['I14', { audit: [failed(1, 0, 4_000), failed(2, 5_000, 7_000)], calls: [listing(4_500, 4_600)] }],
  ['I15', { webhooks: [attempt(202)], topics: new Map([[TOPICS.requestedGoogle, [ring('g:ch:7')]]]) }],
  ['I15', { webhooks: [graphAttempt(202)], topics: new Map([[TOPICS.requestedMicrosoft, [graphRing()]]]) }],
  [
    'I15',
    {
      webhooks: [graphAttempt(202)],
      audit: [
        row(1, 'channels', { op: 'INSERT', new: { id: 'CH' } }),
        row(2, 'held_requests', { op: 'INSERT', at: T0 + 900 }),
      ],
    },
  ],
  ['I16', { audit: [row(1, 'webhook_dedupe_keys', { op: 'INSERT', new: { delivery_key: 'g:ch:7' } })] }],
  ['I17', { webhooks: [attempt(202), attempt(503), attempt(401)] }],
  [
    'I19',
    {
      nemesis: [fault({ action: 'tamper-credentials', target: CONNECTION })],
      audit: [connectionUpdate(1, {}, { last_error: { code: 'credentials/unreadable' } })],
      calls: [],
    },
  ],
  [
    'I22',
    {
      nemesis: [fault({ action: 'poison', target: 't-0@5' })],
      topics: new Map([
        [
          TOPICS.deadLetter,
          [
            record(1, 1, {
              headers: new Map([
                ['dead-letter-topic', 't'],
                ['dead-letter-partition', '0'],
                ['dead-letter-offset', '5'],
                ['dead-letter-code', 'message/unreadable'],
              ]),
            }),
          ],
        ],
      ]),
    },
  ],
  ['I23', { audit: [failed(1, 0, 4_000)], logs: [unitFailed], scrapes: counted(1) }],
  [
    'I24',
    { processes: [{ at: T0, instance: 'sync-1', event: 'stopped', pid: 1, detail: '900 ms, code 0' }] },
  ],
  ['I25', disconnected()],
  [
    'I26',
    {
      processes: [
        { at: T0, instance: 'sync-1', event: 'ended', pid: 1, detail: 'SIGKILL' },
        { at: T0 + 1, instance: 'sync-1', event: 'ready', pid: 2, detail: '900 ms' },
      ],
    },
  ],
]

describe('on a good history', () => {
  test.each(GOOD)('%s passes', (id, changes) => {
    expect(verdict(id, changes)).toBe('pass')
  })

  test('every invariant has a good history here', () => {
    expect(new Set(GOOD.map(([id]) => id)).size).toBe(26)
  })
})
