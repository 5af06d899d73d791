// Every invariant on a good history made by hand, and on histories that break it: a judge that cannot say FAIL proves nothing.
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { runChecker, type InvariantId } from '../../drills/checkers/check.ts'
import { INVARIANTS, judgeInvariants } from '../../drills/checkers/invariants.ts'
import type { FaultEntry, Ledgers } from '../../drills/ledgers/ledgers.ts'
import {
  change,
  claim,
  CONNECTION,
  connectionUpdate,
  goodLedgers,
  image,
  KEY,
  letter,
  listing,
  page,
  PROVIDER,
  record,
  row,
  T0,
} from './hand-made.ts'

function verdict(id: InvariantId, changes: Partial<Ledgers> = {}): string {
  const checker = INVARIANTS.find((one) => one.id === id)
  if (!checker) throw new Error(`no ${id}`)
  return runChecker(checker, goodLedgers(changes)).verdict
}

function fault(parts: Partial<FaultEntry>): FaultEntry {
  return {
    fault: 'P2',
    action: 'kill -9',
    target: 'sync-1',
    startedAt: T0,
    activeAt: T0,
    endedAt: null,
    healedAt: null,
    ...parts,
  }
}

const OFF = { gate: 'CALENDAR_SYNC_ENABLED', on: false, ids: null, askedAt: T0, doneAt: T0 }
const ON = { gate: 'CALENDAR_SYNC_ENABLED', on: true, ids: null, askedAt: T0 + 60_000, doneAt: T0 + 60_000 }
const LISTED = [
  { gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS', on: null, ids: [PROVIDER], askedAt: T0 - 9, doneAt: T0 - 9 },
  { gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS', on: null, ids: [], askedAt: T0, doneAt: T0 },
]
const failed = (attempt: number, at: number, forMs: number) =>
  connectionUpdate(
    100 + attempt,
    { error_count: attempt - 1, last_error: attempt > 1 ? { attempt: attempt - 1 } : null },
    {
      error_count: attempt,
      sync_needed: true,
      last_error: { attempt, code: 'vendor/unavailable' },
      backoff_until: new Date(T0 + at + forMs).toISOString(),
    },
    { at: T0 + at },
  )
const ring = (deliveryKey: string) =>
  record(1, 1, { topic: TOPICS.requestedGoogle, message: { deliveryKey } as never })
const attempt = (status: number, at = 0) => ({
  seq: 1,
  at: T0 + at,
  channelId: 'ch',
  messageNumber: 7,
  attempt: 1,
  status,
  latencyMs: 1,
})
const logged = (fields: Record<string, unknown>) => ({
  instance: 'sync-1',
  raw: JSON.stringify(fields),
  fields,
})
const unitFailed = logged({ msg: 'unit failed', connectionId: CONNECTION, code: 'vendor/unavailable' })
const counted = (value: number) => [
  {
    at: T0,
    instance: 'sync-1',
    pid: 1,
    values: new Map([['calendar_sync_failures_total{code="x"}', value]]),
  },
]

test('there are the 26 invariants, each once', () => {
  expect(INVARIANTS.map(({ id }) => id)).toEqual(Array.from({ length: 26 }, (_, index) => `I${index + 1}`))
})

test('an unknown invariant is an error, not a pass', () => {
  expect(() => judgeInvariants(['I99'], goodLedgers())).toThrow('I99')
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
  [
    'I25',
    {
      nemesis: [fault({ action: 'disconnect', target: CONNECTION, activeAt: T0 + 1_000_000 })],
      audit: [row(9, 'connection_credentials', { op: 'DELETE', role: 'calstream_scheduler' })],
    },
  ],
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

const late = { process: 'sync-2#1' }
const BAD: readonly (readonly [InvariantId, string, Partial<Ledgers>])[] = [
  ['I1', 'an event is missing', { held: new Map() }],
  ['I1', 'an event is of an older version', { held: new Map([[KEY, image(1)]]) }],
  ['I1', 'an event that ended is still there', { truth: new Map() }],
  [
    'I1',
    'a connection is still dirty',
    {
      connections: [
        { connectionId: CONNECTION, status: 'active', syncNeeded: true, errorCount: 0, backoffUntil: null },
      ],
    },
  ],
  [
    'I2',
    'a row belongs to another account',
    { held: new Map([[KEY, { ...image(2), title: 'c2/e1/v2/0123456789ab' }]]) },
  ],
  ['I2', 'a row has a version that was never made', { held: new Map([[KEY, { ...image(2), etag: '"9"' }]]) }],
  [
    'I2',
    'a title was never written by the vendor',
    { held: new Map([[KEY, { ...image(2), title: 'hello' }]]) },
  ],
  [
    'I3',
    'one version is applied twice',
    {
      audit: [
        claim(1, 1),
        ...page(2, { version: 1, sequence: 1, cursor: 'k1' }),
        ...page(3, { version: 1, sequence: 2, cursor: 'k2' }),
      ],
    },
  ],
  ['I4', 'a committed message never came out', { topics: new Map([[TOPICS.eventChanged, [record(1, 1)]]]) }],
  [
    'I4',
    'a message came out that was never committed',
    { topics: new Map([[TOPICS.eventChanged, [record(1, 1), record(2, 2), record(3, 3)]]]) },
  ],
  [
    'I4',
    'one id has two contents',
    {
      topics: new Map([
        [TOPICS.eventChanged, [record(1, 1), record(2, 2), record(2, 2, { value: Buffer.from('other') })]],
      ]),
    },
  ],
  [
    'I5',
    'the folded topic lacks an event',
    {
      topics: new Map([
        [TOPICS.eventChanged, []],
        [TOPICS.eventState, []],
      ]),
    },
  ],
  [
    'I6',
    'a row is written without its message',
    { audit: page(2, { version: 1, sequence: 1, cursor: 'k1' }).filter(({ table }) => table !== 'outbox') },
  ],
  ['I6', 'a message is written without its row', { audit: [letter(2, 1, 1), claim(2, 1)] }],
  [
    'I6',
    'rows are written and the cursor is not',
    {
      audit: page(2, { version: 1, sequence: 1, cursor: 'k1' }).filter(
        ({ table }) => table !== 'external_calendars',
      ),
    },
  ],
  [
    'I6',
    'keys are written outside of the unit',
    { audit: [row(2, 'webhook_dedupe_keys', { op: 'INSERT', new: { delivery_key: 'k' } })] },
  ],
  ['I7', 'the cursor covers a change that is not applied', { changes: [change(1, 0), change(2, 5)] }],
  [
    'I7',
    'the cursor covers a removal that is not applied',
    { changes: [change(1, 0), change(2, 20), change(3, 25, true)] },
  ],
  ['I7', 'the cursor was never given by the vendor', { calls: [listing(10, 15, { syncTokenOut: 'k1' })] }],
  [
    'I8',
    'a sequence comes after a later one',
    { topics: new Map([[TOPICS.eventChanged, [record(2, 2), record(1, 1)]]]) },
  ],
  ['I8', 'a sequence is missing', { topics: new Map([[TOPICS.eventChanged, [record(1, 1), record(2, 3)]]]) }],
  [
    'I8',
    'a version is written over a later one',
    {
      audit: [
        ...page(2, { version: 2, sequence: 1, cursor: 'k1' }),
        ...page(3, { version: 1, sequence: 2, cursor: 'k2' }),
      ],
    },
  ],
  [
    'I9',
    'a process writes under the epoch of another',
    { audit: [claim(1, 1), ...page(2, { version: 1, sequence: 1, cursor: 'k1' }, late)] },
  ],
  ['I9', 'an epoch goes back', { audit: [claim(1, 5), claim(2, 4)] }],
  [
    'I9',
    'rows are written without the fence',
    {
      audit: page(2, { version: 1, sequence: 1, cursor: 'k1' }).filter(
        ({ table }) => table !== 'external_calendar_connections',
      ),
    },
  ],
  [
    'I10',
    'one owner lists twice at a time',
    { audit: [claim(1, 1, { at: T0 })], calls: [listing(10, 50), listing(20, 60)] },
  ],
  ['I11', 'a call begins long after the switch', { gates: [OFF, ON], calls: [listing(5_000, 5_100)] }],
  [
    'I11',
    'rows are written long after the switch',
    {
      gates: [OFF, ON],
      audit: page(2, { version: 1, sequence: 1, cursor: 'k1' }, { at: T0 + 45_000 }),
      calls: [],
    },
  ],
  [
    'I12',
    'a call is made for somebody who was taken off the list',
    { gates: LISTED, calls: [listing(5_000, 5_100)] },
  ],
  [
    'I12',
    'a connection is deleted',
    { gates: LISTED, audit: [row(1, 'external_calendar_connections', { op: 'DELETE' })] },
  ],
  [
    'I13',
    'it never catches up',
    { webhooks: [attempt(403)], marks: { ...goodLedgers().marks, convergedAt: null } },
  ],
  [
    'I13',
    'it catches up too late',
    { webhooks: [attempt(403)], marks: { ...goodLedgers().marks, convergedAt: T0 + 90_000 } },
  ],
  [
    'I14',
    'a call is made inside a backoff window',
    { audit: [failed(1, 0, 4_000)], calls: [listing(2_000, 2_100)] },
  ],
  [
    'I14',
    'the third wait is as short as the first',
    { audit: [failed(1, 0, 4_000), failed(2, 5_000, 7_000), failed(3, 13_000, 4_000)], calls: [] },
  ],
  [
    'I14',
    'a success leaves the backoff behind',
    {
      audit: [
        failed(1, 0, 4_000),
        connectionUpdate(
          9,
          { error_count: 1 },
          { last_synced_at: 'now', backoff_until: new Date(T0).toISOString() },
        ),
      ],
    },
  ],
  [
    'I14',
    'a failure moves last_synced_at',
    {
      audit: [
        connectionUpdate(
          9,
          {},
          { error_count: 1, sync_needed: true, last_synced_at: 'now', last_error: { attempt: 1 } },
        ),
        failed(2, 0, 7_000),
      ],
    },
  ],
  [
    'I14',
    'a failure forgets that work is owed',
    { audit: [failed(1, 0, 4_000), connectionUpdate(9, {}, { error_count: 1, last_error: { attempt: 1 } })] },
  ],
  ['I15', 'an acknowledged notification is on no topic', { webhooks: [attempt(202)], topics: new Map() }],
  [
    'I16',
    'a key is recorded twice',
    {
      audit: [1, 2].map((txid) =>
        row(txid, 'webhook_dedupe_keys', { op: 'INSERT', new: { delivery_key: 'g:ch:7' } }),
      ),
    },
  ],
  ['I17', 'trouble is answered 500', { webhooks: [attempt(500)] }],
  ['I17', '403 while every gate is open', { webhooks: [attempt(403)] }],
  [
    'I17',
    '503 without Retry-After',
    {
      requests: [
        {
          at: T0,
          what: 'x',
          method: 'POST',
          path: '/',
          status: 503,
          latencyMs: 1,
          body: '',
          retryAfter: null,
          delivery: null,
        },
      ],
    },
  ],
  [
    'I18',
    'a secret is in a log',
    { texts: new Map([['a log', 'token=ya29.SecretSecretSecretSecretSecretSecret']]) },
  ],
  [
    'I18',
    'a secret is there as base64',
    {
      texts: new Map([
        ['a topic', Buffer.from('ya29.SecretSecretSecretSecretSecretSecret').toString('base64')],
      ]),
    },
  ],
  ['I18', 'a piece of a secret is there', { texts: new Map([['a table', 'xx etSecretSecretSecretSe yy']]) }],
  [
    'I19',
    'altered credentials are used',
    { nemesis: [fault({ action: 'tamper-credentials', target: CONNECTION })], calls: [listing(900, 950)] },
  ],
  [
    'I20',
    'memory passes its cap',
    { samples: [{ at: T0, instance: 'sync-1', pid: 1, rssMb: 900, descriptors: 4 }] },
  ],
  ['I20', 'the outbox is not drained', { outboxLeft: 3 }],
  ['I21', 'it does not come to rest', { marks: { ...goodLedgers().marks, convergedAt: null } }],
  ['I21', 'a connection makes no progress', { audit: [] }],
  ['I22', 'poison is in no dead letter', { nemesis: [fault({ action: 'poison', target: 't-0@5' })] }],
  ['I23', 'a failure is not logged', { audit: [failed(1, 0, 4_000)], scrapes: counted(1) }],
  [
    'I23',
    'a failure is not counted',
    { audit: [failed(1, 0, 4_000)], logs: [unitFailed], scrapes: counted(0) },
  ],
  ['I23', 'a line is no JSON', { logs: [{ instance: 'sync-1', raw: 'hello', fields: null }] }],
  [
    'I23',
    'an answer shows a stack',
    {
      requests: [
        {
          at: T0,
          what: 'x',
          method: 'POST',
          path: '/',
          status: 503,
          latencyMs: 1,
          body: 'at run (a.ts:1)',
          retryAfter: '5',
          delivery: null,
        },
      ],
    },
  ],
  [
    'I24',
    'a stop takes too long',
    { processes: [{ at: T0, instance: 'sync-1', event: 'stopped', pid: 1, detail: '12000 ms, code 0' }] },
  ],
  [
    'I24',
    'a stop ends with a signal',
    { processes: [{ at: T0, instance: 'sync-1', event: 'stopped', pid: 1, detail: '900 ms, SIGKILL' }] },
  ],
  [
    'I25',
    'rows are written after the end',
    { nemesis: [fault({ action: 'disconnect', target: CONNECTION, activeAt: T0 - 1_000_000 })] },
  ],
  [
    'I25',
    'credentials are not erased',
    { nemesis: [fault({ action: 'disconnect', target: CONNECTION, activeAt: T0 + 1_000_000 })] },
  ],
  [
    'I26',
    'a process does not come back',
    { processes: [{ at: T0, instance: 'sync-1', event: 'ended', pid: 1, detail: 'SIGKILL' }] },
  ],
]

describe('on a bad history', () => {
  test.each(BAD)('%s fails: %s', (id, _what, changes) => {
    expect(verdict(id, changes)).toBe('fail')
  })

  test('every invariant has a bad history here', () => {
    const bad = new Set(BAD.map(([id]) => id))
    expect(INVARIANTS.map(({ id }) => id).filter((id) => !bad.has(id))).toEqual([])
  })
})
