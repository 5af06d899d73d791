// Every invariant on histories that break it: a judge that cannot say FAIL proves nothing.
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { InvariantId } from '../../drills/checkers/check.ts'
import { INVARIANTS } from '../../drills/checkers/invariants.ts'
import type { Ledgers } from '../../drills/ledgers/ledgers.ts'
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
  record,
  row,
  T0,
} from './hand-made.ts'
import {
  disconnected,
  verdict,
  fault,
  OFF,
  ON,
  LISTED,
  failed,
  attempt,
  graphAttempt,
  ring,
  unitFailed,
  counted,
} from './spoilt.ts'

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
    'I5',
    'a removal is not a tombstone of the compacted topic',
    {
      topics: new Map([
        ...goodLedgers().topics,
        [
          TOPICS.eventState,
          [
            record(1, 1, { message: { ...record(1, 1).message!, change: 'removed', event: null } }),
            ...(goodLedgers().topics.get(TOPICS.eventState) ?? []),
          ],
        ],
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
    'I15',
    'one item of an acknowledged batch is on no topic, and no refusal of it was stored',
    {
      webhooks: [attempt(202), graphAttempt(202)],
      topics: new Map([[TOPICS.requestedGoogle, [ring('g:ch:7')]]]),
    },
  ],
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
    {
      ...disconnected(),
      nemesis: [fault({ action: 'disconnect', target: CONNECTION, activeAt: T0 - 1_000_000 })],
      calls: [],
    },
  ],
  ['I25', 'event rows are left', disconnected({ without: 'external_calendar_events' })],
  ['I25', 'a channel is left', disconnected({ without: 'channels' })],
  ['I25', 'a calendar is left', disconnected({ without: 'external_calendars' })],
  ['I25', 'a request is held still', disconnected({ without: 'held_requests' })],
  ['I25', 'the account is known still', disconnected({ without: 'external_calendar_connections' })],
  ['I25', 'credentials are not erased', disconnected({ without: 'connection_credentials' })],
  [
    'I25',
    'the vendor is listed after the end',
    { ...disconnected(), calls: [listing(1_002_000, 1_002_100)] },
  ],
  [
    'I25',
    'the vendor is called after the credentials were erased',
    { ...disconnected(), calls: [listing(2_000_000, 2_000_100, { method: 'POST', path: '/revoke' })] },
  ],
  [
    'I25',
    'the removal is not told',
    { ...disconnected(), topics: new Map([[TOPICS.eventChanged, [record(1, 1)]]]) },
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
