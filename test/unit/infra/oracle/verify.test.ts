// The oracle must object: each kind of damage is made by hand and has to be named.
import { describe, expect, test } from 'vitest'
import type { EventChanged } from '#schemas/messages.gen.ts'
import {
  compareHoldings,
  eventKey,
  foldChanges,
  foldState,
  measureFreshness,
  percentile,
  type EventImage,
  type StreamRecord,
} from '../../../../infra/oracle/verify.ts'

const IMAGE: EventImage = {
  title: 'Check-up',
  status: 'confirmed',
  busy: true,
  allDay: false,
  start: 1_000,
  end: 2_000,
  timeZone: null,
  seriesId: null,
  originalStart: null,
  location: null,
  organizer: null,
  updatedAt: 5,
  etag: '"1"',
}

const CONNECTION = 'connection-1'
let offset = 0n

function record(sequence: number, title: string | null, overrides: Partial<StreamRecord> = {}): StreamRecord {
  const message: EventChanged = {
    eventId: 'uuid',
    connectionId: CONNECTION,
    providerId: 'provider',
    calendarId: 'calendar',
    vendor: 'google',
    vendorEventId: 'e1',
    change: title === null ? 'removed' : 'upserted',
    removalReason: title === null ? 'deleted' : null,
    sequence,
    observedAt: 1,
    vendorUpdatedAt: 5,
    event:
      title === null
        ? null
        : {
            ...IMAGE,
            title,
            status: 'confirmed',
            response: 'none',
            kind: 'default',
            showAs: 'busy',
            visibility: 'default',
            start: { at: 1_000, date: null },
            end: { at: 2_000, date: null },
            originalStart: null,
          },
  }
  return {
    topic: 'changed',
    partition: 0,
    offset: offset++,
    key: CONNECTION,
    value: Buffer.from(JSON.stringify(message)),
    headers: new Map([
      ['ce_sequence', String(sequence)],
      ['ce_id', `id-${sequence}`],
    ]),
    receivedAtMs: 0,
    message,
    problem: null,
    ...overrides,
  }
}

const KEY = eventKey(CONNECTION, 'calendar', 'e1')
const kinds = (differences: readonly { kind: string }[]) => differences.map(({ kind }) => kind)

describe('two holdings', () => {
  const both = new Map([
    ['a', IMAGE],
    ['b', { ...IMAGE, start: '2026-12-24', end: '2026-12-25', allDay: true }],
  ])

  test('that are equal have no differences', () => {
    expect(compareHoldings('Postgres', both, new Map(both))).toEqual([])
  })

  test('with a lost event are told apart', () => {
    const [difference, ...more] = compareHoldings('Postgres', both, new Map([['a', IMAGE]]))
    expect(difference).toMatchObject({ place: 'Postgres', kind: 'missing', key: 'b' })
    expect(difference?.story).toContain('2026-12-24')
    expect(more).toEqual([])
  })

  test('with an event too many are told apart', () => {
    const more = new Map([...both, ['c', IMAGE]])
    expect(kinds(compareHoldings('Postgres', both, more))).toEqual(['extra'])
  })

  test.each(Object.keys(IMAGE) as (keyof EventImage)[])('with another %s are told apart', (field) => {
    const wrong = new Map(both).set('a', { ...IMAGE, [field]: 'something else' })
    const [difference] = compareHoldings('Postgres', both, wrong)
    expect(difference).toMatchObject({ kind: 'field', key: 'a' })
    expect(difference?.story).toContain(field)
  })

  test('may differ in presence where that is said, but never in content', () => {
    const atEdge = ({ title }: EventImage) => title === 'edge'
    const edge = { ...IMAGE, title: 'edge' }
    expect(compareHoldings('x', new Map([['e', edge]]), new Map(), atEdge)).toEqual([])
    expect(compareHoldings('x', new Map(), new Map([['e', edge]]), atEdge)).toEqual([])
    const wrong = new Map([['e', { ...edge, busy: false }]])
    expect(kinds(compareHoldings('x', new Map([['e', edge]]), wrong, atEdge))).toEqual(['field'])
  })
})

describe('the fold of the changed topic', () => {
  test('ends with the last version, and with nothing after a removal', () => {
    const fold = foldChanges([record(1, 'one'), record(2, 'two')])
    expect([...fold.holdings]).toEqual([[KEY, { ...IMAGE, title: 'two' }]])
    expect(fold.differences).toEqual([])
    expect(foldChanges([record(1, 'one'), record(2, null)]).holdings.size).toBe(0)
  })

  test('keeps an all-day event as dates', () => {
    const whole = record(1, 'day')
    const event = { ...whole.message!.event!, allDay: true, start: { at: null, date: '2026-12-24' } }
    const fold = foldChanges([{ ...whole, message: { ...whole.message!, event } }])
    expect(fold.holdings.get(KEY)).toMatchObject({ start: '2026-12-24' })
  })

  test('takes a batch that came twice with the same bytes, drops it and counts it', () => {
    const batch = [record(1, 'one'), record(2, 'two')]
    const fold = foldChanges([...batch, ...batch, record(3, 'three')])
    expect(fold).toMatchObject({ differences: [], repeats: 2 })
    expect(fold.holdings.get(KEY)?.title).toBe('three')
  })

  test('may begin in the middle, where the topic no longer keeps the start', () => {
    expect(foldChanges([record(7, 'one'), record(8, 'two')]).differences).toEqual([])
  })

  test.each([
    ['a lost record', [record(1, 'one'), record(3, 'three')], 'lost'],
    [
      'two records in the wrong order',
      [record(1, 'one'), record(3, 'x'), record(2, 'y'), record(4, 'z')],
      'reordered',
    ],
    ['one sequence with two contents', [record(1, 'one'), record(1, 'two')], 'altered'],
    [
      'a repeat under a new id',
      [
        record(1, 'one'),
        {
          ...record(1, 'one'),
          headers: new Map([
            ['ce_sequence', '1'],
            ['ce_id', 'new'],
          ]),
        },
      ],
      'altered',
    ],
    [
      'a header that disagrees with its message',
      [{ ...record(1, 'one'), headers: new Map([['ce_sequence', '9']]) }],
      'altered',
    ],
    ['a record under the key of another connection', [{ ...record(1, 'one'), key: 'other' }], 'altered'],
    [
      'a value that does not decode',
      [record(1, 'one', { message: null, problem: 'no such schema' })],
      'unreadable',
    ],
    ['a record without a sequence', [record(1, 'one', { headers: new Map() })], 'unreadable'],
  ])('objects to %s', (_what, records, kind) => {
    expect(kinds(foldChanges(records).differences)).toContain(kind)
  })

  test('does not let a repeat of an old record undo a newer one', () => {
    const first = record(1, 'one')
    expect(foldChanges([first, record(2, 'two'), first]).holdings.get(KEY)?.title).toBe('two')
  })
})

describe('the fold of the state topic', () => {
  const key = 'connection-1/calendar/uuid'

  test('ends with the last value of each key, and a tombstone takes it away', () => {
    const one = record(1, 'one', { key })
    const two = record(2, 'two', { key })
    const gone = record(3, null, { key, value: null, message: null })
    expect(foldState([one, two]).holdings.get(KEY)?.title).toBe('two')
    expect(foldState([one, two, gone]).holdings.size).toBe(0)
    expect(foldState([gone, one]).holdings.size).toBe(1)
  })

  test('objects to a removal that is no tombstone: compaction would keep it', () => {
    expect(kinds(foldState([record(1, 'one', { key }), record(2, null, { key })]).differences)).toEqual([
      'altered',
    ])
  })

  test('objects to a value that does not decode', () => {
    const bad = record(1, 'one', { key, message: null, problem: 'no such schema' })
    expect(kinds(foldState([bad]).differences)).toEqual(['unreadable'])
  })
})

describe('freshness', () => {
  const changed = (version: number, atMs: number, ...keys: string[]) => ({
    version,
    atMs,
    changed: keys.length > 0 ? keys : ['e'],
    removed: [],
  })
  const removed = (version: number, atMs: number) => ({ version, atMs, changed: [], removed: ['e'] })
  const seen = (version: number | null, receivedAtMs: number, key = 'e') => ({ key, version, receivedAtMs })

  const measure = (
    changes: Parameters<typeof measureFreshness>[0],
    observations: Parameters<typeof measureFreshness>[1],
    exists = true,
  ) => measureFreshness(changes, observations, () => exists)

  test('is the time to the first record that carries the version or a later one', () => {
    const { samplesMs, uncovered } = measure(
      [changed(2, 100), changed(3, 200)],
      [seen(1, 90), seen(3, 450), seen(4, 500)],
    )
    expect(samplesMs).toEqual([350, 250])
    expect(uncovered).toEqual([])
  })

  test('of a removal is the time to the removal, which covers the changes before it too', () => {
    const { samplesMs } = measure([changed(2, 100), removed(3, 200)], [seen(1, 150), seen(null, 300)], false)
    expect(samplesMs).toEqual([200, 100])
  })

  test('of a removal may come by a later version: the event was brought back before anybody looked', () => {
    expect(measure([removed(3, 200)], [seen(4, 300)]).samplesMs).toEqual([100])
  })

  test('of a change to a series is that of its slowest occurrence', () => {
    const change = changed(2, 100, 'a', 'b')
    expect(measure([change], [seen(2, 150, 'a'), seen(2, 400, 'b')]).samplesMs).toEqual([300])
    expect(measure([change], [seen(2, 150, 'a')]).uncovered).toEqual([{ change, key: 'b' }])
  })

  test('is not invented: a change that no record covers is named', () => {
    expect(measure([removed(3, 200)], [seen(3, 300)], false).uncovered).toHaveLength(1)
    expect(measure([changed(2, 100)], [seen(1, 300)]).uncovered).toHaveLength(1)
    expect(measure([changed(2, 100)], [seen(2, 300, 'other')]).uncovered).toHaveLength(1)
    expect(measure([changed(2, 100)], [seen(null, 50)]).uncovered).toHaveLength(1)
  })

  test('has no sample of an event that came and went before anybody looked', () => {
    const came = [changed(2, 100), removed(3, 200)]
    expect(measure(came, [], false)).toEqual({ samplesMs: [], uncovered: [] })
    expect(measure(came, [seen(null, 50)], false)).toEqual({ samplesMs: [], uncovered: [] })
    // Control: had the reader been told of it, its end would be missing.
    expect(measure(came, [seen(2, 150)], false).uncovered).toHaveLength(1)
  })
})

test('percentiles are of the samples themselves', () => {
  const samples = Array.from({ length: 100 }, (_, index) => 100 - index)
  expect([0.5, 0.95, 0.99, 1].map((share) => percentile(samples, share))).toEqual([50, 95, 99, 100])
  expect(percentile([7], 0.5)).toBe(7)
  expect(percentile([], 0.5)).toBeNull()
})
