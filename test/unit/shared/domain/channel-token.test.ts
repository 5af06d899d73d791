// The channel token: only what we signed, in the one spelling we gave it, is believed.
import { randomBytes, randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readChannelToken, signChannelToken, type ChannelKeys } from '#shared/domain/channel-token.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'

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
  } as const
}

describe('the channel token', () => {
  test('says who it was signed for', () => {
    const { vendor, ...claims } = aChannel()
    expect(readChannelToken(ring, vendor, signChannelToken(ring, { vendor, ...claims }))).toEqual(claims)
  })

  test('carries the nil uuid for a channel without a calendar of ours, which reads as null', () => {
    const channel = { ...aChannel(), calendarId: null }
    const token = signChannelToken(ring, channel)
    expect(token.split('.')[4]).toBe(Buffer.alloc(16).toString('base64url'))
    expect(readChannelToken(ring, 'google', token)?.calendarId).toBeNull()
  })

  test('is at most 111 characters with the longest key id, so that clientState of Graph (128) holds it', () => {
    const token = signChannelToken(ringOf('sixteen-chars_16', keys), aChannel())
    expect(token).toHaveLength(111)
    expect(signChannelToken(ring, aChannel())).toHaveLength(97)
  })

  test('is refused when any one character is another one, the spare bits of base64url included', () => {
    const token = signChannelToken(ring, aChannel())
    expect(readChannelToken(ring, 'google', token)).not.toBeNull()
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~ '
    for (let at = 0; at < token.length; at += 1) {
      for (const character of alphabet) {
        if (token[at] === character) continue
        const altered = token.slice(0, at) + character + token.slice(at + 1)
        expect(readChannelToken(ring, 'google', altered), altered).toBeNull()
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
      expect(readChannelToken(ring, 'google', altered), altered).toBeNull()
    }
    expect(readChannelToken(ring, 'google', token)).not.toBeNull()
  })

  test('is refused with the ids of another connection put into it', () => {
    const mine = signChannelToken(ring, aChannel()).split('.')
    const other = signChannelToken(ring, aChannel()).split('.')
    for (const field of [2, 3, 4]) {
      const mixed = mine.with(field, other[field] ?? '').join('.')
      expect(readChannelToken(ring, 'google', mixed)).toBeNull()
    }
    expect(readChannelToken(ring, 'google', mine.join('.'))).not.toBeNull()
  })

  test('of one vendor is refused as that of the other', () => {
    const token = signChannelToken(ring, { ...aChannel(), vendor: 'microsoft' })
    expect(readChannelToken(ring, 'google', token)).toBeNull()
    expect(readChannelToken(ring, 'microsoft', token)).not.toBeNull()
  })

  test('is refused under another key id, also where both ids name the same key', () => {
    const token = signChannelToken(ring, aChannel())
    const twins = ringOf('k1', { ...keys, k3: keys.k1 })
    expect(readChannelToken(twins, 'google', token.replace('v1.k1.', 'v1.k3.'))).toBeNull()
    expect(readChannelToken(twins, 'google', token)).not.toBeNull()
  })

  test('is refused when its key is unknown or was removed, and when signed with the key that stands in for it', () => {
    const token = signChannelToken(ring, aChannel())
    expect(readChannelToken(ringOf('k2', { k2: keys.k2 }), 'google', token)).toBeNull()
    const forged = signChannelToken(ringOf('zero', { zero: Buffer.alloc(32) }), aChannel())
    expect(readChannelToken(ring, 'google', forged)).toBeNull()
    expect(readChannelToken(ring, 'google', token)).not.toBeNull()
  })

  test('stays good while keys rotate: the old key still reads, the new one signs', () => {
    const old = signChannelToken(ringOf('k1', { k1: keys.k1 }), aChannel())
    const rotated = ringOf('k2', keys)
    expect(readChannelToken(rotated, 'google', old)).not.toBeNull()
    expect(signChannelToken(rotated, aChannel())).toMatch(/^v1\.k2\./)
  })

  test('is not signed with a key id that would not fit or a key that is missing', () => {
    expect(() => signChannelToken(ringOf('a.b', { 'a.b': keys.k1 }), aChannel())).toThrow(/key id/)
    expect(() => signChannelToken(ringOf('k9', keys), aChannel())).toThrow(/missing/)
  })

  test('reads any text without throwing, and believes none of it', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.stringMatching(/^v1(\.[\w-]{0,23}){5}$/),
    )
    fc.assert(
      fc.property(texts, (text) => readChannelToken(ring, 'google', text) === null),
      { numRuns: 2000 },
    )
  })
})
