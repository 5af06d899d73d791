import { describe, expect, test } from 'vitest'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { eventHeaders } from '#shared/messages/envelope.ts'

const ENVELOPE = {
  type: 'calendar.event.changed.v1',
  source: '/calstream/sync',
  key: 'c-1',
  at: 1_700_000_000_000_007,
}

describe('eventHeaders', () => {
  test('gives every attribute of CloudEvents that applies', () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    expect(eventHeaders({ ...ENVELOPE, subject: 'e-1', sequence: 42, traceparent })).toEqual({
      ce_specversion: '1.0',
      ce_id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      ce_type: 'calendar.event.changed.v1',
      ce_source: '/calstream/sync',
      ce_subject: 'e-1',
      ce_time: '2023-11-14T22:13:20.000007Z',
      ce_partitionkey: 'c-1',
      ce_sequence: '42',
      traceparent,
      'content-type': 'application/vnd.confluent.avro',
    })
  })

  test('leaves out what does not apply', () => {
    expect(Object.keys(eventHeaders(ENVELOPE)).toSorted()).toEqual(
      [
        'ce_id',
        'ce_partitionkey',
        'ce_source',
        'ce_specversion',
        'ce_time',
        'ce_type',
        'content-type',
      ].toSorted(),
    )
  })

  test('never gives two records one id', () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => eventHeaders(ENVELOPE)['ce_id']))
    expect(ids.size).toBe(10_000)
  })

  test.each([
    [0, '1970-01-01T00:00:00.000000Z'],
    [-1, '1969-12-31T23:59:59.999999Z'],
    [1_000_001, '1970-01-01T00:00:01.000001Z'],
    [Number.MAX_SAFE_INTEGER, '2255-06-05T23:47:34.740991Z'],
  ])('writes %d µs as %s', (at, text) => {
    expect(eventHeaders({ ...ENVELOPE, at })['ce_time']).toBe(text)
  })
})

describe('deadLetterRecord', () => {
  const record = {
    topic: 'calendar.sync.requested.google.v1',
    partition: 3,
    offset: 9_007_199_254_740_993n,
    timestampMs: 1_700_000_000_000,
    key: Buffer.from('c-1'),
    value: Buffer.from([0, 255, 254]),
    headers: new Map([['ce_id', 'x']]),
  }

  test('keeps key, value and headers and adds origin and reason', () => {
    const reason = {
      code: 'message/unreadable',
      problem: 'no magic byte',
      attempts: 1,
      firstFailedAt: 5,
      lastFailedAt: 7,
    }
    expect(deadLetterRecord(record, reason)).toEqual({
      topic: 'calendar.sync.dead-letter.v1',
      key: 'c-1',
      value: Buffer.from([0, 255, 254]),
      headers: {
        ce_id: 'x',
        'dead-letter-topic': 'calendar.sync.requested.google.v1',
        'dead-letter-partition': '3',
        'dead-letter-offset': '9007199254740993',
        'dead-letter-timestamp': '1700000000000',
        'dead-letter-code': 'message/unreadable',
        'dead-letter-problem': 'no magic byte',
        'dead-letter-attempts': '1',
        'dead-letter-first-failed-at': '5',
        'dead-letter-last-failed-at': '7',
      },
    })
  })

  test('keeps a key that is not text, whole', () => {
    const letter = deadLetterRecord(
      { ...record, key: Buffer.from([0xff, 0x00]) },
      { code: 'x/y', lastFailedAt: 0 },
    )
    expect(letter.headers['dead-letter-key']).toBe('/wA=')
  })

  test('keeps a missing value missing and takes an empty key for none', () => {
    const letter = deadLetterRecord({ ...record, key: null, value: null }, { code: 'x/y', lastFailedAt: 0 })
    expect(letter).toMatchObject({ key: '', value: null })
    expect(letter.headers).not.toHaveProperty('dead-letter-key')
  })
})
