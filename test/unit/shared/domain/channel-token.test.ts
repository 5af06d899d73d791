// The channel token: only what we signed, in the one spelling we gave it, is believed.
import { createHmac, randomBytes, randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  readChannelToken,
  signChannelToken,
  V1_ENDS_AT,
  type ChannelKeys,
} from '#shared/domain/channel-token.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'

const HOUR = 3_600_000_000
const DAY = 24 * HOUR
const NOW = Date.UTC(2026, 10, 29, 20, 30) * 1000

const keys = { k1: randomBytes(32), k2: randomBytes(32), 'sixteen-chars_16': randomBytes(32) }
const ring = ringOf('k1', keys)

function ringOf(current: string, all: Readonly<Record<string, Buffer>>): ChannelKeys {
  return { current, key: (kid) => (Object.hasOwn(all, kid) ? all[kid] : undefined) }
}

function aChannel() {
  return {
    vendor: 'google',
    connectionId: connectionId(randomUUID()),
    providerId: providerId(randomUUID()),
    calendarId: calendarId(randomUUID()),
    endsAt: NOW + 8 * DAY,
  } as const
}

/** A token of the first form, as channels carry it that were opened before tokens had an end. */
function firstForm({ vendor, ...ids }: ReturnType<typeof aChannel>): string {
  const bytes = [ids.connectionId, ids.providerId, ids.calendarId].map((id) =>
    Buffer.from(id.replaceAll('-', ''), 'hex'),
  )
  const mac = createHmac('sha256', keys.k1)
    .update(`calstream channel token v1\0${vendor}\0k1\0`)
    .update(Buffer.concat(bytes))
    .digest()
    .subarray(0, 16)
  return ['v1', 'k1', ...[...bytes, mac].map((field) => field.toString('base64url'))].join('.')
}

describe('the end of a channel token', () => {
  const { endsAt: _endsAt, vendor, ...claims } = aChannel()
  const token = signChannelToken(ring, { ...claims, vendor, endsAt: NOW })

  test('is the full hour after the time that it was signed for', () => {
    // NOW is half past eight.
    const end = NOW + HOUR / 2
    expect(readChannelToken(ring, vendor, token, end - 1)).toEqual(claims)
    expect(readChannelToken(ring, vendor, token, end)).toBeNull()
    expect(readChannelToken(ring, vendor, token, end + 365 * DAY)).toBeNull()
  })

  test('is signed: with a later one, or with none, it is refused', () => {
    const fields = token.split('.')
    const later = signChannelToken(ring, { ...claims, vendor, endsAt: NOW + DAY }).split('.')
    expect(readChannelToken(ring, vendor, fields.with(5, later[5] ?? '').join('.'), NOW)).toBeNull()
    expect(readChannelToken(ring, vendor, fields.toSpliced(5, 1).join('.'), NOW)).toBeNull()
    expect(
      readChannelToken(ring, vendor, ['v1', ...fields.toSpliced(5, 1).slice(1)].join('.'), NOW),
    ).toBeNull()
    expect(readChannelToken(ring, vendor, ['v1', ...fields.slice(1)].join('.'), NOW)).toBeNull()
  })

  test('of the first form, which carries none, is one day for all', () => {
    const channel = aChannel()
    const { vendor: google, endsAt, ...expected } = channel
    const old = firstForm(channel)
    expect(readChannelToken(ring, google, old, NOW)).toEqual(expected)
    expect(readChannelToken(ring, google, old, V1_ENDS_AT - 1)).toEqual(expected)
    expect(readChannelToken(ring, google, old, V1_ENDS_AT)).toBeNull()
    expect(new Date(V1_ENDS_AT / 1000).toISOString()).toBe('2027-02-01T00:00:00.000Z')
    // Nobody makes a token of the first form out of one of the second, or the other way round.
    const made = ['v2', ...old.split('.').slice(1).toSpliced(4, 0, 'AAAA')].join('.')
    expect(readChannelToken(ring, google, made, NOW)).toBeNull()
    expect(readChannelToken(ring, google, `v2${old.slice(2)}`, NOW)).toBeNull()
    expect(endsAt).toBeGreaterThan(NOW)
  })
})

describe('the channel token', () => {
  test('says who it was signed for', () => {
    const { vendor, endsAt, ...claims } = aChannel()
    const token = signChannelToken(ring, { vendor, endsAt, ...claims })
    expect(readChannelToken(ring, vendor, token, NOW)).toEqual(claims)
  })

  test('carries the nil uuid for a channel without a calendar of ours, which reads as null', () => {
    const channel = { ...aChannel(), calendarId: null }
    const token = signChannelToken(ring, channel)
    expect(token.split('.')[4]).toBe(Buffer.alloc(16).toString('base64url'))
    expect(readChannelToken(ring, 'google', token, NOW)?.calendarId).toBeNull()
  })

  test('is at most 116 characters with the longest key id, so that clientState of Graph (128) holds it', () => {
    const token = signChannelToken(ringOf('sixteen-chars_16', keys), aChannel())
    expect(token).toHaveLength(116)
    expect(signChannelToken(ring, aChannel())).toHaveLength(102)
  })

  test('is refused when any one character is another one, the spare bits of base64url included', () => {
    const token = signChannelToken(ring, aChannel())
    expect(readChannelToken(ring, 'google', token, NOW)).not.toBeNull()
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~ '
    for (let at = 0; at < token.length; at += 1) {
      for (const character of alphabet) {
        if (token[at] === character) continue
        const altered = token.slice(0, at) + character + token.slice(at + 1)
        expect(readChannelToken(ring, 'google', altered, NOW), altered).toBeNull()
      }
    }
  })

  test('is refused when cut, extended, repeated or missing', () => {
    const token = signChannelToken(ring, aChannel())
    for (const altered of [
      '',
      token.slice(0, -1),
      `${token}A`,
      `${token}.`,
      ` ${token}`,
      `${token}, ${token}`,
    ]) {
      expect(readChannelToken(ring, 'google', altered, NOW), altered).toBeNull()
    }
    expect(readChannelToken(ring, 'google', token, NOW)).not.toBeNull()
  })

  test('is refused with the ids of another connection put into it', () => {
    const mine = signChannelToken(ring, aChannel()).split('.')
    const other = signChannelToken(ring, aChannel()).split('.')
    for (const field of [2, 3, 4]) {
      const mixed = mine.with(field, other[field] ?? '').join('.')
      expect(readChannelToken(ring, 'google', mixed, NOW)).toBeNull()
    }
    expect(readChannelToken(ring, 'google', mine.join('.'), NOW)).not.toBeNull()
  })

  test('of one vendor is refused as that of the other', () => {
    const token = signChannelToken(ring, { ...aChannel(), vendor: 'microsoft' })
    expect(readChannelToken(ring, 'google', token, NOW)).toBeNull()
    expect(readChannelToken(ring, 'microsoft', token, NOW)).not.toBeNull()
  })

  test('is refused under another key id, also where both ids name the same key', () => {
    const token = signChannelToken(ring, aChannel())
    const twins = ringOf('k1', { ...keys, k3: keys.k1 })
    expect(readChannelToken(twins, 'google', token.replace('v2.k1.', 'v2.k3.'), NOW)).toBeNull()
    expect(readChannelToken(twins, 'google', token, NOW)).not.toBeNull()
  })

  test('is refused when its key is unknown or was removed, and when signed with the key that stands in for it', () => {
    const token = signChannelToken(ring, aChannel())
    expect(readChannelToken(ringOf('k2', { k2: keys.k2 }), 'google', token, NOW)).toBeNull()
    const forged = signChannelToken(ringOf('zero', { zero: Buffer.alloc(32) }), aChannel())
    expect(readChannelToken(ring, 'google', forged, NOW)).toBeNull()
    expect(readChannelToken(ring, 'google', token, NOW)).not.toBeNull()
  })

  test('stays good while keys rotate: the old key still reads, the new one signs', () => {
    const old = signChannelToken(ringOf('k1', { k1: keys.k1 }), aChannel())
    const rotated = ringOf('k2', keys)
    expect(readChannelToken(rotated, 'google', old, NOW)).not.toBeNull()
    expect(signChannelToken(rotated, aChannel())).toMatch(/^v2\.k2\./)
  })

  test('is not signed with a key id that would not fit or a key that is missing', () => {
    expect(() => signChannelToken(ringOf('a.b', { 'a.b': keys.k1 }), aChannel())).toThrow(/key id/)
    expect(() => signChannelToken(ringOf('k9', keys), aChannel())).toThrow(/missing/)
  })

  test('reads any text without throwing, and believes none of it', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.stringMatching(/^v[12](\.[\w-]{0,23}){5,6}$/),
    )
    fc.assert(
      fc.property(texts, (text) => readChannelToken(ring, 'google', text, NOW) === null),
      { numRuns: 2000 },
    )
  })
})
