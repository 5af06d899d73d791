// What text of strangers may cost when secrets are looked for in it,
// and the spellings of secrets that are easily missed.
import vm from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { signChannelToken } from '#shared/domain/channel-token.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import { redact } from '#shared/process/redact.ts'

/** A quadratic pattern needs hours for a text of this length, a linear one some 50 ms. */
const LENGTH = 1_000_000
const DEADLINE_MS = 60_000

/** Cut off at the deadline, which a test's own limit cannot do to work that never waits. */
function withinDeadline(work: () => unknown): void {
  vm.runInNewContext('work()', { work }, { timeout: DEADLINE_MS })
}

/** Of these all patterns are made. */
const PIECES = [
  'v1.',
  'v2.',
  'eyJ',
  '://',
  '@',
  '"',
  '\\',
  ' ',
  '=',
  ':',
  'a',
  '-',
  'Bearer',
  'ya29.',
  '1//0',
  '"password":"',
]

function repeated(piece: string): string {
  return piece.repeat(Math.ceil(LENGTH / piece.length))
}

describe('the cost of a text grows with its length and no faster', () => {
  test.each([
    ['passwords without an end', `http://${repeated('a:')}`],
    ['addresses', repeated('http://a:a')],
    ['a scheme without an end', `${repeated('a')}://x:y`],
    ['at signs', `http://${repeated('a:@')} `],
    ['beginnings of JSON web tokens', repeated('eyJ-')],
    ['headers of JSON web tokens', repeated('-eyJaaaaaaaa')],
    ['a bearer without a token', `Bearer${repeated(' ')}`],
    ['bearers', repeated('Bearer  a ')],
    ['beginnings of channel tokens', repeated('v1.a.')],
    ['a channel token without its end', `v1.k.${repeated('a')}`],
    ['channel tokens in one word', repeated('-v1.k.aaaaaaaaaaaaaaaa-')],
    ['names without values', repeated('access_token=')],
    ['a name far from its value', `"access_token"${repeated(' ')}:`],
    ['backslashes', `access_token${repeated('\\')}"`],
    ['quotes', repeated(': "')],
    ['beginnings of tokens of Google', repeated('1//0aaaa')],
  ])('%s', (_what, text) => {
    withinDeadline(() => redact(text))
  })

  test('whatever short piece is repeated', () => {
    const piece = fc
      .array(fc.constantFrom(...PIECES), {
        minLength: 1,
        maxLength: 6,
      })
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(piece, (part) => withinDeadline(() => redact(part.repeat(20_000)))),
      { numRuns: 40 },
    )
  })

  test('a pattern that is quadratic does not end in time (control)', () => {
    const text = `http://${repeated('a:')}`
    expect(() =>
      vm.runInNewContext(
        'work()',
        { work: () => /(?<=:\/\/)[^/@]+:[^/@]*(?=@)/.test(text) },
        { timeout: 500 },
      ),
    ).toThrow(/timed out/)
  })
})

test('a channel token is hidden in any text, also one of the first form', () => {
  const keys = { current: 'k1', key: () => Buffer.alloc(32, 1) }
  const id = '0197a000-0000-7000-8000-000000000001'
  const token = signChannelToken(keys, {
    vendor: 'google',
    connectionId: connectionId(id),
    providerId: providerId(id),
    calendarId: calendarId(id),
    endsAt: 1_800_000_000_000_000,
  })
  const [, kid, ...ids] = token.split('.')
  for (const text of [token, ['v1', kid, ...ids.toSpliced(3, 1)].join('.')]) {
    expect(redact(`the vendor said ${text} is odd`)).toBe('the vendor said [secret] is odd')
  }
  expect(redact('calendar.sync.requested.v2.more')).toBe('calendar.sync.requested.v2.more')
})

describe('the password of an address', () => {
  test.each([
    ['with a user', 'http://me:opaque-value@host/path'],
    ['without a user', 'http://:opaque-value@host/path'],
    ['that holds an @', 'postgres://me:opaque@value@host/path'],
    ['inside JSON', JSON.stringify({ a: JSON.stringify({ url: 'http://me:opaque-value@host' }) })],
  ])('is hidden: %s', (_what, text) => {
    expect(redact(text)).not.toMatch(/opaque|value/)
    expect(redact(text)).toContain('[secret]@host')
  })

  test('is not seen where there is none (control)', () => {
    const text = 'postgres://calstream_sync@db:5432/calstream and https://h:1/calendars/ana@example.com'
    expect(redact(text)).toBe(text)
  })
})
